//! Giving everything below a directory to one user.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Gid, Uid, chownat, fchown, fstat};

use crate::walk::{failed, walk};
use crate::{Error, Result};

/// Makes the directory and everything below it this user's and group's. Links are, not what they lead to; what is mounted
/// below is left alone. What has the owner already is not touched.
///
/// # Errors
/// An owner that cannot be changed, for example of a file system without owners.
pub fn own(directory: OwnedFd, uid: u32, gid: u32) -> Result<()> {
    let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    let top = fstat(&directory).map_err(|errno| Error::io("look at it", errno))?;
    if (top.st_uid, top.st_gid) != (uid, gid) {
        fchown(directory.as_fd(), owner.0, owner.1).map_err(|errno| Error::io("change its owner", errno))?;
    }
    walk(directory, &mut |found| {
        if found.stat.st_dev != top.st_dev {
            return Ok(false);
        }
        if (found.stat.st_uid, found.stat.st_gid) != (uid, gid) {
            chownat(found.parent, found.name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| failed("change the owner of", found.path, errno))?;
        }
        Ok(true)
    })
}
