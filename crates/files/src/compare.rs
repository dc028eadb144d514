//! What one root has that another has not.
//!
//! A path is changed if its type, permissions, owner, time or what it leads to differ, or the bytes in it. Extended
//! attributes are not looked at. What lies below a directory that only one of them has is told for the new one alone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_spec::files::{Change, ChangeKind};
use holm_sys::in_root;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, openat, readlinkat};
use rustix::io::Errno;

use crate::walk::{DIRECTORY, Found, failed, walk};
use crate::{Error, Result};

const BUFFER: usize = 128 << 10;

/// What `after` has, lacks, or has otherwise than `before`, in the order of the paths.
///
/// # Errors
/// What cannot be read.
pub fn compare(before: BorrowedFd<'_>, after: BorrowedFd<'_>) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    walk(open(after)?, &mut |found| {
        match in_other(before, found.path)? {
            None => changes.push((found.path.to_vec(), ChangeKind::Added)),
            Some(stat) if is_same(before, &stat, found)? => {}
            Some(_) => changes.push((found.path.to_vec(), ChangeKind::Changed)),
        }
        Ok(true)
    })?;
    walk(open(before)?, &mut |found| {
        let is_gone = in_other(after, found.path)?.is_none();
        if is_gone {
            changes.push((found.path.to_vec(), ChangeKind::Deleted));
        }
        Ok(!is_gone)
    })?;
    changes.sort_unstable();
    let change = |(path, kind): (Vec<u8>, ChangeKind)| Change {
        kind,
        path: format!("/{}", String::from_utf8_lossy(&path)),
    };
    Ok(changes.into_iter().map(change).collect())
}

fn open(directory: BorrowedFd<'_>) -> Result<OwnedFd> {
    in_root::open(directory, ".", DIRECTORY, ResolveFlags::empty())
        .map_err(|errno| Error::io("open the root of an image", errno))
}

/// What lies at a path, without following a link.
fn in_other(root: BorrowedFd<'_>, path: &[u8]) -> Result<Option<Stat>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW;
    match in_root::open(root, path, flags, ResolveFlags::NO_SYMLINKS).and_then(rustix::fs::fstat) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(failed("look at", path, errno)),
    }
}

fn is_same(before: BorrowedFd<'_>, stat: &Stat, found: &Found<'_>) -> Result<bool> {
    let key = |stat: &Stat| {
        let owner = (stat.st_mode, stat.st_uid, stat.st_gid);
        (owner, stat.st_mtime, stat.st_mtime_nsec, stat.st_rdev)
    };
    if key(stat) != key(&found.stat) {
        return Ok(false);
    }
    match found.file_type() {
        FileType::RegularFile => Ok(stat.st_size == found.stat.st_size && has_same_bytes(before, found)?),
        FileType::Symlink => {
            let link = |at: BorrowedFd<'_>, path: &[u8]| {
                readlinkat(at, path, Vec::new()).map_err(|errno| failed("read link", found.path, errno))
            };
            let parent = parent_in(before, found.path)?;
            Ok(link(parent.as_fd(), found.name.to_bytes())? == link(found.parent, found.name.to_bytes())?)
        }
        _ => Ok(true),
    }
}

/// The directory in `root` that a path lies in.
fn parent_in(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    let parent = path.iter().rposition(|byte| *byte == b'/').map_or(&b"."[..], |at| &path[..at]);
    in_root::open(root, parent, DIRECTORY, ResolveFlags::NO_SYMLINKS)
        .map_err(|errno| failed("open directory", parent, errno))
}

fn has_same_bytes(before: BorrowedFd<'_>, found: &Found<'_>) -> Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let reading = |errno| failed("read", found.path, errno);
    let one = in_root::open(before, found.path, flags, ResolveFlags::NO_SYMLINKS).map_err(reading)?;
    let other = openat(found.parent, found.name, flags, Mode::empty()).map_err(reading)?;
    let (mut left, mut right) = (vec![0; BUFFER], vec![0; BUFFER]);
    loop {
        let one = fill(&one, &mut left).map_err(reading)?;
        let other = fill(&other, &mut right).map_err(reading)?;
        if left[..one] != right[..other] {
            return Ok(false);
        }
        if one == 0 {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut length = 0;
    while length < buffer.len() {
        match rustix::io::read(file, &mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use std::time::SystemTime;

    use super::*;

    /// Sets the time of everything, so that only what a test is about differs.
    fn level(path: &Path) {
        for entry in fs::read_dir(path).expect("list").flatten() {
            if entry.file_type().expect("a type").is_dir() {
                level(&entry.path());
            }
            if !entry.file_type().expect("a type").is_symlink() {
                let file = fs::File::open(entry.path()).expect("open");
                file.set_modified(SystemTime::UNIX_EPOCH).expect("set");
            }
        }
    }

    #[test]
    fn every_sort_of_difference() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for root in ["a", "b"] {
            let root = dir.path().join(root);
            fs::create_dir_all(root.join("same/below")).expect("mkdir");
            for name in ["same/file", "bytes", "mode"] {
                fs::write(root.join(name), b"1").expect("write");
            }
        }
        let at = |path: &str| dir.path().join(path);
        fs::write(at("b/bytes"), b"2").expect("write");
        fs::set_permissions(at("b/mode"), fs::Permissions::from_mode(0o600)).expect("chmod");
        fs::set_permissions(at("a/mode"), fs::Permissions::from_mode(0o644)).expect("chmod");
        fs::create_dir_all(at("a/old/below")).expect("mkdir");
        fs::create_dir_all(at("b/new/below")).expect("mkdir");
        fs::write(at("a/turned"), b"").expect("write");
        fs::create_dir(at("b/turned")).expect("mkdir");
        [at("a"), at("b")].iter().for_each(|root| level(root));
        symlink("somewhere", at("b/link")).expect("link");
        let [before, after] = ["a", "b"].map(|root| fs::File::open(at(root)).expect("open"));
        let changes = compare(before.as_fd(), after.as_fd()).expect("compare");
        let text: Vec<_> =
            changes.iter().map(|change| format!("{} {}", change.kind.letter(), change.path)).collect();
        let expected = ["C /bytes", "A /link", "C /mode", "A /new", "A /new/below", "D /old", "C /turned"];
        assert_eq!(text, expected);
    }
}
