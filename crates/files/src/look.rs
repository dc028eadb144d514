//! What lies at a path of a root.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use holm_spec::files::Status;
use holm_sys::in_root;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, readlinkat};
use rustix::io::Errno;

use crate::{Error, Result};

/// What lies at a path.
pub fn look(root: BorrowedFd<'_>, path: &str, follow: bool) -> Result<Status> {
    let failed = |errno| Error::io(format!("look at `{path}`"), errno);
    let found = open(root, path, OFlags::PATH, follow).map_err(failed)?;
    let Stat { st_mode, st_size, .. } = fstat(&found).map_err(failed)?;
    let link = match FileType::from_raw_mode(st_mode) {
        FileType::Symlink => Some(readlinkat(&found, c"", Vec::new()).map_err(failed)?),
        _ => None,
    };
    let link = link.map(|link| link.to_string_lossy().into_owned());
    Ok(Status { mode: st_mode, size: u64::try_from(st_size).unwrap_or(0), link })
}

/// Opens a path. Links of procfs, which lead anywhere, are not followed.
pub fn open(root: BorrowedFd<'_>, path: &str, flags: OFlags, follow: bool) -> Result<OwnedFd, Errno> {
    let flags = if follow { flags } else { flags | OFlags::NOFOLLOW };
    in_root::open(root, path, flags, ResolveFlags::NO_MAGICLINKS)
}

/// Opens again, for use, what was opened to be looked at: no name is followed a second time.
pub fn reopen(file: &OwnedFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::open(format!("/proc/self/fd/{}", file.as_raw_fd()), flags | OFlags::CLOEXEC, Mode::empty())
}
