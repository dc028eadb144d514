//! Output of workloads, kept in the log format of Kubernetes' CRI: `time stream F|P bytes\n`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use holm_spec::keeper::{Stream, Streams};
use holm_spec::{Id, Timestamp};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;

use crate::session::{Event, Session};
use crate::{Engine, Error, Kind, Result};

/// Bytes read in one go.
const CHUNK: usize = 64 * 1024;

/// Which records to read.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogOptions {
    /// Go on with new records until the workload ends.
    pub follow: bool,
    /// Begin with this many last lines; all if absent.
    pub tail: Option<u64>,
    /// Only records at or after this time.
    pub since: Option<Timestamp>,
    /// Only records at or before this time.
    pub until: Option<Timestamp>,
}

/// One piece of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// When it was read.
    pub time: Timestamp,
    /// Stdout or stderr.
    pub stream: Stream,
    /// The record ends its line: `bytes` then ends with `\n`.
    pub full: bool,
    /// The output, with its newline if `full`.
    pub bytes: Vec<u8>,
}

/// Reads records one after another.
#[derive(Debug)]
pub struct LogReader {
    /// Absent where the workload never said anything.
    file: Option<File>,
    options: LogOptions,
    buffer: Vec<u8>,
    /// Where in the buffer the next record begins.
    next: usize,
    follower: Option<Follower>,
}

/// Wakes a reader when the log grows or the workload ends.
#[derive(Debug)]
struct Follower {
    watch: std::os::fd::OwnedFd,
    session: Session,
    ended: bool,
}

impl LogReader {
    /// The next record; `None` at the end. With `follow` it waits. A line that is no record is left out: a disk that
    /// was full, or a host that lost its power, must not hide what came after.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next_record(&mut self) -> Result<Option<LogRecord>> {
        loop {
            let Some(line) = self.next_line()? else { return Ok(None) };
            let Some(record) = parse_record(&line) else {
                tracing::warn!("the log holds a line that is no record");
                continue;
            };
            if self.options.until.is_some_and(|until| record.time > until) {
                return Ok(None);
            }
            if self.options.since.is_none_or(|since| record.time >= since) {
                return Ok(Some(record));
            }
        }
    }

    /// The next line without its end; a line without an end is being written.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            let rest = &self.buffer[self.next..];
            if let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
                let line = rest[..length].to_vec();
                self.next += length + 1;
                return Ok(Some(line));
            }
            if !self.fill()? && !self.wait()? {
                return Ok(None);
            }
        }
    }

    /// Reads more; false at the end of the file.
    fn fill(&mut self) -> Result<bool> {
        let Some(file) = &mut self.file else { return Ok(false) };
        self.buffer.drain(..self.next);
        self.next = 0;
        let length = self.buffer.len();
        self.buffer.resize(length + CHUNK, 0);
        let read = file.read(&mut self.buffer[length..]).map_err(|error| Error::io("read the log", error))?;
        self.buffer.truncate(length + read);
        Ok(read > 0)
    }

    /// Waits for more; false if there will be none.
    fn wait(&mut self) -> Result<bool> {
        let Some(follower) = &mut self.follower else { return Ok(false) };
        if follower.ended {
            return Ok(false);
        }
        let mut events =
            [PollFd::new(&follower.watch, PollFlags::IN), PollFd::new(&follower.session, PollFlags::IN)];
        match poll(&mut events, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::io("wait for the log", errno)),
        }
        let (grown, spoke) = (!events[0].revents().is_empty(), !events[1].revents().is_empty());
        if grown {
            let mut space = [std::mem::MaybeUninit::uninit(); 512];
            let mut reader = inotify::Reader::new(&follower.watch, &mut space);
            while reader.next().is_ok() {}
        }
        if spoke && matches!(follower.session.receive()?, Event::Exited { .. } | Event::Closed) {
            // What was said last is in the file by now: it is read once more before the end.
            follower.ended = true;
        }
        Ok(true)
    }
}

impl Engine {
    /// Opens a workload's output.
    ///
    /// # Errors
    /// [`Kind::NoSuchWorkload`].
    pub fn logs(&self, id: &Id, options: LogOptions) -> Result<LogReader> {
        self.config(id)?;
        let path = self.layout.workload(id).log();
        let follower = if options.follow { self.follower(id, &path)? } else { None };
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            other => Some(other.map_err(|error| Error::io(format!("open log `{}`", path.display()), error))?),
        };
        if let (Some(file), Some(lines)) = (&mut file, options.tail) {
            seek_to_tail(file, lines).map_err(|error| Error::io("read the log", error))?;
        }
        Ok(LogReader { file, options, buffer: Vec::new(), next: 0, follower })
    }

    /// Watches first, so that nothing is missed between the last read and the wait.
    fn follower(&self, id: &Id, path: &Path) -> Result<Option<Follower>> {
        let session = match self.attach(id, Streams::NONE) {
            Err(error) if error.kind() == Kind::NotRunning => return Ok(None),
            other => other?,
        };
        let failed = |errno| Error::io(format!("watch log `{}`", path.display()), errno);
        let watch =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(failed)?;
        inotify::add_watch(&watch, path, inotify::WatchFlags::MODIFY).map_err(failed)?;
        Ok(Some(Follower { watch, session, ended: false }))
    }
}

