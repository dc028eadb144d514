//! The sockets of a network's gateways, which its workloads ask.
//!
//! They are bound to the network's interface as well: nobody else who has a way to the gateway's address can ask. Their
//! address need not be there yet, as one of IPv6 is not for its first second.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use holm_sys::Errno;
use holm_sys::interface::bind_to_device;
use rustix::net::sockopt::{set_ip_freebind, set_ipv6_freebind, set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::PORT;
use crate::{Error, Result};

/// Connections that wait to be taken.
const BACKLOG: i32 = 64;

/// What listens at one gateway.
#[derive(Debug)]
pub struct Gateway {
    /// UDP.
    pub datagrams: OwnedFd,
    /// TCP.
    pub listener: OwnedFd,
}

impl Gateway {
    /// Listens at an address, on an interface.
    pub fn open(address: IpAddr, interface: &str) -> Result<Self> {
        let address = SocketAddr::new(address, PORT);
        let failed = |errno| Error::io(format!("listen at `{address}` on `{interface}`"), errno);
        let datagrams = bound(address, interface, SocketType::DGRAM).map_err(failed)?;
        let listener = bound(address, interface, SocketType::STREAM).map_err(failed)?;
        rustix::net::listen(&listener, BACKLOG).map_err(failed)?;
        Ok(Self { datagrams, listener })
    }
}

fn bound(address: SocketAddr, interface: &str, kind: SocketType) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    if address.is_ipv4() {
        set_ip_freebind(&socket, true)?;
    } else {
        set_ipv6_v6only(&socket, true)?;
        set_ipv6_freebind(&socket, true)?;
    }
    if kind == SocketType::STREAM {
        // Connections of a predecessor may linger.
        set_socket_reuseaddr(&socket, true)?;
    }
    // Without it the address alone decides who is heard.
    let _ = bind_to_device(&socket, interface);
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}
