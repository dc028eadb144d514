//! rtnetlink(7): questions and orders to the kernel's network stack, and its answers.
//!
//! ```text
//! length, type, flags, serial, port     struct nlmsghdr, 16 bytes
//! family-specific header                padded to 4
//! attributes                            (length, type, payload padded to 4)*
//! ```
//! All numbers are in the order of the machine's bytes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with, sockopt,
};

use crate::seccomp::Instruction;

/// Length of the header of a message.
const HEADER: usize = 16;
/// Longest datagram that the kernel answers with (`NLMSG_GOODSIZE` and what dumps use).
const ANSWER_LIMIT: usize = 64 << 10;

/// Flag of an attribute that is made of attributes.
const NESTED: u16 = 0x8000;

const DONE: u16 = 3;
const ERROR: u16 = 2;

/// Flags of a message (netlink(7)); `REQUEST` is always there.
pub mod flags {
    /// The kernel says that it is done.
    pub const ACKNOWLEDGE: u16 = 4;
    /// Everything of a kind.
    pub const DUMP: u16 = 0x300;
    /// What is not there is made.
    pub const CREATE: u16 = 0x400;
    /// What is there already is an error.
    pub const EXCLUSIVE: u16 = 0x200;
}

/// A message in the making.
#[derive(Clone, Debug)]
pub struct Request(Vec<u8>);

impl Request {
    /// A message of a type with the header that belongs to it.
    pub fn new(kind: u16, flags: u16, header: &[u8]) -> Self {
        const REQUEST: u16 = 1;
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend_from_slice(header);
        let mut request = Self(bytes);
        request.pad();
        request
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attribute(mut self, kind: u16, payload: &[u8]) -> Self {
        append(&mut self.0, kind, payload);
        self
    }

    /// Adds an attribute that is made of attributes.
    #[must_use]
    pub fn nested(self, kind: u16, inner: &Attributes) -> Self {
        self.attribute(kind | NESTED, &inner.0)
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn finish(mut self, serial: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&serial.to_ne_bytes());
        self.0
    }
}

/// Attributes that are the content of another one.
#[derive(Clone, Debug, Default)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins with the header that some attributes have before theirs.
    pub fn behind(header: &[u8]) -> Self {
        Self(header.to_vec())
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attribute(mut self, kind: u16, payload: &[u8]) -> Self {
        append(&mut self.0, kind, payload);
        self
    }

    /// Adds an attribute that is made of attributes.
    #[must_use]
    pub fn nested(self, kind: u16, inner: &Self) -> Self {
        self.attribute(kind | NESTED, &inner.0)
    }
}

fn append(bytes: &mut Vec<u8>, kind: u16, payload: &[u8]) {
    let length = u16::try_from(payload.len() + 4).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The attributes in a payload, by their types; what is damaged ends them.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [l0, l1, k0, k1, ..] = *bytes else { return None };
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let content = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        // The upper two bits are flags.
        Some((u16::from_ne_bytes([k0, k1]) & 0x3fff, content))
    })
}

/// A message that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its type.
    pub kind: u16,
    payload: Vec<u8>,
}

impl Answer {
    /// The header of its family, as many bytes as the caller's type has; zeros where it is shorter.
    pub fn header<const LENGTH: usize>(&self) -> [u8; LENGTH] {
        let mut header = [0; LENGTH];
        let length = LENGTH.min(self.payload.len());
        header[..length].copy_from_slice(&self.payload[..length]);
        header
    }

    /// Content of the first attribute of a type, behind a header of that length.
    pub fn attribute(&self, header: usize, kind: u16) -> Option<&[u8]> {
        let rest = self.payload.get(header.next_multiple_of(4)..)?;
        attributes(rest).find(|(found, _)| *found == kind).map(|(_, content)| content)
    }
}

/// A socket to the network stack of the namespace that it was opened in.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    serial: u32,
}

impl Netlink {
    /// Opens a socket in the caller's network namespace.
    pub fn open() -> Result<Self, Errno> {
        // The protocol is NETLINK_ROUTE, which is number 0.
        Self::of_protocol(None)
    }

    /// As [`Netlink::open`], to the rules of packets (`NETLINK_NETFILTER`).
    pub fn open_netfilter() -> Result<Self, Errno> {
        Self::of_protocol(Some(rustix::net::netlink::NETFILTER))
    }

