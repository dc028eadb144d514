//! Output of workloads: records out of the files of a log (`holm_spec::log`), one after another.

mod files;
mod record;
mod tail;

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::path::Path;

use holm_spec::keeper::Streams;
use holm_spec::workload::Config;
use holm_spec::{Id, Timestamp};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;

use crate::session::{Event, Session};
use crate::{Engine, Error, Kind, Result};

use files::{LogFile, Place};
pub use record::{LogForm, LogRecord};
use tail::Tail;

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

/// Reads records one after another.
#[derive(Debug)]
pub struct LogReader {
    place: Place,
    form: LogForm,
    attributes: BTreeMap<String, String>,
    /// The file that is being read; absent where the workload never said anything.
    file: Option<LogFile>,
    /// Files to be read after it.
    newer: VecDeque<LogFile>,
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
    /// Labels and variables of the workload that are shown with each record, if that is wanted.
    pub fn attributes(&self) -> &BTreeMap<String, String> {
        &self.attributes
    }

    /// The next record; `None` at the end. With `follow` it waits. A line that is no record is left out: a disk that
    /// was full, or a host that lost its power, must not hide what came after.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next_record(&mut self) -> Result<Option<LogRecord>> {
        loop {
            let Some(line) = self.next_line()? else { return Ok(None) };
            let Some(record) = self.form.parse(&line) else {
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

    /// Reads more; false at the end of the last file.
    fn fill(&mut self) -> Result<bool> {
        self.buffer.drain(..self.next);
        self.next = 0;
        loop {
            let length = self.buffer.len();
            self.buffer.resize(length + CHUNK, 0);
            let read = self.file.as_mut().map_or(Ok(0), |file| file.read(&mut self.buffer[length..]));
            self.buffer.truncate(length + *read.as_ref().unwrap_or(&0));
            if read.map_err(|error| Error::io("read the log", error))? > 0 {
                return Ok(true);
            }
            if let Some(file) = self.newer.pop_front() {
                self.file = Some(file);
                // A record does not go on in another file.
                self.buffer.extend_from_slice(if self.buffer.is_empty() { b"" } else { b"\n" });
            } else if !self.look_for_newer()? {
                return Ok(false);
            }
        }
    }

    /// Looks whether the file that was read to its end was full, while somebody follows. What was written to it last is
    /// read before those that came after it.
    fn look_for_newer(&mut self) -> Result<bool> {
        if self.follower.is_none() {
            return Ok(false);
        }
        let newer = self.place.after(self.file.as_ref()).map_err(|error| Error::io("open the log", error))?;
        self.newer.extend(newer);
        Ok(!self.newer.is_empty())
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
    /// [`Kind::NoSuchWorkload`]; [`Kind::Unsupported`] for one whose driver keeps no files.
    pub fn logs(&self, id: &Id, options: LogOptions) -> Result<LogReader> {
        let config = self.config(id)?;
        let place = self.place_of_log(&config)?;
        let follower = if options.follow { self.follower(id, &place.path)? } else { None };
        let form = LogForm::of(config.settings.log.driver);
        let failed = |error| Error::io(format!("read log `{}`", place.path.display()), error);
        let mut newer = VecDeque::from(place.open().map_err(failed)?);
        if let Some(lines) = options.tail {
            skip_to_tail(&mut newer, lines, form).map_err(failed)?;
        }
        let attributes = config.settings.log.attributes;
        let file = newer.pop_front();
        Ok(LogReader { place, form, attributes, file, newer, options, buffer: Vec::new(), next: 0, follower })
    }

    fn place_of_log(&self, config: &Config) -> Result<Place> {
        let log = &config.settings.log;
        let path = self.layout.workload(&config.id).log(config);
        path.zip(log.files).map(|(path, files)| Place { path, files }).ok_or_else(|| {
            let name = &config.name;
            let message = format!(
                "read the log of workload `{name}`: its configured logging driver does not support reading (`{}`)",
                log.driver
            );
            Error::new(Kind::Unsupported, message)
        })
    }

    /// Watches first, so that nothing is missed between the last read and the wait.
    fn follower(&self, id: &Id, path: &Path) -> Result<Option<Follower>> {
        let session = match self.attach(id, Streams::NONE) {
            Err(error) if error.kind() == Kind::NotRunning => return Ok(None),
            other => other?,
        };
        // A file that is full gets another name, and another file its own.
        let directory = path.parent().unwrap_or(path);
        let failed = |errno| Error::io(format!("watch logs `{}`", directory.display()), errno);
        let watch =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(failed)?;
        let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&watch, directory, flags).map_err(failed)?;
        Ok(Some(Follower { watch, session, ended: false }))
    }
}

/// Leaves those files that have the last lines, the first of them at their beginning.
fn skip_to_tail(files: &mut VecDeque<LogFile>, lines: u64, form: LogForm) -> std::io::Result<()> {
    let mut tail = Tail::of(lines);
    for index in (0..files.len()).rev() {
        if files[index].seek(&mut tail, form)? {
            files.drain(..index);
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use holm_spec::log::{Files, rotated};

    use super::*;

    const LOG: &str = "1970-01-01T00:00:00.000000001Z stdout F one\n\
        1970-01-01T00:00:00.000000002Z stdout P tw\n\
        1970-01-01T00:00:00.000000003Z stdout F o\n\
        1970-01-01T00:00:00.000000004Z stderr F \n\
        1970-01-01T00:00:00.000000005Z stdout P $ \n";

    /// What is read of a log in `files`, the oldest first.
    fn read_all(files: &[&str], options: LogOptions) -> String {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let place = Place { path: directory.path().join("0.log"), files: Files::LOCAL };
        for (number, text) in (0..).zip(files.iter().rev()) {
            let path = if number == 0 { place.path.clone() } else { rotated(&place.path, number) };
            std::fs::write(path, text).expect("write");
        }
        let mut newer = VecDeque::from(place.open().expect("there"));
        if let Some(lines) = options.tail {
            skip_to_tail(&mut newer, lines, LogForm::Cri).expect("read");
        }
        let mut reader = LogReader {
            place,
            form: LogForm::Cri,
            attributes: BTreeMap::new(),
            file: newer.pop_front(),
            newer,
            options,
            buffer: Vec::new(),
            next: 0,
            follower: None,
        };
        let mut text = Vec::new();
        while let Some(record) = reader.next_record().expect("valid") {
            text.extend(record.bytes);
        }
        String::from_utf8(text).expect("text")
    }

    fn read(log: &str, options: LogOptions) -> String {
        read_all(&[log], options)
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
    }

    #[test]
    fn lines_go_on_in_the_next_file() {
        let at = LOG.find("1970-01-01T00:00:00.000000003Z").expect("there");
        for (lines, text) in [(0, ""), (1, "$ "), (2, "\n$ "), (3, "two\n\n$ "), (4, "one\ntwo\n\n$ ")] {
            let options = LogOptions { tail: Some(lines), ..LogOptions::default() };
            assert_eq!(read_all(&[&LOG[..at], &LOG[at..], ""], options), text, "{lines}");
        }
        // A file that is torn does not swallow the first record of the next.
        let torn = format!("{}1970-01-01T0", &LOG[..at]);
        assert_eq!(read_all(&[&torn, &LOG[at..]], LogOptions::default()), read(LOG, LogOptions::default()));
    }
}
