//! Putting right what a check found, without losing anything: what can be had again goes, what nobody needs goes.
//!
//! A broken layer that is about to be fetched again is set aside, since a pull takes what has its name for right. It comes
//! back if the fetch fails: most of it may be readable. A crash in between leaves it missing, and the registry has it.

use std::path::PathBuf;

use holm_spec::Digest;
use holm_spec::image::{Descriptor, ImageManifest, MediaType};
use holm_sys::fail_point;

use super::{CheckObserver, Finding, Look, Object, Owner};
use crate::error::{Error, Result};
use crate::ingest::Ingest;
use crate::paths::LayerPaths;
use crate::store::Store;

/// A broken layer without its name.
#[derive(Debug)]
pub struct Aside {
    ingest: Ingest,
    key: Digest,
}

/// Nobody watches.
pub(super) struct Unseen;

impl CheckObserver for Unseen {
    fn total(&self, _: u64) {}
    fn read(&self, _: u64) {}
}

impl Store {
    /// Removes what was found if it is still broken and nothing is lost by it: a compressed layer, the directory of a layer
    /// that is not mounted, or what nobody needs.
    /// Says whether it did, or it is not broken any more.
    ///
    /// # Errors
    /// What looking and removing report.
    pub fn remove_broken(&self, finding: &Finding) -> Result<bool> {
        let exclusive = self.exclusive()?;
        let removed = match &finding.object {
            Object::Compressed(digest) => self.drop_blob(digest)?,
            Object::Blob(digest) if finding.owners.is_empty() => self.drop_blob(digest)?,
            Object::Layer(key) if finding.owners.is_empty() => {
                matches!(self.look_at_layer(key, &Unseen)?, Look::Well) || self.remove_layer(key)?
            }
            // Made anew from the image when it is needed.
            Object::Directory(key) => {
                matches!(self.look_at_directory(key)?, Look::Well)
                    || self.remove_unpacked(&self.layer_mount(key))?
            }
            _ => false,
        };
        drop(exclusive);
        fail_point::reached("check-broken-removed");
        Ok(removed)
    }

    fn drop_blob(&self, digest: &Digest) -> Result<bool> {
        match self.look_at_blob(digest, &Unseen)? {
            Look::Well | Look::Gone => Ok(true),
            Look::Broken(_) => self.remove_blob(digest),
        }
    }

    /// Whether what was found is as it must be by now.
    ///
    /// # Errors
    /// What looking reports.
    pub fn is_whole(&self, finding: &Finding) -> Result<bool> {
        let _in_use = self.in_use()?;
        let well = |look: Result<Look>| look.map(|look| matches!(look, Look::Well));
        match &finding.object {
            Object::Blob(digest) | Object::Compressed(digest) => well(self.look_at_blob(digest, &Unseen)),
            Object::Layer(key) => well(self.look_at_layer(key, &Unseen)),
            Object::Directory(key) => well(self.look_at_directory(key)),
            Object::Image(digest) => {
                Ok(self.open_image(*digest, None).and_then(|image| self.layer_keys(&image.diff_ids)).is_ok())
            }
            Object::Name(_) => Ok(false),
        }
    }

    /// Whether an image can have come from a registry: where its manifest can be read, all its layers are compressed there.
    /// What was imported or committed here has a layer that is not.
    pub fn came_from_registry(&self, owner: &Owner) -> bool {
        let is_plain = |layer: &Descriptor| *layer.media_type() == MediaType::ImageLayer;
        let local = |manifest: &ImageManifest| manifest.layers().iter().any(is_plain);
        owner.reference.is_some()
            && self.manifest(owner.digest).map_or(true, |(_, manifest)| !local(&manifest))
    }

    /// Takes the name from a layer, so that it can be fetched again.
    ///
    /// # Errors
    /// What locking and renaming report.
    pub fn set_aside(&self, key: &Digest) -> Result<Aside> {
        let ingest = self.ingest_directory()?;
        let aside = Aside { ingest, key: *key };
        let exclusive = self.exclusive()?;
        let moved = aside.rename(self, |paths, aside| (paths, aside));
        drop(exclusive);
        fail_point::reached("check-layer-aside");
        moved.map(|()| aside)
    }

    /// Gives a layer its name back, unless there is another one of that name by now.
    ///
    /// # Errors
    /// What locking and renaming report.
    pub fn put_back(&self, aside: &Aside) -> Result<()> {
        let _in_use = self.in_use()?;
        if self.paths().layer(&aside.key).erofs.exists() {
            return Ok(());
        }
        aside.rename(self, |paths, aside| (aside, paths))
    }
}

impl Aside {
    fn rename(
        &self,
        store: &Store,
        direction: impl Fn(PathBuf, PathBuf) -> (PathBuf, PathBuf),
    ) -> Result<()> {
        let LayerPaths { erofs, tarmeta, record } = store.paths().layer(&self.key);
        for (path, name) in [(tarmeta, "tarmeta"), (record, "record"), (erofs, "erofs")] {
            let (from, to) = direction(path, self.ingest.path().join(name));
            match rustix::fs::rename(&from, &to) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(errno) => return Err(Error::io(format!("rename `{}`", from.display()), errno)),
            }
        }
        Ok(())
    }
}