    fn of_protocol(protocol: Option<rustix::net::Protocol>) -> Result<Self, Errno> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { socket, serial: 0 })
    }

    /// Gives an order and waits until it is carried out.
    ///
    /// # Errors
    /// The kernel's.
    pub fn order(&mut self, request: Request) -> Result<(), Errno> {
        self.talk(request).map(drop)
    }

    /// Asks a question: every message of the answer.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ask(&mut self, request: Request) -> Result<Vec<Answer>, Errno> {
        self.talk(request)
    }

    /// Asks a question that has one answer, which no verdict follows; `None` if it is a verdict.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ask_one(&mut self, request: Request) -> Result<Option<Answer>, Errno> {
        self.serial += 1;
        send(&self.socket, &request.finish(self.serial), SendFlags::empty())?;
        let mut buffer = vec![0; ANSWER_LIMIT];
        let mut answers = Vec::new();
        while answers.is_empty() {
            let (length, _) = match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            if read(&buffer[..length], self.serial, &mut answers)? {
                break;
            }
        }
        Ok(answers.pop())
    }

    /// Gives orders that are carried out together or not at all, between the two messages that `NETLINK_NETFILTER` wants
    /// around them.
    ///
    /// # Errors
    /// The first order that is refused, by its place among all, and why.
    pub fn transact(&mut self, orders: Vec<Request>) -> Result<(), (usize, Errno)> {
        let whole = |errno| (0, errno);
        let first = self.serial + 1;
        let count = orders.len();
        let mut bytes = Vec::new();
        for order in orders {
            self.serial += 1;
            bytes.extend_from_slice(&order.finish(self.serial));
        }
        self.make_room(bytes.len(), count).map_err(whole)?;
        send(&self.socket, &bytes, SendFlags::empty()).map_err(whole)?;
        // The two around them are not answered unless all is refused.
        let mut awaited = count.saturating_sub(2);
        let mut buffer = vec![0; ANSWER_LIMIT];
        while awaited > 0 {
            let (length, _) = match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Err(Errno::INTR) => continue,
                other => other.map_err(whole)?,
            };
            for (serial, verdict) in verdicts(&buffer[..length]) {
                let place = serial.wrapping_sub(first) as usize;
                if place < count {
                    verdict.map_err(|errno| (place, errno))?;
                    awaited = awaited.saturating_sub(1);
                }
            }
        }
        Ok(())
    }

    /// One datagram holds all orders, and each has an answer.
    fn make_room(&self, bytes: usize, orders: usize) -> Result<(), Errno> {
        /// What the kernel counts for an answer, with room to spare.
        const ANSWER: usize = 2048;
        /// Most sockets have as much without asking.
        const USUAL: usize = 96 << 10;
        if bytes > USUAL {
            sockopt::set_socket_send_buffer_size_force(&self.socket, 2 * bytes)?;
        }
        if orders * ANSWER > USUAL {
            sockopt::set_socket_recv_buffer_size_force(&self.socket, orders * ANSWER)?;
        }
        Ok(())
    }

    fn talk(&mut self, request: Request) -> Result<Vec<Answer>, Errno> {
        self.serial += 1;
        send(&self.socket, &request.finish(self.serial), SendFlags::empty())?;
        let mut buffer = vec![0; ANSWER_LIMIT];
        let mut answers = Vec::new();
        loop {
            let (length, _) = match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            if read(&buffer[..length], self.serial, &mut answers)? {
                return Ok(answers);
            }
        }
    }
}

/// What the kernel tells everybody, as far as somebody wants to hear it; does not block.
#[derive(Debug)]
pub struct News(OwnedFd);

impl News {
    /// Hears of addresses that devices lose, as they do when they are removed, by the devices' numbers in the caller's
    /// namespace; of IPv6 only if it is asked for. (Each socket that hears of devices themselves makes every change to any of
    /// them dearer, filtered or not: on a host with many workloads such changes are many.)
    ///
    /// # Errors
    /// As socket(2) and bind(2).
    pub fn of_lost_addresses(indexes: &[u32], v6: bool) -> Result<Self, Errno> {
        /// `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR`.
        const GROUPS: [u32; 2] = [0x10, 0x100];
        const REMOVED: u16 = 21;
        /// Of `ifa_index` in a message.
        const INDEX: u32 = 20;
        let mut filter = Filter::default();
        filter.only(KIND, Width::Half, [u32::from(REMOVED.to_be())]);
        filter.only(INDEX, Width::Word, indexes.iter().map(|index| index.to_be()));
        Self::open(None, if v6 { GROUPS[0] | GROUPS[1] } else { GROUPS[0] }, filter)
    }

