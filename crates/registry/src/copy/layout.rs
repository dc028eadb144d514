//! Image layouts (OCI image specification, "Image Layout"): in directories, and in archives.
//!
//! ```text
//! oci-layout               {"imageLayoutVersion": "1.0.0"}
//! index.json               what there is, with names as annotations
//! blobs/sha256/<hex>       manifests and blobs
//! ```
//! A layout in a directory is added to: blobs get their names when they are whole and on the disk, `index.json` is
//! replaced last, under the lock of the directory.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use holm_spec::image::{Descriptor, ImageIndex};
use holm_spec::{Digest, Reference};
use holm_sys::file::{Draft, Durability, ensure_directory, replace, sync_directory};
use holm_sys::lock::Lock;
use serde_json::{Value, json};

use super::place::{Blob, Destination, Put, Source, Verified, check_manifest, io_error, not_there};
use super::tree::{Part, Tree};
use crate::client::Open;
use crate::document::{self, INDEX};
use crate::error::{Error, Kind, Result};
use crate::node::Node;

const MARK: &str = "oci-layout";
const INDEX_FILE: &str = "index.json";
/// Annotation with the name in the layout.
const NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation with the whole name, as Docker and containerd write it.
const WHOLE_NAME: &str = "io.containerd.image.name";

/// The content of `oci-layout`.
pub const MARK_CONTENT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// Where a blob or manifest is in a layout.
pub fn path_of(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A layout as where something comes from.
#[derive(Debug)]
pub struct Layout {
    tree: Tree,
    index: ImageIndex,
    chosen: Digest,
}

impl Layout {
    /// What `name` means in the layout in `tree`: a name, a whole name, or a digest. Without one there must be one image.
    ///
    /// # Errors
    /// [`Kind::Invalid`] where it is no layout, [`Kind::NotFound`] naming what there is; [`Kind::Io`].
    pub fn open(tree: Tree, name: Option<&str>) -> Result<Self> {
        tree.open(MARK)?;
        let index: ImageIndex = serde_json::from_slice(&tree.read(INDEX_FILE)?)
            .map_err(|error| Error::because(Kind::Invalid, format!("read `{INDEX_FILE}`"), error))?;
        let chosen = document::digest_of(choose(&index, name)?)?;
        Ok(Self { tree, index, chosen })
    }

    /// A blob or manifest from its first byte on.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Io`].
    pub fn open_blob(&self, digest: &Digest) -> Result<Part> {
        self.tree.open(&path_of(digest))
    }

    /// Whether an archive holds a layout.
    pub fn is_in(tree: &Tree) -> bool {
        tree.has(MARK) && tree.has(INDEX_FILE)
    }
}

fn choose<'i>(index: &'i ImageIndex, name: Option<&str>) -> Result<&'i Descriptor> {
    let entries = index.manifests();
    let found: Vec<&Descriptor> = match name {
        Some(name) => entries.iter().filter(|entry| is_named(entry, name)).collect(),
        // What is about others is not meant.
        None if entries.len() > 1 => entries.iter().filter(|entry| entry.artifact_type().is_none()).collect(),
        None => entries.iter().collect(),
    };
    match found[..] {
        [found] => Ok(found),
        // The last of a name is what it stands for.
        [.., last] if name.is_some() => Ok(last),
        _ => {
            let known: Vec<&str> = entries.iter().filter_map(|entry| annotation(entry, NAME)).collect();
            Err(not_there(name, entries.len(), &known))
        }
    }
}

fn annotation<'d>(entry: &'d Descriptor, key: &str) -> Option<&'d str> {
    entry.annotations().as_ref()?.get(key).map(String::as_str)
}

fn is_named(entry: &Descriptor, name: &str) -> bool {
    let whole = |text: &str| text.parse::<Reference>().ok();
    annotation(entry, NAME) == Some(name)
        || entry.digest().to_string() == name
        || annotation(entry, WHOLE_NAME).and_then(whole).is_some_and(|known| whole(name) == Some(known))
}

impl Source for Layout {
    fn top(&self) -> Result<Vec<u8>> {
        let content = self.manifest(&self.chosen)?;
        check_manifest(&self.chosen, &content)?;
        Ok(content)
    }

    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>> {
        self.tree.read(&path_of(digest))
    }

