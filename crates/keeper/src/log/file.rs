//! A log file that grows, and is put aside when it is full.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use holm_spec::log::{Files, unfinished};

use super::compression::Compression;
use super::rotation;

/// Longer than any record: one read of output as JSON, with all that it carries.
const TORN_LIMIT: u64 = 256 * 1024;

/// An open log file.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    files: Files,
    file: File,
    size: u64,
    lost: Option<Lost>,
    compression: Option<Compression>,
}

/// Lines that could not be written, and why the last of them could not.
#[derive(Debug)]
struct Lost {
    lines: usize,
    reason: io::Error,
}

impl LogFile {
    /// Opens the file for appending, behind its last whole record, and brings in order what a killed keeper left.
    ///
    /// # Errors
    /// It cannot be made, opened or read.
    pub fn open(path: &Path, files: Files) -> io::Result<Self> {
        rotation::repair(path, files.max_files);
        let file = File::options().read(true).append(true).create(true).mode(0o600).open(path)?;
        cut_torn_record(&file)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), files, file, size, lost: None, compression: None })
    }

    /// Appends whole records. Lines of those that are lost are counted by `count`.
    pub fn append(&mut self, records: &[u8], count: impl FnOnce(&[u8]) -> usize) {
        if let Err((kept, reason)) = self.write(records) {
            // A full disk must not stop the workload.
            let lines = self.lost.take().map_or(0, |lost| lost.lines) + count(&records[kept..]);
            self.lost = Some(Lost { lines, reason });
        }
    }

    /// Puts the file aside if it is full. For when all is written that was read: then a keeper that is killed on the way
    /// has lost nothing.
    pub fn put_aside_if_full(&mut self) {
        if self.files.max_size.is_some_and(|limit| self.size >= limit) {
            // One that cannot be put aside grows on.
            let _ = self.rotate();
        }
    }

    /// What there is to say of records that were lost.
    pub fn loss(&self) -> Option<String> {
        let Lost { lines, reason } = self.lost.as_ref()?;
        let reason = reason.to_string();
        let reason = reason.split(" (os error").next().unwrap_or_default();
        Some(format!("holm: {lines} lines lost: {reason}"))
    }

    /// Appends the record that says so; it is said once.
    pub fn append_loss(&mut self, record: &[u8]) {
        if self.write(record).is_ok() {
            self.lost = None;
        }
    }

    /// What to watch for the end of a compression that was begun since this was asked last.
    pub fn new_compression(&mut self) -> Option<BorrowedFd<'_>> {
        self.compression.as_mut()?.news()
    }

    /// A compression has ended: what is compressed takes the place of what was not.
    pub fn finish_compression(&mut self) {
        if let Some(compression) = self.compression.take()
            && compression.finish(&self.path, self.files.max_files)
        {
            self.compress();
        }
    }

    /// Writes whole records; if that fails, what was written of them, without a part of one, and why.
    fn write(&mut self, records: &[u8]) -> Result<(), (usize, io::Error)> {
        let (written, outcome) = write_all(&self.file, records);
        self.size += written as u64;
        outcome.map_err(|reason| {
            let kept =
                records[..written].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
            // What comes when there is room again must not follow a part of a record.
            let whole = self.size - (written - kept) as u64;
            if self.file.set_len(whole).is_ok() {
                self.size = whole;
            }
            (kept, reason)
        })
    }

    fn rotate(&mut self) -> io::Result<()> {
        let next = unfinished(&self.path);
        // Made first: if there is no room for it, nothing has changed.
        self.file = File::options().read(true).append(true).create(true).mode(0o600).open(&next).and_then(
            |file| {
                rotation::shift(&self.path, self.files.max_files)?;
                std::fs::rename(&next, &self.path)?;
                Ok(file)
            },
        )?;
        self.size = 0;
        if self.files.compress && self.compression.is_none() {
            self.compress();
        }
        Ok(())
    }

    fn compress(&mut self) {
        self.compression = Compression::begin(&self.path, self.files.max_files);
    }
}

/// Writes what can be written: how much that was, and what kept the rest from it.
fn write_all(mut file: &File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

fn cut_torn_record(file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(TORN_LIMIT);
    let mut end = vec![0; usize::try_from(length - start).unwrap_or(0)];
    file.read_exact_at(&mut end, start)?;
    if end.is_empty() || end.ends_with(b"\n") {
        return Ok(());
    }
    let whole = end.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline as u64 + 1);
    file.set_len(start + whole)
}

#[cfg(test)]
mod tests {
    use std::fs::{exists, read_to_string, write};

    use holm_spec::log::rotated;

    use super::*;

    #[test]
    fn a_torn_record_is_cut() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("0.log");
        for (before, after) in [("", ""), ("whole\n", "whole\n"), ("whole\ntor", "whole\n"), ("tor", "")] {
            write(&path, before).expect("write");
            LogFile::open(&path, Files::JSON).expect("open");
            assert_eq!(read_to_string(&path).expect("read"), after);
        }
    }

    #[test]
    fn a_full_file_is_put_aside() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("0.log");
        let files = Files { max_size: Some(4), max_files: 3, compress: false };
        let mut file = LogFile::open(&path, files).expect("open");
        for record in ["1\n", "2\n", "3\n", "4\n", "5\n", "6\n", "7\n", "8\n", "9\n"] {
            file.append(record.as_bytes(), <[u8]>::len);
            file.put_aside_if_full();
        }
        assert_eq!(read_to_string(&path).expect("there"), "9\n");
        assert_eq!(read_to_string(rotated(&path, 1)).expect("there"), "7\n8\n");
        assert_eq!(read_to_string(rotated(&path, 2)).expect("there"), "5\n6\n");
        assert!(!exists(rotated(&path, 3)).expect("known"));
        let one = Files { max_files: 1, ..files };
        let mut file = LogFile::open(&path, one).expect("open");
        file.append(b"10\n", <[u8]>::len);
        file.put_aside_if_full();
        assert_eq!(read_to_string(&path).expect("there"), "");
    }

    #[test]
    fn what_is_lost_is_counted() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("0.log");
        let mut file = LogFile::open(&path, Files::JSON).expect("open");
        // As if the disk were full.
        let whole =
            std::mem::replace(&mut file.file, File::options().write(true).open("/dev/full").expect("there"));
        file.append(b"1\n2\n", |lost| lost.len() / 2);
        file.append(b"3\n", |lost| lost.len() / 2);
        file.append_loss(b"not now\n");
        assert_eq!(file.loss().as_deref(), Some("holm: 3 lines lost: No space left on device"));
        file.file = whole;
        file.append_loss(b"said\n");
        file.append(b"4\n", <[u8]>::len);
        assert_eq!(file.loss(), None);
        assert_eq!(read_to_string(&path).expect("there"), "said\n4\n");
    }
}
