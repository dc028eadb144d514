//! References: names of images, one file each below `refs/`.
//!
//! ```text
//! docker.io+library+debian:12   the reference `docker.io/library/debian:12`; `+` occurs in none
//! ~<sha256 of the reference>    one that is too long for a file name
//! @sha256:<hex>                 an image that lost its last name and stays until it is removed
//! ```
//! Other names are none of ours: they name nothing, are left alone, and stand in nobody's way.
//!
//! Flat, so `a` and `a/b` coexist; the file holds the reference too, and is believed only under the
//! name that this reference has. A digest is that of the manifest or index that the name resolved to.
//!
//! A name that moves leaves a mark `@...` of what it stood for, always: whether another name stands
//! for that, too, is not asked. A mark makes an image reachable that has no name and means nothing
//! beside a name; removing the last name removes the image with its mark. Changes of one name by two
//! processes follow each other under `locks/refs`, or one image of the two would be lost.

use std::io;

use holm_spec::digest::encode_hex;
use holm_spec::{Digest, Reference, Timestamp};
use holm_sys::file::{self, Durability, read_limited};
use holm_sys::lock::{Lock, Mode};
use serde::{Deserialize, Serialize};

use crate::blob::{DOCUMENT_LIMIT, remove_file};
use crate::error::{Error, Kind, Result};
use crate::store::{InUse, Store};

const VERSION: u32 = 1;
/// Longest file name on Linux file systems, in bytes, less what a temporary file's name may add.
const FILE_NAME_LIMIT: usize = 240;
const SLASH: &str = "+";

/// The content of a file below `refs/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefRecord {
    version: u32,
    /// The name; none for a mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reference: Option<Reference>,
    /// The manifest or index that it stands for.
    pub(crate) digest: Digest,
    /// When the name got this meaning.
    pub(crate) updated: Timestamp,
}

impl RefRecord {
    fn file_name(&self) -> String {
        self.reference.as_ref().map_or_else(|| mark_name(&self.digest), name_of)
    }
}

/// The file name of a reference.
pub(crate) fn name_of(reference: &Reference) -> String {
    let text = reference.to_string();
    if text.len() <= FILE_NAME_LIMIT {
        return text.replace('/', SLASH);
    }
    format!("~{}", encode_hex(Digest::of(text.as_bytes()).as_bytes()))
}

/// The file name of the mark of an image without a name.
fn mark_name(digest: &Digest) -> String {
    format!("@{digest}")
}

/// The digest in the file name of a mark.
fn marked(file_name: &str) -> Option<Digest> {
    let digest = file_name.strip_prefix('@')?.parse().ok()?;
    (mark_name(&digest) == file_name).then_some(digest)
}

/// Whether a name below `refs/` can be one that was given here.
fn is_ours(name: &str) -> bool {
    let is_hash = |hex: &str| format!("sha256:{hex}").parse::<Digest>().is_ok();
    marked(name).is_some() || name.strip_prefix('~').is_some_and(is_hash) || reference_of(name).is_some()
}

/// The reference that a file name stands for, where the name alone tells: for reports about files
/// whose content is damaged.
pub(crate) fn reference_of(file_name: &str) -> Option<Reference> {
    let reference = file_name.replace(SLASH, "/").parse::<Reference>().ok()?;
    (name_of(&reference) == file_name).then_some(reference)
}

impl Store {
    /// What a reference stands for; `None` where there is no such name.
    pub(crate) fn reference(&self, reference: &Reference) -> Result<Option<RefRecord>> {
        self.read_ref(&name_of(reference))
    }

