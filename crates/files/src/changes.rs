//! What the upper directory of an overlay changes: a list for people, or a layer for an image.
//!
//! In an upper directory a character device 0/0 hides what its name means below, and a directory with the attribute
//! `trusted.overlay.opaque` everything that is in the directory of that name (Linux, `Documentation/filesystems/
//! overlayfs.rst`). In a layer they are empty files `.wh.NAME` and `.wh..wh..opq` (OCI image specification, "Whiteouts").

use std::collections::BTreeSet;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};

use holm_spec::files::{Change, ChangeKind, LayerForm};
use holm_sys::in_root;
use holm_tar::{Entry, EntryKind, shown};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fgetxattr, fstat, openat};
use rustix::io::Errno;

use crate::pack::{Packer, entry_of};
use crate::walk::{DIRECTORY, Found, failed, names, walk};
use crate::{Error, Result};

/// How names of a layer begin that hide something.
const WHITEOUT: &[u8] = b".wh.";
/// What hides all of a directory.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What is not as the image has it, in the order of the paths.
pub fn changes(upper: BorrowedFd<'_>, lower: BorrowedFd<'_>, ignored: &[String]) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    // Directories in which only a mount point may be new, which changes nothing but their time.
    let mut touched = BTreeSet::new();
    walk(open(upper)?, &mut |found| {
        if is_ignored(ignored, found.path) {
            touched.insert(parent_of(found.path).to_vec());
            return Ok(false);
        }
        if is_whiteout(&found.stat) {
            changes.push((found.path.to_vec(), ChangeKind::Deleted));
            return Ok(false);
        }
        let before = below(lower, found.path)?;
        let opaque = is_opaque(found)?;
        if opaque {
            changes.extend(hidden(lower, found)?.into_iter().map(|path| (path, ChangeKind::Deleted)));
        }
        match before {
            None => changes.push((found.path.to_vec(), ChangeKind::Added)),
            // Copied up for what is in it.
            Some(before) if !opaque && is_same_directory(&before, &found.stat) => {}
            Some(_) => changes.push((found.path.to_vec(), ChangeKind::Changed)),
        }
        Ok(true)
    })?;
    let changed_in: BTreeSet<_> = changes.iter().map(|(path, _)| parent_of(path).to_vec()).collect();
    changes.retain(|(path, kind)| {
        *kind != ChangeKind::Changed || !touched.contains(path) || changed_in.contains(path)
    });
    changes.sort_unstable();
    let change = |(path, kind): (Vec<u8>, ChangeKind)| Change {
        kind,
        path: format!("/{}", String::from_utf8_lossy(&path)),
    };
    Ok(changes.into_iter().map(change).collect())
}

/// Packs what is not as the image has it as a layer.
pub fn layer(
    upper: BorrowedFd<'_>,
    ignored: &[String],
    form: &LayerForm,
    output: &mut dyn Write,
) -> Result<()> {
    let mut packer = Packer::new(output).no_later_than(form.latest);
    walk(open(upper)?, &mut |found| {
        if is_ignored(ignored, found.path) {
            return Ok(false);
        }
        if found.name.to_bytes().starts_with(WHITEOUT) {
            // In a layer it would hide something.
            let message =
                format!("make a layer with `{}`: a name cannot begin with `.wh.`", shown(found.path));
            return Err(Error::invalid(message));
        }
        if is_whiteout(&found.stat) {
            packer.write(&whiteout(found, &[WHITEOUT, found.name.to_bytes()].concat()))?;
            return Ok(false);
        }
        if is_stub(found, ignored, &form.stubs)? {
            return Ok(false);
        }
        packer.found(found.path.to_vec(), found)?;
        if is_opaque(found)? {
            packer.write(&whiteout(found, &[found.name.to_bytes(), b"/", OPAQUE].concat()))?;
        }
        Ok(true)
    })?;
    packer.finish()
}

