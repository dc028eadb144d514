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
//! A lock is seen in every mount namespace, a mount only in its own. Where others keep the lock and nothing is mounted
//! here, they are in another namespace. The image is then mounted once more for this one, beside the target and with a
//! lock of its own, `<key>.<inode of the namespace>`, for which all of this holds by itself; its last user removes both.
//!
//! The lock matters because an unmount below a live overlay succeeds: `EBUSY` protects nothing.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::file::ensure_directory;
use crate::lock::{Lock, LockError, Mode};
use crate::mount;

/// How often `acquire` tries again when others take the lock or release in between.
const ATTEMPTS: usize = 60;
/// How long it lets them, at most, from one time to the next.
const LONGEST_PAUSE: Duration = Duration::from_millis(5);

/// A use of a shared mount. Dropping it gives up the use, and unmounts if it was the last.
#[derive(Debug)]
pub struct SharedMount {
    lock: Lock,
    target: PathBuf,
    /// The lock's file, where both are this namespace's own.
    own: Option<PathBuf>,
    /// It stays mounted, also if this is the last use.
    stays: bool,
}

/// Why a shared mount could not be used.
#[derive(Debug)]
pub struct SharedMountError {
    /// What was to be mounted.
    what: String,
    target: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Lock(LockError),
    Io(io::Error),
    Unstable,
    Elsewhere,
}

impl fmt::Display for SharedMountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mount {} on `{}`", self.what, self.target.display())?;
        match self.cause {
            Cause::Unstable => f.write_str(": it was taken away again and again"),
            Cause::Elsewhere => f.write_str(": it is in use in another mount namespace"),
            Cause::Lock(_) | Cause::Io(_) => Ok(()),
        }
    }
}

impl std::error::Error for SharedMountError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Lock(error) => Some(error),
            Cause::Io(error) => Some(error),
            Cause::Unstable | Cause::Elsewhere => None,
        }
    }
}

impl SharedMountError {
    /// What made it fail, where that is somebody else's error.
    pub fn into_cause(self) -> Option<Box<dyn std::error::Error + Send + Sync>> {
        match self.cause {
            Cause::Lock(error) => Some(error.into()),
            Cause::Io(error) => Some(error.into()),
            Cause::Unstable | Cause::Elsewhere => None,
        }
    }

    /// The underlying error number, where there is one.
    pub fn errno(&self) -> Option<i32> {
        match &self.cause {
            Cause::Io(error) => error.raw_os_error(),
            Cause::Lock(_) | Cause::Unstable | Cause::Elsewhere => None,
        }
    }
}

impl SharedMount {
    /// Uses the mount of `source` (an EROFS image, or a directory) on `target`, mounting it if nobody has. Where the users
    /// of `target` are in another mount namespace it lies elsewhere: see [`SharedMount::target`].
    pub fn acquire(source: &Path, lock: &Path, target: &Path) -> Result<Self, SharedMountError> {
        let what = || format!("layer `{}`", source.display());
        let failed = |cause| SharedMountError { what: what(), target: target.to_owned(), cause };
        let mount = |target: &Path| match source.symlink_metadata()?.is_dir() {
            true => mount::mount_directory(source, target),
            false => mount::mount_erofs(source, target),
        };
        if let Some(lock) = acquire_at(lock, target, &mount).map_err(failed)? {
            return Ok(Self { lock, target: target.to_owned(), own: None, stays: false });
        }
        let namespace =
            std::fs::metadata("/proc/self/ns/mnt").map_err(|error| failed(Cause::Io(error)))?.ino();
        let own = lock.with_extension(format!("{namespace}.lock"));
        let target = own.with_extension("");
        let lock =
            acquire_at(&own, &target, &mount).map_err(failed)?.ok_or_else(|| failed(Cause::Unstable))?;
        Ok(Self { lock, target, own: Some(own), stays: false })
    }

    /// Uses the mount of `what` on `target`, attaching what `make` makes if nobody has: a detached mount. Where its users are in
    /// another mount namespace that is an error, for a second mount may be of something else.
    pub fn acquire_made(
        what: &str,
        lock: &Path,
        target: &Path,
        make: &dyn Fn() -> io::Result<OwnedFd>,
    ) -> Result<Self, SharedMountError> {
        let failed = |cause| SharedMountError { what: what.to_owned(), target: target.to_owned(), cause };
        let mount = |target: &Path| mount::attach_at(&make()?, target);
        let lock =
            acquire_at(lock, target, &mount).map_err(failed)?.ok_or_else(|| failed(Cause::Elsewhere))?;
        Ok(Self { lock, target: target.to_owned(), own: None, stays: false })
    }

    /// Uses a mount that is there; `None` if it is not.
    pub fn rejoin(lock: &Path, target: &Path) -> Option<Self> {
        let lock = Lock::acquire(lock, Mode::Shared).ok()?;
        mount::is_mount_point(target).ok()?.then(|| Self {
            lock,
            target: target.to_owned(),
            own: None,
            stays: false,
        })
    }

    /// Where it is mounted.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Gives up the use. If it was the last one the mount stays where somebody `needs` it who uses it without the lock;
    /// that is asked when nobody can take the lock any more.
    pub fn give_up_unless(mut self, needs: impl FnOnce() -> bool) {
        self.stays = !self.lock.try_upgrade() || needs();
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
        if self.stays || !self.lock.try_upgrade() {
            return;
        }
        let unmounted = mount::detach(&self.target).is_ok();
        if let Some(lock) = self.own.as_ref().filter(|_| unmounted) {
            let _ = std::fs::remove_dir(&self.target).and_then(|()| std::fs::remove_file(lock));
        }
    }
}

/// The shared lock of what is mounted on `target` then; `None` if others keep the lock and do not mount it here.
fn acquire_at(
    lock: &Path,
    target: &Path,
    mount: &dyn Fn(&Path) -> io::Result<()>,
) -> Result<Option<Lock>, Cause> {
    let is_mounted = || mount::is_mount_point(target).map_err(Cause::Io);
    let mut pause = Duration::from_micros(50);
    for _ in 0..ATTEMPTS {
        let shared = Lock::acquire(lock, Mode::Shared).map_err(Cause::Lock)?;
        if is_mounted()? {
            return Ok(Some(shared));
        }
        drop(shared);
        if let Some(exclusive) = Lock::try_acquire(lock, Mode::Exclusive).map_err(Cause::Lock)? {
            mount_if_absent(target, mount).map_err(Cause::Io)?;
            // Without letting go, or a repair would take the mount for one that a crash left.
            if exclusive.try_downgrade() && is_mounted()? {
                return Ok(Some(exclusive));
            }
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Ok(None)
}

fn mount_if_absent(target: &Path, mount: &dyn Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    if mount::is_mount_point(target)? {
        return Ok(());
    }
    ensure_directory(target, 0o700)?;
    mount(target)
}