    /// Hears of changes to the rules of packets, by the kinds of the messages that begin them: they come in bundles.
    ///
    /// # Errors
    /// As [`News::of_lost_addresses`].
    pub fn of_rules(kinds: &[u16]) -> Result<Self, Errno> {
        /// `NFNLGRP_NFTABLES` is the seventh.
        const GROUP: u32 = 1 << 6;
        let mut filter = Filter::default();
        filter.only(KIND, Width::Half, kinds.iter().map(|kind| u32::from(kind.to_be())));
        Self::open(Some(rustix::net::netlink::NETFILTER), GROUP, filter)
    }

    fn open(protocol: Option<rustix::net::Protocol>, groups: u32, filter: Filter) -> Result<Self, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        crate::socket::attach_filter(socket.as_fd(), &filter.finish())?;
        bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self(socket))
    }

    /// Whether anything was told since the last time. What there was no room for counts.
    pub fn heard(&self) -> bool {
        let mut heard = false;
        loop {
            match recv(&self.0, &mut [0; 16][..], RecvFlags::empty()) {
                Ok(_) | Err(Errno::NOBUFS) => heard = true,
                Err(Errno::INTR) => {}
                Err(_) => return heard,
            }
        }
    }
}

impl AsFd for News {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Where a message says its type.
const KIND: u32 = 4;

#[derive(Clone, Copy, Debug)]
enum Width {
    Half,
    Word,
}

/// A program of classic BPF that lets messages pass.
#[derive(Debug, Default)]
struct Filter(Vec<Instruction>);

impl Filter {
    /// Only what has one of these values there, as it reads in the network's order of bytes.
    fn only(&mut self, offset: u32, width: Width, values: impl IntoIterator<Item = u32>) {
        const LOAD_HALF: u16 = 0x28;
        const LOAD_WORD: u16 = 0x20;
        const JUMP_EQUAL: u16 = 0x15;
        let load = match width {
            Width::Half => LOAD_HALF,
            Width::Word => LOAD_WORD,
        };
        self.0.push(Instruction { code: load, jt: 0, jf: 0, k: offset });
        // A match skips what is left of the comparisons, and the end behind them.
        let values: Vec<u32> = values.into_iter().take(usize::from(u8::MAX)).collect();
        for (left, value) in (1..=u8::MAX).rev().skip(usize::from(u8::MAX) - values.len()).zip(values) {
            self.0.push(Instruction { code: JUMP_EQUAL, jt: left, jf: 0, k: value });
        }
        self.end(0);
    }

    fn end(&mut self, passes: u32) {
        const RETURN: u16 = 0x06;
        self.0.push(Instruction { code: RETURN, jt: 0, jf: 0, k: passes });
    }

