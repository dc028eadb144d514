//! What is reachable from names, marks and workloads, and the removal of what is not.
//!
//! Nothing is removed while any root cannot be read in full: what a damaged image needs is unknown.

use std::collections::BTreeSet;

use holm_spec::Digest;
use holm_spec::image::{ImageConfiguration, ImageManifest, MediaType};
use holm_sys::fail_point;
use holm_sys::file::remove_tree;
use holm_sys::usage::Usage;

use crate::document::{self, Document};
use crate::error::{Error, Kind, Result};
use crate::layer::chain_ids;
use crate::paths::layer_key;
use crate::refs::is_temporary;
use crate::store::{Exclusive, Store};

/// An image that is used, by its id, and the workload that uses it as people know it, or the directory that it is mounted
/// on.
pub type ImageUser = (Digest, String);

const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Deepest nesting of indexes.
const INDEX_DEPTH: usize = 4;

/// Content by its names. A layer is named by each key that it could have.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) blobs: BTreeSet<Digest>,
    /// Layers of images as they were received, or are sent: may be absent, and may go at any time.
    pub(crate) compressed: BTreeSet<Digest>,
    pub(crate) layers: BTreeSet<Digest>,
    /// Of what was removed, the bytes on the disk.
    pub(crate) bytes: u64,
}

/// Whether a manifest is that of an image, not of an artifact.
pub fn is_image_config(manifest: &ImageManifest) -> bool {
    match manifest.config().media_type() {
        MediaType::ImageConfig => true,
        MediaType::Other(name) => name == DOCKER_CONFIG,
        _ => false,
    }
}

impl Content {
    /// Adds all that the manifest or index `digest` needs. After an error it holds what could be read.
    pub(crate) fn add_document(&mut self, store: &Store, digest: Digest) -> Result<()> {
        self.add_nested(store, digest, INDEX_DEPTH)
    }

    fn add_nested(&mut self, store: &Store, digest: Digest, depth: usize) -> Result<()> {
        self.blobs.insert(digest);
        let index = match document::parse(&digest, &store.blob(&digest)?)? {
            Document::Manifest(manifest) => return self.add_manifest(store, &manifest),
            Document::Index(index) => index,
        };
        let Some(depth) = depth.checked_sub(1) else {
            return Err(Error::new(Kind::Corrupt, format!("image index {digest} is nested too deep")));
        };
        for entry in index.manifests() {
            // Manifests of other platforms are not stored, nor are those with another kind of digest.
            if let Some(entry) = document::digest_of(entry).ok().filter(|entry| store.has_blob(entry)) {
                self.add_nested(store, entry, depth)?;
            }
        }
        Ok(())
    }

    fn add_manifest(&mut self, store: &Store, manifest: &ImageManifest) -> Result<()> {
        let layers = manifest.layers().iter().map(document::digest_of).collect::<Result<Vec<_>>>()?;
        let config = document::digest_of(manifest.config())?;
        self.blobs.insert(config);
        if !is_image_config(manifest) {
            // An artifact; its layers are blobs.
            self.blobs.extend(layers);
            return Ok(());
        }
        self.compressed.extend(layers);
        self.add_config(store, config)
    }

    /// Adds a configuration and the layers that it lists.
    fn add_config(&mut self, store: &Store, digest: Digest) -> Result<()> {
        self.blobs.insert(digest);
        let config: ImageConfiguration = document::parse_config(&digest, &store.blob(&digest)?)?;
        let diff_ids = document::diff_ids(&config)?;
        self.layers.extend(chain_ids(&diff_ids));
        self.layers.extend(diff_ids);
        Ok(())
    }
}

impl Exclusive<'_> {
    /// Everything that names, marks and `used_by` need.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] where that is not known in full.
    pub(crate) fn reachable(&self, used_by: &[ImageUser]) -> Result<Content> {
        let (records, damaged) = self.store.references()?;
        if let Some(name) = damaged.first() {
            return Err(Error::new(Kind::Corrupt, format!("reference file `{name}` is damaged")));
        }
        let mut content = Content::default();
        content.add_steps(self.store)?;
        for record in records {
            content.add_document(self.store, record.digest).map_err(Error::missing_is_damage)?;
        }
        for (id, workload) in used_by {
            content.add_config(self.store, *id).map_err(|error| {
                error.missing_is_damage().about(format!("find what workload {workload} uses"))
            })?;
        }
        Ok(content)
    }

    /// Removes what of `candidates` is not in `reachable`; gives what was there and went.
    pub(crate) fn remove_content(&self, candidates: &Content, reachable: &Content) -> Result<Content> {
        let mut removed = Content::default();
        let mut counter = Usage::default();
        let is_needed =
            |blob: &&Digest| reachable.blobs.contains(blob) || reachable.compressed.contains(blob);
        for blob in candidates.blobs.union(&candidates.compressed).filter(|blob| !is_needed(blob)) {
            let bytes = counter.of(&self.store.paths().blob(blob)).unwrap_or(0);
            if self.store.remove_blob(blob)? {
                removed.bytes += bytes;
                removed.blobs.insert(*blob);
            }
        }
        fail_point::reached("rmi-blobs-removed");
        for key in candidates.layers.difference(&reachable.layers) {
            let bytes = self.store.layer_size(&mut counter, key).unwrap_or(0);
            if self.store.remove_layer(key)? {
                removed.bytes += bytes;
                removed.layers.insert(*key);
            }
        }
        Ok(removed)
    }

    /// All blobs and layers that are there.
    pub(crate) fn present(&self) -> Result<Content> {
        let paths = self.store.paths();
        let blobs = self.store.file_names(&paths.blobs())?;
        let layers = self.store.file_names(&paths.layers())?;
        Ok(Content {
            blobs: blobs.iter().filter_map(|name| format!("sha256:{name}").parse().ok()).collect(),
            layers: layers.iter().filter_map(|name| layer_key(name)).collect(),
            ..Content::default()
        })
    }

    /// Removes temporary files whose writers died: writers hold the store lock; and directories of layers that were being
    /// removed. Gives their number.
    pub(crate) fn remove_temporary_files(&self) -> Result<usize> {
        let paths = self.store.paths();
        let mut removed = 0;
        for directory in [paths.blobs(), paths.refs(), paths.layers()] {
            for name in self.store.file_names(&directory)?.iter().filter(|name| is_temporary(name)) {
                let path = directory.join(name);
                remove_tree(&path)
                    .map_err(|error| Error::io(format!("remove `{}`", path.display()), error))?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}
