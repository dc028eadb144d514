//! What one thread waits for: descriptors, each with a word for what it is.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use holm_sys::Errno;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// Events that are taken at once.
const AT_ONCE: usize = 64;

/// What an event is about; travels through epoll as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// A signal.
    Signal,
    /// Something changed in the directory of claims.
    Claims,
    /// A datagram at the gateway of that index.
    Datagram(usize),
    /// A connection to the gateway of that index.
    Listener(usize),
    /// A client of that serial number.
    Client(u64),
    /// A question of that serial number to another server.
    Exchange(u64),
    /// The host's bus.
    Firewalld,
}

/// Bits of the number that say the kind.
const KIND_BITS: u32 = 3;

impl Token {
    fn data(self) -> EventData {
        let (kind, number) = match self {
            Self::Signal => (0, 0),
            Self::Claims => (1, 0),
            Self::Datagram(index) => (2, index as u64),
            Self::Listener(index) => (3, index as u64),
            Self::Client(serial) => (4, serial),
            Self::Exchange(serial) => (5, serial),
            Self::Firewalld => (6, 0),
        };
        EventData::new_u64(number << KIND_BITS | kind)
    }

    fn from_data(data: EventData) -> Self {
        let number = data.u64() >> KIND_BITS;
        match data.u64() & ((1 << KIND_BITS) - 1) {
            0 => Self::Signal,
            1 => Self::Claims,
            2 => Self::Datagram(number as usize),
            3 => Self::Listener(number as usize),
            4 => Self::Client(number),
            5 => Self::Exchange(number),
            _ => Self::Firewalld,
        }
    }
}

/// The descriptors that are waited for. One that is closed leaves by itself.
#[derive(Debug)]
pub struct Poll {
    epoll: OwnedFd,
}

impl Poll {
    /// Waits for nothing yet.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Waits for a descriptor.
    pub fn add(&self, descriptor: impl AsFd, token: Token, flags: EventFlags) -> Result<(), Errno> {
        epoll::add(&self.epoll, descriptor, token.data(), flags)
    }

    /// Waits for something else of a descriptor.
    pub fn change(&self, descriptor: impl AsFd, token: Token, flags: EventFlags) -> Result<(), Errno> {
        epoll::modify(&self.epoll, descriptor, token.data(), flags)
    }

    /// What happened, at the latest at `deadline`.
    pub fn wait(&self, deadline: Option<Instant>) -> Result<Vec<(Token, EventFlags)>, Errno> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map(timespec);
        let mut events = Vec::with_capacity(AT_ONCE);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        Ok(events.iter().map(|event| (Token::from_data(event.data), event.flags)).collect())
    }
}

fn timespec(duration: Duration) -> Timespec {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec: seconds, tv_nsec: duration.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back() {
        for token in [
            Token::Signal,
            Token::Claims,
            Token::Datagram(1),
            Token::Listener(2),
            Token::Client(u64::from(u32::MAX)),
            Token::Exchange(1 << 40),
            Token::Firewalld,
        ] {
            assert_eq!(Token::from_data(token.data()), token);
        }
    }
}
