//! One mount for many users: made by the first, taken away by the last.
//!
//! A user holds a shared lock on the mount's lock file for as long as it uses the mount. The mount is
//! made and taken away under the exclusive lock only:
//!
//! ```text
//! acquire: shared lock -> mounted? done. else: exclusive lock -> mounted? no: mount -> shared lock, look again
//! release: exclusive lock without waiting -> got it: nobody else uses it: unmount; else: somebody does
//! ```
//!
//! The lock matters because an unmount below a live overlay succeeds: `EBUSY` protects nothing.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::file::ensure_directory;
use crate::lock::{Lock, LockError, Mode};
use crate::mount;

/// How often `acquire` tries again when others release in between.
const ATTEMPTS: usize = 100;

/// A use of a shared mount. Dropping it gives up the use, and unmounts if it was the last.
#[derive(Debug)]
pub struct SharedMount {
    lock: Lock,
    target: PathBuf,
}

/// Why a shared mount could not be used.
#[derive(Debug)]
pub struct SharedMountError {
    source_path: PathBuf,
    target: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Lock(LockError),
    Io(io::Error),
    Unstable,
}

impl fmt::Display for SharedMountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mount layer `{}` on `{}`", self.source_path.display(), self.target.display())?;
        if matches!(self.cause, Cause::Unstable) {
            f.write_str(": it was taken away again and again")?;
        }
        Ok(())
    }
}

impl std::error::Error for SharedMountError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Lock(error) => Some(error),
            Cause::Io(error) => Some(error),
            Cause::Unstable => None,
        }
    }
}

impl SharedMountError {
    /// The underlying error number, where there is one.
    pub fn errno(&self) -> Option<i32> {
        match &self.cause {
            Cause::Io(error) => error.raw_os_error(),
            Cause::Lock(_) | Cause::Unstable => None,
        }
    }
}

impl SharedMount {
    /// Uses the mount of `image` (an EROFS file) on `target`, mounting it if nobody has.
    pub fn acquire(image: &Path, lock: &Path, target: &Path) -> Result<Self, SharedMountError> {
        let failed =
            |cause| SharedMountError { source_path: image.to_owned(), target: target.to_owned(), cause };
        let is_mounted = |target| mount::is_mount_point(target).map_err(|error| failed(Cause::Io(error)));
        for _ in 0..ATTEMPTS {
            let shared = Lock::acquire(lock, Mode::Shared).map_err(|error| failed(Cause::Lock(error)))?;
            if is_mounted(target)? {
                return Ok(Self { lock: shared, target: target.to_owned() });
            }
            drop(shared);
            let exclusive =
                Lock::acquire(lock, Mode::Exclusive).map_err(|error| failed(Cause::Lock(error)))?;
            mount_if_absent(image, target).map_err(|error| failed(Cause::Io(error)))?;
            // Without letting go, or a repair would take the mount for one that a crash left.
            if exclusive.try_downgrade() && is_mounted(target)? {
                return Ok(Self { lock: exclusive, target: target.to_owned() });
            }
        }
        Err(failed(Cause::Unstable))
    }

    /// Takes away a mount that nobody uses, for example one that a crash left; says whether it did.
    pub fn reclaim(lock: &Path, target: &Path) -> io::Result<bool> {
        if !mount::is_mount_point(target)? {
            return Ok(false);
        }
        match Lock::try_acquire(lock, Mode::Exclusive) {
            Ok(Some(_exclusive)) if mount::is_mount_point(target)? => mount::detach(target).map(|()| true),
            _ => Ok(false),
        }
    }
}

impl Drop for SharedMount {
    fn drop(&mut self) {
        if self.lock.try_upgrade() {
            let _ = mount::detach(&self.target);
        }
    }
}

fn mount_if_absent(image: &Path, target: &Path) -> io::Result<()> {
    if mount::is_mount_point(target)? {
        return Ok(());
    }
    ensure_directory(target, 0o700)?;
    mount::mount_erofs(image, target)
}
