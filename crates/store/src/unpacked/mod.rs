//! Layers as directories, for kernels that cannot mount EROFS.
//!
//! ```text
//! layers/<key>.v1.dir         what the layer's image shows when it is mounted, whiteouts and opaque directories too
//! layers/.tmp-<random>        one that is being removed
//! ```
//! A directory is made from the image before a workload first needs it: inside an ingest directory, synced, then renamed.
//! It is a copy: what is pushed, compared and given to virtual machines is the image. Where it is there, the layer's mount
//! is a read-only bind mount of it ([`LayerMount::unpacked`]), shared as that of an image is. It goes with the layer, or
//! when the kernel has learnt to mount images and nobody uses it.

mod compare;
mod make;
mod walk;

use std::fs::File;
use std::path::{Path, PathBuf};

use holm_spec::Digest;
use holm_spec::rootfs::LayerMount;
use holm_sys::fail_point;
use holm_sys::file::{random_bytes, remove_tree, sync_directory};
use holm_sys::lock::{Lock, Mode};
use holm_sys::mount::{is_mount_point, knows_erofs};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::erofs::Image;
use crate::error::{Error, Kind, Result};
use crate::ingest::Ingest;
use crate::refs::TEMPORARY;
use crate::store::Store;

/// What containers see of a layer is mounted from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerForm {
    /// Its image if the kernel knows EROFS, else a directory.
    #[default]
    Auto,
    /// Its image.
    Image,
    /// A directory with the same files.
    Directory,
}

impl Store {
    /// Unpacks layers where the kernel cannot mount their images; where it can, removes directories that nobody uses.
    /// What the layers belong to must be known to be used.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] where an image is missing or damaged, [`Kind::NoSpace`], [`Kind::Io`]; nothing is left of the
    /// layer that they name.
    pub fn prepare_layers(&self, layers: &[LayerMount]) -> Result<()> {
        let directories = match self.layer_form() {
            LayerForm::Directory => true,
            LayerForm::Image => false,
            LayerForm::Auto => !knows_erofs(),
        };
        for layer in layers {
            match (directories, layer.unpacked().is_dir()) {
                (true, false) => self.unpack(layer)?,
                // A convenience; whoever runs out of room prunes.
                (false, true) => drop(self.remove_unpacked(layer)?),
                _ => {}
            }
        }
        Ok(())
    }

    fn unpack(&self, layer: &LayerMount) -> Result<()> {
        let context = || format!("unpack `{}`", layer.source.display());
        let ingest = Ingest::begin(self)?;
        let directory = ingest.path().join("root");
        make::unpack(&open(&layer.source)?, &directory).map_err(|error| error.about(context()))?;
        fail_point::reached("unpack-layer-synced");
        match renameat_with(CWD, &directory, CWD, layer.unpacked(), RenameFlags::NOREPLACE) {
            // Somebody else was faster.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::io(context(), errno)),
        }
        sync_directory(&self.paths().layers()).map_err(|error| Error::io(context(), error))
    }

    /// Removes the directory of a layer unless it is mounted; says whether one went.
    pub(crate) fn remove_unpacked(&self, layer: &LayerMount) -> Result<bool> {
        // Whoever mounts it, or is about to, has the lock; a crash may have left the mount alone.
        let alone = Lock::try_acquire(&layer.lock, Mode::Exclusive)?;
        if alone.is_none() || !matches!(is_mount_point(&layer.target), Ok(false)) {
            return Ok(false);
        }
        let unnamed = take_name(&layer.unpacked())?;
        drop(alone);
        unnamed.map_or(Ok(false), |path| remove(&path).map(|()| true))
    }

    /// Whether the directory of a layer, if there is one, has what the image has.
    pub(crate) fn verify_unpacked(&self, key: &Digest) -> Result<()> {
        let layer = self.layer_mount(key);
        match layer.unpacked().is_dir() {
            true => compare::compare(&open(&layer.source)?, &layer.unpacked()),
            false => Ok(()),
        }
    }
}

/// Removes the directory of a layer that nobody needs; says whether there was one.
pub(crate) fn remove_directory(path: &Path) -> Result<bool> {
    take_name(path)?.map_or(Ok(false), |path| remove(&path).map(|()| true))
}

/// Gives a directory a name that stands for nothing, so that no part of it is ever taken for all of it. `None` if there is
/// none.
fn take_name(path: &Path) -> Result<Option<PathBuf>> {
    let unnamed = path.with_file_name(format!("{TEMPORARY}{:016x}", u64::from_ne_bytes(random_bytes())));
    match rustix::fs::rename(path, &unnamed) {
        Ok(()) => Ok(Some(unnamed)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::io(format!("remove `{}`", path.display()), errno)),
    }
}

fn remove(path: &Path) -> Result<()> {
    fail_point::reached("unpacked-layer-unnamed");
    remove_tree(path).map_err(|error| Error::io(format!("remove `{}`", path.display()), error))
}

fn open(path: &Path) -> Result<Image> {
    let context = || format!("open `{}`", path.display());
    let file = File::open(path).map_err(|error| Error::io(context(), error))?;
    Image::open(file).map_err(|error| Error::because(Kind::Corrupt, context(), error))
}
