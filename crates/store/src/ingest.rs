//! Ingest directories: where content is before it has its final name.
//!
//! ```text
//! ingest/<32 hexadecimal digits>/lock    flock: held exclusively by the one who writes here
//!                               /...     whatever it writes
//! ```
//! The directory is made and its lock taken under the shared store lock, so whoever holds the
//! exclusive store lock can tell the living from the dead: a free lock means that the writer is gone.

use std::path::{Path, PathBuf};

use holm_spec::digest::encode_hex;
use holm_sys::file::{random_bytes, remove_tree};
use holm_sys::lock::{Lock, Mode};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::store::{Exclusive, Store};

const LOCK: &str = "lock";

/// An ingest directory of this process; removed with all that is in it when dropped.
#[derive(Debug)]
pub struct Ingest {
    dir: PathBuf,
    _lock: Option<Lock>,
}

impl Ingest {
    /// Makes a directory that nobody else uses.
    pub(crate) fn begin(store: &Store) -> Result<Self> {
        let _in_use = store.in_use()?;
        let dir = store.paths().ingest().join(encode_hex(&random_bytes::<16>()));
        let failed = |error: std::io::Error| Error::io(format!("make `{}`", dir.display()), error);
        match rustix::fs::mkdir(&dir, rustix::fs::Mode::RWXU) {
            Ok(()) => {}
            // `ingest` is safe to delete at any time.
            Err(Errno::NOENT) => holm_sys::file::ensure_directory(&dir, 0o700).map_err(failed)?,
            Err(errno) => return Err(failed(errno.into())),
        }
        let mut ingest = Self { dir, _lock: None };
        ingest._lock = Some(Lock::acquire(&ingest.dir.join(LOCK), Mode::Exclusive)?);
        Ok(ingest)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }
}

impl Store {
    /// A directory for what is on its way into the store, below the root and of this process alone. It goes with the
    /// guard, or, where the process dies, with the next repair.
    ///
    /// # Errors
    /// [`Kind::NoSpace`](crate::Kind::NoSpace), [`Kind::ReadOnly`](crate::Kind::ReadOnly),
    /// [`Kind::Locked`](crate::Kind::Locked), [`Kind::Io`](crate::Kind::Io).
    pub fn ingest_directory(&self) -> Result<Ingest> {
        Ingest::begin(self)
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next repair.
        let _ = remove_tree(&self.dir);
    }
}

impl Exclusive<'_> {
    /// Removes the ingest directories whose writers are gone; gives their number.
    pub(crate) fn remove_dead_ingest(&self) -> Result<usize> {
        let mut removed = 0;
        for name in self.store.file_names(&self.store.paths().ingest())? {
            let dir = self.store.paths().ingest().join(name);
            if is_dead(&dir) {
                remove_tree(&dir).map_err(|error| Error::io(format!("remove `{}`", dir.display()), error))?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Whether nobody writes in `dir`. Without a lock file its maker died before it had one.
fn is_dead(dir: &Path) -> bool {
    let lock = dir.join(LOCK);
    !lock.exists() || matches!(Lock::try_acquire(&lock, Mode::Exclusive), Ok(Some(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch;

    #[test]
    fn only_the_dead_are_removed() {
        let (_dir, store) = scratch();
        let alive = Ingest::begin(&store).expect("begin");
        std::fs::write(alive.path().join("data"), b"x").expect("write");
        let dead = store.paths().ingest().join("dead");
        std::fs::create_dir(&dead).expect("mkdir");
        std::fs::write(dead.join("lock"), b"").expect("write");
        std::fs::create_dir(store.paths().ingest().join("just-made")).expect("mkdir");

        assert_eq!(store.exclusive().expect("lock").remove_dead_ingest().expect("remove"), 2);
        assert!(alive.path().join("data").exists());
        drop(alive);
        assert_eq!(std::fs::read_dir(store.paths().ingest()).expect("list").count(), 0);
    }

    #[test]
    fn a_deleted_ingest_directory_is_made_again() {
        let (_dir, store) = scratch();
        std::fs::remove_dir(store.paths().ingest()).expect("rmdir");
        assert!(Ingest::begin(&store).expect("begin").path().exists());
    }
}
