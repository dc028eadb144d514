//! Datagrams: each client has a socket of its own to the workload, so that answers find their way back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, recvfrom, send, sendto,
    socket_with,
};

use super::{Poll, Relayed, Token};

/// Clients at once; for one more the one that has been silent longest is forgotten.
const MOST: usize = 512;

/// How long a client is remembered that neither speaks nor is spoken to.
const SILENT: Duration = Duration::from_secs(60);

/// Bytes of the largest datagram.
const LARGEST: usize = 1 << 16;

/// All clients.
#[derive(Debug, Default)]
pub struct Talks {
    by_number: BTreeMap<u64, Talk>,
    last: u64,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Talk {
    port: usize,
    client: SocketAddr,
    workload: OwnedFd,
    forgotten: Instant,
}

impl Talks {
    pub fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    /// When [`Self::expire`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.by_number.values().map(|talk| talk.forgotten).min()
    }

    /// Forgets who was silent for long.
    pub fn expire(&mut self, now: Instant) {
        self.by_number.retain(|_, talk| talk.forgotten > now);
    }

    /// Hands on what came in at a port. As with any datagram, what cannot be handed on is lost.
    pub fn take(&mut self, poll: &Poll, port: &Relayed, index: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(LARGEST, 0);
        while let Some((length, client)) = received(&port.socket, &mut buffer) {
            if let Ok(talk) = self.talk(poll, port, index, client) {
                talk.forgotten = Instant::now() + SILENT;
                let _ = send(&talk.workload, &buffer[..length], SendFlags::NOSIGNAL);
            }
        }
        self.buffer = buffer;
    }

    /// Hands on what the workload says to a client.
    pub fn answer(&mut self, number: u64, ports: &[Relayed]) {
        let Some(talk) = self.by_number.get_mut(&number) else { return };
        self.buffer.resize(LARGEST, 0);
        loop {
            match recv(&talk.workload, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((length, _)) => {
                    talk.forgotten = Instant::now() + SILENT;
                    let said = &self.buffer[..length];
                    let _ = sendto(&ports[talk.port].socket, said, SendFlags::NOSIGNAL, &talk.client);
                }
                // Nobody listened when something was sent; somebody may next time.
                Err(Errno::CONNREFUSED | Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    fn talk(
        &mut self,
        poll: &Poll,
        port: &Relayed,
        index: usize,
        client: SocketAddr,
    ) -> Result<&mut Talk, Errno> {
        let known = self.by_number.iter().find(|(_, talk)| talk.client == client && talk.port == index);
        let number = match known.map(|(number, _)| *number) {
            Some(number) => number,
            None => self.begin(poll, port, index, client)?,
        };
        self.by_number.get_mut(&number).ok_or(Errno::NOENT)
    }

    fn begin(&mut self, poll: &Poll, port: &Relayed, index: usize, client: SocketAddr) -> Result<u64, Errno> {
        if self.by_number.len() >= MOST {
            let longest =
                self.by_number.iter().min_by_key(|(_, talk)| talk.forgotten).map(|(number, _)| *number);
            longest.and_then(|number| self.by_number.remove(&number));
        }
        let family = if port.target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let workload = socket_with(family, SocketType::DGRAM, flags, None)?;
        connect(&workload, &port.target)?;
        self.last += 1;
        poll.add(&workload, Token::Talk(self.last))?;
        let talk = Talk { port: index, client, workload, forgotten: Instant::now() + SILENT };
        self.by_number.insert(self.last, talk);
        Ok(self.last)
    }
}

fn received(socket: &OwnedFd, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
    loop {
        match recvfrom(socket, &mut *buffer, RecvFlags::empty()) {
            Ok((length, _, from)) => {
                return Some((length, from.and_then(|from| SocketAddr::try_from(from).ok())?));
            }
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}