/// Whether a directory is only there for what was mounted below it.
fn is_stub(found: &Found<'_>, ignored: &[String], stubs: &[String]) -> Result<bool> {
    if found.file_type() != FileType::Directory || !is_ignored(stubs, found.path) {
        return Ok(false);
    }
    let failed = |errno| failed("read directory", found.path, errno);
    let directory = found.open_directory().map_err(failed)?;
    match is_hollow(directory.as_fd(), found.path, ignored, stubs) {
        // Something else is in a directory's place.
        Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => Ok(false),
        hollow => hollow.map_err(failed),
    }
}

fn is_hollow(
    directory: BorrowedFd<'_>,
    path: &[u8],
    ignored: &[String],
    stubs: &[String],
) -> std::result::Result<bool, Errno> {
    for name in names(directory)? {
        let path = [path, b"/", name.to_bytes()].concat();
        if is_ignored(ignored, &path) {
            continue;
        }
        if !is_ignored(stubs, &path) {
            return Ok(false);
        }
        let inner = openat(directory, &name, DIRECTORY, Mode::empty())?;
        if !is_hollow(inner.as_fd(), &path, ignored, stubs)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// An empty file in the place of what was found.
fn whiteout(found: &Found<'_>, name: &[u8]) -> Entry {
    let directory = &found.path[..found.path.len() - found.name.to_bytes().len()];
    let mut entry = entry_of([directory, name].concat(), EntryKind::File, &found.stat);
    entry.mode = 0;
    entry
}

fn open(directory: BorrowedFd<'_>) -> Result<std::os::fd::OwnedFd> {
    in_root::open(directory, ".", DIRECTORY, ResolveFlags::empty())
        .map_err(|errno| Error::io("open what the workload wrote", errno))
}

fn is_ignored(ignored: &[String], path: &[u8]) -> bool {
    ignored.iter().any(|ignored| ignored.as_bytes().strip_prefix(b"/") == Some(path))
}

fn parent_of(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(b"", |at| &path[..at])
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn is_opaque(found: &Found<'_>) -> Result<bool> {
    if found.file_type() != FileType::Directory {
        return Ok(false);
    }
    let mut value = [0; 1];
    let opaque = found
        .open_directory()
        .and_then(|directory| fgetxattr(&directory, c"trusted.overlay.opaque", &mut value));
    match opaque {
        Ok(length) => Ok(length == 1 && value == *b"y"),
        // Longer than the one letter.
        Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
            Ok(false)
        }
        Err(errno) => Err(failed("read the attributes of", found.path, errno)),
    }
}

/// What the image has at a path; a link on the way is something else than the directory that hides it.
fn below(lower: BorrowedFd<'_>, path: &[u8]) -> Result<Option<Stat>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW;
    match in_root::open(lower, path, flags, ResolveFlags::NO_SYMLINKS).and_then(fstat) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(failed("look in the image at", path, errno)),
    }
}

fn is_same_directory(before: &Stat, after: &Stat) -> bool {
    let key = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_mtime, stat.st_mtime_nsec);
    FileType::from_raw_mode(after.st_mode) == FileType::Directory && key(before) == key(after)
}

/// What the image has in a directory and an opaque one of the same name has not.
fn hidden(lower: BorrowedFd<'_>, found: &Found<'_>) -> Result<Vec<Vec<u8>>> {
    let reading = |errno| failed("read directory", found.path, errno);
    let before = match in_root::open(lower, found.path, DIRECTORY, ResolveFlags::NO_SYMLINKS) {
        Ok(directory) => names(directory.as_fd()).map_err(reading)?,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Vec::new()),
        Err(errno) => return Err(reading(errno)),
    };
    let after = found.open_directory().and_then(|directory| names(directory.as_fd())).map_err(reading)?;
    let after: BTreeSet<_> = after.iter().collect();
    let gone = before.iter().filter(|name| !after.contains(name));
    Ok(gone.map(|name| [found.path, b"/", name.to_bytes()].concat()).collect())
}
