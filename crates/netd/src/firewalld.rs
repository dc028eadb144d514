//! The network's bridge in a zone of firewalld, where the host has it (firewalld.dbus(5)): it rejects otherwise what comes from
//! a bridge that it was not told of.
//!
//! ```text
//! connected, firewalld came or was reloaded -> addInterface -> in the zone
//! nobody needs the network                  -> removeInterface
//! ```
//! The zone is `holm` if the host's owner has made one, and `trusted` otherwise. A bridge that the owner has put into another
//! zone stays there. What firewalld is told lasts until it is reloaded and is written nowhere. It is never started for this.

use std::io::{ErrorKind, Result};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use holm_sys::dbus::{Call, Connection, ERROR, Message, NO_AUTO_START, NO_REPLY, RETURN, SIGNAL, Writer};

use crate::say;

const FIREWALLD: &str = "org.fedoraproject.FirewallD1";
const OWN_ZONE: &str = "holm";
const USUAL_ZONE: &str = "trusted";

/// How long firewalld may take for an answer that is waited for: it does one thing at a time.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a message that has begun may take to be whole.
const PIECE: Duration = Duration::from_millis(100);

/// Signals that end what firewalld had been told.
const SIGNALS: [&str; 2] = [
    "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.fedoraproject.FirewallD1'",
    "type='signal',sender='org.fedoraproject.FirewallD1',interface='org.fedoraproject.FirewallD1',member='Reloaded'",
];

/// A connection to the host's bus.
#[derive(Debug)]
pub struct Firewalld {
    connection: Connection,
    interface: String,
    /// The call that has no answer yet, and its zone.
    asked: Option<(u32, &'static str)>,
    /// The bridge is in a zone since this process said so.
    placed: bool,
    /// It was, before firewalld was reloaded.
    had_placed: bool,
}

impl Firewalld {
    /// Puts a bridge into a zone, now or when firewalld comes. `None` on a host without a bus.
    pub fn open(bus: &Path, interface: &str) -> Option<Self> {
        match Self::connect(bus, interface) {
            Ok(firewalld) => Some(firewalld),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => None,
            Err(error) => {
                say(&format!("find firewalld at `{}`: {error}", bus.display()));
                None
            }
        }
    }

    fn connect(bus: &Path, interface: &str) -> Result<Self> {
        let mut connection = Connection::to_bus(bus, PATIENCE)?;
        for rule in SIGNALS {
            let mut body = Writer::default();
            body.string(rule);
            let (signature, body) = ("s", body.finish());
            let call = Call { flags: NO_REPLY, signature, body, ..Connection::bus_call("AddMatch") };
            connection.send(&call)?;
        }
        let mut firewalld = Self {
            connection,
            interface: interface.to_owned(),
            asked: None,
            placed: false,
            had_placed: false,
        };
        firewalld.place(OWN_ZONE)?;
        firewalld.wait()?;
        Ok(firewalld)
    }

    /// Takes one message; to be called when there is one.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub fn proceed(&mut self) -> Result<()> {
        let message = self.connection.receive(Instant::now() + PIECE)?;
        self.take(&message)
    }

    /// Takes the bridge out of the zone, if this process has put it there.
    pub fn leave(mut self) {
        if self.placed {
            // The host's owner may have done so, and firewalld may be gone.
            let _ = self.call("removeInterface", "").and_then(|()| self.wait());
        }
    }

    fn place(&mut self, zone: &'static str) -> Result<()> {
        self.call("addInterface", zone)
    }

    fn call(&mut self, member: &str, zone: &'static str) -> Result<()> {
        let mut body = Writer::default();
        body.string(zone).string(&self.interface);
        let call = Call {
            flags: NO_AUTO_START,
            destination: Some(FIREWALLD),
            path: "/org/fedoraproject/FirewallD1",
            interface: "org.fedoraproject.FirewallD1.zone",
            member,
            signature: "ss",
            body: body.finish(),
        };
        self.asked = Some((self.connection.send(&call)?, zone));
        Ok(())
    }

    /// Until there is an answer; one that takes too long comes later.
    fn wait(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.asked.is_some() {
            match self.connection.receive(deadline) {
                Ok(message) => self.take(&message)?,
                Err(error) if error.kind() == ErrorKind::TimedOut => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take(&mut self, message: &Message) -> Result<()> {
        if message.kind == SIGNAL && begins_anew(message) {
            self.had_placed |= std::mem::take(&mut self.placed);
            return self.place(OWN_ZONE);
        }
        let Some((_, zone)) = self.asked.take_if(|(serial, _)| message.answers == Some(*serial)) else {
            return Ok(());
        };
        match message.kind {
            RETURN => self.placed = true,
            ERROR => return self.refused(zone, message),
            _ => {}
        }
        Ok(())
    }

    fn refused(&mut self, zone: &'static str, message: &Message) -> Result<()> {
        let is_absent = message.error.starts_with("org.freedesktop.DBus.Error.");
        let text = message.body().string().unwrap_or_default();
        let kind = text.split(':').next().unwrap_or_default();
        match kind {
            _ if is_absent => {}
            "INVALID_ZONE" if zone == OWN_ZONE => return self.place(USUAL_ZONE),
            // It outlived a reload.
            "ZONE_ALREADY_SET" | "ALREADY_ENABLED" => self.placed = self.had_placed,
            "ZONE_CONFLICT" => {}
            _ => say(&format!("put `{}` into firewalld's zone `{zone}`: {text}", self.interface)),
        }
        Ok(())
    }
}

impl AsFd for Firewalld {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

/// `Reloaded()`, and `NameOwnerChanged(s name, s old, s new)` if there is a new one.
fn begins_anew(signal: &Message) -> bool {
    match signal.member.as_str() {
        "Reloaded" => true,
        "NameOwnerChanged" => {
            let mut body = signal.body();
            let [name, _, new] = [body.string(), body.string(), body.string()];
            name == Some(FIREWALLD) && new.is_some_and(|new| !new.is_empty())
        }
        _ => false,
    }
}
