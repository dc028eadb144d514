//! Carrying a process's standard streams: one thread, one poll over the session, standard input and signals.
//!
//! ```text
//! standard input --read--> waiting bytes --when the session takes them--> process
//! process --event--> standard output, standard error
//! signals --> the process (or the end of this client), window size
//! ```
//! Input is read only when what was read before has been handed on, and handed on only when the session has room: the
//! client never waits in a write while the process waits for its output to be read. Typed keys are read further ahead,
//! for those that leave the process may be among them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_engine::{Event, Session, signals};
use holm_spec::keeper::{PACKET_LIMIT, WindowSize};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::command_error::CommandError;
use crate::detach_keys::DetachKeys;
use crate::printer::write_all;
use crate::terminal::{self, RawMode};

pub(crate) const HUP: i32 = 1;
const INT: i32 = 2;
const QUIT: i32 = 3;
const TERM: i32 = 15;
const CONT: i32 = 18;
const WINCH: i32 = 28;
/// What cannot be caught (KILL, STOP), concerns this client alone (PIPE, CHLD, TTIN, TTOU, URG), or means something else
/// to programs without a terminal (WINCH).
const NOT_FORWARDED: [i32; 8] = [9, 19, 13, 17, 21, 22, 23, WINCH];

/// Bytes of typed keys that are kept while the process does not read.
const TYPED_AHEAD: usize = 64 * 1024;

/// What a session's owner is connected to; a trait so that the loop is tested without a keeper.
pub trait Conversation: AsFd {
    /// The next event; waits for it.
    fn receive(&mut self) -> holm_engine::Result<Event<'_>>;
    /// Bytes of input that it takes now; more after an [`Event::Taken`].
    fn room(&self) -> usize;
    /// Hands input on as far as there is room, half a packet at most, and says how much; does not wait if the
    /// descriptor is writable.
    fn send_stdin(&mut self, bytes: &[u8]) -> holm_engine::Result<usize>;
    /// Says that input has ended.
    fn close_stdin(&self) -> holm_engine::Result<()>;
    /// Tells the size of the window.
    fn resize(&self, window: WindowSize) -> holm_engine::Result<()>;
    /// Sends a signal to the process.
    fn signal(&self, signal: i32) -> holm_engine::Result<()>;
}

impl Conversation for Session {
    fn receive(&mut self) -> holm_engine::Result<Event<'_>> {
        self.receive()
    }

    fn room(&self) -> usize {
        self.room()
    }

    fn send_stdin(&mut self, bytes: &[u8]) -> holm_engine::Result<usize> {
        self.send_stdin(bytes)
    }

    fn close_stdin(&self) -> holm_engine::Result<()> {
        self.close_stdin()
    }

    fn resize(&self, window: WindowSize) -> holm_engine::Result<()> {
        self.resize(window)
    }

    fn signal(&self, signal: i32) -> holm_engine::Result<()> {
        self.signal(signal)
    }
}

/// How a session is carried.
#[derive(Debug)]
pub struct Manner {
    /// Hand standard input on.
    pub stdin: bool,
    /// The process has a terminal, and standard input is one.
    pub raw: bool,
    /// The process has a terminal: tell it the size of the window.
    pub tty: bool,
    /// Keys that leave it.
    pub detach_keys: DetachKeys,
    /// Signals go to the process instead of ending this client.
    pub forward_signals: bool,
    /// The workload is removed when it ends: wait for that.
    pub removal: bool,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process ended.
    Exited(i32),
    /// The user typed the keys that leave it.
    Detached,
    /// Nobody reads the output any more.
    OutputClosed,
    /// A signal that is not forwarded.
    Interrupted(i32),
}

impl End {
    /// The exit code of this client.
    pub fn code(self) -> u8 {
        match self {
            // As the kernel does: the low eight bits.
            Self::Exited(code) => code.to_le_bytes()[0],
            Self::Detached => 0,
            Self::OutputClosed => 128 + 13,
            Self::Interrupted(signal) => u8::try_from(128 + signal).unwrap_or(255),
        }
    }
}

/// Signals of this client, held back from the moment this is made, so that none is lost before the process runs.
#[derive(Debug)]
pub struct Signals {
    descriptor: Option<OwnedFd>,
}

