//! A walk through an image and a directory side by side.
//!
//! Names come from the image one at a time, and are neither `.`, `..` nor paths; no link is followed. One descriptor is open
//! for the directory at hand, however deep it lies.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_tar::shown;
use rustix::fs::{Mode, OFlags, openat};

use crate::erofs::{FileType, Image, Inode, Position};
use crate::error::{Error, Kind, Result};

/// How directories are opened.
pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A name of the image.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    /// The directory that goes with the one that has the name.
    pub(super) parent: BorrowedFd<'a>,
    pub(super) name: &'a CStr,
    /// From the root of the image, for people.
    pub(super) path: &'a [u8],
    pub(super) inode: &'a Inode,
}

impl Entry<'_> {
    /// What could not be done to it.
    pub(super) fn failed(&self, what: &str, errno: rustix::io::Errno) -> Error {
        Error::io(format!("{what} `/{}`", shown(self.path)), errno)
    }
}

/// Who goes along.
pub(super) trait Visitor {
    /// A name. If it is a directory's, one of this name must be in `parent` afterwards.
    fn entry(&mut self, entry: Entry<'_>) -> Result<()>;
    /// A directory, behind all of its names.
    fn leave(&mut self, directory: BorrowedFd<'_>, inode: &Inode, path: &[u8], names: usize) -> Result<()>;
}

struct Level {
    inode: Inode,
    position: Position,
    names: usize,
    /// How long the path is here.
    path: usize,
}

impl Level {
    fn of(inode: Inode, path: usize) -> Self {
        Self { inode, position: Position::default(), names: 0, path }
    }

    fn next(&mut self, image: &Image) -> Result<Option<(CString, Inode)>> {
        let mut found = None;
        image
            .visit_next(&self.inode, &mut self.position, &mut |listed| {
                found = Some((CString::new(listed.name).unwrap_or_default(), listed.inode));
                Ok(())
            })
            .map_err(damaged)?;
        let Some((name, number)) = found else { return Ok(None) };
        self.names += 1;
        Ok(Some((name, image.inode(number).map_err(damaged)?)))
    }
}

/// What the reader of images says.
pub(super) fn damaged(error: holm_tar::Error) -> Error {
    Error::because(Kind::Corrupt, "read the image of the layer", error)
}

/// Walks through all names of an image, and below `root` with it.
pub(super) fn walk(image: &Image, root: OwnedFd, visitor: &mut impl Visitor) -> Result<()> {
    let top = image.root().map_err(damaged)?;
    // In an image that is damaged a directory may have itself inside.
    let mut entered = HashSet::from([top.number]);
    let (mut current, mut path, mut levels) = (root, Vec::new(), vec![Level::of(top, 0)]);
    while let Some(level) = levels.last_mut() {
        path.truncate(level.path);
        let Some((name, inode)) = level.next(image)? else {
            visitor.leave(current.as_fd(), &level.inode, &path, level.names)?;
            levels.pop();
            if !levels.is_empty() {
                current = open(&current, c"..", &path)?;
            }
            continue;
        };
        if level.path > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        visitor.entry(Entry { parent: current.as_fd(), name: &name, path: &path, inode: &inode })?;
        if inode.file_type == FileType::Directory {
            if !entered.insert(inode.number) {
                let text = format!("directory `/{}` of the image has several names", shown(&path));
                return Err(Error::new(Kind::Corrupt, text));
            }
            current = open(&current, &name, &path)?;
            levels.push(Level::of(inode, path.len()));
        }
    }
    Ok(())
}

fn open(parent: &OwnedFd, name: &CStr, path: &[u8]) -> Result<OwnedFd> {
    openat(parent, name, DIRECTORY, Mode::empty())
        .map_err(|errno| Error::io(format!("open `/{}`", shown(path)), errno))
}
