//! The workload's log: one record a line in the format of Kubernetes' CRI.
//!
//! ```text
//! 2026-01-02T03:04:05.000000006Z stdout F a whole line
//! 2026-01-02T03:04:05.000000007Z stderr P the beginning of a line, continued by the next record
//! ```
//!
//! What is read in one go is written in one go; a line that has no end yet is written as `P` at once,
//! so that a follower sees a prompt. A log that cannot be written does not stop the workload.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use holm_spec::Timestamp;
use holm_spec::keeper::Stream;

/// An open log file and its write buffer.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    records: Vec<u8>,
}

impl Log {
    /// Opens the log for appending, behind the last whole record: a keeper killed in the middle of a write
    /// leaves a part of one.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::options().read(true).append(true).create(true).mode(0o600).open(path)?;
        cut_torn_record(&file)?;
        Ok(Self { file, records: Vec::new() })
    }

    /// Appends what a workload said at `time`.
    pub fn append(&mut self, time: Timestamp, stream: Stream, bytes: &[u8]) {
        self.records.clear();
        write_records(&mut self.records, time, stream, bytes);
        // A full disk must not stop the workload; `holm logs` shows what was kept. What comes when there is room
        // again must not follow a part of a record.
        if self.file.write_all(&self.records).is_err() {
            let _ = cut_torn_record(&self.file);
        }
    }
}

fn cut_torn_record(file: &File) -> std::io::Result<()> {
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

/// Longer than any record: one read of output with its time and stream.
const TORN_LIMIT: u64 = 64 * 1024;

fn write_records(records: &mut Vec<u8>, time: Timestamp, stream: Stream, bytes: &[u8]) {
    let time = time.fixed_width();
    let name: &[u8] = if stream == Stream::Stderr { b" stderr " } else { b" stdout " };
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let (line, tag) = match line.strip_suffix(b"\n") {
            Some(line) => (line, b"F "),
            None => (line, b"P "),
        };
        for part in [&time, name, tag, line, b"\n"] {
            records.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_record_is_cut() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("0.log");
        for (before, after) in [("", ""), ("whole\n", "whole\n"), ("whole\ntor", "whole\n"), ("tor", "")] {
            std::fs::write(&path, before).expect("write");
            Log::open(&path).expect("open");
            assert_eq!(std::fs::read_to_string(&path).expect("read"), after);
        }
    }

    #[test]
    fn records_keep_every_byte() {
        let mut records = Vec::new();
        write_records(&mut records, Timestamp::from_nanos(1), Stream::Stdout, b"one\n\ntw");
        write_records(&mut records, Timestamp::from_nanos(2), Stream::Stderr, b"\xff\n");
        let expected: &[u8] = b"1970-01-01T00:00:00.000000001Z stdout F one\n\
            1970-01-01T00:00:00.000000001Z stdout F \n\
            1970-01-01T00:00:00.000000001Z stdout P tw\n\
            1970-01-01T00:00:00.000000002Z stderr F \xff\n";
        assert_eq!(records, expected);
    }
}