fn parse_record(line: &[u8]) -> Option<LogRecord> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let stream = match parts.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let full = match parts.next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    let mut bytes = parts.next()?.to_vec();
    if full {
        bytes.push(b'\n');
    }
    Some(LogRecord { time, stream, full, bytes })
}

/// Moves to where the last `lines` lines of output begin, reading backwards. A line may be several
/// records, of which only the last is full.
fn seek_to_tail(file: &mut File, lines: u64) -> std::io::Result<()> {
    let end = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(());
    }
    let mut wanted = lines;
    let mut position = end;
    // The text from `position` to the beginning of the records that were counted.
    let mut text: Vec<u8> = Vec::new();
    let mut start_of_tail = 0;
    'reading: while position > 0 {
        let length = position.min(CHUNK as u64);
        position -= length;
        file.seek(SeekFrom::Start(position))?;
        let mut chunk = vec![0; usize::try_from(length).expect("a chunk fits")];
        file.read_exact(&mut chunk)?;
        chunk.extend_from_slice(&text);
        text = chunk;
        while let Some((begin, record)) = last_record(&text, position == 0) {
            let full = record.split(|byte| *byte == b' ').nth(2) == Some(b"F");
            let first_of_all = position + begin as u64 + record.len() as u64 + 1 >= end;
            if full || first_of_all {
                if wanted == 0 {
                    start_of_tail = position + begin as u64 + record.len() as u64 + 1;
                    break 'reading;
                }
                wanted -= 1;
            }
            text.truncate(begin);
        }
    }
    file.seek(SeekFrom::Start(start_of_tail.min(end)))?;
    Ok(())
}

/// The last whole record of `text` and where it begins; the first one is whole only at the beginning
/// of the file.
fn last_record(text: &[u8], at_beginning: bool) -> Option<(usize, &[u8])> {
    let without_end = text.strip_suffix(b"\n").unwrap_or(text);
    if text.is_empty() {
        return None;
    }
    match without_end.iter().rposition(|byte| *byte == b'\n') {
        Some(newline) => Some((newline + 1, &without_end[newline + 1..])),
        None if at_beginning => Some((0, without_end)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const LOG: &str = "1970-01-01T00:00:00.000000001Z stdout F one\n\
        1970-01-01T00:00:00.000000002Z stdout P tw\n\
        1970-01-01T00:00:00.000000003Z stdout F o\n\
        1970-01-01T00:00:00.000000004Z stderr F \n\
        1970-01-01T00:00:00.000000005Z stdout P $ \n";

    fn read(log: &str, options: LogOptions) -> String {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(log.as_bytes()).expect("write");
        file.seek(SeekFrom::Start(0)).expect("seek");
        if let Some(lines) = options.tail {
            seek_to_tail(&mut file, lines).expect("seek");
        }
        let mut reader = LogReader { file: Some(file), options, buffer: Vec::new(), next: 0, follower: None };
        let mut text = Vec::new();
        while let Some(record) = reader.next_record().expect("valid") {
            text.extend(record.bytes);
        }
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn lines_are_put_together() {
        assert_eq!(read(LOG, LogOptions::default()), "one\ntwo\n\n$ ");
    }

    #[test]
    fn the_tail_counts_lines_not_records() {
        for (lines, text) in
            [(0, ""), (1, "$ "), (2, "\n$ "), (3, "two\n\n$ "), (4, "one\ntwo\n\n$ "), (99, "one\ntwo\n\n$ ")]
        {
            assert_eq!(read(LOG, LogOptions { tail: Some(lines), ..LogOptions::default() }), text, "{lines}");
        }
        let long = format!("1970-01-01T00:00:00.000000001Z stdout F {}\n", "x".repeat(CHUNK * 2));
        let text = read(&long.repeat(3), LogOptions { tail: Some(2), ..LogOptions::default() });
        assert_eq!(text.len(), 2 * (CHUNK * 2 + 1));
    }

    #[test]
    fn times_bound_what_is_read() {
        let at = |nanos| Some(Timestamp::from_nanos(nanos));
        assert_eq!(read(LOG, LogOptions { since: at(4), ..LogOptions::default() }), "\n$ ");
        assert_eq!(read(LOG, LogOptions { until: at(1), ..LogOptions::default() }), "one\n");
    }

    #[test]
    fn what_is_no_record_is_left_out() {
        let torn = LOG.replacen("one\n", "one\n1970-01-01T00:00:0\n\n", 1);
        assert_eq!(read(&torn, LogOptions::default()), read(LOG, LogOptions::default()));

        for line in ["", "x", "1970-01-01T00:00:00Z stdout X y", "1970-01-01T00:00:00Z other F y"] {
            assert_eq!(parse_record(line.as_bytes()), None, "{line}");
        }
    }
}
