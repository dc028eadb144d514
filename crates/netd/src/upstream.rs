//! Questions to other servers, and what comes back.
//!
//! Each question is an exchange: a socket of its own, connected, so that the kernel chooses the port at random and
//! takes answers from nobody else, and an id of its own, at random. An answer counts if it has that id and is about
//! that question. It goes back byte for byte, with the client's id; so does one that says that it was cut off: the
//! client comes back by TCP then, and is forwarded by TCP.
//!
//! ```text
//! begin -> attempt 0 .. attempt n (each server, then each once more) -> Done with the answer
//!             | 2 s, or refused: the next one                        -> Done with SERVFAIL, and who was asked
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use holm_sys::Errno;
use rustix::event::epoll::EventFlags;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send};
use rustix::process::{Resource, getrlimit};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::answer::{Transport, answers, failure};
use crate::frame;
use crate::poll::{Poll, Token};

/// How long a server has for its answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often each server is asked.
const ROUNDS: usize = 2;

/// Exchanges at once; each has a socket.
const MOST: usize = 1024;

/// Who has more than that part of them makes room for its own questions itself.
const SHARES: usize = 8;

/// Descriptors that are for others: clients, listeners, files that are read.
const RESERVED: usize = 128;

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To whoever sent a datagram to the gateway of that index.
    Datagram(usize, SocketAddr),
    /// To the client of that serial number.
    Client(u64),
}

impl Route {
    /// What carries the answer.
    pub fn transport(self) -> Transport {
        match self {
            Self::Datagram(..) => Transport::Datagram,
            Self::Client(_) => Transport::Stream,
        }
    }

    fn is_of_same(self, other: Self) -> bool {
        match (self, other) {
            (Self::Datagram(_, one), Self::Datagram(_, other)) => one.ip() == other.ip(),
            _ => self == other,
        }
    }
}

/// An answer that is ready; `None` where there is nothing to say.
pub type Done = (Route, Option<Vec<u8>>);

/// All questions that are under way.
#[derive(Debug)]
pub struct Exchanges {
    most: usize,
    by_serial: BTreeMap<u64, Exchange>,
    deadlines: BTreeSet<(Instant, u64)>,
    last: u64,
}

/// What is asked, for whom, and who may be asked.
#[derive(Debug)]
pub struct Question {
    /// The client's message.
    pub query: Vec<u8>,
    /// Where the answer goes.
    pub route: Route,
    /// In the order in which they are asked.
    pub servers: Rc<[SocketAddr]>,
}

/// One question on its way.
#[derive(Debug)]
struct Exchange {
    question: Question,
    /// Attempts that were begun.
    attempts: usize,
    attempt: Attempt,
}

/// A question to one server.
#[derive(Debug)]
struct Attempt {
    socket: OwnedFd,
    /// The question with the attempt's own id.
    query: Vec<u8>,
    deadline: Instant,
    /// Only by TCP: what is still to be sent, and what came.
    unsent: Vec<u8>,
    received: Vec<u8>,
}

/// What an attempt has come to.
enum Progress {
    Waiting,
    Answer(Vec<u8>),
    Failed,
}

impl Exchanges {
    /// None yet, and never more than this process may have descriptors for.
    pub fn new() -> Self {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(RESERVED).clamp(1, MOST);
        Self { most, by_serial: BTreeMap::new(), deadlines: BTreeSet::new(), last: 0 }
    }

    /// Forwards a message. Gives what is answered at once: the message itself if there is nobody to ask, and an older
    /// one if there are too many.
    pub fn begin(&mut self, poll: &Poll, question: Question, now: Instant) -> Vec<Done> {
        let dropped = self.superfluous(question.route).and_then(|serial| self.give_up(serial));
        self.last += 1;
        let refused = match attempt(poll, self.last, &question, 0, now) {
            Some((attempts, attempt)) => {
                self.deadlines.insert((attempt.deadline, self.last));
                self.by_serial.insert(self.last, Exchange { question, attempts, attempt });
                None
            }
            None => Some(question.failed()),
        };
        dropped.into_iter().chain(refused).collect()
    }

