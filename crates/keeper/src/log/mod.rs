//! The workload's log: what it says goes into files (`file`, in a `form`), or to systemd's `journal`, or both.
//!
//! `holm_spec::log` tells the forms and the names. The driver `local` writes what was read in one go in one go; a line that has
//! no end yet is written at once, so that a follower sees a prompt. Docker's forms have whole lines: what has no end yet
//! waits in `lines`. A log that cannot be written does not stop the workload: it says later how much it lost.

mod compression;
mod file;
mod form;
mod journal;
mod lines;
mod rotation;

use std::os::fd::BorrowedFd;

use holm_spec::Timestamp;
use holm_spec::keeper::Stream;
use holm_spec::layout::WorkloadPaths;
use holm_spec::log::Driver;
use holm_spec::workload::Config;
use holm_sys::file::ensure_directory;

use holm_runtime::Error;

use file::LogFile;
use form::Form;
use journal::Journal;
use lines::Lines;

/// Records that are written in one go, in bytes: more than one read of lines that are worth their record.
const BATCH: usize = 32 * 1024;

/// An open log.
#[derive(Debug)]
pub(crate) struct Log {
    file: Option<LogFile>,
    form: Form,
    journal: Option<Journal>,
    /// What has no end yet, of standard output and standard error.
    lines: [Lines; 2],
    records: Vec<u8>,
}

impl Log {
    /// Opens a workload's log behind the last whole record: a keeper killed in the middle of a write leaves a part of
    /// one.
    ///
    /// # Errors
    /// The file or the journal cannot be opened.
    pub fn open(paths: &WorkloadPaths, config: &Config) -> Result<Self, Error> {
        let settings = &config.settings.log;
        let file = match (paths.log(config), settings.files) {
            (Some(path), Some(files)) => {
                let open =
                    ensure_directory(&paths.log_dir(), 0o700).and_then(|()| LogFile::open(&path, files));
                Some(open.map_err(|error| Error::system(format!("open log `{}`", path.display()), error))?)
            }
            _ => None,
        };
        let journal = match settings.driver {
            Driver::Journald => Some(Journal::open(config)?),
            Driver::Local | Driver::JsonFile | Driver::None => None,
        };
        let form = match settings.driver {
            Driver::JsonFile => Form::json(&settings.attributes),
            Driver::Local | Driver::Journald | Driver::None => Form::Cri,
        };
        Ok(Self { file, form, journal, lines: Default::default(), records: Vec::new() })
    }

    /// Takes what a workload said at `time`.
    pub fn append(&mut self, time: Timestamp, stream: Stream, bytes: &[u8]) {
        if self.form == Form::Cri && self.file.is_some() {
            self.append_as_it_comes(time, stream, bytes);
        }
        if self.form != Form::Cri || self.journal.is_some() {
            self.append_lines(time, stream, bytes);
        }
        self.file.iter_mut().for_each(LogFile::put_aside_if_full);
    }

    /// Takes it that a stream has ended: what has no end yet never gets one.
    pub fn end(&mut self, time: Timestamp, stream: Stream) {
        if let Some(rest) = self.lines[usize::from(stream == Stream::Stderr)].take() {
            self.append_line(&self.form.head(time, stream), time, stream, &rest, false);
            self.write(time);
        }
    }

    /// Takes it that nothing more comes.
    pub fn finish(&mut self, time: Timestamp) {
        self.end(time, Stream::Stdout);
        self.end(time, Stream::Stderr);
        self.write(time);
        self.journal.iter_mut().for_each(|journal| journal.finish(time));
    }

    /// What to watch for the end of a compression that was begun since this was asked last.
    pub fn new_compression(&mut self) -> Option<BorrowedFd<'_>> {
        self.file.as_mut()?.new_compression()
    }

    /// A compression has ended.
    pub fn finish_compression(&mut self) {
        self.file.iter_mut().for_each(LogFile::finish_compression);
    }

    fn append_as_it_comes(&mut self, time: Timestamp, stream: Stream, bytes: &[u8]) {
        let head = self.form.head(time, stream);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (line, full) = lines::without_end(line);
            self.form.write(&mut self.records, &head, line, full);
            if self.records.len() >= BATCH {
                self.write(time);
            }
        }
        self.write(time);
    }

    fn append_lines(&mut self, time: Timestamp, stream: Stream, bytes: &[u8]) {
        let which = usize::from(stream == Stream::Stderr);
        let mut lines = std::mem::take(&mut self.lines[which]);
        let head = self.form.head(time, stream);
        lines.feed(bytes, |line, full| self.append_line(&head, time, stream, line, full));
        self.lines[which] = lines;
        self.write(time);
    }

    fn append_line(&mut self, head: &form::Head, time: Timestamp, stream: Stream, line: &[u8], full: bool) {
        if let Some(journal) = &mut self.journal {
            journal.send(time, stream, line, full);
        } else {
            self.form.write(&mut self.records, head, line, full);
            if self.records.len() >= BATCH {
                self.write(time);
            }
        }
    }

    /// Writes the records, behind what there is to say about those that were lost before.
    fn write(&mut self, time: Timestamp) {
        let Some(file) = &mut self.file else { return };
        if let Some(loss) = file.loss() {
            let mut notice = Vec::new();
            self.form.write(&mut notice, &self.form.head(time, Stream::Stderr), loss.as_bytes(), true);
            file.append_loss(&notice);
        }
        file.append(&self.records, |lost| self.form.lines(lost));
        self.records.clear();
    }
}
