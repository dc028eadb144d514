//! The serial port to the machine, with frames over it.
//!
//! The driver tells of a port that nobody has open on the other side by `EPOLLHUP`; reading it gives an end then, and
//! writing has to wait. epoll tells of changes only (`EPOLLET`), since that state may last. Whoever opens the port on
//! the other side says hello; until then nothing that they say counts, and nothing is said to them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use holm_runtime::{Error, Result};
use holm_spec::agent::frame::Decoder;
use holm_sys::Errno;
use rustix::event::epoll::EventFlags;
use rustix::fs::{Mode, OFlags, open};

use crate::outgoing::Outgoing;

/// Bytes that are read in one go.
const CHUNK: usize = 32 * 1024;

/// The port, open.
#[derive(Debug)]
pub struct Channel {
    port: OwnedFd,
    /// What waits to be sent.
    pub outgoing: Outgoing,
    /// Whoever is on the other side has said hello.
    pub greeted: bool,
    readable: bool,
    writable: bool,
    buffer: Vec<u8>,
}

impl Channel {
    /// Opens the port.
    ///
    /// # Errors
    /// Somebody else has it open.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let port = open(path, flags, Mode::empty())
            .map_err(|errno| Error::system(format!("open `{}`", path.display()), errno))?;
        Ok(Self::over(port))
    }

    /// A channel over any descriptor that does not block.
    pub fn over(port: OwnedFd) -> Self {
        Self {
            port,
            outgoing: Outgoing::default(),
            greeted: false,
            readable: true,
            writable: true,
            buffer: vec![0; CHUNK],
        }
    }

    /// What epoll is to watch, for changes.
    pub fn port(&self) -> BorrowedFd<'_> {
        self.port.as_fd()
    }

    /// epoll told of a change.
    pub fn note(&mut self, flags: EventFlags) {
        self.readable |= flags.contains(EventFlags::IN);
        self.writable |= flags.contains(EventFlags::OUT);
        if flags.intersects(EventFlags::HUP | EventFlags::ERR) {
            self.greeted = false;
        }
    }

    /// Whether something can be done without waiting.
    pub fn is_busy(&self) -> bool {
        self.can_read() || self.can_write()
    }

    fn can_read(&self) -> bool {
        self.readable && !self.outgoing.is_full()
    }

    fn can_write(&self) -> bool {
        self.writable && self.greeted && !self.outgoing.is_empty()
    }

    /// Gives what is there, up to a limit, to `decoder`.
    pub fn receive(&mut self, decoder: &mut Decoder) {
        if !self.can_read() {
            return;
        }
        match rustix::io::read(&self.port, &mut self.buffer) {
            Ok(0) => (self.readable, self.greeted) = (false, false),
            Ok(length) => decoder.push(&self.buffer[..length]),
            Err(Errno::INTR) => {}
            // A port whose driver is in trouble tells by another change.
            Err(_) => self.readable = false,
        }
    }

    /// Sends what the port takes.
    pub fn send(&mut self) {
        while self.can_write() {
            let Some(next) = self.outgoing.next() else { return };
            match rustix::io::write(&self.port, next) {
                Ok(count) if count > 0 => self.outgoing.advance(count),
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => self.writable = false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use holm_spec::agent::Report;

    use super::*;

    fn pair() -> (Channel, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("it can");
        (Channel::over(ours.into()), theirs)
    }

    #[test]
    fn nothing_is_said_before_hello() {
        let (mut channel, mut machine) = pair();
        channel.outgoing.answer(Report::Done { request: 1 });
        channel.send();
        machine.set_nonblocking(true).expect("it can");
        assert!(machine.read(&mut [0; 10]).is_err());
        channel.greeted = true;
        channel.outgoing.greet(BTreeMap::new(), |sessions| Report::Welcome {
            protocol: 1,
            release: String::new(),
            sessions,
        });
        channel.send();
        let mut said = [0; 500];
        let length = machine.read(&mut said).expect("said");
        assert_eq!((said[0], said[length - 1]), (0, 0), "opened, and ended");
        assert!(!channel.is_busy() || channel.outgoing.is_empty());
    }

    #[test]
    fn a_peer_that_does_not_read_is_not_read() {
        let (mut channel, mut machine) = pair();
        channel.greeted = true;
        while !channel.outgoing.is_full() {
            channel.outgoing.data(1, holm_spec::keeper::Stream::Stdout, &[1; 30_000]);
        }
        machine.write_all(b"anything").expect("written");
        let mut decoder = Decoder::default();
        channel.receive(&mut decoder);
        assert!(channel.readable && !channel.can_read());
        while !channel.outgoing.is_empty() {
            channel.send();
            let mut drained = vec![0; 1 << 20];
            machine.set_nonblocking(true).expect("it can");
            let _ = machine.read(&mut drained);
            channel.note(EventFlags::OUT);
        }
        assert!(channel.can_read());
    }

    #[test]
    fn an_end_ends_what_was_greeted() {
        let (mut channel, machine) = pair();
        channel.greeted = true;
        drop(machine);
        channel.receive(&mut Decoder::default());
        assert!(!channel.greeted && !channel.is_busy());
    }
}
