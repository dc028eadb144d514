//! `flock` locks as guards, with a time limit and the name of the holder.
//!
//! A lock belongs to the open file description: it can be handed to a child with the descriptor and
//! goes when the last copy is closed, also by SIGKILL. A lock file may go with the directory that it
//! guards while others wait for it: whoever gets a lock looks whether the file is still the one at
//! that path, and otherwise begins again.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// How long a command waits for another one before it gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Shared with other readers, or alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Any number of holders.
    Shared,
    /// One holder.
    Exclusive,
}

impl Mode {
    fn operation(self) -> FlockOperation {
        match self {
            Self::Shared => FlockOperation::NonBlockingLockShared,
            Self::Exclusive => FlockOperation::NonBlockingLockExclusive,
        }
    }
}

/// A held lock; dropping it releases.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Why a lock was not taken.
#[derive(Debug)]
pub struct LockError {
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Io(std::io::Error),
    Held { by: Option<i32> },
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lock `{}`", self.path.display())?;
        match self.cause {
            Cause::Io(_) => Ok(()),
            Cause::Held { by: Some(pid) } => write!(f, ": held by process {pid} for too long"),
            Cause::Held { by: None } => f.write_str(": held by another process for too long"),
        }
    }
}

impl LockError {
    /// The error number where the file could not be opened or locked; `None` where somebody holds it.
    pub fn errno(&self) -> Option<i32> {
        match &self.cause {
            Cause::Io(error) => error.raw_os_error(),
            Cause::Held { .. } => None,
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Io(error) => Some(error),
            Cause::Held { .. } => None,
        }
    }
}

impl Lock {
    /// Takes the lock at `path`, creating the file (mode 0600) if absent, waiting up to [`PATIENCE`].
    pub fn acquire(path: &Path, mode: Mode) -> Result<Self, LockError> {
        Self::acquire_within(path, mode, PATIENCE)
    }

    /// Takes the lock, waiting at most `patience`; the error then names the holder's process.
    pub fn acquire_within(path: &Path, mode: Mode, patience: Duration) -> Result<Self, LockError> {
        Self::acquire_opened(path, open, mode, patience)
    }

    fn acquire_opened(
        path: &Path,
        open: fn(&Path) -> std::io::Result<File>,
        mode: Mode,
        patience: Duration,
    ) -> Result<Self, LockError> {
        let failed = |error| LockError { path: path.to_owned(), cause: Cause::Io(error) };
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_micros(50);
        let mut file = open(path).map_err(failed)?;
        loop {
            match flock(&file, mode.operation()) {
                Ok(()) if is_at(&file, path) => return Ok(Self { file }),
                Ok(()) => file = open(path).map_err(failed)?,
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(20));
                }
                Err(Errno::WOULDBLOCK) => {
                    return Err(LockError {
                        path: path.to_owned(),
                        cause: Cause::Held { by: holder(&file) },
                    });
                }
                Err(errno) => return Err(failed(errno.into())),
            }
        }
    }

    /// Takes the lock of a directory, which needs no file of its own, waiting up to [`PATIENCE`].
    pub fn acquire_directory(path: &Path) -> Result<Self, LockError> {
        Self::acquire_opened(path, open_directory, Mode::Exclusive, PATIENCE)
    }

    /// Takes the lock if it is free now; `None` if somebody holds it, or the file has just gone. Who that is costs a look through all
    /// locks of the host, so it is not asked.
    pub fn try_acquire(path: &Path, mode: Mode) -> Result<Option<Self>, LockError> {
        let failed = |error| LockError { path: path.to_owned(), cause: Cause::Io(error) };
        let file = open(path).map_err(failed)?;
        loop {
            match flock(&file, mode.operation()) {
                Ok(()) => return Ok(is_at(&file, path).then_some(Self { file })),
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failed(errno.into())),
            }
        }
    }

    /// Makes a lock file that is held from its first moment: nobody ever sees it free. Falls back to
    /// make and take where the file system has no unnamed files.
    pub fn create_held(directory: &Path, name: &str) -> Result<Self, LockError> {
        let path = directory.join(name);
        match unnamed_held(directory, &path) {
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => Self::acquire(&path, Mode::Exclusive),
            Err(errno) => Err(LockError { path, cause: Cause::Io(errno.into()) }),
            Ok(file) => Ok(Self { file }),
        }
    }

    /// Turns a shared lock into an exclusive one if nobody else holds it; says whether it did.
    ///
    /// Where it did not, the shared lock may be lost: `flock` converts by releasing first.
    pub fn try_upgrade(&self) -> bool {
        flock(&self.file, Mode::Exclusive.operation()).is_ok()
    }

    /// Turns an exclusive lock into a shared one; says whether it did. Somebody else may have held the lock
    /// exclusively in between: `flock` converts by releasing first.
    pub fn try_downgrade(&self) -> bool {
        flock(&self.file, Mode::Shared.operation()).is_ok()
    }

    /// Adopts a descriptor that carries a lock already.
    pub fn from_held(file: OwnedFd) -> Self {
        Self { file: File::from(file) }
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn unnamed_held(directory: &Path, path: &Path) -> Result<File, Errno> {
    use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    let unnamed = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
    Ok(file.into())
}

fn open(path: &Path) -> std::io::Result<File> {
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).expect("the flag is small");
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(no_follow)
        .open(path)
}

fn open_directory(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path)
}

/// Whether `path` still names this file.
pub fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(named)) = (file.metadata(), path.symlink_metadata()) else { return false };
    (held.dev(), held.ino()) == (named.dev(), named.ino())
}

/// The process that holds a lock on `file`, from `/proc/locks` (proc(5)).
fn holder(file: &File) -> Option<i32> {
    let metadata = file.metadata().ok()?;
    let (major, minor) = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
    let object = format!("{major:02x}:{minor:02x}:{}", metadata.ino());
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let holding = locks.lines().filter(|line| !line.contains("->")).find(|line| line.contains(&object))?;
    holding.split_whitespace().nth(4)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_learns_who_holds_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("lock");
        let held = Lock::acquire(&path, Mode::Exclusive).expect("free");
        assert!(Lock::try_acquire(&path, Mode::Shared).expect("no error").is_none());
        let error = Lock::acquire_within(&path, Mode::Shared, Duration::from_millis(5)).expect_err("held");
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        let first = Lock::acquire(&path, Mode::Shared).expect("free");
        let second = Lock::acquire(&path, Mode::Shared).expect("shared");
        assert!(!first.try_upgrade());
        drop(second);
        assert!(first.try_upgrade());
    }

    #[test]
    fn a_directory_is_locked_without_a_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let held = Lock::acquire_directory(dir.path()).expect("free");
        assert!(is_at(&held.file, dir.path()));
        let other = File::open(dir.path()).expect("it is there");
        assert_eq!(flock(&other, FlockOperation::NonBlockingLockShared), Err(Errno::WOULDBLOCK));
        drop(held);
        assert_eq!(flock(&other, FlockOperation::NonBlockingLockShared), Ok(()));
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0);
    }

    #[test]
    fn a_lock_on_a_file_that_went_is_none() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("lock");
        let held = Lock::acquire(&path, Mode::Exclusive).expect("free");
        let (sender, receiver) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn({
            let path = path.clone();
            move || {
                sender.send(()).expect("the test waits");
                Lock::acquire(&path, Mode::Exclusive).expect("another file")
            }
        });
        receiver.recv().expect("the thread runs");
        std::fs::remove_file(&path).expect("remove");
        drop(held);
        let taken = waiting.join().expect("no panic");
        assert!(is_at(&taken.file, &path), "the lock is on the file that is there");
    }
}
