//! How much room files take: the blocks that are allocated to them, as du(1) counts.
//!
//! A file with several names counts once in the life of a [`Usage`]. Extents that files share (reflinks) count with each
//! of them, as with du(1): to find them would mean to ask for the map of every file.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

/// Unit of `st_blocks`, in bytes.
const BLOCK: u64 = 512;
/// Deepest directory that is looked into. A workload decides how deep its own are, and each level costs a descriptor.
const DEPTH: usize = 200;

/// A count of blocks.
#[derive(Debug, Default)]
pub struct Usage {
    /// Files with several names that were counted.
    counted: HashSet<(u64, u64)>,
}

impl Usage {
    /// Bytes on the disk of what lies at `path`, without what is in it; 0 if it is gone, or was counted by another name.
    /// Follows no link.
    ///
    /// # Errors
    /// As stat(2).
    pub fn of(&mut self, path: &Path) -> io::Result<u64> {
        Ok(self.stat(CWD, path)?.map_or(0, |(_, bytes)| bytes))
    }

    /// Bytes on the disk of what lies at `path` and below it, on its own file system and without `left_out`.
    ///
    /// # Errors
    /// As stat(2) and getdents(2). What goes meanwhile is no error.
    pub fn below(&mut self, path: &Path, left_out: &[&Path]) -> io::Result<u64> {
        if left_out.contains(&path) {
            return Ok(0);
        }
        let Some((stat, mut bytes)) = self.stat(CWD, path)? else { return Ok(0) };
        let Some(directory) = directory(CWD, path, &stat)? else { return Ok(bytes) };
        if !left_out.iter().any(|left_out| left_out.starts_with(path)) {
            return Ok(bytes + self.inside(&directory, stat.st_dev, DEPTH)?);
        }
        for entry in std::fs::read_dir(path)? {
            bytes += self.below(&entry?.path(), left_out)?;
        }
        Ok(bytes)
    }

    fn inside(&mut self, parent: &OwnedFd, device: u64, depth: usize) -> io::Result<u64> {
        let Some(depth) = depth.checked_sub(1) else { return Ok(0) };
        let mut bytes = 0;
        for entry in Dir::read_from(parent)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let name = Path::new(OsStr::from_bytes(name));
            let Some((stat, own)) = self.stat(parent, name)? else { continue };
            if stat.st_dev != device {
                continue;
            }
            bytes += own;
            if let Some(directory) = directory(parent, name, &stat)? {
                bytes += self.inside(&directory, device, depth)?;
            }
        }
        Ok(bytes)
    }

    /// `None` if there is nothing.
    fn stat(&mut self, at: impl AsFd, name: &Path) -> io::Result<Option<(Stat, u64)>> {
        let stat = match statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(None),
            stat => stat?,
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let again = !is_directory && stat.st_nlink > 1 && !self.counted.insert((stat.st_dev, stat.st_ino));
        let bytes = if again { 0 } else { u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK };
        Ok(Some((stat, bytes)))
    }
}

/// What is to be looked into, if it is a directory and still there.
fn directory(at: impl AsFd, name: &Path, stat: &Stat) -> io::Result<Option<OwnedFd>> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(at, name, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        directory => Ok(Some(directory?)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn names_of_one_file_count_once_and_links_lead_nowhere() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("a/b")).expect("mkdir");
        std::fs::write(at("a/one"), vec![1; 100_000]).expect("write");
        std::fs::hard_link(at("a/one"), at("a/b/two")).expect("link");
        std::os::unix::fs::symlink("/usr", at("a/link")).expect("link");
        let blocks = |name: &str| at(name).symlink_metadata().expect("stat").blocks() * 512;
        let expected = ["a", "a/b", "a/one", "a/link"].map(blocks).iter().sum::<u64>();
        let mut usage = Usage::default();
        assert_eq!(usage.below(&at("a"), &[]).expect("count"), expected);
        assert_eq!(usage.of(&at("a/b/two")).expect("count"), 0, "counted already");
        assert_eq!(usage.of(&at("missing")).expect("count"), 0);
        let without = Usage::default().below(&at("a"), &[&at("a/b")]).expect("count");
        assert_eq!(without, expected - blocks("a/b"));
    }

    #[test]
    fn what_is_too_deep_is_left_out() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let deep = dir.path().join("d/".repeat(DEPTH + 10));
        std::fs::create_dir_all(&deep).expect("mkdir");
        std::fs::write(deep.join("file"), b"x").expect("write");
        Usage::default().below(dir.path(), &[]).expect("no error");
    }
}
