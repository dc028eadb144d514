//! What builds take from elsewhere than a directory of the host.
//!
//! ```text
//! <root>/builds/downloads/<sha256>        a file of the web, by its content
//! <root>/builds/downloads/<hex>.json      what is known of a URL (`download`)
//! <root>/builds/git/<hex>/, <hex>.lock    the commits of a repository that were wanted (`git`)
//! <root>/builds/contexts/<name>/          files that somebody needs now: `lock`, which is held meanwhile; `files`
//! ```
//! What a killed process has left of the last goes with the next command; a download has no name before it is whole.

mod archive;
mod download;
mod git;

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use holm_spec::Timestamp;
use holm_spec::digest::encode_hex;
use holm_sys::file::{ensure_directory, random_bytes, remove_locked_tree, remove_tree};
use holm_sys::in_root;
use holm_sys::lock::{Lock, Mode};
use holm_sys::usage::Usage;
use rustix::fs::{CWD, OFlags, ResolveFlags, openat};

use crate::{Engine, Error, Result};

pub use archive::Arrived;
pub use download::Download;

/// What of builds a prune removes.
const PRUNED: [&str; 6] = ["downloads", "git", "caches", "scans", "reasons", "platforms"];
const LOCK: &str = "lock";
const FILES: &str = "files";

/// Files that are there until this is dropped.
#[derive(Debug)]
pub struct Unpacked {
    directory: PathBuf,
    files: PathBuf,
    root: OwnedFd,
    _lock: Lock,
}

impl Unpacked {
    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.files
    }

    /// Opens a file of them, through links that lead to others of them.
    ///
    /// # Errors
    /// As openat2(2).
    pub fn open(&self, path: &str) -> std::io::Result<fs::File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(in_root::open(self.root.as_fd(), path, flags, ResolveFlags::NO_MAGICLINKS)?.into())
    }

    /// Only those below a directory of them.
    fn within(mut self, directory: &str) -> Result<Self> {
        let failed = |error| Error::io(format!("open the directory `{directory}` of the repository"), error);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = in_root::open(self.root.as_fd(), directory, flags, ResolveFlags::NO_MAGICLINKS);
        self.root = root.map_err(|errno| failed(errno.into()))?;
        self.files = fs::read_link(format!("/proc/self/fd/{}", self.root.as_raw_fd())).map_err(failed)?;
        Ok(self)
    }
}

impl AsFd for Unpacked {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next command.
        let _ = remove_locked_tree(&self.directory);
    }
}

impl Engine {
    /// A directory for files that are needed for a while.
    fn begin_unpacked(&self) -> Result<Unpacked> {
        let directory = self.build_contexts().join(encode_hex(&random_bytes::<8>()));
        let files = directory.join(FILES);
        let failed = |error| Error::io(format!("make `{}`", files.display()), error);
        ensure_directory(&directory, 0o700).map_err(failed)?;
        let lock = Lock::create_held(&directory, LOCK)?;
        ensure_directory(&files, 0o755).map_err(failed)?;
        let root = openat(
            CWD,
            &files,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        );
        let root = root.map_err(|errno| failed(errno.into()))?;
        Ok(Unpacked { directory, files, root, _lock: lock })
    }

    fn build_contexts(&self) -> PathBuf {
        self.builds().join("contexts")
    }

    /// Removes what builds keep for the next ones and was not touched since `time`: downloads, repositories, caches, memories; none while anybody builds; how many bytes on the disk
    /// that were.
    pub(crate) fn prune_downloads(&self, time: Timestamp) -> Result<u64> {
        let Some(_alone) = self.store.nobody_builds() else { return Ok(0) };
        let before = SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(time.nanos()).unwrap_or(0));
        let mut bytes = 0;
        let all = PRUNED.map(|name| fs::read_dir(self.builds().join(name)));
        for path in all.into_iter().flatten().flatten().flatten().map(|entry| entry.path()) {
            let failed = |error| Error::io(format!("remove `{}`", path.display()), error);
            let fetched = path.symlink_metadata().and_then(|about| about.modified()).map_err(failed)?;
            // Somebody may hold a lock, and the next one would take that of another file.
            if fetched >= before || path.extension().is_some_and(|it| it == LOCK) {
                continue;
            }
            let size = Usage::default().below(&path, &[]).map_err(failed)?;
            remove_tree(&path).map_err(failed)?;
            bytes += size;
        }
        Ok(bytes)
    }

    /// Removes files that killed processes have left.
    pub(crate) fn end_abandoned_contexts(&self) {
        for entry in fs::read_dir(self.build_contexts()).into_iter().flatten().flatten() {
            let (directory, lock) = (entry.path(), entry.path().join(LOCK));
            if !lock.exists() {
                // Without a lock it is being made, or its maker was killed at that.
                if crate::build::is_unlocked_for_long(&directory) {
                    let _ = fs::remove_dir(&directory);
                }
            } else if let Ok(Some(_lock)) = Lock::try_acquire(&lock, Mode::Exclusive) {
                let _ = remove_locked_tree(&directory);
            }
        }
    }
}
