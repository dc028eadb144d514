//! Relays beside servers and clients on loopback.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, Shutdown, TcpListener, TcpStream, UdpSocket};

use super::*;

/// Serves in a thread, where a process would leave the test's descriptors behind.
fn relay(ports: Vec<Relayed>) {
    std::thread::spawn(move || serve(&ports));
}

fn here() -> (Ipv6Addr, u16) {
    (Ipv6Addr::LOCALHOST, 0)
}

fn tcp(target: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind(here()).expect("a port at [::1]");
    listener.set_nonblocking(true).expect("set");
    let address = listener.local_addr().expect("an address");
    relay(vec![Relayed { socket: listener.into(), protocol: Protocol::Tcp, target }]);
    address
}

#[test]
fn each_direction_has_its_end_and_nothing_is_lost() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = tcp(server.local_addr().expect("an address"));
    let sent: Vec<u8> = (0..5_000_000_u32).map(|number| (number % 251) as u8).collect();
    let expected = sent.clone();
    let echo = std::thread::spawn(move || {
        let (mut peer, _) = server.accept().expect("a client");
        let mut all = Vec::new();
        peer.read_to_end(&mut all).expect("read to the end of what the client says");
        peer.write_all(&all).expect("write");
    });
    let mut client = TcpStream::connect(address).expect("connected");
    client.write_all(&sent).expect("write");
    client.shutdown(Shutdown::Write).expect("shut");
    let mut back = Vec::new();
    client.read_to_end(&mut back).expect("read");
    echo.join().expect("the echo's end");
    assert!(back == expected);
}

#[test]
fn a_workload_that_refuses_breaks_the_connection() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let mut client = TcpStream::connect(tcp(nobody)).expect("connected");
    let answer = client.read(&mut [0; 8]);
    assert_eq!(answer.map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionReset));
}

#[test]
fn many_clients_are_told_apart() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = tcp(server.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for peer in server.incoming().flatten() {
            std::thread::spawn(move || {
                let mut line = [0; 4];
                (&peer).read_exact(&mut line).and_then(|()| (&peer).write_all(&line))
            });
        }
    });
    let clients: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).expect("connected")).collect();
    for (number, mut client) in (0_u32..).zip(&clients) {
        client.write_all(&number.to_be_bytes()).expect("write");
    }
    for (number, mut client) in (0_u32..).zip(&clients) {
        let mut answer = [0; 4];
        client.read_exact(&mut answer).expect("an answer");
        assert_eq!(u32::from_be_bytes(answer), number);
    }
}

#[test]
fn answers_to_datagrams_find_who_asked() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let target = server.local_addr().expect("an address");
    let socket = UdpSocket::bind(here()).expect("a port at [::1]");
    socket.set_nonblocking(true).expect("set");
    let address = socket.local_addr().expect("an address");
    relay(vec![Relayed { socket: socket.into(), protocol: Protocol::Udp, target }]);
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = server.recv_from(&mut buffer) {
            server.send_to(&buffer[..length], from).expect("sent");
        }
    });
    let clients: Vec<UdpSocket> = (0..10).map(|_| UdpSocket::bind(here()).expect("a port")).collect();
    for (number, client) in (0_u8..).zip(&clients) {
        client.send_to(&[number; 3], address).expect("sent");
    }
    for (number, client) in (0_u8..).zip(&clients) {
        let mut answer = [0; 8];
        let (length, from) = client.recv_from(&mut answer).expect("an answer");
        assert_eq!((&answer[..length], from), (&[number; 3][..], address));
    }
}
