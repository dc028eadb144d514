//! `tmpcopyup`: a new tmpfs begins with what the image holds at its mount point.
//!
//! The image is hostile: everything is opened below descriptors without following links, and what is neither
//! file, directory nor link is left out, as devices would come out of the image's control otherwise.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use holm_sys::rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, chmodat,
    chownat, mkdirat, openat, readlinkat, statat, symlinkat, utimensat,
};
use holm_sys::{Errno, in_root};

use crate::error::{Context, Result};

/// Deepest directory that is copied.
const DEPTH_LIMIT: usize = 128;

/// Copies the directory at `path` of the image into the new file system.
pub(super) fn copy(root: BorrowedFd<'_>, path: &Path, tree: BorrowedFd<'_>) -> Result<()> {
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let copied = match in_root::open(root, path, directory, ResolveFlags::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(errno) => Err(errno),
        Ok(source) => openat(tree, c".", directory, Mode::empty())
            .and_then(|target| copy_directory(source.as_fd(), target.as_fd(), DEPTH_LIMIT)),
    };
    copied.context(|| format!("copy `{}` of the image into its tmpfs", path.display()))
}

fn copy_directory(source: BorrowedFd<'_>, target: BorrowedFd<'_>, depth: usize) -> Result<(), Errno> {
    let deeper = depth.checked_sub(1).ok_or(Errno::NAMETOOLONG)?;
    for entry in Dir::read_from(source)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                mkdirat(target, name, Mode::RWXU)?;
                copy_directory(open_below(source, name)?.as_fd(), open_below(target, name)?.as_fd(), deeper)?;
            }
            FileType::RegularFile => copy_file(source, target, name)?,
            FileType::Symlink => symlinkat(readlinkat(source, name, Vec::new())?, target, name)?,
            _ => continue,
        }
        copy_attributes(target, name, &stat)?;
    }
    Ok(())
}

fn open_below(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

fn copy_file(source: BorrowedFd<'_>, target: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut from = File::from(openat(source, name, read, Mode::empty())?);
    let mut to = File::from(openat(target, name, create, Mode::RUSR | Mode::WUSR)?);
    std::io::copy(&mut from, &mut to)
        .map(drop)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Owner, then mode (which a change of owner would clear in part), then times.
fn copy_attributes(target: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(target, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        chmodat(target, name, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())?;
    }
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    utimensat(target, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}