impl Signals {
    /// Holds back what `manner` wants to see.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn hold(manner: &Manner) -> Result<Self, CommandError> {
        let wanted: Vec<i32> = match (manner.forward_signals, manner.raw || manner.tty) {
            (true, tty) => {
                let all = (1..=31).chain(34..=64).filter(|signal| !NOT_FORWARDED.contains(signal));
                all.chain(tty.then_some(WINCH)).collect()
            }
            (false, true) => vec![HUP, INT, QUIT, TERM, CONT, WINCH],
            (false, false) => return Ok(Self { descriptor: None }),
        };
        let descriptor =
            signals::descriptor(&wanted).map_err(|errno| CommandError::system("watch signals", errno))?;
        Ok(Self { descriptor: Some(descriptor) })
    }

    /// The descriptor that they are read from.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.descriptor.as_ref().map(AsFd::as_fd)
    }

    fn next(&self) -> Option<i32> {
        signals::read(self.descriptor.as_ref()?.as_fd())
    }
}

/// Where the process's output goes and its input comes from.
#[derive(Debug)]
pub struct Streams<'a> {
    /// Read for the process's standard input.
    pub input: BorrowedFd<'a>,
    /// Gets its standard output.
    pub output: BorrowedFd<'a>,
    /// Gets its standard error.
    pub error: BorrowedFd<'a>,
}

impl Streams<'static> {
    /// This client's own.
    pub fn own() -> Self {
        Self {
            input: rustix::stdio::stdin(),
            output: rustix::stdio::stdout(),
            error: rustix::stdio::stderr(),
        }
    }
}

/// Carries the session until it ends.
///
/// # Errors
/// The keeper failed or went away before the process ended; the terminal or an output cannot be used.
pub fn carry(
    conversation: &mut impl Conversation,
    streams: &Streams<'_>,
    signals: &Signals,
    manner: Manner,
) -> Result<End, CommandError> {
    let raw = match manner.raw {
        true => Some(
            RawMode::enter(streams.input)
                .map_err(|errno| CommandError::system("make the terminal raw", errno))?,
        ),
        false => None,
    };
    let input = if manner.stdin { Input::Open } else { Input::Done };
    let carrier =
        Carrier { conversation, streams, signals, manner, raw, input, waiting: Vec::new(), exit: None };
    carrier.run()
}

/// Where standard input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// More may come.
    Open,
    /// It ended; the process is told when it has got everything.
    Ended,
    /// The process was told, or wants none.
    Done,
}

struct Carrier<'a, C> {
    conversation: &'a mut C,
    streams: &'a Streams<'a>,
    signals: &'a Signals,
    manner: Manner,
    raw: Option<RawMode>,
    input: Input,
    /// Read, and not yet handed on.
    waiting: Vec<u8>,
    exit: Option<i32>,
}

/// What poll found.
struct Ready {
    event: bool,
    room: bool,
    signal: bool,
    input: bool,
}