    fn blob(&self, blob: &Blob) -> Result<Box<dyn Read + '_>> {
        Ok(Box::new(self.open_blob(&blob.digest)?))
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let mut found = Vec::new();
        for entry in self.index.manifests() {
            // What else is in it may be of any kind.
            let read = document::digest_of(entry).and_then(|digest| Node::parse(self.manifest(&digest)?));
            let Ok(node) = read else { continue };
            if node.subject == Some(*subject) {
                found.push(node.descriptor());
            }
        }
        Ok(found)
    }
}

/// Entries of `index.json` that a copy makes: what was asked for, and what is about others.
#[derive(Debug, Default)]
pub struct Entries(Mutex<Vec<Value>>);

impl Entries {
    /// Notes a manifest, if it needs an entry: one for each name of what was asked for, and one for what is about another.
    pub fn note(&self, node: &Node, named: Option<&Names>) {
        let nameless = (None, None);
        let names: Vec<_> = match named {
            Some(names) if !names.0.is_empty() => {
                names.0.iter().map(|(short, whole)| (short.as_deref(), whole.as_ref())).collect()
            }
            None if node.subject.is_none() => return,
            _ => vec![nameless],
        };
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.extend(names.into_iter().map(|(short, whole)| entry(node, short, whole)));
    }

    /// The index with these entries in place of those of `old` with the same name, or without one of the same digest.
    pub fn added_to(&self, old: Vec<Value>) -> Vec<u8> {
        let new = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = |entry: &Value| {
            let annotations = &entry["annotations"];
            let told = [&annotations[WHOLE_NAME], &annotations[NAME], &entry["digest"]];
            told.into_iter().find_map(|text| text.as_str().map(str::to_owned))
        };
        let replaced = |entry: &Value| new.iter().any(|new| key(new) == key(entry));
        let kept = old.into_iter().filter(|entry| !replaced(entry));
        let all: Vec<Value> = kept.chain(new.iter().cloned()).collect();
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": all}).to_string().into_bytes()
    }
}

fn entry(node: &Node, short: Option<&str>, whole: Option<&Reference>) -> Value {
    let mut entry = serde_json::to_value(node.descriptor()).expect("a descriptor is plain data");
    let whole = whole.map(ToString::to_string);
    for (key, value) in [(NAME, short), (WHOLE_NAME, whole.as_deref())] {
        // What is about an image names nothing in the layout, whatever it says of itself.
        if let Some(annotations) = entry["annotations"].as_object_mut() {
            annotations.remove(key);
        }
        if let Some(value) = value {
            entry["annotations"][key] = value.into();
        }
    }
    entry
}

/// Names of an image in a layout: each in the layout, and in the world.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<(Option<String>, Option<Reference>)>);

impl Names {
    /// A name in the layout alone.
    pub fn short(name: Option<&str>) -> Self {
        Self(name.map(|name| (Some(name.to_owned()), None)).into_iter().collect())
    }

    /// Names in the world; in the layout their tags.
    pub fn whole(names: &[Reference]) -> Self {
        let both = |name: &Reference| (name.tag().map(str::to_owned), Some(name.clone()));
        Self(names.iter().map(both).collect())
    }

    /// The names in the world as people write them.
    pub fn familiar(&self) -> Vec<String> {
        self.0.iter().filter_map(|(_, whole)| whole.as_ref()).map(Reference::familiar).collect()
    }
}

/// A layout in a directory as where something goes.
#[derive(Debug)]
pub struct LayoutDirectory {
    directory: PathBuf,
    names: Names,
    entries: Entries,
}

impl LayoutDirectory {
    /// The layout in `directory`, which is made if it is not there.
    ///
    /// # Errors
    /// [`Kind::Invalid`] where something else is there; [`Kind::Io`].
    pub fn open(directory: &Path, names: Names) -> Result<Self> {
        let failed = |error| io_error(format!("make the layout `{}`", directory.display()), error);
        ensure_directory(directory, 0o755).map_err(failed)?;
        if !directory.join(MARK).exists() {
            if directory.read_dir().map_err(failed)?.next().is_some() {
                let text = format!("`{}` holds something else than an image layout", directory.display());
                return Err(Error::new(Kind::Invalid, text));
            }
            replace_public(&directory.join(MARK), MARK_CONTENT.as_bytes())?;
        }
        ensure_directory(&directory.join("blobs/sha256"), 0o755).map_err(failed)?;
        Ok(Self { directory: directory.to_owned(), names, entries: Entries::default() })
    }

