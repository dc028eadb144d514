//! Whether a directory has what its image has.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use holm_tar::shown;
use rustix::fs::{
    AtFlags, CWD, Dir, Mode, OFlags, Stat, fstat, lgetxattr, major, minor, openat, readlinkat, statat,
};
use rustix::io::Errno;

use super::walk::{DIRECTORY, Entry, Visitor, damaged, walk};
use crate::erofs::{FileType, Image, Inode};
use crate::error::{Error, Kind, Result};

const BUFFER: usize = 256 << 10;

/// Compares names, types, modes, owners, times of modification, attributes, targets of links and data.
///
/// # Errors
/// [`Kind::Corrupt`] for the first difference, with the path; what reading reports.
pub(super) fn compare(image: &Image, directory: &Path) -> Result<()> {
    let root = openat(CWD, directory, DIRECTORY, Mode::empty())
        .map_err(|errno| Error::io(format!("open `{}`", directory.display()), errno))?;
    let mut comparer = Comparer { image, ours: vec![0; BUFFER], theirs: vec![0; BUFFER] };
    walk(image, root, &mut comparer)
}

struct Comparer<'a> {
    image: &'a Image,
    ours: Vec<u8>,
    theirs: Vec<u8>,
}

fn differs(path: &[u8], what: &str) -> Error {
    Error::new(Kind::Corrupt, format!("its directory is not as its image: {what} of `/{}`", shown(path)))
}

impl Visitor for Comparer<'_> {
    fn entry(&mut self, entry: Entry<'_>) -> Result<()> {
        let stat = match statat(entry.parent, entry.name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Err(differs(entry.path, "the name")),
            stat => stat.map_err(|errno| entry.failed("look at", errno))?,
        };
        // The kernel counts the names of directories by itself.
        let is_directory = entry.inode.file_type == FileType::Directory;
        if FileType::of_mode(stat.st_mode as u16) != Some(entry.inode.file_type) {
            return Err(differs(entry.path, "the type"));
        }
        if !is_directory && stat.st_nlink as u64 != u64::from(entry.inode.links()) {
            return Err(differs(entry.path, "the number of names"));
        }
        if !is_directory {
            self.described(entry, &stat)?;
        }
        match entry.inode.file_type {
            FileType::Regular => self.data(entry, &stat),
            FileType::Symlink => self.target(entry),
            FileType::Character | FileType::Block => {
                let device = (major(stat.st_rdev), minor(stat.st_rdev));
                if device == entry.inode.device() { Ok(()) } else { Err(differs(entry.path, "the device")) }
            }
            _ => Ok(()),
        }
    }

    fn leave(&mut self, directory: BorrowedFd<'_>, inode: &Inode, path: &[u8], names: usize) -> Result<()> {
        let here = Entry { parent: directory, name: c".", path, inode };
        let listed = Dir::read_from(directory).map_err(|errno| here.failed("list", errno))?;
        // All that the image has are there, so what is too many is something else.
        if listed.filter(Result::is_ok).count() != names + 2 {
            return Err(differs(path, "the names"));
        }
        let stat = fstat(directory).map_err(|errno| here.failed("look at", errno))?;
        self.described(here, &stat)
    }
}

impl Comparer<'_> {
    fn described(&self, entry: Entry<'_>, stat: &Stat) -> Result<()> {
        let inode = entry.inode;
        let time = inode.mtime();
        let facts = [
            (
                "the mode",
                stat.st_mode & 0o7777 == u32::from(inode.mode()) || inode.file_type == FileType::Symlink,
            ),
            ("the owner", (stat.st_uid, stat.st_gid) == (inode.uid(), inode.gid())),
            ("the time", stat.st_mtime == time.seconds && stat.st_mtime_nsec == u64::from(time.nanoseconds)),
        ];
        if let Some((what, _)) = facts.iter().find(|(_, same)| !same) {
            return Err(differs(entry.path, what));
        }
        let mut path = format!("/proc/self/fd/{}/", entry.parent.as_raw_fd()).into_bytes();
        path.extend_from_slice(entry.name.to_bytes());
        for (name, value) in self.image.xattrs(inode).map_err(damaged)? {
            let kept = matches!(inode.file_type, FileType::Regular | FileType::Directory);
            if !kept && name.starts_with(b"user.") {
                continue;
            }
            let mut found = vec![0; value.len() + 1];
            match lgetxattr(path.as_slice(), name.as_slice(), &mut found) {
                Ok(length) if found[..length] == value => {}
                Ok(_) | Err(Errno::RANGE | Errno::NODATA) => {
                    return Err(differs(entry.path, "an attribute"));
                }
                Err(errno) => return Err(entry.failed("read an attribute of", errno)),
            }
        }
        Ok(())
    }

    fn target(&self, entry: Entry<'_>) -> Result<()> {
        let target =
            readlinkat(entry.parent, entry.name, Vec::new()).map_err(|errno| entry.failed("read", errno))?;
        match self.image.read_link(entry.inode).map_err(damaged)? == target.to_bytes() {
            true => Ok(()),
            false => Err(differs(entry.path, "the target")),
        }
    }

    fn data(&mut self, entry: Entry<'_>, stat: &Stat) -> Result<()> {
        let size = entry.inode.size();
        if stat.st_size as u64 != size {
            return Err(differs(entry.path, "the size"));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(entry.parent, entry.name, flags, Mode::empty())
            .map_err(|errno| entry.failed("open", errno))?;
        let file = File::from(file);
        let mut offset = 0;
        while offset < size {
            let length = usize::try_from(size - offset).unwrap_or(BUFFER).min(BUFFER);
            let (ours, theirs) = (&mut self.ours[..length], &mut self.theirs[..length]);
            self.image.read_data(entry.inode, offset, ours).map_err(damaged)?;
            file.read_exact_at(theirs, offset)
                .map_err(|error| entry.failed("read", Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
            if ours != theirs {
                return Err(differs(entry.path, "the data"));
            }
            offset += length as u64;
        }
        Ok(())
    }
}
