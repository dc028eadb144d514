//! Connections of TCP. Each end may be closed for itself; a broken one breaks the other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, accept_with, connect, socket_with, sockopt};

use super::flows::Flow;
use super::{Poll, Relayed, Token};

/// Connections at once; who comes then waits.
const MOST: usize = 512;

/// All connections.
#[derive(Debug, Default)]
pub struct Connections {
    by_number: BTreeMap<u64, Connection>,
    last: u64,
}

#[derive(Debug)]
struct Connection {
    client: OwnedFd,
    workload: OwnedFd,
    /// The workload has answered.
    made: bool,
    to_workload: Flow,
    to_client: Flow,
}

impl Connections {
    pub fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    /// Takes who waits at a port, as far as there is room.
    pub fn accept(&mut self, poll: &Poll, port: &Relayed) {
        while self.by_number.len() < MOST {
            let Ok(client) = accept_with(&port.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) else {
                return;
            };
            self.last += 1;
            // Whoever cannot be served sees a connection that is broken.
            if let Ok(connection) = Connection::new(client, port.target, poll, self.last) {
                self.by_number.insert(self.last, connection);
            }
        }
    }

    /// Something happened at either end.
    pub fn proceed(&mut self, number: u64) {
        let Some(connection) = self.by_number.get_mut(&number) else { return };
        match connection.proceed() {
            Ok(false) => {}
            Ok(true) => drop(self.by_number.remove(&number)),
            Err(_) => {
                connection.break_off();
                self.by_number.remove(&number);
            }
        }
    }
}

impl Connection {
    fn new(client: OwnedFd, target: SocketAddr, poll: &Poll, number: u64) -> Result<Self, Errno> {
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let workload = socket_with(family, SocketType::STREAM, flags, None)?;
        // What is left of it afterwards keeps nobody from the port.
        sockopt::set_socket_reuseaddr(&client, true)?;
        for socket in [&client, &workload] {
            sockopt::set_socket_keepalive(socket, true)?;
            sockopt::set_tcp_nodelay(socket, true)?;
        }
        let connection =
            Self { client, workload, made: false, to_workload: Flow::new()?, to_client: Flow::new()? };
        match connect(&connection.workload, &target) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => {
                connection.break_off();
                return Err(errno);
            }
        }
        poll.add(&connection.client, Token::Connection(number))?;
        poll.add(&connection.workload, Token::Connection(number))?;
        Ok(connection)
    }

    /// Whether all is said.
    fn proceed(&mut self) -> Result<bool, Errno> {
        if !self.made {
            sockopt::socket_error(&self.workload)??;
            if rustix::net::getpeername(&self.workload).is_err() {
                return Ok(false);
            }
            self.made = true;
        }
        self.to_workload.carry(&self.client, &self.workload)?;
        self.to_client.carry(&self.workload, &self.client)?;
        Ok(self.to_workload.is_over() && self.to_client.is_over())
    }

    /// The client hears that it was not an orderly end.
    fn break_off(&self) {
        let _ = sockopt::set_socket_linger(&self.client, Some(Duration::ZERO));
    }
}
