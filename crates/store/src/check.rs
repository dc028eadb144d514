//! The check: whether all that the store holds is as it was written.
//!
//! Documents, kernels and compressed layers are hashed again. Of a layer the image's seal is computed and its tar is given
//! back, which together cover every byte that a mount can show (`docs/design/0002`). Names must be readable, and what they
//! reach must be there; compressed layers may be absent.
//!
//! Each object is looked at under the shared lock, so nothing is removed under the look, and other commands wait for one
//! object at most. What is broken at the first look and has changed since is looked at again.

mod repair;

pub use repair::Aside;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;

use holm_spec::{Digest, Reference};
use sha2::{Digest as _, Sha256};

use crate::collect::Content;
use crate::erofs;
use crate::error::{Error, Kind, Result};
use crate::paths::layer_key;
use crate::refs::RefRecord;
use crate::store::Store;

/// How often an object that changes under the look is looked at.
const LOOKS: usize = 3;
const BUFFER: usize = 256 << 10;

/// What can be broken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// The file of a name, by the name where that is known.
    Name(String),
    /// A manifest, index or configuration, or a part of a kernel or artifact.
    Blob(Digest),
    /// A layer as it was received or is sent.
    Compressed(Digest),
    /// A layer, by its key, or by its diff-id where it is missing.
    Layer(Digest),
    /// The directory of a layer, by the layer's key.
    Directory(Digest),
    /// What a manifest or index describes.
    Image(Digest),
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "name `{name}`"),
            Self::Blob(digest) => write!(f, "blob {digest}"),
            Self::Compressed(digest) => write!(f, "compressed layer {digest}"),
            Self::Layer(key) => write!(f, "layer {key}"),
            Self::Directory(key) => write!(f, "directory of layer {key}"),
            Self::Image(digest) => write!(f, "image {digest}"),
        }
    }
}

/// An object that is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The object.
    pub object: Object,
    /// What is wrong.
    pub reason: String,
    /// Who needs it: names, and digests of what has none.
    pub owners: BTreeSet<Owner>,
}

/// Somebody whose content is checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// The name, unless it was lost.
    pub reference: Option<Reference>,
    /// The manifest or index.
    pub digest: Digest,
    /// The id of an image whose manifest can be read.
    pub id: Option<Digest>,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reference {
            Some(reference) => f.write_str(&reference.familiar()),
            None => f.write_str(&self.id.as_ref().unwrap_or(&self.digest).short()),
        }
    }
}

/// The result of a check.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// How many objects were looked at.
    pub objects: usize,
    /// What is broken.
    pub findings: Vec<Finding>,
    /// Objects that went or changed meanwhile.
    pub changed: usize,
}

/// Hears how far a check is: bytes, and of how many.
pub trait CheckObserver {
    /// So many bytes will be read.
    fn total(&self, bytes: u64);
    /// So many more were.
    fn read(&self, bytes: u64);
}

/// Who needs what.
#[derive(Debug, Default)]
struct Needs {
    blobs: BTreeMap<Digest, BTreeSet<Owner>>,
    compressed: BTreeMap<Digest, BTreeSet<Owner>>,
    layers: BTreeMap<Digest, BTreeSet<Owner>>,
}

fn add<'a>(
    needs: &mut BTreeMap<Digest, BTreeSet<Owner>>,
    digests: impl IntoIterator<Item = &'a Digest>,
    owner: &Owner,
) {
    for digest in digests {
        needs.entry(*digest).or_default().insert(owner.clone());
    }
}

/// Whether an object is as it must be.
enum Look {
    Well,
    Gone,
    Broken(String),
}