impl<C: Conversation> Carrier<'_, C> {
    fn run(mut self) -> Result<End, CommandError> {
        loop {
            let ready = self.wait()?;
            if ready.signal
                && let Some(end) = self.signals()?
            {
                return Ok(end);
            }
            if ready.event
                && let Some(end) = self.event()?
            {
                return Ok(end);
            }
            if ready.room {
                self.hand_on()?;
            }
            if ready.input
                && let Some(end) = self.read_input()?
            {
                return Ok(end);
            }
        }
    }

    fn wait(&self) -> Result<Ready, CommandError> {
        let wants_room = match self.waiting.is_empty() {
            true => self.input == Input::Ended,
            false => self.conversation.room() > 0,
        };
        let read_ahead = if self.manner.raw { TYPED_AHEAD } else { 1 };
        let reads = self.input == Input::Open && self.waiting.len() < read_ahead;
        let session = self.conversation.as_fd();
        let interest = if wants_room { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let signals = self.signals.descriptor.as_ref().map_or(session, AsFd::as_fd);
        let mut watched = [
            PollFd::from_borrowed_fd(session, interest),
            PollFd::from_borrowed_fd(signals, PollFlags::IN),
            PollFd::from_borrowed_fd(self.streams.input, PollFlags::IN),
        ];
        let count = if reads { 3 } else { 2 };
        match poll(&mut watched[..count], None) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready { event: false, room: false, signal: false, input: false }),
            Err(errno) => return Err(CommandError::system("wait for the workload", errno)),
        }
        let happened = |at: usize, flags: PollFlags| watched[at].revents().intersects(flags);
        let ended = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        Ok(Ready {
            event: happened(0, PollFlags::IN | ended),
            room: wants_room && happened(0, PollFlags::OUT),
            signal: self.signals.descriptor.is_some() && happened(1, PollFlags::IN),
            input: reads && happened(2, PollFlags::IN | ended),
        })
    }

    fn event(&mut self) -> Result<Option<End>, CommandError> {
        let (descriptor, name, bytes) = match self.conversation.receive()? {
            Event::Stdout(bytes) => (self.streams.output, "standard output", bytes),
            Event::Stderr(bytes) => (self.streams.error, "standard error", bytes),
            Event::Exited { code, .. } => {
                // There is no more to come but the removal, and nobody reads the input.
                self.exit = Some(code);
                (self.input, self.waiting) = (Input::Done, Vec::new());
                return Ok((!self.manner.removal).then_some(End::Exited(code)));
            }
            Event::Taken { .. } => return Ok(None),
            Event::Removed | Event::Closed => return self.closed().map(Some),
        };
        match write_all(descriptor, bytes) {
            Ok(()) => Ok(None),
            Err(Errno::PIPE) => Ok(Some(End::OutputClosed)),
            Err(errno) => Err(CommandError::output(name, errno)),
        }
    }

    fn closed(&self) -> Result<End, CommandError> {
        self.exit
            .map(End::Exited)
            .ok_or_else(|| CommandError::new("the keeper of the workload went away before its process ended"))
    }

    fn signals(&mut self) -> Result<Option<End>, CommandError> {
        while let Some(signal) = self.signals.next() {
            match signal {
                WINCH => self.tell_size()?,
                CONT if self.raw.is_some() => self.continued()?,
                signal if self.manner.forward_signals => self.conversation.signal(signal)?,
                CONT => {}
                signal => return Ok(Some(End::Interrupted(signal))),
            }
        }
        Ok(None)
    }

    fn tell_size(&self) -> Result<(), CommandError> {
        match terminal::window_size().filter(|_| self.manner.tty) {
            Some(window) => Ok(self.conversation.resize(window)?),
            None => Ok(()),
        }
    }

    /// Somebody stopped this client, and the shell had the terminal meanwhile.
    fn continued(&self) -> Result<(), CommandError> {
        if let Some(raw) = &self.raw {
            raw.again().map_err(|errno| CommandError::system("make the terminal raw", errno))?;
        }
        self.tell_size()
    }

    fn read_input(&mut self) -> Result<Option<End>, CommandError> {
        // The session takes half a packet at once.
        let mut buffer = [0; PACKET_LIMIT / 2];
        match rustix::io::read(self.streams.input, &mut buffer) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            // A raw terminal has no end: it is gone, and with it whoever would see the output.
            Ok(0) | Err(_) if self.manner.raw => return Ok(Some(End::Interrupted(HUP))),
            Ok(0) => self.input = Input::Ended,
            Ok(length) => {
                let typed = buffer.get(..length).unwrap_or_default();
                if !self.manner.raw {
                    self.waiting.extend_from_slice(typed);
                } else if self.manner.detach_keys.scan(typed, &mut self.waiting) {
                    self.hand_on()?;
                    return Ok(Some(End::Detached));
                }
            }
            // The terminal is gone, or belongs to another job.
            Err(_) => self.input = Input::Ended,
        }
        Ok(None)
    }

    /// Hands on what fits into one packet and there is room for, and then the end.
    fn hand_on(&mut self) -> Result<(), CommandError> {
        if !self.waiting.is_empty() {
            let sent = self.conversation.send_stdin(&self.waiting)?;
            self.waiting.drain(..sent);
            return Ok(());
        }
        if self.input == Input::Ended {
            self.input = Input::Done;
            self.conversation.close_stdin()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
