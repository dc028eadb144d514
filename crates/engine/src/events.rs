//! What happened, and what happens: the log of events (`holm_spec::event`), written by every command and keeper.
//!
//! Nobody waits for an event to be written, and nothing fails for want of one: the state is what counts.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use holm_spec::event::{EVENTS_LIMIT, Event, EventKind};
use holm_spec::life::HealthStatus;
use holm_spec::workload::{Config, Status};
use holm_spec::{Id, Timestamp};
use holm_sys::appended::{append, aside};
use holm_sys::file::ensure_directory;
use holm_sys::lock::is_at;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use crate::{Engine, Error, Kind, Result, Workload};

/// Bytes that are read in one go.
const CHUNK: usize = 64 << 10;

/// Which events are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventOptions {
    /// From this time on, as far as the log goes back; only new ones if absent.
    pub since: Option<Timestamp>,
    /// Until this time, which may be to come; for ever if absent.
    pub until: Option<Timestamp>,
}

/// Reads events one after another.
#[derive(Debug)]
pub struct EventReader {
    path: PathBuf,
    options: EventOptions,
    watch: OwnedFd,
    /// Files to read, the current one last.
    files: Vec<File>,
    buffer: Vec<u8>,
    /// Where in the buffer the next line begins.
    next: usize,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It does not run, and is not about to.
    NotRunning,
    /// It runs.
    Running,
    /// It ends after this.
    NextExit,
    /// It is gone.
    Removed,
    /// Its health is this.
    Health(HealthStatus),
}

impl Engine {
    /// Writes an event about a workload down.
    pub(crate) fn tell<'a>(
        &self,
        config: &Config,
        action: impl Into<String>,
        attributes: impl IntoIterator<Item = (&'a str, String)>,
    ) {
        self.tell_event(&Event::of_workload(config, action, attributes, now()));
    }

    /// Writes an event about something else down.
    pub fn tell_of<'a>(
        &self,
        kind: EventKind,
        action: &str,
        id: impl Into<String>,
        attributes: impl IntoIterator<Item = (&'a str, String)>,
    ) {
        self.tell_event(&Event::new(kind, action, id, attributes, now()));
    }

    fn tell_event(&self, event: &Event) {
        if let Err(error) = append(&self.layout.events(), &event.to_line(), EVENTS_LIMIT) {
            tracing::debug!("an event could not be written: {error}");
        }
    }

    /// Reads events.
    ///
    /// # Errors
    /// The log cannot be watched or read.
    pub fn events(&self, options: EventOptions) -> Result<EventReader> {
        let path = self.layout.events();
        let failed = |error: std::io::Error| Error::io(format!("watch `{}`", path.display()), error);
        let directory = path.parent().map(PathBuf::from).unwrap_or_default();
        ensure_directory(&directory, 0o700).map_err(failed)?;
        let watch = watch(&directory).map_err(|errno| failed(errno.into()))?;
        let current = File::options().append(true).read(true).create(true).open(&path).map_err(failed)?;
        let mut reader = EventReader {
            path: path.clone(),
            options,
            watch,
            files: Vec::new(),
            buffer: Vec::new(),
            next: 0,
        };
        if options.since.is_some() {
            reader.files.extend(File::open(aside(&path)));
        } else {
            use std::io::Seek;
            (&current).seek(std::io::SeekFrom::End(0)).map_err(failed)?;
        }
        reader.files.push(current);
        Ok(reader)
    }

    /// Waits until a workload is as asked; its exit code, as far as it has ended.
    ///
    /// # Errors
    /// [`Kind::NoSuchWorkload`] if it goes while something else than that is waited for.
    pub fn wait_for(&self, id: &Id, condition: Condition) -> Result<i32> {
        // Opened first: what happens after the look is not missed.
        let mut events = self.events(EventOptions::default())?;
        // As it was seen last; nothing before the first look.
        let mut code = None;
        loop {
            match (self.workload(id), code) {
                (Err(error), Some(code)) if error.kind() == Kind::NoSuchWorkload && condition.ends() => {
                    return Ok(code);
                }
                (Err(error), _) => return Err(error),
                (Ok(workload), _) if condition.holds(&workload) => return Ok(workload.state.exit_code),
                (Ok(workload), before) => code = before.or(Some(workload.state.exit_code)),
            }
            let Some(event) = events.next_about(id)? else { return Ok(code.unwrap_or_default()) };
            let exit_code = event.actor.attributes.get("exitCode").and_then(|code| code.parse().ok());
            if let Some(ended) = exit_code.filter(|_| event.action == "die") {
                if condition == Condition::NextExit {
                    return Ok(ended);
                }
                // Of one that is removed by itself nothing else tells it.
                code = Some(ended);
            }
        }
    }
}

