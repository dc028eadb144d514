//! Giving a file, or everything below a directory, to one user.

use std::os::fd::{AsFd, OwnedFd};

use holm_sys::in_root;
use rustix::fs::{AtFlags, FileType, Gid, OFlags, ResolveFlags, Uid, chownat, fstat};
use rustix::io::Errno;

use crate::walk::{failed, walk};
use crate::{Error, Result, look};

/// Makes what was found (`O_PATH`), and everything below it, this user's and group's. Links are, not what they lead to; what
/// is mounted below is left alone. What has the owner already is not touched.
///
/// # Errors
/// An owner that cannot be changed, for example of a file system without owners.
pub fn own(found: &OwnedFd, uid: u32, gid: u32) -> Result<()> {
    let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    let top = fstat(found).map_err(|errno| Error::io("look at it", errno))?;
    if (top.st_uid, top.st_gid) != (uid, gid) {
        chownat(found, c"", owner.0, owner.1, AtFlags::EMPTY_PATH)
            .map_err(|errno| Error::io("change its owner", errno))?;
    }
    if FileType::from_raw_mode(top.st_mode) != FileType::Directory {
        return Ok(());
    }
    let directory = look::reopen(found, OFlags::RDONLY | OFlags::DIRECTORY)
        .map_err(|errno| Error::io("open it", errno))?;
    walk(directory, &mut |found| {
        // Of one file system, too, something may be mounted there.
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        match in_root::open(found.parent.as_fd(), &**found.name, flags, ResolveFlags::NO_XDEV) {
            Err(Errno::XDEV | Errno::NOENT) => return Ok(false),
            other => other.map_err(|errno| failed("open", found.path, errno))?,
        };
        if (found.stat.st_uid, found.stat.st_gid) != (uid, gid) {
            chownat(found.parent, found.name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| failed("change the owner of", found.path, errno))?;
        }
        Ok(true)
    })
}
