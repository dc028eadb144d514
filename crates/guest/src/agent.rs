//! The event loop: the channel and all processes, on one epoll and one thread.
//!
//! Everything is watched for changes (`EPOLLET`), and what is ready is remembered. Each round reads a piece of whatever
//! is ready and has room to go to, so that no stream can hold another one up, and waits only when nothing is left to do.
//!
//! Bounds: the machine's frames by [`frame`](holm_spec::agent::frame); input by a session's window; output by its window
//! and by the room in the queue, which also stops the reading of commands; sessions and workloads by number.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_runtime::watched::Newborn;
use holm_runtime::{Error, Result};
use holm_spec::Id;
use holm_spec::agent::frame::{Content, Decoder};
use holm_spec::agent::{Command, PORT};
use holm_spec::keeper::Stream;
use holm_sys::signals;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::process::{WaitOptions, WaitStatus, wait};

use crate::channel::Channel;
use crate::console;
use crate::devices::wait_for_port;
use crate::session::{CHUNK, End, Session};
use crate::storage::Storage;
use crate::workload::{self, Workload};

const SIGCHLD: i32 = 17;

/// What an event is about; travels through epoll as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Port,
    Children,
    Stdin(u32),
    Output(u32, usize),
}

impl Token {
    fn data(self) -> EventData {
        let (kind, session) = match self {
            Self::Port => (0, 0),
            Self::Children => (1, 0),
            Self::Stdin(session) => (2, session),
            Self::Output(session, which) => (3 + which as u64, session),
        };
        EventData::new_u64(u64::from(session) << 8 | kind)
    }

    fn from_data(data: EventData) -> Self {
        let session = (data.u64() >> 8) as u32;
        match data.u64() & 0xff {
            0 => Self::Port,
            1 => Self::Children,
            2 => Self::Stdin(session),
            kind => Self::Output(session, (kind - 3) as usize),
        }
    }
}

/// The agent, for as long as its machine runs.
#[derive(Debug)]
pub struct Agent {
    pub channel: Channel,
    pub storage: Storage,
    pub workloads: BTreeMap<Id, Workload>,
    pub sessions: BTreeMap<u32, Session>,
    /// The machine asked for the end.
    pub over: bool,
    decoder: Decoder,
    epoll: OwnedFd,
    children: OwnedFd,
    buffer: Vec<u8>,
    /// The session after which the next round begins.
    turn: u32,
}

impl Agent {
    /// Waits for the port and watches it.
    ///
    /// # Errors
    /// The port cannot be opened.
    pub fn new() -> Result<Self> {
        let failed = |errno| Error::system("watch the channel", errno);
        let children = signals::descriptor(&[SIGCHLD]).map_err(failed)?;
        let channel = Channel::open(&wait_for_port(PORT)?)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(failed)?;
        let both = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(&epoll, channel.port(), Token::Port.data(), both).map_err(failed)?;
        epoll::add(&epoll, &children, Token::Children.data(), EventFlags::IN).map_err(failed)?;
        Ok(Self {
            channel,
            storage: Storage::new()?,
            workloads: BTreeMap::new(),
            sessions: BTreeMap::new(),
            over: false,
            decoder: Decoder::default(),
            epoll,
            children,
            buffer: vec![0; CHUNK],
            turn: 0,
        })
    }