impl Condition {
    /// Whether it is so, as far as it is a state.
    fn holds(self, workload: &Workload) -> bool {
        let state = &workload.state;
        match self {
            Self::NotRunning => !matches!(state.status, Status::Running | Status::Restarting),
            Self::Running => state.status == Status::Running,
            // Of one that has ended the last checks are kept.
            Self::Health(wanted) => {
                state.status == Status::Running
                    && state.health.as_ref().is_some_and(|health| health.status == wanted)
            }
            Self::NextExit | Self::Removed => false,
        }
    }

    /// Whether a workload that is gone is what was waited for.
    fn ends(self) -> bool {
        matches!(self, Self::NotRunning | Self::NextExit | Self::Removed)
    }
}

fn now() -> Timestamp {
    Timestamp::from_nanos(holm_sys::process::now())
}

fn watch(directory: &std::path::Path) -> std::result::Result<OwnedFd, rustix::io::Errno> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_FROM;
    inotify::add_watch(&watch, directory, flags)?;
    Ok(watch)
}

impl EventReader {
    /// The next event; it is waited for. `None` when the time until which was asked is over.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn next_event(&mut self) -> Result<Option<Event>> {
        loop {
            let Some(line) = self.next_line()? else { return Ok(None) };
            // What a full disk has torn hides nothing that came after.
            let Ok(event) = serde_json::from_slice::<Event>(&line) else { continue };
            if self.options.until.is_some_and(|until| event.timestamp() > until) {
                return Ok(None);
            }
            if self.options.since.is_none_or(|since| event.timestamp() >= since) {
                return Ok(Some(event));
            }
        }
    }

    fn next_about(&mut self, workload: &Id) -> Result<Option<Event>> {
        loop {
            match self.next_event()? {
                Some(event) if !event.is_about(workload) => {}
                found => return Ok(found),
            }
        }
    }

    fn next_line(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.buffer[self.next..].iter().position(|byte| *byte == b'\n') {
                let line = self.buffer[self.next..self.next + end].to_vec();
                self.next += end + 1;
                return Ok(Some(line));
            }
            self.buffer.drain(..self.next);
            self.next = 0;
            if !self.read_more()? && !self.wait()? {
                return Ok(None);
            }
        }
    }

    /// Whether there was more.
    fn read_more(&mut self) -> Result<bool> {
        let failed = |error| Error::io("read the events", error);
        while !self.files.is_empty() {
            // Looked at before it is read: what has lost its name by now does not grow any more.
            let is_current = self.files.len() == 1 && is_at(&self.files[0], &self.path);
            let start = self.buffer.len();
            self.buffer.resize(start + CHUNK, 0);
            let read = self.files[0].read(&mut self.buffer[start..]);
            let length = *read.as_ref().unwrap_or(&0);
            self.buffer.truncate(start + length);
            if read.map_err(failed)? > 0 {
                return Ok(true);
            }
            if is_current {
                return Ok(false);
            }
            self.files.remove(0);
            if self.files.is_empty() {
                self.files.extend(File::open(&self.path));
            }
        }
        // It was put aside; the next event makes it anew.
        self.files.extend(File::open(&self.path));
        Ok(!self.files.is_empty())
    }

    /// Waits until the log has changed; false when the time is over.
    fn wait(&self) -> Result<bool> {
        let left = match self.options.until {
            None => None,
            Some(until) => match u64::try_from(until.nanos() - now().nanos()) {
                Ok(left) if left > 0 => Timespec::try_from(Duration::from_nanos(left)).ok(),
                _ => return Ok(false),
            },
        };
        loop {
            match poll(&mut [PollFd::new(&self.watch, PollFlags::IN)], left.as_ref()) {
                Ok(0) => return Ok(false),
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(Error::io("wait for events", errno)),
            }
        }
        // What was told is known: the log is read anyway.
        let mut told = [0; 4096];
        while rustix::io::read(&self.watch, &mut told).is_ok_and(|length| length > 0) {}
        Ok(true)
    }
}
