//! Clients: one wants another process in the workload, or something done with its files, gives it its standard streams,
//! and waits for its end; one asks what the workload uses or which processes it has; one says that the machine was paused.
//!
//! ```text
//! client                         relay
//! "0" + descriptor  ---------->            standard input, output, error, in this order
//! "1" + descriptor  ---------->
//! "2" + descriptor  ---------->
//! Exec, Files       ---------->            its session is ours to number
//! Signal, Resize    ---------->
//!                   <----------  Started | Failed, then Exited
//!
//! Stats, Processes  ---------->            its request is ours to number
//!                   <----------  Stats, Processes | Refused
//!
//! Time              ---------->            no answer
//! ```

use std::os::fd::{AsFd, OwnedFd};

use holm_spec::agent::{Command, Report};
use holm_spec::files::Task;
use holm_spec::keeper::PACKET_LIMIT;
use holm_spec::signal;
use holm_sys::process::now;
use holm_sys::socket::{send_packet, try_receive_packet};
use holm_vmm::Result;
use rustix::event::epoll::{self, EventFlags};
use rustix::net::{SocketFlags, accept_with};

use crate::relay::{MAIN, Relay, Token};
use crate::session::{Owner, Session};

/// Numbers of questions begin behind the relay's own request.
const FIRST_QUESTION: u32 = 2;
/// Most clients at once.
const CLIENTS_LIMIT: usize = 1024;
/// Standard streams of a process.
const STREAMS: usize = 3;

/// Somebody who wants another process in the workload.
#[derive(Debug)]
pub(crate) struct Client {
    socket: OwnedFd,
    /// Its standard streams, until they are the process's.
    streams: Vec<OwnedFd>,
    session: Option<u32>,
}