    fn read_ref(&self, file_name: &str) -> Result<Option<RefRecord>> {
        let shown = || reference_of(file_name).map_or_else(|| file_name.to_owned(), |name| name.to_string());
        let content = match read_limited(&self.paths().refs().join(file_name), DOCUMENT_LIMIT) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(format!("read reference `{}`", shown()), error)),
        };
        let record: RefRecord = serde_json::from_slice(&content).map_err(|error| {
            Error::because(Kind::Corrupt, format!("reference `{}` is damaged", shown()), error)
        })?;
        if record.version != VERSION || record.file_name() != file_name {
            let text = format!("reference `{}` is damaged: its file holds another name or version", shown());
            return Err(Error::new(Kind::Corrupt, text));
        }
        Ok(Some(record))
    }

    /// Every reference and mark, sorted by file name, and the names of files that are damaged.
    pub(crate) fn references(&self) -> Result<(Vec<RefRecord>, Vec<String>)> {
        let (mut records, mut damaged) = (Vec::new(), Vec::new());
        for name in self.file_names(&self.paths().refs())?.into_iter().filter(|name| is_ours(name)) {
            match self.read_ref(&name) {
                Ok(record) => records.extend(record),
                // All that a mark says stands in its name.
                Err(error) if error.kind() == Kind::Corrupt && marked(&name).is_some() => {
                    tracing::warn!("{error}");
                    records.extend(marked(&name).map(|digest| RefRecord {
                        updated: Timestamp::default(),
                        ..record_of(None, &digest)
                    }));
                }
                Err(error) if error.kind() == Kind::Corrupt => {
                    tracing::warn!("{error}");
                    damaged.push(name);
                }
                Err(error) => return Err(error),
            }
        }
        Ok((records, damaged))
    }

    /// Makes `reference` stand for `digest`, durably, and marks what it stood for.
    pub(crate) fn set_reference(
        &self,
        _in_use: &InUse,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<()> {
        let _changing = Lock::acquire(&self.paths().refs_lock(), Mode::Exclusive)?;
        // A damaged file says nothing about what it stood for; it is replaced.
        let old = self.reference(reference).or_else(|error| match error.kind() {
            Kind::Corrupt => Ok(None),
            _ => Err(error),
        })?;
        if let Some(old) = old.filter(|old| old.digest != *digest) {
            self.write_ref(&record_of(None, &old.digest))?;
        }
        self.write_ref(&record_of(Some(reference), digest))?;
        self.remove_mark(digest).map(|_| ())
    }

    /// Keeps an image that has no name.
    pub(crate) fn set_mark(&self, digest: &Digest) -> Result<()> {
        self.write_ref(&record_of(None, digest))
    }

    fn write_ref(&self, record: &RefRecord) -> Result<()> {
        let name = record.file_name();
        let content = serde_json::to_vec(record).expect("a record is plain data");
        file::replace(&self.paths().refs().join(&name), &content, Durability::Durable).map_err(|error| {
            let shown = record.reference.as_ref().map_or(name, Reference::familiar);
            Error::io(format!("write reference `{shown}`"), error)
        })
    }

    /// Removes a name; says whether it was there.
    pub(crate) fn remove_reference(&self, reference: &Reference) -> Result<bool> {
        let path = self.paths().refs().join(name_of(reference));
        remove_file(&path, || format!("remove reference `{}`", reference.familiar()))
    }

    /// Removes the mark of an image; says whether it was there.
    pub(crate) fn remove_mark(&self, digest: &Digest) -> Result<bool> {
        remove_file(&self.paths().refs().join(mark_name(digest)), || format!("remove image {digest}"))
    }
}

fn record_of(reference: Option<&Reference>, digest: &Digest) -> RefRecord {
    RefRecord {
        version: VERSION,
        reference: reference.cloned(),
        digest: *digest,
        updated: crate::clock::now(),
    }
}

/// What the names of files begin with while these are written or removed: see `holm_sys::file::replace`.
pub(crate) const TEMPORARY: &str = ".tmp-";

