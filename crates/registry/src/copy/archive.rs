//! Archives as where something goes: an image layout in a tar archive, and for Docker with `manifest.json` beside it.
//!
//! ```text
//! oci-layout, blobs/sha256/<hex>…, index.json
//! manifest.json       [{"Config": path, "RepoTags": [name], "Layers": [path…]}]: what releases before Docker 25 read
//! ```
//! The file gets its name when it is whole and on the disk.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use holm_spec::image::ImageManifest;
use holm_spec::{Digest, Reference};
use holm_store::is_image_config;
use holm_sys::file::Draft;
use holm_tar::{Entry, EntryKind, Writer};
use serde_json::json;

use super::layout::{Entries, MARK_CONTENT, Names, path_of};
use super::place::{Blob, Destination, Put, io_error};
use crate::client::Open;
use crate::document;
use crate::error::{Error, Kind, Result};
use crate::node::Node;

const BUFFER: usize = 256 << 10;

/// An archive that is being written.
pub struct ArchiveFile {
    path: PathBuf,
    names: Names,
    /// It has what Docker reads.
    docker: bool,
    entries: Entries,
    content: Mutex<Content>,
}

struct Content {
    draft: Option<Draft>,
    writer: Option<Writer<BufWriter<File>>>,
    written: BTreeSet<Digest>,
    /// What `manifest.json` says of the images.
    images: Vec<serde_json::Value>,
}

impl ArchiveFile {
    /// Begins the archive `path` of a layout in which the image has these names.
    ///
    /// # Errors
    /// [`Kind::Io`].
    pub fn oci(path: &Path, names: Names) -> Result<Self> {
        Self::begin(path, names, false)
    }

    /// Begins the archive `path` for Docker.
    ///
    /// # Errors
    /// [`Kind::Io`].
    pub fn docker(path: &Path, names: &[Reference]) -> Result<Self> {
        Self::begin(path, Names::whole(names), true)
    }

    fn begin(path: &Path, names: Names, docker: bool) -> Result<Self> {
        let failed = |error| io_error(format!("write `{}`", path.display()), error);
        if path.metadata().is_ok_and(|there| !there.is_file()) {
            let text = format!("`{}` is no file, and an archive takes the place of one", path.display());
            return Err(Error::new(Kind::Invalid, text));
        }
        let mut draft = Draft::begin(path).map_err(failed)?;
        let file = draft.file().try_clone().map_err(failed)?;
        let writer = Some(Writer::new(BufWriter::with_capacity(BUFFER, file)));
        let content = Content { draft: Some(draft), writer, written: BTreeSet::new(), images: Vec::new() };
        let entries = Entries::default();
        let archive = Self { path: path.to_owned(), names, docker, entries, content: Mutex::new(content) };
        archive.document("oci-layout", MARK_CONTENT.as_bytes())?;
        Ok(archive)
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self) -> impl Fn(io::Error) -> Error {
        let context = format!("write `{}`", self.path.display());
        move |error| io_error(context.clone(), error)
    }

    fn document(&self, name: &str, content: &[u8]) -> Result<()> {
        self.content().file(name, content.len() as u64, &mut &*content).map_err(self.failed())
    }

    /// Notes an image for Docker.
    fn note(&self, node: &Node) -> Result<()> {
        if !self.docker {
            return Ok(());
        }
        let Ok(manifest) = serde_json::from_slice::<ImageManifest>(&node.content) else { return Ok(()) };
        if !is_image_config(&manifest) {
            return Ok(());
        }
        let layers = manifest.layers().iter().map(|layer| Ok(path_of(&document::digest_of(layer)?)));
        let layers: Vec<String> = layers.collect::<Result<_>>()?;
        let config = path_of(&document::digest_of(manifest.config())?);
        let tags = self.names.familiar();
        self.content().images.push(json!({"Config": config, "RepoTags": tags, "Layers": layers}));
        Ok(())
    }

    fn end(&self) -> io::Result<()> {
        let mut content = self.content();
        let writer = content.writer.take().ok_or(io::ErrorKind::BrokenPipe)?;
        writer.finish()?.flush()?;
        content.draft.take().ok_or(io::ErrorKind::BrokenPipe)?.finish(&self.path)
    }
}

impl Content {
    fn file(&mut self, name: &str, size: u64, input: &mut dyn io::Read) -> io::Result<()> {
        // What has failed once stays half written.
        let mut writer = self.writer.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut entry = Entry::new(name.as_bytes().to_vec(), EntryKind::File, 0o644);
        entry.size = size;
        writer.entry(&entry)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            match input.read(&mut buffer)? {
                0 => break,
                length => writer.data(&buffer[..length])?,
            }
        }
        self.writer = Some(writer);
        Ok(())
    }
}

impl Destination for ArchiveFile {
    fn has(&self, _: &Digest) -> Result<bool> {
        Ok(false)
    }

    fn put_blob<'b>(&self, blob: &Blob, open: &'b Open<'b>) -> Result<Put> {
        let mut content = self.content();
        if !content.written.insert(blob.digest) {
            return Ok(Put::Existed);
        }
        let mut input = open()?.take(blob.size);
        content.file(&path_of(&blob.digest), blob.size, &mut input).map_err(self.failed())?;
        Ok(Put::Sent)
    }

    fn at_a_time(&self) -> usize {
        // What fails in one would fail in all others.
        1
    }

    fn put_manifest(&self, node: &Node, named: bool) -> Result<()> {
        if self.content().written.insert(node.digest) {
            self.document(&path_of(&node.digest), &node.content)?;
            self.note(node)?;
        }
        self.entries.note(node, named.then_some(&self.names));
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        self.document("index.json", &self.entries.added_to(Vec::new()))?;
        if self.docker {
            let images = std::mem::take(&mut self.content().images);
            // One name stands for one image: of several platforms the first is the one for this machine.
            let Some(image) = images.first() else {
                return Err(Error::new(
                    Kind::Invalid,
                    "it is no image, and Docker's archives hold nothing else",
                ));
            };
            self.document("manifest.json", json!([image]).to_string().as_bytes())?;
        }
        self.end().map_err(self.failed())
    }
}