    /// Serves until the machine asks for the end, or until epoll fails.
    pub fn run(&mut self) {
        let mut events = Vec::with_capacity(64);
        while !self.over {
            events.clear();
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            let patience = self.is_busy().then_some(&at_once);
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), patience) {
                Ok(_) | Err(holm_sys::Errno::INTR) => {}
                Err(errno) => return console::say(&format!("wait for events: {errno}")),
            }
            for event in &events {
                self.note(Token::from_data(event.data), event.flags);
            }
            self.receive();
            self.read_outputs();
            self.conclude_sessions();
            self.channel.send();
        }
    }

    fn is_busy(&self) -> bool {
        let outputs = || self.sessions.values().any(Session::is_busy);
        self.channel.is_busy() || !self.channel.outgoing.is_full() && outputs()
    }

    fn note(&mut self, token: Token, flags: EventFlags) {
        match token {
            Token::Port => self.channel.note(flags),
            Token::Children => self.reap(),
            Token::Output(session, which) => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.note_output(which);
                }
            }
            Token::Stdin(number) => {
                if let Some(session) = self.sessions.get_mut(&number) {
                    session.process.feed_backlog();
                }
                self.tell_taken(number);
            }
        }
    }

    /// A piece of what the machine says.
    fn receive(&mut self) {
        self.channel.receive(&mut self.decoder);
        // Taken out while its frames are looked at.
        let mut decoder = std::mem::take(&mut self.decoder);
        let damaged = decoder.damaged();
        while let Some(content) = decoder.next_frame() {
            match content {
                Content::Data(Stream::Stdin, session, data) => self.take_input(session, data),
                Content::Data(..) => console::say("the machine sent output"),
                Content::Message(text) => self.understand(text),
            }
        }
        if decoder.damaged() != damaged {
            console::say("a damaged frame of the machine's was left out");
        }
        self.decoder = decoder;
    }

    fn understand(&mut self, text: &[u8]) {
        match serde_json::from_slice::<Command>(text) {
            Ok(command @ Command::Hello { .. }) => self.carry_out(command),
            Ok(command) if self.channel.greeted => self.carry_out(command),
            Ok(_) => console::say("the machine asked for something before it said hello"),
            Err(error) => console::say(&format!("a message of the machine's is not understood: {error}")),
        }
    }

    fn take_input(&mut self, number: u32, data: &[u8]) {
        // One that has just ended is no mistake.
        let Some(session) = self.sessions.get_mut(&number).filter(|_| self.channel.greeted) else { return };
        if !session.feed(data) {
            console::say(&format!("session {number} got more input than its window holds: it is ended"));
            let _ = session.process.signal(holm_spec::signal::KILL);
        }
        self.tell_taken(number);
    }

    fn tell_taken(&mut self, session: u32) {
        if let Some(bytes) = self.sessions.get_mut(&session).and_then(Session::taken) {
            self.channel.outgoing.answer(holm_spec::agent::Report::Taken { session, bytes });
        }
    }

    /// A piece of each output that has one, beginning behind the session where the last round ended.
    fn read_outputs(&mut self) {
        let from = self.turn;
        let behind = self.sessions.range(from..).chain(self.sessions.range(..from));
        let busy: Vec<u32> =
            behind.filter(|(_, session)| session.is_busy()).map(|(number, _)| *number).collect();
        for number in busy {
            for which in 0..2 {
                if self.channel.outgoing.is_full() {
                    self.turn = number;
                    return;
                }
                self.read_output(number, which);
            }
        }
    }

    fn read_output(&mut self, number: u32, which: usize) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        let outgoing = &mut self.channel.outgoing;
        let mut send = |stream, bytes: &[u8]| outgoing.data(number, stream, bytes);
        if let Some(ended) = session.read_output(which, &mut self.buffer, &mut send) {
            // A terminal's descriptor has a copy for input, which would keep it in the epoll.
            let _ = epoll::delete(&self.epoll, &ended);
        }
    }

    fn conclude_sessions(&mut self) {
        let over: Vec<_> =
            self.sessions.iter().filter_map(|(number, session)| Some((*number, session.end()?))).collect();
        for (number, end) in over {
            let Some(session) = self.sessions.remove(&number) else { continue };
            self.channel.outgoing.end(number, session.workload, end.code, end.oom_killed);
            if self.is_main(number, &session.workload) {
                self.workloads.remove(&session.workload);
            }
        }
    }

    fn is_main(&self, session: u32, workload: &Id) -> bool {
        self.workloads.get(workload).is_some_and(|workload| workload.main == Some(session))
    }

    /// Takes note of every child that has ended: processes of sessions, and what lost its parent.
    fn reap(&mut self) {
        while holm_sys::process::read_signal(self.children.as_fd()).is_some() {}
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            let ended = |session: &Session| session.process.pid == pid && !session.has_ended();
            let number = self.sessions.iter().find(|(_, session)| ended(session)).map(|(number, _)| *number);
            if let Some(number) = number {
                self.finish(number, exit_code(status));
            }
        }
    }

    fn finish(&mut self, number: u32, code: i32) {
        let Some(workload) = self.sessions.get(&number).map(|session| session.workload) else { return };
        let main = self.is_main(number, &workload);
        let oom_killed = main && workload::was_out_of_memory(&workload);
        if let Some(session) = self.sessions.get_mut(&number) {
            session.finish(End { code, oom_killed });
        }
        if main {
            workload::release(&workload);
        }
    }

    /// Makes a process known under a number; one that cannot be watched is ended.
    ///
    /// # Errors
    /// The kernel watches no more descriptors.
    pub fn watch(&mut self, number: u32, workload: Id, mut newborn: Newborn) -> Result<i32> {
        let process = newborn.get();
        let pid = process.pid;
        let watch = |descriptor: BorrowedFd<'_>, token: Token, flags: EventFlags| {
            epoll::add(&self.epoll, descriptor, token.data(), flags | EventFlags::ET)
                .map_err(|errno| Error::system("watch the process", errno))
        };
        for (which, output) in process.streams.outputs.iter().enumerate() {
            if let Some(output) = output {
                watch(output.as_fd(), Token::Output(number, which), EventFlags::IN)?;
            }
        }
        if let Some(stdin) = &process.streams.stdin {
            watch(stdin.as_fd(), Token::Stdin(number), EventFlags::OUT)?;
        }
        self.sessions.insert(number, Session::new(workload, newborn.hand_over()));
        Ok(pid)
    }
}

/// As a shell counts it.
fn exit_code(status: WaitStatus) -> i32 {
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or(signal).unwrap_or(holm_runtime::watched::UNKNOWN_EXIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_travel_as_numbers() {
        for token in [
            Token::Port,
            Token::Children,
            Token::Stdin(0),
            Token::Stdin(u32::MAX),
            Token::Output(7, 0),
            Token::Output(u32::MAX, 1),
        ] {
            assert_eq!(Token::from_data(token.data()), token);
        }
    }
}