    fn index(&self) -> Result<Vec<Value>> {
        let tree = Tree::Directory(self.directory.clone());
        let content = match tree.read(INDEX_FILE) {
            Err(error) if error.kind() == Kind::NotFound => return Ok(Vec::new()),
            content => content?,
        };
        let index: Value = serde_json::from_slice(&content)
            .map_err(|error| Error::because(Kind::Invalid, format!("read `{INDEX_FILE}`"), error))?;
        Ok(index["manifests"].as_array().cloned().unwrap_or_default())
    }
}

impl Destination for LayoutDirectory {
    fn has(&self, _: &Digest) -> Result<bool> {
        // Its blobs may be missing: each is looked for.
        Ok(false)
    }

    fn put_blob<'b>(&self, blob: &Blob, open: &'b Open<'b>) -> Result<Put> {
        put_file(&self.directory.join(path_of(&blob.digest)), blob, open)
    }

    fn put_manifest(&self, node: &Node, named: bool) -> Result<()> {
        let path = self.directory.join(path_of(&node.digest));
        replace_public(&path, &node.content)?;
        self.entries.note(node, named.then_some(&self.names));
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        let failed = |error| io_error(format!("write `{}`", self.directory.display()), error);
        sync_directory(&self.directory.join("blobs/sha256")).map_err(failed)?;
        let _lock = Lock::acquire_directory(&self.directory)
            .map_err(|error| Error::because(Kind::Io, "wait for another copy", error))?;
        replace_public(&self.directory.join(INDEX_FILE), &self.entries.added_to(self.index()?))
    }
}

/// Replaces a file that everybody may read.
pub fn replace_public(path: &Path, content: &[u8]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = |error| io_error(format!("write `{}`", path.display()), error);
    replace(path, content, Durability::Durable).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).map_err(failed)
}

/// Whether a blob is there, as it should be.
fn is_whole(path: &Path, blob: &Blob) -> bool {
    let verify = || {
        let file = std::fs::File::open(path)?;
        if file.metadata()?.len() != blob.size {
            return Ok(false);
        }
        let mut content = Verified::new(Box::new(file), *blob, &|_| ()).map_err(io::Error::other)?;
        io::copy(&mut content, &mut io::sink()).map(|_| true)
    };
    verify().unwrap_or(false)
}

/// Writes a blob that gets its name when it is whole and on the disk.
pub fn put_file<'b>(path: &Path, blob: &Blob, open: &'b Open<'b>) -> Result<Put> {
    if is_whole(path, blob) {
        return Ok(Put::Existed);
    }
    let mut input = open()?;
    let mut write = || {
        let mut draft = Draft::begin(path)?;
        io::copy(&mut input, draft.file())?;
        draft.finish(path)
    };
    let failed = |error| io_error(format!("write `{}`", path.display()), error);
    write().map(|()| Put::Sent).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(entries: &[(&str, Option<&str>)]) -> ImageIndex {
        let entry = |(content, name): &(&str, Option<&str>)| {
            let mut entry = json!({"mediaType": "m", "size": 1, "digest": Digest::of(content.as_bytes())});
            if let Some(name) = name {
                entry["annotations"] = json!({NAME: name, WHOLE_NAME: format!("docker.io/library/{name}:1")});
            }
            entry
        };
        let entries: Vec<Value> = entries.iter().map(entry).collect();
        serde_json::from_value(json!({"schemaVersion": 2, "manifests": entries})).expect("an index")
    }

    #[test]
    fn images_are_found_by_any_of_their_names() {
        let two = index(&[("a", Some("first")), ("b", Some("second"))]);
        let digest = Digest::of(b"b").to_string();
        for name in ["second", "second:1", "docker.io/library/second:1", &digest] {
            let found = choose(&two, Some(name)).expect(name);
            assert_eq!(found.digest().to_string(), digest);
        }
        let error = choose(&two, Some("third")).expect_err("not there");
        assert_eq!(error.to_string(), "there is no `third` in it; there are: first, second");
        assert!(choose(&two, None).is_err());
        assert!(choose(&index(&[("a", None)]), None).is_ok());
    }
}