impl Store {
    /// Looks at everything.
    ///
    /// # Errors
    /// What cannot be listed or read for another reason than damage.
    pub fn check(&self, observer: &dyn CheckObserver) -> Result<Checked> {
        let mut checked = Checked::default();
        let mut needs = Needs::default();
        let (records, damaged) = self.references()?;
        checked.objects += records.len() + damaged.len();
        for file in damaged {
            let name = crate::refs::reference_of(&file).map_or(file, |reference| reference.familiar());
            checked.add(Object::Name(name), "its file is damaged", BTreeSet::new());
        }
        let blobs = self.digests(&self.paths().blobs(), |name| format!("sha256:{name}").parse().ok())?;
        let layers = self.digests(&self.paths().layers(), layer_key)?;
        let broken = records.iter().filter_map(|record| self.needs_of(record, &mut needs).transpose());
        let broken = broken.collect::<Result<Vec<_>>>()?;
        observer.total(self.bytes_to_read(&blobs, &layers));
        for digest in blobs {
            self.check_blob(&digest, &needs, observer, &mut checked)?;
        }
        for key in layers {
            let owners = needs.layers.get(&key).cloned().unwrap_or_default();
            let look = self.looks(
                || self.paths().layer(&key).erofs,
                || self.look_at_layer(&key, observer),
                &mut checked,
            )?;
            let whole = matches!(look, Look::Well);
            checked.note(look, Object::Layer(key), owners.clone());
            if whole {
                let path = self.layer_mount(&key).unpacked();
                let look = self.looks(|| path.clone(), || self.look_at_directory(&key), &mut checked)?;
                checked.note(look, Object::Directory(key), owners);
            }
        }
        self.note_missing(&needs, &mut checked);
        checked.add_unexplained(broken);
        Ok(checked)
    }

    /// Adds what a name needs; what is broken or missing on the way to it.
    fn needs_of(&self, record: &RefRecord, needs: &mut Needs) -> Result<Option<Finding>> {
        let _in_use = self.in_use()?;
        let image = self.open_image(record.digest, None);
        let id = image.as_ref().ok().map(|image| image.id);
        let owner = Owner { reference: record.reference.clone(), digest: record.digest, id };
        let mut content = Content::default();
        let added = content.add_document(self, record.digest);
        add(&mut needs.blobs, &content.blobs, &owner);
        add(&mut needs.compressed, &content.compressed, &owner);
        let keys = image.and_then(|image| {
            let keys = self.layer_keys(&image.diff_ids);
            // By each key that it could have, where one is missing.
            add(
                &mut needs.layers,
                keys.as_ref().unwrap_or(&content.layers.iter().copied().collect()),
                &owner,
            );
            keys
        });
        let is_artifact = content.layers.is_empty() && content.blobs.len() > 1;
        let finding = |error: &Error| Finding {
            object: Object::Image(record.digest),
            reason: error.to_string(),
            owners: BTreeSet::from([owner.clone()]),
        };
        match (added, keys) {
            // It went, and its name with it.
            (Err(error), _) if self.went(record)? => {
                tracing::debug!("{error}");
                Ok(None)
            }
            (Err(error), _) if matches!(error.kind(), Kind::Corrupt | Kind::NotFound) => {
                Ok(Some(finding(&error)))
            }
            (Err(error), _) => Err(error),
            // Neither a kernel nor an artifact, which have no layers of ours.
            (Ok(()), Err(error)) if error.kind() == Kind::Corrupt && !is_artifact => {
                Ok(Some(finding(&error)))
            }
            (Ok(()), _) => Ok(None),
        }
    }

    fn went(&self, record: &RefRecord) -> Result<bool> {
        Ok(!self.references()?.0.contains(record))
    }

    fn digests(
        &self,
        directory: &std::path::Path,
        of: impl Fn(&str) -> Option<Digest>,
    ) -> Result<BTreeSet<Digest>> {
        Ok(self.file_names(directory)?.iter().filter_map(|name| of(name)).collect())
    }

    fn bytes_to_read(&self, blobs: &BTreeSet<Digest>, layers: &BTreeSet<Digest>) -> u64 {
        let blob =
            |digest: &Digest| self.paths().blob(digest).metadata().map_or(0, |metadata| metadata.len());
        let layer = |key: &Digest| self.layer_record(key).map_or(0, |record| record.tar_size);
        blobs.iter().map(blob).sum::<u64>() + layers.iter().map(layer).sum::<u64>()
    }

    fn check_blob(
        &self,
        digest: &Digest,
        needs: &Needs,
        observer: &dyn CheckObserver,
        checked: &mut Checked,
    ) -> Result<()> {
        let look =
            self.looks(|| self.paths().blob(digest), || self.look_at_blob(digest, observer), checked)?;
        let (object, owners) = match (needs.blobs.get(digest), needs.compressed.get(digest)) {
            (None, Some(owners)) => (Object::Compressed(*digest), owners.clone()),
            (owners, _) => (Object::Blob(*digest), owners.cloned().unwrap_or_default()),
        };
        checked.note(look, object, owners);
        Ok(())
    }

