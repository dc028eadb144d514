//! Packet sockets between processes of one host, with descriptors as cargo; filters of sockets.
#![expect(
    unsafe_code,
    reason = "rustix takes the pid 0 of a peer in another pid namespace for impossible, and has no SO_ATTACH_FILTER"
)]

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, recvmsg, sendmsg, socket_with,
};

use crate::seccomp::{FilterProgram, Instruction};

/// Two connected `SOCK_SEQPACKET` sockets, close-on-exec.
pub fn packet_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Listens on a packet socket `name` in a directory, non-blocking; the socket's mode is 0600 by the
/// directory's 0700.
///
/// The address goes through the directory's descriptor, since a socket address holds 108 bytes.
pub fn listen_packets(directory: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::net::bind(&socket, &address(directory, name)?)?;
    rustix::net::listen(&socket, 128)?;
    Ok(socket)
}

/// Connects to the packet socket `name` in the directory at `path`.
pub fn connect_packets(path: &Path, name: &str) -> Result<OwnedFd, Errno> {
    let directory =
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &address(directory.as_fd(), name)?)?;
    Ok(socket)
}

/// Connects to a packet socket that is open as a path only. The socket is non-blocking.
///
/// # Errors
/// `EAGAIN` where nobody takes connections and too many wait already.
pub fn connect_packets_to(path: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(format!("/proc/self/fd/{}", path.as_raw_fd()))?)?;
    Ok(socket)
}

fn address(directory: BorrowedFd<'_>, name: &str) -> Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}

/// Lets through to a socket only what a program of classic BPF says (socket(7), `SO_ATTACH_FILTER`).
///
/// # Errors
/// `EINVAL` for a program that does not pass the kernel's check.
pub fn attach_filter(socket: BorrowedFd<'_>, program: &[Instruction]) -> Result<(), Errno> {
    let program = FilterProgram::new(program)?;
    let length = size_of::<FilterProgram>() as libc::socklen_t;
    // SAFETY: `program` and its instructions outlive the call, and the kernel only reads them.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            length,
        )
    };
    if answer == 0 { Ok(()) } else { Err(crate::process::last_errno()) }
}

/// Effective user id of the process at the other end, as it was when it connected (unix(7), `SO_PEERCRED`).
pub fn peer_uid(socket: BorrowedFd<'_>) -> Result<u32, Errno> {
    peer(socket).map(|peer| peer.uid)
}

/// Number of the process at the other end, as it was when it connected or began to listen.
pub fn peer_pid(socket: BorrowedFd<'_>) -> Result<i32, Errno> {
    peer(socket).map(|peer| peer.pid)
}

fn peer(socket: BorrowedFd<'_>) -> Result<libc::ucred, Errno> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of `peer`, and any bytes are a valid `ucred`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(peer) } else { Err(crate::process::last_errno()) }
}

/// Sends one packet made of two parts; does not raise SIGPIPE. May be called in a child.
pub fn send_packet(socket: BorrowedFd<'_>, head: &[u8], body: &[u8]) -> Result<(), Errno> {
    send(socket, head, body, None, SendFlags::NOSIGNAL)
}

/// As [`send_packet`], but fails with `EAGAIN` instead of waiting.
pub fn try_send_packet(socket: BorrowedFd<'_>, head: &[u8], body: &[u8]) -> Result<(), Errno> {
    send(socket, head, body, None, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
}

/// Sends one packet with one descriptor. May be called in a child.
pub fn send_descriptor(
    socket: BorrowedFd<'_>,
    packet: &[u8],
    descriptor: BorrowedFd<'_>,
) -> Result<(), Errno> {
    send(socket, packet, &[], Some(descriptor), SendFlags::NOSIGNAL)
}

fn send(
    socket: BorrowedFd<'_>,
    head: &[u8],
    body: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
    flags: SendFlags,
) -> Result<(), Errno> {
    let parts = [IoSlice::new(head), IoSlice::new(body)];
    let descriptors = descriptor.as_slice();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    loop {
        match sendmsg(socket, &parts, &mut control, flags) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Receives one packet into `buffer`: its length (0 at the end) and the descriptor that came along.
///
/// # Errors
/// `EMSGSIZE` for a packet longer than the buffer; `EAGAIN` on an empty non-blocking socket.
pub fn receive_packet(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>), Errno> {
    receive(socket, buffer, RecvFlags::CMSG_CLOEXEC)
}

/// As [`receive_packet`], but fails with `EAGAIN` instead of waiting.
pub fn try_receive_packet(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> Result<(usize, Option<OwnedFd>), Errno> {
    receive(socket, buffer, RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT)
}

fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
            // A peer that closed with something unread raises this once, in front of what it had sent.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            other => break other?,
        }
    };
    let mut descriptor = None;
    for cargo in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = cargo {
            descriptor = descriptors.last().or(descriptor);
        }
    }
    if message.flags.contains(rustix::net::ReturnFlags::TRUNC) {
        return Err(Errno::MSGSIZE);
    }
    Ok((message.bytes, descriptor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_keep_their_bounds_and_carry_descriptors() {
        let (left, right) = packet_pair().expect("socketpair");
        send_packet(left.as_fd(), b"a", b"bc").expect("send");
        send_descriptor(left.as_fd(), b"d", left.as_fd()).expect("send");
        let mut buffer = [0; 8];
        let (length, none) = receive_packet(right.as_fd(), &mut buffer).expect("receive");
        assert_eq!((&buffer[..length], none.is_none()), (&b"abc"[..], true));
        let (length, some) = receive_packet(right.as_fd(), &mut buffer).expect("receive");
        assert_eq!((&buffer[..length], some.is_some()), (&b"d"[..], true));
        send_packet(left.as_fd(), b"too long", b"!").expect("send");
        assert_eq!(receive_packet(right.as_fd(), &mut buffer).expect_err("too long"), Errno::MSGSIZE);
        drop((left, some));
        assert_eq!(receive_packet(right.as_fd(), &mut buffer).expect("end").0, 0);
    }

    #[test]
    fn the_peer_is_known_by_its_user() {
        let (left, _right) = packet_pair().expect("socketpair");
        assert_eq!(peer_uid(left.as_fd()), Ok(rustix::process::geteuid().as_raw()));
    }
}
