//! Repair: what a crash left is put right.
//!
//! Runs under the exclusive store lock, so nobody is about to refer to anything. What it finds is
//! either complete and reachable, and stays, or garbage, and goes; there is no third state, see the
//! write order in the crate's documentation.

use holm_sys::shared_mount::SharedMount;

use crate::collect::ImageUser;
use crate::error::{Error, Kind, Result, chain};
use crate::store::Exclusive;

impl Exclusive<'_> {
    /// Removes what crashes left and what nothing reaches: half-written layers, temporary files,
    /// blobs and layers without a name, shared mounts without a user. `used_by`: the images that
    /// workloads use, collected under this lock. Gives what was put right, a line each for people.
    ///
    /// # Errors
    /// What reading or removing reports. Damaged images are no error: they are named in the result,
    /// and nothing is collected while there is one.
    pub fn repair(&self, used_by: &[ImageUser]) -> Result<Vec<String>> {
        let mut done = Vec::new();
        let mut counted = |count: usize, what: &str| {
            if count > 0 {
                done.push(format!("removed {what}: {count}"));
            }
        };
        counted(self.remove_dead_ingest()?, "unfinished imports and downloads");
        counted(self.remove_old_downloads()?, "downloads that nobody went on with");
        counted(self.remove_temporary_files()?, "temporary files");
        done.extend(self.collect(used_by)?);
        done.extend(self.reclaim_mounts()?);
        Ok(done)
    }

    fn collect(&self, used_by: &[ImageUser]) -> Result<Vec<String>> {
        let reachable = match self.reachable(used_by) {
            Err(error) if error.kind() == Kind::Corrupt => {
                return Ok(vec![format!("removed no content, since an image is damaged: {}", chain(&error))]);
            }
            reachable => reachable?,
        };
        let removed = self.remove_content(&self.present()?, &reachable)?;
        let blobs = removed.blobs.iter().map(|digest| format!("removed blob {digest}, which nothing used"));
        let layers = removed.layers.iter().map(|key| format!("removed layer {key}, which nothing used"));
        Ok(blobs.chain(layers).collect())
    }

    fn reclaim_mounts(&self) -> Result<Vec<String>> {
        let mounts = self.store.layout().layer_mounts();
        let mut done = Vec::new();
        for name in self.store.file_names(&mounts)?.iter().filter(|name| !name.contains('.')) {
            let (lock, target) = (mounts.join(format!("{name}.lock")), mounts.join(name));
            let reclaimed = SharedMount::reclaim(&lock, &target)
                .map_err(|error| Error::io(format!("unmount `{}`", target.display()), error))?;
            if reclaimed {
                done.push(format!("unmounted layer sha256:{name}, which nothing used"));
            }
        }
        Ok(done)
    }
}