impl Relay<'_> {
    pub(crate) fn accept(&mut self) {
        let Ok(socket) = accept_with(&self.listener, SocketFlags::CLOEXEC) else { return };
        let index = self.clients.iter().position(Option::is_none).unwrap_or(self.clients.len());
        if index >= CLIENTS_LIMIT {
            return;
        }
        if epoll::add(&self.epoll, &socket, Token::Client(index).data(), EventFlags::IN).is_ok() {
            let client = Some(Client { socket, streams: Vec::new(), session: None });
            if index == self.clients.len() { self.clients.push(client) } else { self.clients[index] = client }
        }
    }

    pub(crate) fn read_client(&mut self, index: usize) {
        let Some(client) = self.clients.get_mut(index).and_then(Option::as_mut) else { return };
        let mut buffer = vec![0; PACKET_LIMIT];
        match try_receive_packet(client.socket.as_fd(), &mut buffer) {
            Err(holm_sys::Errno::AGAIN) => {}
            Ok((0, _)) | Err(_) => self.lose_client(index),
            Ok((_, Some(stream))) if client.streams.len() < STREAMS && client.session.is_none() => {
                client.streams.push(stream);
            }
            Ok((length, _)) => match serde_json::from_slice(&buffer[..length]) {
                Ok(command) => self.obey(index, command),
                Err(_) => self.lose_client(index),
            },
        }
    }

    fn obey(&mut self, index: usize, command: Command) {
        let Some(client) = self.clients.get_mut(index).and_then(Option::as_mut) else { return };
        let done = match (command, client.session) {
            (Command::Exec { workload, process, stdin, window, .. }, None)
                if client.streams.len() == STREAMS =>
            {
                let streams = std::mem::take(&mut client.streams);
                let session = self.new_session(index);
                let tty = process.tty;
                self.adopt_streams(session, index, streams, stdin, tty)
                    && self
                        .guest
                        .command(&Command::Exec { session, workload, process, stdin, window })
                        .is_ok()
            }
            (Command::Files { workload, task, .. }, None) if client.streams.len() == STREAMS => {
                let streams = std::mem::take(&mut client.streams);
                let session = self.new_session(index);
                let stdin = matches!(task, Task::Unpack { .. });
                self.adopt_streams(session, index, streams, stdin, false)
                    && self.guest.command(&Command::Files { session, workload, task }).is_ok()
            }
            (Command::Signal { signal, .. }, Some(session)) => {
                self.guest.command(&Command::Signal { session, signal }).is_ok()
            }
            (Command::Resize { window, .. }, Some(session)) => {
                self.guest.command(&Command::Resize { session, window }).is_ok()
            }
            (Command::Stats { workload, .. }, None) => {
                let request = self.note_question(index);
                self.guest.command(&Command::Stats { request, workload }).is_ok()
            }
            (Command::Processes { workload, .. }, None) => {
                let request = self.note_question(index);
                self.guest.command(&Command::Processes { request, workload }).is_ok()
            }
            (Command::Time { .. }, None) => self.set_clock().is_ok(),
            _ => false,
        };
        if !done {
            self.lose_client(index);
        }
    }

    /// A number for a client's process.
    fn new_session(&mut self, client: usize) -> u32 {
        self.last_session = self.last_session.wrapping_add(1).max(2);
        if let Some(client) = self.clients.get_mut(client).and_then(Option::as_mut) {
            client.session = Some(self.last_session);
        }
        self.last_session
    }

    /// By the clock of this moment, which is later than that of whoever asked.
    fn set_clock(&mut self) -> Result<()> {
        let clock = u64::try_from(now()).unwrap_or(0);
        self.guest.command(&Command::Time { clock })
    }

    /// A number for what a client asks.
    fn note_question(&mut self, client: usize) -> u32 {
        let request = self.questions.keys().next_back().map_or(FIRST_QUESTION, |last| last + 1);
        self.questions.insert(request, client);
        request
    }

    /// Hands an answer to whoever asked.
    pub(crate) fn answer(&mut self, request: u32, report: &Report) {
        let Some(client) = self.questions.remove(&request) else { return };
        let Some(client) = self.clients.get(client).and_then(Option::as_ref) else { return };
        let mut packet = serde_json::to_vec(report).expect("a report is plain data");
        if packet.len() > PACKET_LIMIT {
            let message = "the guest's answer is too long".to_owned();
            packet = serde_json::to_vec(&Report::Refused { request, message }).expect("plain data");
        }
        let _ = send_packet(client.socket.as_fd(), &packet, &[]);
    }

    fn adopt_streams(
        &mut self,
        number: u32,
        client: usize,
        streams: Vec<OwnedFd>,
        stdin: bool,
        tty: bool,
    ) -> bool {
        let mut streams = streams.into_iter();
        let (input, output, error) = (streams.next(), streams.next(), streams.next());
        let session =
            Session::new(Owner::Client(client), input.filter(|_| stdin), [output, error.filter(|_| !tty)]);
        self.add_session(number, session).is_ok()
    }

    /// Tells a client of its process.
    pub(crate) fn tell_client(&mut self, report: &Report) {
        let (Report::Started { session, .. }
        | Report::Failed { session, .. }
        | Report::Exited { session, .. }) = report
        else {
            return;
        };
        let number = *session;
        if number == MAIN {
            // The keeper's own; what is told of it out of turn means nothing.
            return;
        }
        match report {
            Report::Exited { code, oom_killed, .. } => {
                if let Some(session) = self.sessions.get_mut(&number) {
                    session.end = Some((*code, *oom_killed));
                }
                self.close_if_over(number);
            }
            Report::Failed { .. } => {
                self.say(number, report);
                self.sessions.remove(&number);
            }
            _ => {
                self.say(number, report);
                self.refresh_stdin(number);
            }
        }
    }

    /// Ends a session whose process has ended and whose output was all handed on.
    pub(crate) fn close_if_over(&mut self, number: u32) {
        let Some(session) = self.sessions.get(&number).filter(|session| session.is_flushed()) else { return };
        let (Owner::Client(_), Some((code, oom_killed))) = (session.owner, session.end) else { return };
        self.say(number, &Report::Exited { session: number, code, oom_killed });
        self.sessions.remove(&number);
    }

    fn say(&self, session: u32, report: &Report) {
        let Some(Owner::Client(index)) = self.sessions.get(&session).map(|session| session.owner) else {
            return;
        };
        if let Some(client) = self.clients.get(index).and_then(Option::as_ref) {
            let packet = serde_json::to_vec(report).expect("a report is plain data");
            let _ = send_packet(client.socket.as_fd(), &packet, &[]);
        }
    }

    /// A client that is gone was killed, and that was meant for its process.
    fn lose_client(&mut self, index: usize) {
        let Some(client) = self.clients.get_mut(index).and_then(Option::take) else { return };
        // Its number may be another's soon.
        self.questions.retain(|_, asker| *asker != index);
        if let Some(session) = client.session.filter(|session| self.sessions.contains_key(session)) {
            let _ = self.guest.command(&Command::Signal { session, signal: signal::KILL });
            if let Some(session) = self.sessions.get_mut(&session) {
                session.outputs.iter_mut().for_each(|output| output.stream = None);
                session.stdin = None;
            }
        }
    }
}
