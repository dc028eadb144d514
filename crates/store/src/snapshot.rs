//! Snapshots: the writable part of a workload above the layers of its image, as plain mount data.
//!
//! ```text
//! snapshots/<workload>/upper    what the workload wrote; its mode is the mode of the workload's `/`
//!                     /work     overlayfs's own
//! ```

use holm_spec::rootfs::{LayerMount, RootFs, Writable};
use holm_spec::{Digest, Id};
use holm_sys::file::remove_tree;
use rustix::fs::{Mode, chmod, mkdir};

use crate::error::{Error, Kind, Result};
use crate::image::Image;
use crate::store::Store;

/// Mode of the root directory of a workload, as Docker makes it.
const ROOT_MODE: Mode = Mode::from_raw_mode(0o755);

impl Store {
    /// Makes the writable part of a workload and says how its root file system is mounted: the
    /// image's layers, lowest first, below it. `volatile`: it is thrown away with the workload.
    ///
    /// Hold [`Store::in_use`] from before the image is looked up until the workload is known, or a
    /// removal may take the layers away in between.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] where a layer is missing or the image has none, [`Kind::Exists`] where the
    /// workload has a snapshot; nothing is left then.
    pub fn root_fs(&self, image: &Image, workload: &Id, volatile: bool) -> Result<RootFs> {
        let layers = self.layer_mounts(image)?;
        Ok(RootFs { layers, writable: self.make_snapshot(workload)?, volatile })
    }

    /// How an image's layers are mounted, lowest first.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] where a layer is missing or the image has none.
    pub fn layer_mounts(&self, image: &Image) -> Result<Vec<LayerMount>> {
        if image.diff_ids.is_empty() {
            return Err(Error::new(Kind::Corrupt, format!("image {} has no layers", image.id)));
        }
        self.mounts_of_layers(&image.diff_ids)
    }

    /// How layers are mounted, by their diff-ids, lowest first.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] where one is missing.
    pub fn mounts_of_layers(&self, diff_ids: &[Digest]) -> Result<Vec<LayerMount>> {
        let keys = self.layer_keys(diff_ids)?;
        Ok(keys.iter().map(|key| self.layer_mount(key)).collect())
    }

    /// How the layer with the key `key` is mounted.
    pub(crate) fn layer_mount(&self, key: &Digest) -> LayerMount {
        let (mounts, hex) = (self.layout().layer_mounts(), key.hex());
        LayerMount {
            source: self.paths().layer(key).erofs,
            lock: mounts.join(format!("{hex}.lock")),
            target: mounts.join(hex),
        }
    }

    fn make_snapshot(&self, workload: &Id) -> Result<Writable> {
        let dir = self.layout().snapshot(workload);
        let context = || format!("make the snapshot of workload {}", workload.short());
        mkdir(&dir, Mode::RWXU).map_err(|errno| Error::io(context(), errno))?;
        let writable = Writable { upper: dir.join("upper"), work: dir.join("work") };
        let fill = || {
            mkdir(&writable.upper, ROOT_MODE)?;
            // The mask of whoever calls must not decide who may enter the workload's `/`.
            chmod(&writable.upper, ROOT_MODE)?;
            mkdir(&writable.work, Mode::RWXU)
        };
        if let Err(errno) = fill() {
            let _ = remove_tree(&dir);
            return Err(Error::io(context(), errno));
        }
        Ok(writable)
    }

    /// Removes the writable part of a workload; fine if there is none.
    pub fn remove_snapshot(&self, workload: &Id) -> Result<()> {
        remove_tree(&self.layout().snapshot(workload)).map_err(|error| {
            Error::io(format!("remove the snapshot of workload {}", workload.short()), error)
        })
    }

    /// The workloads that have a snapshot: which of them still exist, the caller knows.
    pub fn snapshots(&self) -> Result<Vec<Id>> {
        let names = self.file_names(&self.layout().snapshots())?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::store::tests::scratch;

    #[test]
    fn a_snapshot_is_made_once_and_removed_with_its_content() {
        let (_dir, store) = scratch();
        let id = Id::from_bytes([1; 32]);
        let writable = store.make_snapshot(&id).expect("make");
        let mode = std::fs::metadata(&writable.upper).expect("stat").permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
        assert_eq!(store.make_snapshot(&id).expect_err("twice").kind(), Kind::Exists);
        assert_eq!(store.snapshots().expect("list"), [id]);

        std::fs::create_dir_all(writable.upper.join("a/b")).expect("mkdir");
        store.remove_snapshot(&id).expect("remove");
        store.remove_snapshot(&id).expect("nothing to remove");
        assert_eq!(store.snapshots().expect("list"), []);
    }
}