    /// Goes on with an exchange whose socket has something to say.
    pub fn proceed(&mut self, poll: &Poll, serial: u64, buffer: &mut [u8], now: Instant) -> Option<Done> {
        let exchange = self.by_serial.get_mut(&serial)?;
        let token = Token::Exchange(serial);
        match exchange.attempt.proceed(poll, token, exchange.question.route.transport(), buffer) {
            Progress::Waiting => None,
            Progress::Answer(mut answer) => {
                let question = self.remove(serial)?;
                answer[..2].copy_from_slice(&question.query[..2]);
                Some((question.route, Some(answer)))
            }
            Progress::Failed => self.next_attempt(poll, serial, now),
        }
    }

    /// Asks somebody else where a server took too long.
    pub fn expire(&mut self, poll: &Poll, now: Instant) -> Vec<Done> {
        let due: Vec<_> = self.deadlines.range(..=(now, u64::MAX)).map(|(_, serial)| *serial).collect();
        due.into_iter().filter_map(|serial| self.next_attempt(poll, serial, now)).collect()
    }

    /// When [`Self::expire`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// If there are as many as there may be, the oldest of an asker that has more than its share, or else of all:
    /// nobody takes all of them from the others.
    fn superfluous(&self, route: Route) -> Option<u64> {
        if self.by_serial.len() < self.most {
            return None;
        }
        let own = || self.by_serial.iter().filter(|(_, exchange)| exchange.question.route.is_of_same(route));
        let oldest =
            if own().count() > self.most / SHARES { own().next() } else { self.by_serial.iter().next() };
        oldest.map(|(serial, _)| *serial)
    }

    fn next_attempt(&mut self, poll: &Poll, serial: u64, now: Instant) -> Option<Done> {
        let exchange = self.by_serial.get_mut(&serial)?;
        let Some((attempts, attempt)) = attempt(poll, serial, &exchange.question, exchange.attempts, now)
        else {
            return self.give_up(serial);
        };
        self.deadlines.remove(&(exchange.attempt.deadline, serial));
        self.deadlines.insert((attempt.deadline, serial));
        exchange.attempts = attempts;
        exchange.attempt = attempt;
        None
    }

    fn give_up(&mut self, serial: u64) -> Option<Done> {
        Some(self.remove(serial)?.failed())
    }

    fn remove(&mut self, serial: u64) -> Option<Question> {
        let exchange = self.by_serial.remove(&serial)?;
        self.deadlines.remove(&(exchange.attempt.deadline, serial));
        Some(exchange.question)
    }
}

impl Question {
    fn failed(&self) -> Done {
        (self.route, failure(&self.query, &self.servers))
    }
}

/// Begins the first attempt that can be begun after `attempts`; also says how many there were then.
fn attempt(
    poll: &Poll,
    serial: u64,
    question: &Question,
    attempts: usize,
    now: Instant,
) -> Option<(usize, Attempt)> {
    let Question { query, route, servers } = question;
    let interest = match route.transport() {
        Transport::Datagram => EventFlags::IN,
        Transport::Stream => EventFlags::OUT,
    };
    (attempts..servers.len() * ROUNDS).find_map(|number| {
        let server = servers[number % servers.len()];
        let attempt = Attempt::begin(query, server, route.transport(), now).ok()?;
        poll.add(&attempt.socket, Token::Exchange(serial), interest).ok()?;
        Some((number + 1, attempt))
    })
}

