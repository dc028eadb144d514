//! Ports of the host that lead to a workload.
//!
//! A port is held by a socket that is bound and does not listen: nobody else gets it, and what a rule does not take to the
//! workload is refused, or, of UDP, lost. At `[::1]`, from where no rule leads anywhere, one listens (see `relay`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use holm_spec::network::{Endpoint, Port, Protocol, Publication, PublishedPort};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt};

use crate::error::{Error, Kind, Result};
use crate::holder;
use crate::relay::Relayed;

/// How often a port that is free for one family and not for the other is looked for anew.
const ATTEMPTS: usize = 32;

/// Connections that wait at `[::1]` to be taken.
const BACKLOG: i32 = 128;

/// What a sandbox has of the host's ports, for as long as this is there.
#[derive(Debug, Default)]
pub struct Ports {
    _held: Vec<OwnedFd>,
    /// Those at `[::1]`.
    pub relayed: Vec<Relayed>,
}

impl Ports {
    pub(crate) fn new(held: Vec<OwnedFd>, relayed: Vec<Relayed>) -> Self {
        Self { _held: held, relayed }
    }
}

/// Ports with the sockets that hold them.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) published: Vec<PublishedPort>,
    pub(crate) sockets: Vec<OwnedFd>,
    pub(crate) listening: Vec<Listening>,
}

/// What listens at `[::1]`, and the workload's port that it is for.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) port: Port,
    socket: OwnedFd,
}

impl Listening {
    /// Leads to a workload's address.
    pub(crate) fn to(self, address: IpAddr) -> Relayed {
        let target = SocketAddr::new(address, self.port.number);
        Relayed { socket: self.socket, protocol: self.port.protocol, target }
    }
}

impl Held {
    fn add(&mut self, other: Self) {
        self.published.extend(other.published);
        self.sockets.extend(other.sockets);
        self.listening.extend(other.listening);
    }
}

/// Takes ports of the host, each the first of its range that is free.
///
/// # Errors
/// [`Kind::InUse`], naming whoever has it: `others` are the endpoints that are known. [`Kind::Invalid`] for an address that
/// the host has not.
pub(crate) fn hold(publications: &[Publication], others: &dyn Fn() -> Vec<Endpoint>) -> Result<Held> {
    let mut held = Held::default();
    for publication in publications {
        held.add(hold_one(publication, others)?);
    }
    Ok(held)
}

/// Holds ports that are somebody's already, as far as nobody else has got them.
pub(crate) fn hold_again<'a>(ports: impl IntoIterator<Item = &'a PublishedPort>) -> Held {
    let mut held = Held::default();
    for port in ports {
        if let Ok(one) = hold_number(port.port, &[port.host], port.host_port) {
            held.add(one);
        }
    }
    held
}

fn hold_one(publication: &Publication, others: &dyn Fn() -> Vec<Endpoint>) -> Result<Held> {
    let hosts = match publication.host {
        Some(host) => vec![host],
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    };
    let (first, last) = publication.host_ports;
    if (first, last) == (0, 0) {
        return hold_any(publication, &hosts);
    }
    let mut refused = None;
    for number in first..=last {
        match hold_number(publication.port, &hosts, number) {
            Ok(one) => return Ok(one),
            Err(failure) if failure.errno == Errno::ADDRINUSE => refused = refused.or(Some(failure)),
            Err(failure) => return Err(failure.told(publication.port.protocol)),
        }
    }
    let Some(failure) = refused else {
        return Err(Error::new(
            Kind::Invalid,
            format!("publish ports {first}-{last}: there is none of these"),
        ));
    };
    Err(in_use(publication, &failure, &others()))
}

/// Any port that is free for all addresses.
fn hold_any(publication: &Publication, hosts: &[IpAddr]) -> Result<Held> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match hold_number(publication.port, hosts, 0) {
            Ok(one) => return Ok(one),
            Err(failure) if failure.errno == Errno::ADDRINUSE => last = Some(failure),
            Err(failure) => return Err(failure.told(publication.port.protocol)),
        }
    }
    let text = format!("publish port {}: no port of the host is free", publication.port);
    Err(last.map_or_else(
        || Error::new(Kind::Exhausted, text.clone()),
        |failure| Error::io(text.clone(), failure.errno),
    ))
}

struct Failure {
    address: SocketAddr,
    errno: Errno,
}

impl Failure {
    fn told(self, protocol: Protocol) -> Error {
        let what =
            format!("publish port {} of `{}`", Shown(protocol, self.address.port()), self.address.ip());
        match self.errno {
            Errno::ADDRNOTAVAIL => {
                Error::new(Kind::Invalid, format!("{what}: no device of the host has this address"))
            }
            errno => Error::io(what, errno),
        }
    }
}

struct Shown(Protocol, u16);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.1, self.0)
    }
}

