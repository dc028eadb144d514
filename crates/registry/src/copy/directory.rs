//! skopeo's directory: one image, or an index with its manifests.
//!
//! ```text
//! version                  Directory Transport Version: 1.1
//! manifest.json            what was asked for
//! <hex>.manifest.json      manifests that an index lists
//! <hex>                    blobs
//! ```

use std::io::Read;
use std::path::{Path, PathBuf};

use holm_spec::Digest;
use holm_spec::image::Descriptor;
use holm_sys::file::{ensure_directory, sync_directory};

use super::layout::{put_file, replace_public};
use super::place::{Blob, Destination, Put, Source, io_error};
use super::tree::Tree;
use crate::client::Open;
use crate::error::{Error, Kind, Result};
use crate::node::Node;

const VERSION: &str = "version";
const VERSION_CONTENT: &[u8] = b"Directory Transport Version: 1.1\n";
const TOP: &str = "manifest.json";

/// A directory, as where something comes from and as where it goes.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    tree: Tree,
}

impl Directory {
    /// The directory at `path`.
    pub fn open(path: &Path) -> Self {
        Self { path: path.to_owned(), tree: Tree::Directory(path.to_owned()) }
    }

    /// Makes the directory at `path` if it is not there.
    ///
    /// # Errors
    /// [`Kind::Invalid`] where something else is there; [`Kind::Io`].
    pub fn make(path: &Path) -> Result<Self> {
        let failed = |error| io_error(format!("make `{}`", path.display()), error);
        ensure_directory(path, 0o755).map_err(failed)?;
        let is_empty = path.read_dir().map_err(failed)?.next().is_none();
        if !is_empty && !path.join(VERSION).exists() {
            let text = format!("`{}` holds something else than an image", path.display());
            return Err(Error::new(Kind::Invalid, text));
        }
        Ok(Self::open(path))
    }
}

impl Source for Directory {
    fn top(&self) -> Result<Vec<u8>> {
        self.tree.read(TOP)
    }

    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>> {
        self.tree.read(&format!("{}.{TOP}", digest.hex()))
    }

    fn blob(&self, blob: &Blob) -> Result<Box<dyn Read + '_>> {
        Ok(Box::new(self.tree.open(&blob.digest.hex())?))
    }

    fn referrers(&self, _: &Digest) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }
}

impl Destination for Directory {
    fn has(&self, _: &Digest) -> Result<bool> {
        Ok(false)
    }

    fn put_blob<'b>(&self, blob: &Blob, open: &'b Open<'b>) -> Result<Put> {
        put_file(&self.path.join(blob.digest.hex()), blob, open)
    }

    fn put_manifest(&self, node: &Node, named: bool) -> Result<()> {
        let name = if named { TOP.to_owned() } else { format!("{}.{TOP}", node.digest.hex()) };
        replace_public(&self.path.join(name), &node.content)
    }

    fn finish(&self) -> Result<()> {
        replace_public(&self.path.join(VERSION), VERSION_CONTENT)?;
        sync_directory(&self.path)
            .map_err(|error| io_error(format!("write `{}`", self.path.display()), error))
    }
}
