//! What the kernel remembers of connections (conntrack), and what of it must be forgotten.
//!
//! A client of UDP that never pauses keeps the way that its first packet took: past a port that was published since, or to
//! whoever has the address of a workload that has ended. Of TCP a new connection begins with a new decision.

use std::net::IpAddr;

use holm_spec::network::{Endpoint, Protocol};
use holm_sys::netlink::{Answer, Attributes, Netlink, Request, attributes, flags};
use rustix::io::Errno;

use crate::error::{Error, Result};

// linux/netfilter/nfnetlink_conntrack.h.
const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const SOURCE_4: u16 = 1;
const SOURCE_6: u16 = 3;
const PROTOCOL_NUMBER: u16 = 1;
const DESTINATION_PORT: u16 = 3;
/// Length of `struct nfgenmsg`.
const HEADER: usize = 4;
/// `AF_UNSPEC`: of both families.
const ANY_FAMILY: u8 = 0;

/// Forgets the connections of UDP that lead, or led, by the ports of an endpoint.
///
/// # Errors
/// The kernel's.
pub(crate) fn forget(endpoint: &Endpoint) -> Result<()> {
    if !endpoint.ports.iter().any(|port| port.port.protocol == Protocol::Udp) {
        return Ok(());
    }
    let failed = |errno| Error::io("forget the connections of published ports", errno);
    let mut netlink = Netlink::open_netfilter().map_err(failed)?;
    let all = Request::new(SUBSYSTEM << 8 | GET, flags::DUMP, &[ANY_FAMILY, 0, 0, 0]);
    let connections = match netlink.ask(all) {
        // A kernel that tells nobody what it remembers.
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::PROTONOSUPPORT) => return Ok(()),
        connections => connections.map_err(failed)?,
    };
    for connection in connections.iter().filter(|connection| is_of(connection, endpoint)) {
        let [family, ..] = connection.header::<HEADER>();
        let original = connection.attribute(HEADER, ORIGINAL).unwrap_or_default();
        let order = Request::new(SUBSYSTEM << 8 | DELETE, flags::ACKNOWLEDGE, &[family, 0, 0, 0]);
        match netlink.order(order.nested(ORIGINAL, &Attributes::behind(original))) {
            // It has ended meanwhile.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(())
}

/// Whether a connection began at one of the endpoint's ports of the host, or is answered by the endpoint.
fn is_of(connection: &Answer, endpoint: &Endpoint) -> bool {
    let tuple = |kind| connection.attribute(HEADER, kind).unwrap_or_default();
    let (original, reply) = (tuple(ORIGINAL), tuple(REPLY));
    let protocol = find(find(original, TUPLE_PROTOCOL), PROTOCOL_NUMBER);
    if protocol != [Protocol::Udp.number()] {
        return false;
    }
    let port = find(find(original, TUPLE_PROTOCOL), DESTINATION_PORT);
    let is_published = endpoint.ports.iter().any(|published| {
        published.port.protocol == Protocol::Udp && port == published.host_port.to_be_bytes()
    });
    let addresses = find(reply, TUPLE_ADDRESSES);
    let is_answered = endpoint.addresses.iter().any(|own| match own.address {
        IpAddr::V4(own) => find(addresses, SOURCE_4) == own.octets(),
        IpAddr::V6(own) => find(addresses, SOURCE_6) == own.octets(),
    });
    is_published || is_answered
}

/// The content of an attribute among others; nothing if it is not there.
fn find(bytes: &[u8], kind: u16) -> &[u8] {
    attributes(bytes).find(|(found, _)| *found == kind).map_or(&[], |(_, content)| content)
}
