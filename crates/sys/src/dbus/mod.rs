//! D-Bus: how the host's own services are spoken to. One socket, one thread, no waiting but where it is asked for.
//!
//! ```text
//! \0 AUTH EXTERNAL, DATA, BEGIN    the kernel tells the other side who this is ("Authentication Protocol")
//! call -> answer                   signals come between
//! ```

mod wire;

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

pub use wire::{
    Call, ERROR, Message, NO_AUTO_START, NO_REPLY, PREFIX, RETURN, Reader, SIGNAL, Value, Writer,
};

/// The bus of the host's services.
pub const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";
/// The message bus itself, on it.
pub const BUS: &str = "org.freedesktop.DBus";

/// `DATA`, and `OK` with the 32 digits of the server's id.
const ANSWER_LENGTH: usize = 6 + 3 + 32 + 2;

/// A connection to a message bus, or to a service itself.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    serial: u32,
}

impl Connection {
    /// Connects to a socket, and says who this is.
    ///
    /// # Errors
    /// Nobody listens; the other side does not let this process in, or takes longer than `patience`.
    pub fn open(path: &Path, patience: Duration) -> Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let mut connection = Self { stream, serial: 0 };
        connection.authenticate()?;
        Ok(connection)
    }

    /// Connects to a message bus, which wants to be greeted.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub fn to_bus(path: &Path, patience: Duration) -> Result<Self> {
        let mut connection = Self::open(path, patience)?;
        connection.send(&Call { flags: NO_REPLY, ..Self::bus_call("Hello") })?;
        Ok(connection)
    }

    /// Without a name: inside a user namespace this process does not know its own. All at once, and nothing else before
    /// the answer: a call that comes together with `BEGIN` lies at systemd until more comes.
    fn authenticate(&mut self) -> Result<()> {
        self.stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        let mut answer = [0; ANSWER_LENGTH];
        let (challenge, welcome) = answer.split_at_mut(b"DATA\r\n".len());
        self.stream.read_exact(challenge)?;
        if challenge == b"DATA\r\n" {
            self.stream.read_exact(welcome)?;
            if welcome.starts_with(b"OK ") && welcome.ends_with(b"\r\n") {
                return Ok(());
            }
        }
        let answer = String::from_utf8_lossy(&answer).trim_end_matches('\0').escape_debug().to_string();
        Err(Error::other(format!("it answered `{answer}`")))
    }

    /// A call to the message bus itself.
    pub fn bus_call<'a>(member: &'a str) -> Call<'a> {
        Call {
            destination: Some(BUS),
            path: "/org/freedesktop/DBus",
            interface: BUS,
            member,
            ..Call::default()
        }
    }

    /// Sends a call; gives the number that its answer will bear.
    ///
    /// # Errors
    /// The connection breaks.
    pub fn send(&mut self, call: &Call<'_>) -> Result<u32> {
        self.serial += 1;
        self.stream.write_all(&call.encode(self.serial))?;
        Ok(self.serial)
    }

    /// The next message.
    ///
    /// # Errors
    /// The connection breaks; what comes is no message; [`ErrorKind::TimedOut`] if it is not whole by `deadline`.
    pub fn receive(&mut self, deadline: Instant) -> Result<Message> {
        let broken = || Error::other("it sent what is no message");
        let mut bytes = vec![0; PREFIX];
        self.read(&mut bytes, deadline)?;
        let length = Message::length(&bytes).ok_or_else(broken)?;
        bytes.resize(length, 0);
        self.read(&mut bytes[PREFIX..], deadline)?;
        Message::decode(&bytes).ok_or_else(broken)
    }

    fn read(&mut self, mut buffer: &mut [u8], deadline: Instant) -> Result<()> {
        while !buffer.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => buffer = &mut buffer[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
