//! Creating what is absent of a path inside the root: directories, and a file or directory at its end.
//!
//! Component by component below descriptors that were resolved with `RESOLVE_IN_ROOT`, so nothing is created
//! outside whatever links the image holds or somebody exchanges meanwhile (CVE-2024-45310). A link that leads
//! nowhere is followed as the kernel would follow it, inside the root: images carry an `/etc/resolv.conf` whose
//! target another package makes at boot.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use holm_sys::Errno;
use holm_sys::rustix::fs::{Mode, OFlags, mkdirat, openat, readlinkat_raw};

use super::mounts::open_inside;
use crate::rootfs::Target;

/// Links that lead nowhere and may be followed for one path.
const LINKS: u32 = 8;
const PATH_MAX: usize = 4096;

/// Creates what is absent of a target; at its end a file or a directory.
pub(super) fn create(root: BorrowedFd<'_>, target: &Target, is_file: bool) -> Result<(), Errno> {
    let wanted = Wanted { is_file, no_symlinks: target.no_symlinks, links: LINKS };
    create_path(root, target.path.to_bytes(), wanted)
}

/// What is wanted at the end of a path, and how many dangling links may still be followed to it.
#[derive(Clone, Copy)]
struct Wanted {
    is_file: bool,
    no_symlinks: bool,
    links: u32,
}

fn create_path(root: BorrowedFd<'_>, path: &[u8], wanted: Wanted) -> Result<(), Errno> {
    let mut parent = open_inside(root, c"/", false)?;
    let mut prefix = Buffer::new();
    let mut start = 0;
    while start < path.len() {
        let end = path[start..].iter().position(|byte| *byte == b'/').map_or(path.len(), |at| start + at);
        let name = &path[start..end];
        if !name.is_empty() && name != b"." {
            let here = prefix.set(&[&path[..end]])?;
            parent = match open_inside(root, here, wanted.no_symlinks) {
                Err(Errno::NOENT) => {
                    let wanted = Wanted { is_file: wanted.is_file && end == path.len(), ..wanted };
                    let place = Place { root, directory: &path[..start], parent: parent.as_fd(), name };
                    place.create(wanted)?;
                    open_inside(root, here, wanted.no_symlinks)?
                }
                other => other?,
            };
        }
        start = end + 1;
    }
    Ok(())
}

/// Where one component is missing.
struct Place<'a> {
    root: BorrowedFd<'a>,
    /// The path before the component.
    directory: &'a [u8],
    parent: BorrowedFd<'a>,
    name: &'a [u8],
}

impl Place<'_> {
    fn create(&self, wanted: Wanted) -> Result<(), Errno> {
        let mut name = Buffer::new();
        let name = name.set(&[self.name])?;
        match create_one(self.parent, name, wanted.is_file) {
            Err(Errno::EXIST) => self.follow(name, wanted),
            other => other,
        }
    }

    /// Something is there that does not resolve: a link. Creates what it leads to.
    fn follow(&self, name: &CStr, wanted: Wanted) -> Result<(), Errno> {
        let mut space = [MaybeUninit::<u8>::uninit(); PATH_MAX];
        let link: &[u8] = match readlinkat_raw(self.parent, name, &mut space) {
            Ok((link, _)) => link,
            // Somebody made it just now.
            Err(Errno::INVAL) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let links = wanted.links.checked_sub(1).filter(|_| !wanted.no_symlinks).ok_or(Errno::LOOP)?;
        let directory = if link.starts_with(b"/") { &[] } else { self.directory };
        let mut path = Buffer::new();
        let path = path.set(&[directory, link])?;
        create_path(self.root, path.to_bytes(), Wanted { links, ..wanted })
    }
}

fn create_one(parent: BorrowedFd<'_>, name: &CStr, is_file: bool) -> Result<(), Errno> {
    let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
    if !is_file {
        return mkdirat(parent, name, mode);
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, mode & !(Mode::XUSR | Mode::XGRP | Mode::XOTH)).map(drop)
}

/// A path with its terminator on the stack: nothing may be allocated here.
struct Buffer([u8; PATH_MAX]);

impl Buffer {
    const fn new() -> Self {
        Self([0; PATH_MAX])
    }

    /// Holds the parts, one after the other.
    fn set(&mut self, parts: &[&[u8]]) -> Result<&CStr, Errno> {
        let mut length = 0;
        for part in parts {
            let space = self.0.get_mut(length..length + part.len()).ok_or(Errno::NAMETOOLONG)?;
            space.copy_from_slice(part);
            length += part.len();
        }
        *self.0.get_mut(length).ok_or(Errno::NAMETOOLONG)? = 0;
        CStr::from_bytes_with_nul(self.0.get(..=length).ok_or(Errno::NAMETOOLONG)?).map_err(|_| Errno::INVAL)
    }
}
