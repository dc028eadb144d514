//! One workload of a comparison: started, timed, and gone at the end, also where that comes early.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use holm_spec::Id;
use holm_spec::keeper::Streams;
use holm_spec::machine::Machine;
use holm_spec::signal;
use holm_sys::{Errno, process};
use rustix::event::{PollFd, PollFlags, poll};

use crate::request::CreateRequest;
use crate::session::{Beginning, Event, Session};
use crate::{Engine, Error, Kind, Result};

/// Longest first line, in bytes.
const LINE_LIMIT: usize = 4096;

/// A workload that runs. Dropped before its end, it is killed and removed.
pub struct Watched<'a> {
    /// Its id.
    pub id: Id,
    engine: &'a Engine,
    session: Session,
    signals: Option<BorrowedFd<'a>>,
    machine: Option<Machine>,
    asked: Instant,
    start: Duration,
    ended: bool,
}

/// A workload that has run.
pub struct Run {
    /// From the request to the running program.
    pub start: Duration,
    /// From the request until nothing was left.
    pub whole: Duration,
    /// Exit code.
    pub exit_code: i32,
    /// The machine that it ran in.
    pub machine: Option<Machine>,
}

impl<'a> Watched<'a> {
    /// Creates and starts a workload.
    pub fn start(
        engine: &'a Engine,
        request: &CreateRequest,
        streams: Streams,
        signals: Option<BorrowedFd<'a>>,
    ) -> Result<Self> {
        let asked = Instant::now();
        let created = engine.create(request)?;
        let (id, machine) = (created.id, created.ground.machine.clone());
        // A signal that comes meanwhile is met by the first wait.
        let session = engine.start_created(created, Beginning::new(streams, None, None));
        let session = session.inspect_err(|_| {
            // Its keeper may have done it.
            let _ = engine.remove(&id, true, true);
        })?;
        let start = asked.elapsed();
        Ok(Self { id, engine, session, signals, machine, asked, start, ended: false })
    }

    /// The first line of its output.
    pub fn first_line(&mut self) -> Result<String> {
        let mut text = Vec::new();
        loop {
            self.wait()?;
            match self.session.receive()? {
                Event::Stdout(bytes) => text.extend_from_slice(bytes),
                Event::Closed => return Err(silent()),
                _ => {}
            }
            if let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                return Ok(String::from_utf8_lossy(&text[..end]).into_owned());
            }
            if text.len() > LINE_LIMIT {
                return Err(silent());
            }
        }
    }

    /// Ends its input.
    pub fn close_input(&self) -> Result<()> {
        self.session.close_stdin()
    }

    /// Waits until it has ended and its keeper has taken everything down.
    pub fn end(mut self) -> Result<Run> {
        let mut code = None;
        loop {
            self.wait()?;
            match self.session.receive()? {
                Event::Exited { code: ended, .. } => code = Some(ended),
                Event::Closed => break,
                _ => {}
            }
        }
        let whole = self.asked.elapsed();
        let exit_code = code.ok_or_else(|| Error::new(Kind::KeeperEnded, "the keeper was killed"))?;
        self.ended = true;
        Ok(Run { start: self.start, whole, exit_code, machine: self.machine.take() })
    }

    /// Waits for an event, or for a signal, which ends the comparison.
    fn wait(&self) -> Result<()> {
        let Some(signals) = self.signals else { return Ok(()) };
        loop {
            let mut ready =
                [PollFd::new(&self.session, PollFlags::IN), PollFd::from_borrowed_fd(signals, PollFlags::IN)];
            match poll(&mut ready, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::io("wait for the keeper", errno)),
            }
            if let Some(number) = process::read_signal(signals) {
                let name = signal::name(number);
                return Err(Error::new(Kind::Interrupted, format!("given up after {name}")));
            }
            if !ready[0].revents().is_empty() {
                return Ok(());
            }
        }
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // What failed before is what the caller hears of.
            let _ = self.engine.remove(&self.id, true, true);
        }
    }
}

fn silent() -> Error {
    Error::new(Kind::Failed, "the image's shell does not say which kernel it sees")
}