/// One number on all addresses; 0 for any.
fn hold_number(port: Port, hosts: &[IpAddr], mut number: u16) -> Result<Held, Failure> {
    let mut held = Held::default();
    for host in hosts {
        let address = SocketAddr::new(*host, number);
        match hold_address(port, address, &mut held) {
            Ok(given) => {
                number = given;
                held.published.push(PublishedPort { port, host: *host, host_port: number });
            }
            // A host without IPv6.
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if hosts.len() > 1 && !host.is_ipv4() => {}
            Err(errno) => return Err(Failure { address, errno }),
        }
    }
    Ok(held)
}

/// One address; gives the number.
fn hold_address(port: Port, address: SocketAddr, held: &mut Held) -> Result<u16, Errno> {
    let (socket, number) = bound(port.protocol, address)?;
    if address.ip() == Ipv6Addr::LOCALHOST {
        listen(port.protocol, &socket)?;
        held.listening.push(Listening { port, socket });
        return Ok(number);
    }
    if address.ip() == Ipv6Addr::UNSPECIFIED
        && let Some(socket) = listening_beside(&socket, port.protocol, number)?
    {
        held.listening.push(Listening { port, socket });
    }
    if port.protocol == Protocol::Udp {
        // The kernel's smallest: nobody reads what comes.
        sockopt::set_socket_recv_buffer_size(&socket, 0)?;
    }
    held.sockets.push(socket);
    Ok(number)
}

/// What listens at `[::1]` beside a socket that has the number at all addresses; `None` where the host has no `[::1]`.
fn listening_beside(holder: &OwnedFd, protocol: Protocol, number: u16) -> Result<Option<OwnedFd>, Errno> {
    let socket = unbound(protocol, false)?;
    // Both say that they share, until each has its place.
    sockopt::set_socket_reuseaddr(holder, true)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    let placed = bind(&socket, &SocketAddr::new(Ipv6Addr::LOCALHOST.into(), number))
        .and_then(|()| listen(protocol, &socket));
    sockopt::set_socket_reuseaddr(holder, false)?;
    match placed {
        Ok(()) => Ok(Some(socket)),
        Err(Errno::ADDRNOTAVAIL) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn listen(protocol: Protocol, socket: &OwnedFd) -> Result<(), Errno> {
    rustix::io::ioctl_fionbio(socket, true)?;
    if protocol == Protocol::Tcp {
        // What is left of connections is no user, here as where it is bound.
        sockopt::set_socket_reuseaddr(socket, true)?;
        rustix::net::listen(socket, BACKLOG)?;
    }
    sockopt::set_socket_reuseaddr(socket, false)
}

fn unbound(protocol: Protocol, v4: bool) -> Result<OwnedFd, Errno> {
    let family = if v4 { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if !v4 {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    Ok(socket)
}

fn bound(protocol: Protocol, address: SocketAddr) -> Result<(OwnedFd, u16), Errno> {
    let socket = unbound(protocol, address.is_ipv4())?;
    if let Err(errno) = bind(&socket, &address) {
        // What is left of connections is no user; a socket that listens refuses this, too.
        if errno != Errno::ADDRINUSE || protocol == Protocol::Udp {
            return Err(errno);
        }
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &address)?;
        sockopt::set_socket_reuseaddr(&socket, false)?;
    }
    let given = SocketAddr::try_from(getsockname(&socket)?).map_err(|_| Errno::INVAL)?;
    Ok((socket, given.port()))
}

/// The ports that can lead to a network which `has` these families. Those of a family that it has not are held all the same, so that nobody else answers
/// there; of IPv6 there is still `[::1]`.
pub(crate) fn reachable(ports: Vec<PublishedPort>, has: impl Fn(bool) -> bool) -> Vec<PublishedPort> {
    let at = |port: PublishedPort| match port.host {
        host if host == Ipv6Addr::LOCALHOST || has(host.is_ipv4()) => Some(port),
        host if host == Ipv6Addr::UNSPECIFIED => {
            Some(PublishedPort { host: Ipv6Addr::LOCALHOST.into(), ..port })
        }
        _ => None,
    };
    ports.into_iter().filter_map(at).collect()
}

fn in_use(publication: &Publication, failure: &Failure, others: &[Endpoint]) -> Error {
    let protocol = publication.port.protocol;
    let number = failure.address.port();
    let has = |endpoint: &&Endpoint| {
        endpoint.ports.iter().any(|port| port.host_port == number && port.port.protocol == protocol)
    };
    let by = match others.iter().find(has) {
        Some(endpoint) => format!("workload `{}`", endpoint.name),
        None => holder::of_port(protocol, number).unwrap_or_else(|| "another process".into()),
    };
    let (first, last) = publication.host_ports;
    let text = if first == last {
        format!("publish port {}: {by} has it", Shown(protocol, number))
    } else {
        format!("publish ports {first}-{last}/{protocol}: all are taken, {number} by {by}")
    };
    Error::new(Kind::InUse, text)
}