    /// Looks until what is broken has not changed since the look began.
    fn looks(
        &self,
        path: impl Fn() -> std::path::PathBuf,
        look: impl Fn() -> Result<Look>,
        checked: &mut Checked,
    ) -> Result<Look> {
        checked.objects += 1;
        let stamp =
            || path().metadata().ok().map(|data| (data.ino(), data.mtime(), data.mtime_nsec(), data.len()));
        for _ in 1..LOOKS {
            let before = stamp();
            let _in_use = self.in_use()?;
            match look()? {
                Look::Broken(_) if stamp() != before => checked.changed += 1,
                found => return Ok(found),
            }
        }
        look()
    }

    fn look_at_blob(&self, digest: &Digest, observer: &dyn CheckObserver) -> Result<Look> {
        let failed = |error: io::Error| unreadable(error, || format!("read blob {digest}"));
        let mut file = match File::open(self.paths().blob(digest)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Look::Gone),
            Err(error) => return failed(error),
            Ok(file) => file,
        };
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; BUFFER]);
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    hash.update(&buffer[..read]);
                    observer.read(read as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return failed(error),
            }
        }
        let actual = Digest::from_sha256(hash.finalize().into());
        Ok(if actual == *digest { Look::Well } else { Look::Broken(format!("its digest is {actual}")) })
    }

    fn look_at_layer(&self, key: &Digest, observer: &dyn CheckObserver) -> Result<Look> {
        match self.verify_layer(key, observer) {
            Ok(()) => Ok(Look::Well),
            Err(_) if !self.paths().layer(key).erofs.exists() && !self.paths().layer(key).record.exists() => {
                Ok(Look::Gone)
            }
            Err(error) if error.kind() == Kind::NotFound => {
                Ok(Look::Broken("a file of it is missing".to_owned()))
            }
            Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::Invalid) => {
                Ok(Look::Broken(crate::error::chain(&error)))
            }
            Err(error) => unreadable(io::Error::other(error), || format!("read layer {key}")),
        }
    }

    /// Nothing is wrong with a directory that is not there.
    fn look_at_directory(&self, key: &Digest) -> Result<Look> {
        match self.verify_unpacked(key) {
            Ok(()) => Ok(Look::Well),
            Err(error) if error.kind() == Kind::Corrupt => Ok(Look::Broken(crate::error::chain(&error))),
            Err(error) => {
                unreadable(io::Error::other(error), || format!("read the directory of layer {key}"))
            }
        }
    }

    /// Whether a layer is as it was written.
    fn verify_layer(&self, key: &Digest, observer: &dyn CheckObserver) -> Result<()> {
        let record = self.layer_record(key)?;
        let path = self.paths().layer(key).erofs;
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::new(Kind::NotFound, format!("`{}` is missing", path.display())),
            _ => Error::io(format!("open `{}`", path.display()), error),
        })?;
        let broken = |error| Error::because(Kind::Corrupt, "its image is damaged", error);
        let image = erofs::Image::open(file).map_err(broken)?;
        let seal = image.seal(record.diff_id.as_bytes()).map_err(broken)?;
        if image.length() != record.erofs_size || Digest::from_sha256(seal) != record.erofs_seal {
            return Err(Error::new(Kind::Corrupt, "its image is not the one that was sealed"));
        }
        self.write_layer_tar(key, Counted(observer))
    }

    /// Adds what a readable document names and is not there.
    fn note_missing(&self, needs: &Needs, checked: &mut Checked) {
        for (digest, owners) in &needs.blobs {
            if !self.has_blob(digest) {
                checked.add(Object::Blob(*digest), "it is missing", owners.clone());
            }
        }
    }
}

impl Checked {
    fn add(&mut self, object: Object, reason: impl Into<String>, owners: BTreeSet<Owner>) {
        self.findings.push(Finding { object, reason: reason.into(), owners });
    }

    fn note(&mut self, look: Look, object: Object, owners: BTreeSet<Owner>) {
        match look {
            Look::Well => {}
            Look::Gone => self.changed += 1,
            Look::Broken(reason) => self.add(object, reason, owners),
        }
    }

    /// Adds what is wrong with images and is not told by a part of theirs.
    fn add_unexplained(&mut self, findings: Vec<Finding>) {
        let explained: BTreeSet<Owner> =
            self.findings.iter().flat_map(|finding| finding.owners.clone()).collect();
        self.findings.extend(findings.into_iter().filter(|finding| finding.owners.is_disjoint(&explained)));
    }
}

/// Media that fail are damage, too; anything else ends the check.
fn unreadable(error: io::Error, what: impl FnOnce() -> String) -> Result<Look> {
    match error.raw_os_error() {
        Some(libc_eio) if libc_eio == rustix::io::Errno::IO.raw_os_error() => {
            Ok(Look::Broken(error.to_string()))
        }
        _ => Err(Error::io(what(), error)),
    }
}

