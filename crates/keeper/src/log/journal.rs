//! systemd's journal (systemd.io/JOURNAL_NATIVE_PROTOCOL): a datagram a line, with the fields that Docker gives it.
//!
//! A message that is too long for a datagram goes as a sealed file. A journal that takes nothing holds the workload up for
//! [`PATIENCE`]; from then on, until it takes something again, what it does not take at once is lost there, which it is
//! told. The copy in files has it all.

use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use holm_runtime::Error;
use holm_spec::Timestamp;
use holm_spec::keeper::Stream;
use holm_spec::log::JOURNAL_SOCKET;
use holm_spec::workload::Config;
use holm_sys::Errno;
use holm_sys::socket::{send_descriptor, try_send_packet};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// How long a message may wait.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

const MEMFD_NAME: &CStr = c"holm-journal";

/// A connection to the journal.
#[derive(Debug)]
pub(super) struct Journal {
    socket: OwnedFd,
    /// Fields that every message has.
    fields: Vec<u8>,
    /// The time of the last message, and as text: lines that were read together share it.
    time: (Timestamp, String),
    /// The message that is being sent.
    message: Vec<u8>,
    /// Lines that came in parts, counted, and parts of the one that is under way.
    line: u64,
    parts: u64,
    lost: u64,
    /// It did not take a message in time.
    stuck: bool,
}

impl Journal {
    /// Connects.
    ///
    /// # Errors
    /// There is no journal.
    pub fn open(config: &Config) -> Result<Self, Error> {
        let socket = connect()
            .map_err(|errno| Error::system(format!("connect to the journal at `{JOURNAL_SOCKET}`"), errno))?;
        let (fields, time) = (fields(config), (Timestamp::NEVER, String::new()));
        Ok(Self { socket, fields, time, message: Vec::new(), line: 0, parts: 0, lost: 0, stuck: false })
    }

    /// Sends a line, or a part of one if it is not `full`.
    pub fn send(&mut self, time: Timestamp, stream: Stream, line: &[u8], full: bool) {
        if self.lost > 0 && self.pass_on_loss(time).is_err() {
            self.lost += 1;
            return;
        }
        self.begin(time, if stream == Stream::Stderr { b'3' } else { b'6' });
        push_field(&mut self.message, "MESSAGE", line);
        self.describe_part(full);
        if self.transmit().is_err() {
            self.lost += 1;
        }
    }

    /// Nothing more comes: what it did not take is told now, if it takes that.
    pub fn finish(&mut self, time: Timestamp) {
        if self.lost > 0 {
            let _ = self.pass_on_loss(time);
        }
    }

    fn pass_on_loss(&mut self, time: Timestamp) -> Result<(), Errno> {
        self.begin(time, b'4');
        let text = format!("holm: {} lines lost: the journal took none", self.lost);
        push_field(&mut self.message, "MESSAGE", text.as_bytes());
        self.transmit()?;
        self.lost = 0;
        Ok(())
    }

    fn begin(&mut self, time: Timestamp, priority: u8) {
        self.message.clear();
        self.message.extend_from_slice(&self.fields);
        push_field(&mut self.message, "PRIORITY", &[priority]);
        if self.time.0 != time {
            self.time = (time, time.to_string());
        }
        push_field(&mut self.message, "SYSLOG_TIMESTAMP", self.time.1.as_bytes());
    }

    /// What Docker says of lines that come in parts.
    fn describe_part(&mut self, full: bool) {
        if full && self.parts == 0 {
            return;
        }
        self.parts += 1;
        if !full {
            push_field(&mut self.message, "CONTAINER_PARTIAL_MESSAGE", b"true");
        }
        let last: &[u8] = if full { b"true" } else { b"false" };
        push_field(&mut self.message, "CONTAINER_PARTIAL_ID", self.line.to_string().as_bytes());
        push_field(&mut self.message, "CONTAINER_PARTIAL_ORDINAL", self.parts.to_string().as_bytes());
        push_field(&mut self.message, "CONTAINER_PARTIAL_LAST", last);
        if full {
            (self.line, self.parts) = (self.line + 1, 0);
        }
    }

    fn transmit(&mut self) -> Result<(), Errno> {
        let sent = match self.try_send() {
            Err(Errno::AGAIN) if !self.stuck => {
                let _ = poll(&mut [PollFd::new(&self.socket, PollFlags::OUT)], Some(&PATIENCE));
                self.try_send()
            }
            // It was started anew.
            Err(Errno::CONNREFUSED | Errno::NOTCONN | Errno::PIPE | Errno::CONNRESET) => {
                connect().and_then(|socket| {
                    self.socket = socket;
                    self.try_send()
                })
            }
            other => other,
        };
        self.stuck = sent == Err(Errno::AGAIN);
        sent
    }

    fn try_send(&self) -> Result<(), Errno> {
        match try_send_packet(self.socket.as_fd(), &self.message, &[]) {
            Err(Errno::MSGSIZE | Errno::NOBUFS) => {
                send_descriptor(self.socket.as_fd(), &[], self.sealed()?.as_fd())
            }
            other => other,
        }
    }

    /// The message as a file that nobody can change any more.
    fn sealed(&self) -> Result<OwnedFd, Errno> {
        let memory = rustix::fs::memfd_create(MEMFD_NAME, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut file = File::from(memory);
        file.write_all(&self.message).map_err(|_| Errno::NOMEM)?;
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        Ok(file.into())
    }
}

fn connect() -> Result<OwnedFd, Errno> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(JOURNAL_SOCKET)?)?;
    Ok(socket)
}

fn fields(config: &Config) -> Vec<u8> {
    let settings = &config.settings.log;
    let mut fields = Vec::new();
    for (name, value) in [
        ("CONTAINER_ID", config.id.short()),
        ("CONTAINER_ID_FULL", config.id.to_string()),
        ("CONTAINER_NAME", config.name.clone()),
        ("CONTAINER_TAG", settings.tag.clone()),
        ("SYSLOG_IDENTIFIER", settings.tag.clone()),
        ("IMAGE_NAME", config.image.name.clone()),
    ] {
        push_field(&mut fields, name, value.as_bytes());
    }
    for (name, value) in &settings.attributes {
        push_field(&mut fields, &field_name(name), value.as_bytes());
    }
    fields
}

/// A name as the journal takes it: capital letters, digits and underscores, of which none comes first.
fn field_name(name: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    name.chars().map(upper).collect::<String>().trim_start_matches('_').to_owned()
}

/// A value with a line break has its length before it.
fn push_field(message: &mut Vec<u8>, name: &str, value: &[u8]) {
    message.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        message.push(b'\n');
        message.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        message.push(b'=');
    }
    message.extend_from_slice(value);
    message.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_framed() {
        let mut message = Vec::new();
        push_field(&mut message, "A", b"b=\xff");
        push_field(&mut message, "C", b"d\ne");
        assert_eq!(message, b"A=b=\xff\nC\n\x03\0\0\0\0\0\0\0d\ne\n");
        assert_eq!(field_name("_com.example-x"), "COM_EXAMPLE_X");
    }
}