/// Whether a file name is that of a file being written or removed.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch;

    fn parsed(text: &str) -> Reference {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn nasty_names_round_trip() {
        let digest = Digest::of(b"x");
        for text in [
            "a",
            "a/b",
            "a/b/c",
            "a__b/c--d.e:T.a_g-",
            "localhost/a",
            "localhost:5000/a:1",
            "[::1]:5000/a/b__c",
            "Host/a",
            "host.example:1/a",
            &format!("a@{digest}"),
            &format!("a:1@{digest}"),
        ] {
            let reference = parsed(text);
            let name = name_of(&reference);
            assert!(!name.contains('/') && !name.starts_with(['.', '@', '~']), "{name}");
            assert_eq!(reference_of(&name), Some(reference), "{name}");
        }
    }

    #[test]
    fn names_that_look_alike_are_told_apart() {
        let names: std::collections::BTreeSet<_> =
            ["a/b", "a.b", "a-b", "a_b", "a__b", "a:b", "a/b:b", "a.io/b"]
                .map(|text| name_of(&parsed(text)))
                .into();
        assert_eq!(names.len(), 8);
        assert_eq!(reference_of("a"), None, "not normalised");
        assert_eq!(reference_of("docker.io/library/a:latest"), None, "not a file name");
    }

    #[test]
    fn the_longest_reference_is_stored() {
        let (_dir, store) = scratch();
        let in_use = store.in_use().expect("lock");
        let digest = Digest::of(b"manifest");
        let long = |last: &str| parsed(&format!("h.io/{}{last}:{}", "a/".repeat(124), "t".repeat(128)));
        store.set_reference(&in_use, &long("a"), &digest).expect("set");
        store.set_reference(&in_use, &long("b"), &digest).expect("set");
        assert_eq!(store.reference(&long("a")).expect("read").map(|record| record.digest), Some(digest));
        assert_eq!(store.references().expect("read").0.len(), 2);
        assert!(store.remove_reference(&long("a")).expect("remove"));
        assert_eq!(store.references().expect("read").0.len(), 1);
    }

    #[test]
    fn a_name_that_moves_leaves_a_mark() {
        let (_dir, store) = scratch();
        let in_use = store.in_use().expect("lock");
        let (first, second) = (Digest::of(b"1"), Digest::of(b"2"));
        let marks = || {
            let records = store.references().expect("read").0;
            records
                .iter()
                .filter(|record| record.reference.is_none())
                .map(|record| record.digest)
                .collect::<Vec<_>>()
        };
        store.set_reference(&in_use, &parsed("a"), &first).expect("set");
        store.set_reference(&in_use, &parsed("a"), &first).expect("set again");
        assert_eq!(marks(), []);
        store.set_reference(&in_use, &parsed("a"), &second).expect("move");
        assert_eq!(marks(), [first]);
        store.set_reference(&in_use, &parsed("a"), &first).expect("move back");
        assert_eq!(marks(), [second]);
    }

    #[test]
    fn damage_hides_one_name_only() {
        let (_dir, store) = scratch();
        let in_use = store.in_use().expect("lock");
        let digest = Digest::of(b"manifest");
        for name in ["a", "b", "c"] {
            store.set_reference(&in_use, &parsed(name), &digest).expect("set");
        }
        let path = |name: &str| store.paths().refs().join(name_of(&parsed(name)));
        std::fs::write(path("a"), b"{").expect("damage");
        std::fs::copy(path("b"), path("c")).expect("swap");
        let (records, damaged) = store.references().expect("read");
        assert_eq!((records.len(), damaged.len()), (1, 2));
        let error = store.reference(&parsed("a")).expect_err("damaged");
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.to_string().contains("docker.io/library/a:latest"), "{error}");
        store.set_reference(&in_use, &parsed("a"), &digest).expect("heal");
        assert!(store.reference(&parsed("a")).expect("read").is_some());
    }

    #[test]
    fn a_mark_is_known_by_its_name_alone() {
        let (_dir, store) = scratch();
        let digest = Digest::of(b"manifest");
        store.set_mark(&digest).expect("mark");
        std::fs::write(store.paths().refs().join(mark_name(&digest)), b"").expect("damage");
        let (records, damaged) = store.references().expect("read");
        assert_eq!((records[0].digest, records.len(), damaged.len()), (digest, 1, 0));
        assert!(store.remove_mark(&digest).expect("remove"));
    }

    #[test]
    fn files_of_others_name_nothing() {
        let (_dir, store) = scratch();
        let refs = store.paths().refs();
        for name in ["README", ".swp", "docker.io+library+a:latest~", "@sha256:12", "~12", "@", "~"] {
            std::fs::write(refs.join(name), b"").expect("write");
        }
        std::fs::create_dir(refs.join("directory")).expect("mkdir");
        let (records, damaged) = store.references().expect("read");
        assert_eq!((records.len(), damaged.len()), (0, 0));
    }
}