    fn finish(mut self) -> Vec<Instruction> {
        self.end(u32::MAX);
        self.0
    }
}

/// Reads the messages of a datagram that answer a request; says whether the last of them was there. Pure.
///
/// # Errors
/// What the sender says; `EBADMSG` for a message that is longer than the datagram or shorter than its header.
pub fn read(mut datagram: &[u8], serial: u32, answers: &mut Vec<Answer>) -> Result<bool, Errno> {
    while datagram.len() >= HEADER {
        let number = |at: usize| {
            let bytes = [datagram[at], datagram[at + 1], datagram[at + 2], datagram[at + 3]];
            u32::from_ne_bytes(bytes)
        };
        let (length, kind) = (number(0) as usize, u16::from_ne_bytes([datagram[4], datagram[5]]));
        let payload = datagram.get(HEADER..length).ok_or(Errno::BADMSG)?;
        if number(8) == serial {
            match kind {
                DONE => return Ok(true),
                ERROR => return verdict(payload).map(|()| true),
                kind => answers.push(Answer { kind, payload: payload.to_vec() }),
            }
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// The verdicts in a datagram, by the serials of what they are about.
fn verdicts(mut datagram: &[u8]) -> Vec<(u32, Result<(), Errno>)> {
    let mut found = Vec::new();
    while let Some(header) = datagram.first_chunk::<HEADER>() {
        let number =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let Some(payload) = datagram.get(HEADER..number(0) as usize) else { break };
        if u16::from_ne_bytes([header[4], header[5]]) == ERROR {
            found.push((number(8), verdict(payload)));
        }
        datagram = datagram.get((number(0) as usize).next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// `struct nlmsgerr`: zero, or an error number below it.
fn verdict(payload: &[u8]) -> Result<(), Errno> {
    let bytes = payload.first_chunk().ok_or(Errno::BADMSG)?;
    match i32::from_ne_bytes(*bytes) {
        0 => Ok(()),
        error => Err(crate::error_number(error.saturating_neg()).unwrap_or(Errno::BADMSG)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, serial: u32, payload: &[u8]) -> Vec<u8> {
        let mut request = Request::new(kind, 0, payload).finish(serial);
        let length = u32::try_from(HEADER + payload.len()).expect("short");
        request[..4].copy_from_slice(&length.to_ne_bytes());
        request
    }

    #[test]
    fn attributes_are_padded_and_found() {
        let request = Request::new(16, flags::ACKNOWLEDGE, &[7; 16])
            .attribute(3, b"eth0\0")
            .attribute(28, &[1, 2, 3, 4]);
        let bytes = request.finish(9);
        assert_eq!(bytes.len(), 16 + 16 + 12 + 8);
        let mut answers = Vec::new();
        assert_eq!(read(&bytes, 9, &mut answers), Ok(false));
        let answer = &answers[0];
        assert_eq!((answer.kind, answer.header::<2>()), (16, [7, 7]));
        assert_eq!(answer.attribute(16, 3), Some(&b"eth0\0"[..]));
        assert_eq!(answer.attribute(16, 28), Some(&[1, 2, 3, 4][..]));
        assert_eq!(answer.attribute(16, 5), None);
    }

    #[test]
    fn an_answer_ends_with_its_verdict() {
        let mut answers = Vec::new();
        let refused = message(ERROR, 1, &(-17_i32).to_ne_bytes());
        assert_eq!(read(&refused, 1, &mut answers), Err(Errno::EXIST));
        let nonsense = message(ERROR, 1, &5_i32.to_ne_bytes());
        assert_eq!(read(&nonsense, 1, &mut answers), Err(Errno::BADMSG));
        assert_eq!(read(&message(ERROR, 1, &[0; 4]), 1, &mut answers), Ok(true));
        assert_eq!(read(&message(DONE, 1, &[]), 1, &mut answers), Ok(true));
        assert_eq!(read(&message(ERROR, 2, &[0; 4]), 1, &mut answers), Ok(false), "another's");
        let mut torn = message(16, 1, &[0; 16]);
        torn[0] = 200;
        assert_eq!(read(&torn, 1, &mut answers), Err(Errno::BADMSG));
        torn[0] = 0;
        assert_eq!(read(&torn, 1, &mut answers), Err(Errno::BADMSG));
    }

    #[test]
    fn damaged_attributes_are_no_attributes() {
        for length in 0..=255 {
            let answer = Answer { kind: 16, payload: vec![length; 40] };
            let _ = answer.attribute(16, 3);
            let _ = answer.header::<64>();
        }
    }

    /// Runs a filter of ours over a message, as the kernel does.
    fn passes(filter: Filter, message: &[u8]) -> bool {
        let program = filter.finish();
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            let offset = k as usize;
            at += 1;
            match code {
                0x28 => accumulator = u32::from(u16::from_be_bytes([message[offset], message[offset + 1]])),
                0x20 => {
                    accumulator = u32::from_be_bytes(message[offset..offset + 4].try_into().expect("four"))
                }
                0x15 => at += usize::from(if accumulator == k { jt } else { jf }),
                _ => return k > 0,
            }
        }
    }

    #[test]
    fn news_are_filtered_by_kind_and_device() {
        let filter = |indexes: &[u32]| {
            let mut filter = Filter::default();
            filter.only(KIND, Width::Half, [u32::from(17_u16.to_be())]);
            filter.only(20, Width::Word, indexes.iter().map(|index| index.to_be()));
            filter
        };
        let told = |kind: u16, index: u32| {
            let mut header = [0; 16];
            header[4..8].copy_from_slice(&index.to_ne_bytes());
            message(kind, 0, &header)
        };
        for indexes in [&[7][..], &[7, 9], &[300, 7, 70_000]] {
            for index in indexes {
                assert!(passes(filter(indexes), &told(17, *index)), "{index} of {indexes:?}");
                assert!(!passes(filter(indexes), &told(16, *index)), "{index} of {indexes:?}");
            }
            assert!(!passes(filter(indexes), &told(17, 8)), "{indexes:?}");
        }
        assert!(!passes(filter(&[]), &told(17, 7)));
    }

    #[test]
    fn every_namespace_has_a_loopback() {
        let mut netlink = Netlink::open().expect("a socket");
        let links = netlink.ask(Request::new(18, flags::DUMP, &[0; 16])).expect("links");
        assert!(links.iter().any(|link| link.attribute(16, 3) == Some(&b"lo\0"[..])));
    }
}
