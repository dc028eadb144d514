//! Workloads that ask by TCP (RFC 7766): several questions on a connection, answered as soon as each can be.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use holm_sys::Errno;
use rustix::event::epoll::EventFlags;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, getpeername, recv, send};

use crate::frame;
use crate::poll::{Poll, Token};

/// Connections at once; for one more the oldest is closed.
const MOST: usize = 64;

/// How long a connection stays on which nothing happens.
const IDLE: Duration = Duration::from_secs(10);

/// Bytes of answers that may wait for a client before nothing more is taken from it.
const MOST_UNSENT: usize = 64 * 1024;

/// Bytes of answers with which a connection is closed: its client asks and does not listen.
const MOST_BEHIND: usize = 4 * MOST_UNSENT;

/// Questions of a client that may be open before nothing more is taken from it.
const MOST_OPEN: usize = 64;

/// Bytes that are taken from a client at once.
const CHUNK: usize = 4096;

/// All connections.
#[derive(Debug, Default)]
pub struct Clients {
    by_serial: BTreeMap<u64, Client>,
    last: u64,
}

/// One connection.
#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    received: Vec<u8>,
    unsent: Vec<u8>,
    /// Questions without an answer yet.
    open: usize,
    /// It will ask nothing more.
    ended: bool,
    deadline: Instant,
    /// What is waited for.
    interest: EventFlags,
}

impl Clients {
    /// Takes every connection that waits at a listener.
    pub fn accept(&mut self, poll: &Poll, listener: &OwnedFd, now: Instant) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(socket) = accept_with(listener, flags) {
            self.last += 1;
            if poll.add(&socket, Token::Client(self.last), EventFlags::IN).is_ok() {
                self.by_serial.insert(self.last, Client::new(socket, now));
            }
            if self.by_serial.len() > MOST {
                self.by_serial.pop_first();
            }
        }
    }

    /// Where a connection comes from, if it is still there.
    pub fn address(&self, serial: u64) -> Option<IpAddr> {
        let peer = getpeername(&self.by_serial.get(&serial)?.socket).ok()??;
        SocketAddr::try_from(peer).ok().map(|address| address.ip())
    }

    /// Goes on with a connection; gives the questions that came in.
    pub fn proceed(&mut self, poll: &Poll, serial: u64, flags: EventFlags, now: Instant) -> Vec<Vec<u8>> {
        let Some(client) = self.by_serial.get_mut(&serial) else { return Vec::new() };
        client.deadline = now + IDLE;
        let alive = client.flush() && client.receive(flags);
        let questions: Vec<_> = std::iter::from_fn(|| frame::take(&mut client.received)).collect();
        client.open += questions.len();
        self.settle(poll, serial, alive);
        questions
    }

    /// Gives a client an answer; `None` where there is none to one of its questions.
    pub fn answer(&mut self, poll: &Poll, serial: u64, answer: Option<&[u8]>, now: Instant) {
        let Some(client) = self.by_serial.get_mut(&serial) else { return };
        client.deadline = now + IDLE;
        client.open = client.open.saturating_sub(1);
        client.unsent.extend(answer.map(frame::write).unwrap_or_default());
        let alive = client.flush() && client.unsent.len() <= MOST_BEHIND;
        self.settle(poll, serial, alive);
    }

    /// Closes connections on which nothing happened for too long.
    pub fn expire(&mut self, now: Instant) {
        self.by_serial.retain(|_, client| client.deadline > now);
    }

    /// When [`Self::expire`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.by_serial.values().map(|client| client.deadline).min()
    }

    /// Waits for what a client does next, or closes the connection if that is nothing.
    fn settle(&mut self, poll: &Poll, serial: u64, alive: bool) {
        let Some(client) = self.by_serial.get_mut(&serial) else { return };
        let interest = client.wanted();
        let changed = interest == client.interest
            || poll.change(&client.socket, Token::Client(serial), interest).is_ok();
        client.interest = interest;
        if !alive || !changed || client.is_done() {
            self.by_serial.remove(&serial);
        }
    }
}

impl Client {
    fn new(socket: OwnedFd, now: Instant) -> Self {
        Self {
            socket,
            received: Vec::new(),
            unsent: Vec::new(),
            open: 0,
            ended: false,
            deadline: now + IDLE,
            interest: EventFlags::IN,
        }
    }

    /// Takes a part of what the client sent; false if the connection is broken.
    fn receive(&mut self, flags: EventFlags) -> bool {
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) || self.ended {
            return !flags.intersects(EventFlags::HUP | EventFlags::ERR);
        }
        let mut part = [0; CHUNK];
        match recv(&self.socket, &mut part, RecvFlags::empty()) {
            Ok((0, _)) => self.ended = true,
            Ok((length, _)) => self.received.extend_from_slice(&part[..length]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return false,
        }
        true
    }

    /// Sends what the connection takes; false if it is broken.
    fn flush(&mut self) -> bool {
        while !self.unsent.is_empty() {
            match send(&self.socket, &self.unsent, SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(Errno::INTR) => {}
                Err(errno) => return errno == Errno::AGAIN,
            }
        }
        true
    }

    fn wanted(&self) -> EventFlags {
        let mut wanted = EventFlags::empty();
        let free = self.unsent.len() < MOST_UNSENT && self.open < MOST_OPEN;
        wanted.set(EventFlags::IN, free && !self.ended);
        wanted.set(EventFlags::OUT, !self.unsent.is_empty());
        wanted
    }

    fn is_done(&self) -> bool {
        self.ended && self.open == 0 && self.unsent.is_empty()
    }
}
