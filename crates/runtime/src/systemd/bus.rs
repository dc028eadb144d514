//! A connection to systemd: one call at a time; signals that come between are kept. Root talks to the manager itself, at its private socket; everybody to their own manager, at its private socket or
//! over their message bus.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holm_sys::dbus::{Call, Connection, ERROR, Message, PREFIX, RETURN, SIGNAL, SYSTEM_BUS};

use crate::error::{Context, Error, Kind, Result};

/// How long systemd may take to answer, and to finish a job.
const PATIENCE: Duration = Duration::from_secs(30);

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
    connection: Connection,
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
        let connection = Connection::open(path, PATIENCE).context(failed)?;
        Ok(Self { connection, destination, signals: VecDeque::new() })
    }

    /// A message bus wants to be greeted, and the manager behind it to be told that somebody listens.
    fn greet(&mut self) -> Result<()> {
        let failed = |error| Error::caused(Kind::System, "greet the message bus", error);
        self.exchange(&Connection::bus_call("Hello"))?.map_err(failed)?;
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
            ..Call::default()
        };
        self.exchange(&call)
    }

    /// Calls a method of any object.
    ///
    /// # Errors
    /// As [`Bus::call`].
    pub fn exchange(&mut self, call: &Call<'_>) -> Result<Result<Message, Refusal>> {
        let failed = || format!("call `{}` of systemd", call.member);
        let serial = self.connection.send(call).context(failed)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = self.connection.receive(deadline).context(failed)?;
            match message.kind {
                RETURN if message.answers == Some(serial) => return Ok(Ok(message)),
                ERROR if message.answers == Some(serial) => {
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
                None => self.connection.receive(deadline).context(|| "wait for systemd")?,
            };
            if let Some((found, result)) = removed_job(&signal)
                && found == job
            {
                return Ok(result);
            }
        }
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
        Manager::System => (Some("/run/systemd/private".into()), Some(SYSTEM_BUS.into())),
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
