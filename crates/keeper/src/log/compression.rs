//! Compression of files that do not grow any more, by a child: the workload's output does not wait for it.
//!
//! The child fills `….gz.new`, and knows no names: the keeper moves files on meanwhile, and gives what is compressed the
//! number that its file has by then.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use flate2::GzBuilder;
use holm_spec::log::{compressed, rotated, unfinished};
use holm_spec::signal;
use holm_sys::fail_point;
use holm_sys::process::{Child, CloneOptions};

/// A log has so much that repeats itself that more effort gains little.
const EFFORT: flate2::Compression = flate2::Compression::fast();

/// A file that a child compresses. Dropped unfinished, it ends the child and leaves the file as it was.
#[derive(Debug)]
pub(super) struct Compression {
    child: Child,
    /// The child is watched already.
    known: bool,
    /// Inode number of what is compressed.
    inode: u64,
    /// What the child makes.
    target: PathBuf,
}

impl Compression {
    /// Begins with the last of the files that are full and not compressed; `None` if there is none, or no child.
    pub fn begin(path: &Path, max_files: u32) -> Option<Self> {
        Self::begin_by(path, max_files, compress_alone)
    }

    /// As [`Self::begin`]; `work` is what the child does, with the source, the target and the source's inode number.
    fn begin_by(path: &Path, max_files: u32, work: impl FnOnce(&File, &File, u64) -> i32) -> Option<Self> {
        let plain = (1..max_files).rev().map(|number| rotated(path, number)).find(|plain| plain.exists())?;
        let source = File::open(plain).ok()?;
        let inode = source.metadata().ok()?.ino();
        let target = unfinished(&compressed(path));
        let made = File::options().write(true).create(true).truncate(true).mode(0o600).open(&target).ok()?;
        let child = holm_sys::process::clone(&CloneOptions::default(), || work(&source, &made, inode));
        let child = child.inspect_err(|_| drop(fs::remove_file(&target))).ok()?;
        Some(Self { child, known: false, inode, target })
    }

    /// What to watch, once.
    pub fn news(&mut self) -> Option<BorrowedFd<'_>> {
        (!std::mem::replace(&mut self.known, true)).then(|| self.child.pidfd.as_fd())
    }

    /// The child has ended: puts what it made in the place of what it read. False if it could not make it.
    pub fn finish(self, path: &Path, max_files: u32) -> bool {
        if holm_sys::process::wait(self.child.pidfd.as_fd()) != Ok(0) {
            return false;
        }
        let is_source =
            |plain: &PathBuf| fs::metadata(plain).is_ok_and(|metadata| metadata.ino() == self.inode);
        // What was removed meanwhile need not be compressed.
        let Some(plain) = (1..max_files).map(|number| rotated(path, number)).find(is_source) else {
            return true;
        };
        if fs::rename(&self.target, compressed(&plain)).is_err() {
            return false;
        }
        fail_point::reached("log-compressed");
        fs::remove_file(plain).is_ok()
    }
}

impl Drop for Compression {
    fn drop(&mut self) {
        // Both fail where it was finished.
        let _ = holm_sys::process::signal(self.child.pidfd.as_fd(), signal::KILL);
        let _ = holm_sys::process::wait(self.child.pidfd.as_fd());
        let _ = fs::remove_file(&self.target);
    }
}

/// The child: it lets go of what is the keeper's, first of all of the lock.
fn compress_alone(source: &File, target: &File, inode: u64) -> i32 {
    let mut kept = [source.as_raw_fd(), target.as_raw_fd()];
    kept.sort_unstable();
    if holm_sys::process::close_all_but(&kept).is_err() {
        return 1;
    }
    let _ = rustix::process::nice(19);
    i32::from(compress(source, target, inode).is_err())
}

/// Compresses, and writes to the disk's end: the file goes that this was made of.
fn compress(mut source: &File, target: &File, inode: u64) -> io::Result<()> {
    let header = GzBuilder::new().comment(inode.to_string());
    let mut encoder = header.write(target, EFFORT);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match source.read(&mut buffer)? {
            0 => break,
            length => encoder.write_all(&buffer[..length])?,
        }
    }
    encoder.finish()?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests are threads, and a child that allocates could wait for ever for a lock that another one held: here the
    /// child does nothing. The keeper, which has one thread, is watched compressing by the tests of the command line.
    fn end_at_once(_: &File, _: &File, _: u64) -> i32 {
        0
    }

    #[test]
    fn what_a_child_compressed_finds_its_file_that_moved_meanwhile() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("0.log");
        fs::write(rotated(&path, 1), "one\n".repeat(1000)).expect("write");
        let inode = fs::metadata(rotated(&path, 1)).expect("there").ino();
        let mut compression = Compression::begin_by(&path, 5, end_at_once).expect("begun");
        let source = File::open(rotated(&path, 1)).expect("there");
        compress(&source, &File::create(&compression.target).expect("there"), inode).expect("compressed");
        assert!(compression.news().is_some() && compression.news().is_none());
        fs::rename(rotated(&path, 1), rotated(&path, 2)).expect("moved");
        assert!(compression.finish(&path, 5));
        let mut decoder =
            flate2::read::GzDecoder::new(File::open(compressed(&rotated(&path, 2))).expect("there"));
        let mut text = String::new();
        decoder.read_to_string(&mut text).expect("readable");
        assert_eq!(text, "one\n".repeat(1000));
        let comment = decoder.header().and_then(|header| header.comment()).expect("a comment");
        assert_eq!(comment, inode.to_string().as_bytes());
        assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 1, "nothing else is left");
        assert!(Compression::begin(&path, 5).is_none());
    }
}
