//! What lies at a path of a root.

use std::os::fd::{BorrowedFd, OwnedFd};

use holm_spec::files::Status;
use holm_sys::in_root;
use rustix::fs::{OFlags, ResolveFlags, Stat, fstat};
use rustix::io::Errno;

use crate::{Error, Result};

/// What lies at a path.
pub fn look(root: BorrowedFd<'_>, path: &str, follow: bool) -> Result<Status> {
    let found = open(root, path, OFlags::PATH, follow).and_then(fstat);
    let Stat { st_mode, st_size, .. } =
        found.map_err(|errno| Error::io(format!("look at `{path}`"), errno))?;
    Ok(Status { mode: st_mode, size: u64::try_from(st_size).unwrap_or(0) })
}

/// Opens a path. Links of procfs, which lead anywhere, are not followed.
pub fn open(root: BorrowedFd<'_>, path: &str, flags: OFlags, follow: bool) -> Result<OwnedFd, Errno> {
    let flags = if follow { flags } else { flags | OFlags::NOFOLLOW };
    in_root::open(root, path, flags, ResolveFlags::NO_MAGICLINKS)
}
