//! Everything below a directory: parents before what is in them, names in the order of their bytes.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_tar::shown;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

use crate::{Error, Result};

/// How deep directories may lie in each other: each one that is being read is a descriptor.
const DEPTH_LIMIT: usize = 900;

/// How directories are opened to be read.
pub const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Something that was found.
#[derive(Debug)]
pub struct Found<'a> {
    /// The directory that it is in.
    pub parent: BorrowedFd<'a>,
    /// Its name there.
    pub name: &'a CString,
    /// Its path from where the walk began.
    pub path: &'a [u8],
    /// What it is; of a link, the link.
    pub stat: Stat,
}

impl Found<'_> {
    /// Which sort of thing.
    pub fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Opens it if it is a directory.
    ///
    /// # Errors
    /// As open(2).
    pub fn open_directory(&self) -> Result<OwnedFd, Errno> {
        openat(self.parent, self.name, DIRECTORY, Mode::empty())
    }
}

struct Level {
    directory: OwnedFd,
    names: std::vec::IntoIter<CString>,
    /// How much of the path is its own.
    length: usize,
}

impl Level {
    fn read(directory: OwnedFd, path: &[u8]) -> Result<Self> {
        let names = names(directory.as_fd()).map_err(|errno| failed("read directory", path, errno))?;
        Ok(Self { directory, names: names.into_iter(), length: path.len() })
    }
}

/// Names in a directory, in the order of their bytes.
pub fn names(directory: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Shows everything below a directory to `visit`, which says of a directory whether to go into it. What goes away
/// meanwhile is left out.
///
/// # Errors
/// What `visit` says; a directory that cannot be read, or one that lies too deep.
pub fn walk(directory: OwnedFd, visit: &mut dyn FnMut(&Found<'_>) -> Result<bool>) -> Result<()> {
    let mut path = Vec::new();
    let mut levels = vec![Level::read(directory, &path)?];
    while let Some(level) = levels.last_mut() {
        path.truncate(level.length);
        let Some(name) = level.names.next() else {
            levels.pop();
            continue;
        };
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        let parent = level.directory.as_fd();
        let stat = match statat(parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            other => other.map_err(|errno| failed("look at", &path, errno))?,
        };
        let found = Found { parent, name: &name, path: &path, stat };
        if !visit(&found)? || found.file_type() != FileType::Directory {
            continue;
        }
        let inner = match found.open_directory() {
            // It was replaced.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            other => other.map_err(|errno| failed("open directory", &path, errno))?,
        };
        if levels.len() >= DEPTH_LIMIT {
            let message =
                format!("directories lie more than {DEPTH_LIMIT} deep in each other: `{}`", shown(&path));
            return Err(Error::invalid(message));
        }
        levels.push(Level::read(inner, &path)?);
    }
    Ok(())
}

/// A failed operation on a path from where the walk began.
pub fn failed(what: &str, path: &[u8], errno: Errno) -> Error {
    Error::io(format!("{what} `{}`", shown(path)), errno)
}