/// Counts what is written, and forgets it.
struct Counted<'a>(&'a dyn CheckObserver);

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.read(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::Import;
    use crate::store::tests::scratch;

    const NOTHING: Vec<Finding> = Vec::new();

    /// A tar of one empty directory.
    fn tar(name: &str) -> Vec<u8> {
        let mut writer = holm_tar::Writer::new(Vec::new());
        let entry = holm_tar::Entry::new(name.into(), holm_tar::EntryKind::Directory, 0o755);
        writer.entry(&entry).expect("memory takes all");
        writer.finish().expect("memory takes all")
    }

    fn import(store: &Store, name: &str) -> Digest {
        let reference: Reference = name.parse().expect("a reference");
        let request = Import { reference: Some(&reference), ..Import::default() };
        store.import(tar(name).as_slice(), &request).expect("import");
        let image = store.resolve(name).expect("resolve");
        store.layer_keys(&image.diff_ids).expect("there")[0]
    }

    fn findings(store: &Store) -> Vec<(String, String)> {
        let checked = store.check(&repair::Unseen).expect("check");
        let owners =
            |finding: &Finding| finding.owners.iter().map(Owner::to_string).collect::<Vec<_>>().join(" ");
        checked.findings.iter().map(|finding| (finding.object.to_string(), owners(finding))).collect()
    }

    fn flip(path: &std::path::Path) {
        let mut content = std::fs::read(path).expect("read");
        let middle = content.len() / 2;
        content[middle] ^= 1;
        std::fs::write(path, content).expect("damage");
    }

    #[test]
    fn every_damage_is_told_with_whom_it_hurts() {
        let (_dir, store) = scratch();
        let layer = import(&store, "a");
        import(&store, "b");
        assert_eq!(store.check(&repair::Unseen).expect("check").findings, NOTHING);
        let image = store.resolve("a").expect("resolve");
        let paths = store.paths().layer(&layer);
        for path in [&paths.erofs, &paths.tarmeta] {
            let whole = std::fs::read(path).expect("read");
            flip(path);
            assert_eq!(findings(&store), [(format!("layer {layer}"), "a:latest".to_owned())], "{path:?}");
            std::fs::write(path, whole).expect("heal");
        }
        let id = store.paths().blob(&image.id);
        let whole = std::fs::read(&id).expect("read");
        flip(&id);
        assert_eq!(findings(&store), [(format!("blob {}", image.id), "a:latest".to_owned())]);
        std::fs::remove_file(&id).expect("remove");
        assert_eq!(findings(&store), [(format!("blob {}", image.id), "a:latest".to_owned())]);
        std::fs::write(&id, whole).expect("heal");
        store.remove_layer(&layer).expect("remove");
        assert_eq!(findings(&store)[0].1, "a:latest");
        import(&store, "a");
        let name = store.paths().refs().join(crate::refs::name_of(&"b".parse().expect("a reference")));
        std::fs::write(name, b"{").expect("damage");
        assert_eq!(findings(&store), [("name `b:latest`".to_owned(), String::new())]);
    }

    #[test]
    fn what_is_needed_by_nobody_goes_and_what_is_needed_stays() {
        let (_dir, store) = scratch();
        let layer = import(&store, "a");
        let compressed = store.paths().blob(&store.layer_record(&layer).expect("a record").diff_id);
        std::fs::write(&compressed, b"damaged").expect("write");
        let garbage = store.paths().blob(&Digest::of(b"x"));
        std::fs::write(&garbage, b"y").expect("write");
        flip(&store.paths().layer(&layer).erofs);
        let checked = store.check(&repair::Unseen).expect("check");
        assert_eq!(checked.findings.len(), 3, "{checked:?}");
        let removed = checked.findings.iter().filter(|finding| store.remove_broken(finding).expect("remove"));
        assert_eq!(removed.count(), 2);
        assert!(!compressed.exists() && !garbage.exists());
        let aside = store.set_aside(&layer).expect("rename");
        assert!(!store.has_layer(&layer).expect("look"));
        store.put_back(&aside).expect("rename");
        assert!(store.has_layer(&layer).expect("look"));
        let aside = store.set_aside(&layer).expect("rename");
        import(&store, "a");
        store.put_back(&aside).expect("nothing to do");
        drop(aside);
        assert_eq!(store.check(&repair::Unseen).expect("check").findings, NOTHING);
    }
}
