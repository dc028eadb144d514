//! The floor of answering datagrams: take one, send it back.

use std::io;
use std::net::UdpSocket;

/// Sends every datagram that comes to `address` back to where it came from, until the process ends: `recvfrom`,
/// `sendto`, nothing else.
///
/// # Errors
/// When the address is taken, or nothing can be received.
pub fn serve(address: &str) -> io::Result<()> {
    let socket = UdpSocket::bind(address)?;
    let mut buffer = [0; 4096];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        socket.send_to(buffer.get(..length).unwrap_or_default(), from)?;
    }
}
