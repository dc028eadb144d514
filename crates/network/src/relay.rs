//! How `[::1]` leads to a workload: no rule of packets takes what the kernel sends from there to anywhere else.
//!
//! A socket listens at `[::1]`. Who first comes there has a process made, which carries bytes from then on, and ends when nobody
//! has needed it for a while. It has no rights, no files, and no descriptors but these; it sees what anybody on the host may
//! send to the workload anyway. The workload sees the host as its peer.
//!
//! ```text
//! client ──> [::1]:port  listening, kept by the caller ──> relay ──> address:port of the workload
//! ```

mod flows;
mod tcp;
mod udp;

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use holm_spec::network::Protocol;
use holm_spec::signal;
use holm_sys::process::{Child, CloneOptions, clone, close_all_but};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, set_parent_process_death_signal, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

use tcp::Connections;
use udp::Talks;

/// How long nobody has to need a relay before it ends.
const UNUSED: Duration = Duration::from_secs(10);

/// A port at `[::1]`, and where it leads.
#[derive(Debug)]
pub struct Relayed {
    /// Listens, or, of UDP, is bound; does not block.
    pub socket: OwnedFd,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// The workload's address and port.
    pub target: SocketAddr,
}

impl AsFd for Relayed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A process that relays. Dropped, it is ended.
#[derive(Debug)]
pub struct Relay(Child);

impl Relay {
    /// Makes the process. The caller has no threads.
    ///
    /// # Errors
    /// As clone(2).
    pub fn start(ports: &[Relayed]) -> Result<Self, Errno> {
        let parent = rustix::process::getpid();
        let relay = || i32::from(alone(ports, parent).and_then(|()| serve(ports)).is_err());
        clone(&CloneOptions::default(), relay).map(Self)
    }

    /// Readable once it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.0.pidfd.as_fd()
    }

    /// It has ended: whether for lack of use.
    pub fn was_unused(self) -> bool {
        holm_sys::process::wait(self.0.pidfd.as_fd()) == Ok(0)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Both fail where it has ended.
        let _ = holm_sys::process::signal(self.0.pidfd.as_fd(), signal::KILL);
        let _ = holm_sys::process::wait(self.0.pidfd.as_fd());
    }
}

/// Leaves everything behind that is the caller's, but for the ports, and its standard streams, or a socket would get their
/// numbers.
fn alone(ports: &[Relayed], parent: Pid) -> Result<(), Errno> {
    let ports = ports.iter().map(|port| port.socket.as_raw_fd());
    let mut kept: Vec<i32> = (0..3).chain(ports).collect();
    kept.sort_unstable();
    kept.dedup();
    close_all_but(&kept)?;
    set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    if rustix::process::getppid() != Some(parent) {
        // It was killed before.
        return Err(Errno::SRCH);
    }
    rustix::process::chdir("/")?;
    rustix::thread::set_name(c"holm-relay")?;
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    set_no_new_privs(true)?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
}

/// Carries bytes until nobody needs it.
fn serve(ports: &[Relayed]) -> Result<(), Errno> {
    let poll = Poll(epoll::create(CreateFlags::CLOEXEC)?);
    let mut connections = Connections::default();
    let mut talks = Talks::default();
    for (index, port) in ports.iter().enumerate() {
        poll.add(port, Token::Port(index))?;
    }
    let mut unused = Instant::now() + UNUSED;
    loop {
        let deadline = if connections.is_empty() { talks.deadline().unwrap_or(unused) } else { later() };
        for token in poll.wait(deadline)? {
            unused = Instant::now() + UNUSED;
            match token {
                Token::Port(index) if ports[index].protocol == Protocol::Udp => {
                    talks.take(&poll, &ports[index], index);
                }
                Token::Port(_) => {}
                Token::Connection(number) => connections.proceed(number),
                Token::Talk(number) => talks.answer(number, ports),
            }
        }
        // Also when one has ended: there may be room again.
        for port in ports.iter().filter(|port| port.protocol == Protocol::Tcp) {
            connections.accept(&poll, port);
        }
        talks.expire(Instant::now());
        if connections.is_empty() && talks.is_empty() && Instant::now() >= unused {
            return Ok(());
        }
    }
}

/// A time that is as good as never.
fn later() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// The port of that index.
    Port(usize),
    /// Either end of the TCP connection of that number.
    Connection(u64),
    /// What the workload says to the client of UDP of that number.
    Talk(u64),
}

/// What is waited for; each change is told once.
#[derive(Debug)]
struct Poll(OwnedFd);

impl Poll {
    fn add(&self, descriptor: impl AsFd, token: Token) -> Result<(), Errno> {
        let (kind, number) = match token {
            Token::Port(index) => (0, index as u64),
            Token::Connection(number) => (1, number),
            Token::Talk(number) => (2, number),
        };
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.0, descriptor, EventData::new_u64(number << 2 | kind), flags)
    }

    fn wait(&self, deadline: Instant) -> Result<Vec<Token>, Errno> {
        let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let left = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        let mut events = Vec::with_capacity(64);
        match epoll::wait(&self.0, rustix::buffer::spare_capacity(&mut events), Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let token = |data: u64| match data & 3 {
            0 => Token::Port((data >> 2) as usize),
            1 => Token::Connection(data >> 2),
            _ => Token::Talk(data >> 2),
        };
        Ok(events.iter().map(|event| token(event.data.u64())).collect())
    }
}

#[cfg(test)]
mod tests;
