//! A connection to systemd: one socket, one call at a time, no threads.
//!
//! ```text
//! \0 AUTH EXTERNAL, DATA, BEGIN    the kernel tells the other side who this is ("Authentication Protocol")
//! call -> answer                   signals that come between are kept
//! ```
//! Root talks to the manager itself, at its private socket; everybody to their own manager, at its private socket or
//! over their message bus.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::wire::{Call, ERROR, Message, PREFIX, RETURN, SIGNAL};
use crate::error::{Context, Error, Kind, Result};

/// How long systemd may take to answer, and to finish a job.
const PATIENCE: Duration = Duration::from_secs(30);
/// `DATA`, and `OK` with the 32 digits of the server's id.
const ANSWER_LENGTH: usize = 6 + 3 + 32 + 2;

/// Whose manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manager {
    /// The host's.
    System,
    /// That of the user's session.
    User,
}

/// A connection to a manager.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    /// Behind a message bus the manager has a name; alone it has none.
    destination: Option<&'static str>,
    signals: VecDeque<Message>,
}

/// What systemd said against a call.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Name of the error, such as `org.freedesktop.systemd1.NoSuchUnit`.
    pub name: String,
    pub message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.name)
    }
}

impl std::error::Error for Refusal {}

impl Bus {
    /// Connects to a manager.
    ///
    /// # Errors
    /// None answers.
    pub fn connect(manager: Manager) -> Result<Self> {
        let (private, bus) = sockets(manager);
        let direct = private.filter(|path| path.exists()).and_then(|path| Self::open(&path, None).ok());
        if let Some(direct) = direct {
            return Ok(direct);
        }
        let path = bus.ok_or_else(|| {
            Error::new(Kind::Unsupported, "find the user's message bus: there is no XDG_RUNTIME_DIR")
        })?;
        let mut connection = Self::open(&path, Some("org.freedesktop.systemd1"))?;
        connection.greet()?;
        Ok(connection)
    }

    fn open(path: &Path, destination: Option<&'static str>) -> Result<Self> {
        let failed = || format!("connect to systemd at `{}`", path.display());
        let stream = UnixStream::connect(path).context(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).context(failed)?;
        let mut bus = Self { stream, serial: 0, destination, signals: VecDeque::new() };
        bus.authenticate().context(failed)?;
        Ok(bus)
    }

    /// Without a name: inside a user namespace this process does not know its own. All at once, and nothing else before
    /// the answer: a call that comes together with `BEGIN` lies at systemd until more comes.
    fn authenticate(&mut self) -> std::io::Result<()> {
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
        Err(std::io::Error::other(format!("it answered `{answer}`")))
    }

    /// A message bus wants to be greeted, and the manager behind it to be told that somebody listens.
    fn greet(&mut self) -> Result<()> {
        let bus = "org.freedesktop.DBus";
        let hello = Call {
            destination: Some(bus),
            path: "/org/freedesktop/DBus",
            interface: bus,
            member: "Hello",
            signature: "",
            body: Vec::new(),
        };
        let failed = |error| Error::caused(Kind::System, "greet the message bus", error);
        self.exchange(&hello)?.map_err(failed)?;
        self.call("Subscribe", "", Vec::new())?.map(drop).map_err(failed)
    }

    /// Calls a method of the manager.
    ///
    /// # Errors
    /// The connection breaks; inside, what systemd has against it.
    pub fn call(&mut self, member: &str, signature: &str, body: Vec<u8>) -> Result<Result<Message, Refusal>> {
        let call = Call {
            destination: self.destination,
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            member,
            signature,
            body,
        };
        self.exchange(&call)
    }

    /// Calls a method of any object.
    ///
    /// # Errors
    /// As [`Bus::call`].
    pub fn exchange(&mut self, call: &Call<'_>) -> Result<Result<Message, Refusal>> {
        self.serial += 1;
        let failed = || format!("call `{}` of systemd", call.member);
        self.stream.write_all(&call.encode(self.serial)).context(failed)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = self.receive(deadline).context(failed)?;
            match message.kind {
                RETURN if message.answers == Some(self.serial) => return Ok(Ok(message)),
                ERROR if message.answers == Some(self.serial) => {
                    let text = message.signature.starts_with('s').then(|| message.body().string());
                    let text = text.flatten().unwrap_or("it gives no reason").to_owned();
                    return Ok(Err(Refusal { name: message.error, message: text }));
                }
                SIGNAL => self.signals.push_back(message),
                _ => {}
            }
        }
    }

    /// Waits until a job is done: its result, `done` if it went well.
    ///
    /// # Errors
    /// The connection breaks; the job takes longer than half a minute.
    pub fn await_job(&mut self, job: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let signal = match self.signals.pop_front() {
                Some(signal) => signal,
                None => self.receive(deadline).context(|| "wait for systemd")?,
            };
            if let Some((found, result)) = removed_job(&signal)
                && found == job
            {
                return Ok(result);
            }
        }
    }

    fn receive(&mut self, deadline: Instant) -> std::io::Result<Message> {
        let broken = || std::io::Error::other("it sent what is no message");
        let mut bytes = vec![0; PREFIX];
        self.read(&mut bytes, deadline)?;
        let length = Message::length(&bytes).ok_or_else(broken)?;
        bytes.resize(length, 0);
        self.read(&mut bytes[PREFIX..], deadline)?;
        Message::decode(&bytes).ok_or_else(broken)
    }

    fn read(&mut self, mut buffer: &mut [u8], deadline: Instant) -> std::io::Result<()> {
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

/// What a whole message says of a job of systemd's that has ended: its path and its result. Pure.
pub fn ended_job(message: &[u8]) -> Option<(String, String)> {
    let length = Message::length(message.get(..PREFIX)?)?;
    removed_job(&Message::decode(message.get(..length)?)?)
}

/// `JobRemoved(u id, o job, s unit, s result)`.
fn removed_job(signal: &Message) -> Option<(String, String)> {
    if signal.member != "JobRemoved" || signal.signature != "uoss" {
        return None;
    }
    let mut body = signal.body();
    body.number()?;
    let job = body.string()?.to_owned();
    body.string()?;
    Some((job, body.string()?.to_owned()))
}

/// The manager's own socket, and that of the message bus before it.
fn sockets(manager: Manager) -> (Option<PathBuf>, Option<PathBuf>) {
    match manager {
        Manager::System => (Some("/run/systemd/private".into()), Some("/run/dbus/system_bus_socket".into())),
        Manager::User => {
            let run = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
            let bus = run.as_ref().map(|run| run.join("bus"));
            (run.map(|run| run.join("systemd/private")), address().or(bus))
        }
    }
}

/// `DBUS_SESSION_BUS_ADDRESS`, where it names a socket by its path.
fn address() -> Option<PathBuf> {
    let text = std::env::var("DBUS_SESSION_BUS_ADDRESS").ok()?;
    let path = text.split(';').find_map(|entry| entry.strip_prefix("unix:path="))?;
    Some(path.split(',').next().unwrap_or(path).into())
}