impl Attempt {
    fn begin(query: &[u8], server: SocketAddr, transport: Transport, now: Instant) -> Result<Self, Errno> {
        let mut own = query.to_owned();
        if let Some(id) = own.get_mut(..2) {
            getrandom(id, GetRandomFlags::empty())?;
        }
        let (kind, unsent) = match transport {
            Transport::Datagram => (SocketType::DGRAM, Vec::new()),
            Transport::Stream => (SocketType::STREAM, frame::write(&own)),
        };
        let socket = connect(server, kind)?;
        if transport == Transport::Datagram {
            send(&socket, &own, SendFlags::NOSIGNAL)?;
        }
        Ok(Self { socket, query: own, deadline: now + PATIENCE, unsent, received: Vec::new() })
    }

    fn proceed(&mut self, poll: &Poll, token: Token, transport: Transport, buffer: &mut [u8]) -> Progress {
        let progress = match transport {
            Transport::Datagram => self.receive_datagram(buffer),
            Transport::Stream if self.unsent.is_empty() => self.receive_part(buffer),
            Transport::Stream => self.send_part(poll, token),
        };
        match progress {
            Ok(progress) => progress,
            Err(Errno::AGAIN | Errno::INTR) => Progress::Waiting,
            Err(_) => Progress::Failed,
        }
    }

    fn receive_datagram(&self, buffer: &mut [u8]) -> Result<Progress, Errno> {
        loop {
            let (length, _) = recv(&self.socket, &mut *buffer, RecvFlags::empty())?;
            if self.is_answer(&buffer[..length]) {
                return Ok(Progress::Answer(buffer[..length].to_owned()));
            }
        }
    }

    fn send_part(&mut self, poll: &Poll, token: Token) -> Result<Progress, Errno> {
        let sent = send(&self.socket, &self.unsent, SendFlags::NOSIGNAL)?;
        self.unsent.drain(..sent);
        if self.unsent.is_empty() {
            poll.change(&self.socket, token, EventFlags::IN)?;
        }
        Ok(Progress::Waiting)
    }

    fn receive_part(&mut self, buffer: &mut [u8]) -> Result<Progress, Errno> {
        let (length, _) = recv(&self.socket, &mut *buffer, RecvFlags::empty())?;
        self.received.extend_from_slice(&buffer[..length]);
        match frame::take(&mut self.received) {
            Some(message) if self.is_answer(&message) => Ok(Progress::Answer(message)),
            // There is nothing else that this server could say to the only question on this connection.
            Some(_) => Ok(Progress::Failed),
            None if length == 0 => Ok(Progress::Failed),
            None => Ok(Progress::Waiting),
        }
    }

    fn is_answer(&self, message: &[u8]) -> bool {
        message.get(..2) == self.query.get(..2) && answers(message, &self.query)
    }
}

/// A socket of a server's; one of TCP may not be connected yet.
fn connect(server: SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    match rustix::net::connect(&socket, &server) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn nobody_takes_all_from_the_others() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let servers: Rc<[SocketAddr]> = Rc::new([silent.local_addr().unwrap()]);
        let poll = Poll::new().unwrap();
        let mut exchanges = Exchanges { most: 16, ..Exchanges::new() };
        let mut ask = |host: u8, port: u16| {
            let route = Route::Datagram(0, ([10, 1, 0, host], port).into());
            let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\0\0\x01\0\x01".to_vec();
            let question = Question { query, route, servers: Rc::clone(&servers) };
            let done = exchanges.begin(&poll, question, Instant::now());
            done.into_iter().map(|(route, answer)| (route, answer.is_some())).collect::<Vec<_>>()
        };
        let ended = |host: u8, port: u16| vec![(Route::Datagram(0, ([10, 1, 0, host], port).into()), true)];
        assert_eq!(ask(2, 1), []);
        (1..16).for_each(|port| assert_eq!(ask(3, port), []));
        (16..100).for_each(|port| assert_eq!(ask(3, port), ended(3, port - 15)));
        assert_eq!(ask(2, 2), ended(2, 1), "there is room for no more, and it is the oldest");
        assert_eq!(ask(4, 1), ended(3, 85));
    }
}
