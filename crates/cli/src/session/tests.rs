//! The loop against a keeper of the test's own, at the other end of a socket pair.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_engine::Event;
use holm_spec::keeper::{STDIN_WINDOW, WindowSize};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use super::*;

/// The client's end: packets of one letter and data.
struct Fake {
    socket: OwnedFd,
    buffer: Vec<u8>,
    room: usize,
}

impl AsFd for Fake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Fake {
    fn send(&self, letter: u8, data: &[u8]) -> holm_engine::Result<()> {
        let packet = [&[letter], data].concat();
        // A keeper that is gone is told by the next event.
        let _ = send(&self.socket, &packet, SendFlags::NOSIGNAL);
        Ok(())
    }
}

impl Conversation for Fake {
    fn receive(&mut self) -> holm_engine::Result<Event<'_>> {
        let (length, _) = recv(&self.socket, &mut self.buffer[..], RecvFlags::empty()).expect("a packet");
        Ok(match self.buffer[..length].split_first() {
            None => Event::Closed,
            Some((b'o', data)) => Event::Stdout(data),
            Some((b'e', data)) => Event::Stderr(data),
            Some((b't', _)) => {
                self.room = STDIN_WINDOW;
                Event::Taken { bytes: STDIN_WINDOW }
            }
            Some((b'x', data)) => Event::Exited { code: i32::from(data[0]), oom_killed: false },
            Some(_) => Event::Removed,
        })
    }

    fn room(&self) -> usize {
        self.room
    }

    fn send_stdin(&mut self, bytes: &[u8]) -> holm_engine::Result<usize> {
        let length = bytes.len().min(PACKET_LIMIT / 2).min(self.room);
        self.room -= length;
        self.send(b'i', &bytes[..length]).map(|()| length)
    }

    fn close_stdin(&self) -> holm_engine::Result<()> {
        self.send(b'c', &[])
    }

    fn resize(&self, window: WindowSize) -> holm_engine::Result<()> {
        self.send(b'w', &[window.rows.to_le_bytes()[0]])
    }

    fn signal(&self, signal: i32) -> holm_engine::Result<()> {
        self.send(b's', &signal.to_le_bytes())
    }
}

/// The keeper's end.
struct Keeper(OwnedFd);

impl Keeper {
    fn tell(&self, packet: &[u8]) {
        send(&self.0, packet, SendFlags::NOSIGNAL).expect("the client lives");
    }

    fn hear(&self) -> Vec<u8> {
        let mut buffer = vec![0; PACKET_LIMIT];
        let (length, _) = recv(&self.0, &mut buffer[..], RecvFlags::empty()).expect("a packet");
        buffer.truncate(length);
        buffer
    }
}

fn pair() -> (Fake, Keeper) {
    let (client, keeper) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .expect("socket pair");
    (Fake { socket: client, buffer: vec![0; PACKET_LIMIT], room: usize::MAX }, Keeper(keeper))
}

fn manner(stdin: bool) -> Manner {
    Manner {
        stdin,
        raw: false,
        tty: false,
        detach_keys: DetachKeys::parse("").expect("none"),
        forward_signals: true,
        removal: false,
    }
}

/// Pipes of the client: what it reads, and what it writes.
struct Pipes {
    input: (OwnedFd, OwnedFd),
    output: (OwnedFd, OwnedFd),
    error: (OwnedFd, OwnedFd),
}

impl Pipes {
    fn new() -> Self {
        let pipe = || pipe_with(PipeFlags::CLOEXEC).expect("pipe");
        Self { input: pipe(), output: pipe(), error: pipe() }
    }

    fn streams(&self) -> Streams<'_> {
        Streams { input: self.input.0.as_fd(), output: self.output.1.as_fd(), error: self.error.1.as_fd() }
    }
}

fn read_all(descriptor: BorrowedFd<'_>, length: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 8192];
    while all.len() < length {
        match rustix::io::read(descriptor, &mut buffer).expect("read") {
            0 => break,
            read => all.extend_from_slice(&buffer[..read]),
        }
    }
    all
}

const NO_SIGNALS: Signals = Signals { descriptor: None };

#[test]
fn output_goes_to_its_stream_and_the_exit_code_is_the_processs() {
    let (mut client, keeper) = pair();
    let pipes = Pipes::new();
    for packet in [&b"oone"[..], b"etwo", b"othree", b"x\x07"] {
        keeper.tell(packet);
    }
    let end = carry(&mut client, &pipes.streams(), &NO_SIGNALS, manner(false)).expect("an end");
    assert_eq!((end, end.code()), (End::Exited(7), 7));
    assert_eq!(read_all(pipes.output.0.as_fd(), 8), b"onethree");
    assert_eq!(read_all(pipes.error.0.as_fd(), 3), b"two");
}

#[test]
fn input_is_handed_on_to_its_end() {
    let (mut client, keeper) = pair();
    let pipes = Pipes::new();
    write_all(pipes.input.1.as_fd(), b"some\0input").expect("write");
    let Pipes { input: (reader, writer), output, error } = pipes;
    drop(writer);
    let streams = Streams { input: reader.as_fd(), output: output.1.as_fd(), error: error.1.as_fd() };
    let heard = std::thread::scope(|scope| {
        let heard = scope.spawn(|| {
            let heard = [keeper.hear(), keeper.hear()];
            keeper.tell(b"x\0");
            heard
        });
        let end = carry(&mut client, &streams, &NO_SIGNALS, manner(true)).expect("an end");
        assert_eq!(end, End::Exited(0));
        heard.join().expect("keeper")
    });
    assert_eq!(heard, [b"isome\0input".to_vec(), b"c".to_vec()]);
}

#[test]
fn a_process_that_echoes_slowly_does_not_stop_its_own_input() {
    const LENGTH: usize = 8 << 20;
    let (mut client, keeper) = pair();
    let pipes = Pipes::new();
    std::thread::scope(|scope| {
        scope.spawn(|| write_all(pipes.input.1.as_fd(), &vec![b'z'; LENGTH]).expect("write"));
        // It reads nothing while it writes, as a pipeline of full pipes does.
        scope.spawn(|| {
            let mut echoed = 0;
            while echoed < LENGTH {
                let mut packet = keeper.hear();
                echoed += packet.len() - 1;
                packet[0] = b'o';
                keeper.tell(&packet);
            }
            keeper.tell(b"x\0");
        });
        let reader = scope.spawn(|| read_all(pipes.output.0.as_fd(), LENGTH).len());
        let end = carry(&mut client, &pipes.streams(), &NO_SIGNALS, manner(true)).expect("an end");
        assert_eq!(end, End::Exited(0));
        assert_eq!(reader.join().expect("reader"), LENGTH);
    });
}

#[test]
fn a_removal_is_waited_for() {
    let (mut client, keeper) = pair();
    let pipes = Pipes::new();
    let manner = Manner { removal: true, ..manner(false) };
    keeper.tell(b"x\x03");
    keeper.tell(b"r");
    let end = carry(&mut client, &pipes.streams(), &NO_SIGNALS, manner).expect("an end");
    assert_eq!(end, End::Exited(3));
    // The removal was taken from the socket.
    drop(keeper);
    assert_eq!(client.receive().expect("closed"), Event::Closed);
}

#[test]
fn a_keeper_that_goes_away_is_a_failure_unless_the_process_ended() {
    for (packets, exited) in [(&[][..], false), (&[b"x\x05"], true)] {
        let (mut client, keeper) = pair();
        let pipes = Pipes::new();
        packets.iter().for_each(|packet: &&[u8; 2]| keeper.tell(*packet));
        drop(keeper);
        let manner = Manner { removal: true, ..manner(true) };
        let result = carry(&mut client, &pipes.streams(), &NO_SIGNALS, manner);
        assert_eq!(result.is_ok_and(|end| end == End::Exited(5)), exited);
    }
}

#[test]
fn output_that_nobody_reads_ends_the_client_quietly() {
    let (mut client, keeper) = pair();
    let Pipes { input, output: (reader, writer), error } = Pipes::new();
    drop(reader);
    let streams = Streams { input: input.0.as_fd(), output: writer.as_fd(), error: error.1.as_fd() };
    keeper.tell(b"olost");
    let end = carry(&mut client, &streams, &NO_SIGNALS, manner(false)).expect("an end");
    assert_eq!((end, end.code()), (End::OutputClosed, 141));
}

/// Signals as a signalfd would give them: records of 128 bytes that begin with the number.
fn signals(numbers: &[u32]) -> (Signals, OwnedFd) {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).expect("pipe");
    for number in numbers {
        write_all(writer.as_fd(), &record(*number)).expect("write");
    }
    (Signals { descriptor: Some(reader) }, writer)
}

fn record(number: u32) -> [u8; 128] {
    let mut record = [0; 128];
    record[..4].copy_from_slice(&number.to_ne_bytes());
    record
}

#[test]
fn signals_are_forwarded_or_end_the_client() {
    let (signals_of_process, _writer) = signals(&[15, 10]);
    let (mut client, keeper) = pair();
    let pipes = Pipes::new();
    std::thread::scope(|scope| {
        let heard = scope.spawn(|| {
            let heard = [keeper.hear(), keeper.hear()];
            keeper.tell(b"x\0");
            heard
        });
        carry(&mut client, &pipes.streams(), &signals_of_process, manner(false)).expect("an end");
        assert_eq!(heard.join().expect("keeper"), [b"s\x0f\0\0\0".to_vec(), b"s\x0a\0\0\0".to_vec()]);
    });

    let (signals_of_client, _writer) = signals(&[15]);
    let (mut client, _keeper) = pair();
    let manner = Manner { forward_signals: false, ..manner(false) };
    let end = carry(&mut client, &pipes.streams(), &signals_of_client, manner).expect("an end");
    assert_eq!((end, end.code()), (End::Interrupted(15), 143));
}

/// A process that never reads: its input waits, and a signal does not wait with it.
#[test]
fn signals_pass_input_that_nobody_takes() {
    let (signals_of_process, writer) = signals(&[]);
    let (mut client, keeper) = pair();
    client.room = STDIN_WINDOW;
    let pipes = Pipes::new();
    std::thread::scope(|scope| {
        let Pipes { input: (reader, input), output, error } = pipes;
        scope.spawn(move || write_all(input.as_fd(), &[b'z'; 2 * STDIN_WINDOW]));
        let heard = scope.spawn(|| {
            let mut taken = 0;
            while taken < STDIN_WINDOW {
                taken += keeper.hear().len() - 1;
            }
            write_all(writer.as_fd(), &record(2)).expect("write");
            let signal = keeper.hear();
            keeper.tell(b"t");
            let more = keeper.hear();
            keeper.tell(b"x\0");
            (taken, signal, more[0])
        });
        let streams = Streams { input: reader.as_fd(), output: output.1.as_fd(), error: error.1.as_fd() };
        carry(&mut client, &streams, &signals_of_process, manner(true)).expect("an end");
        assert_eq!(heard.join().expect("keeper"), (STDIN_WINDOW, b"s\x02\0\0\0".to_vec(), b'i'));
        drop(reader);
    });
}

#[test]
fn codes_of_ends() {
    for (end, code) in
        [(End::Exited(256 + 3), 3), (End::Exited(-1), 255), (End::Detached, 0), (End::Interrupted(2), 130)]
    {
        assert_eq!(end.code(), code);
    }
}

/// The two ends of a pseudoterminal: a person's, and the client's.
fn terminal_pair() -> (OwnedFd, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, unlockpt};
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&person).and_then(|()| unlockpt(&person)).expect("unlock");
    let client =
        rustix::pty::ioctl_tiocgptpeer(&person, OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("its peer");
    (person, client)
}

fn echoes(terminal: BorrowedFd<'_>) -> bool {
    let modes = rustix::termios::tcgetattr(terminal).expect("modes");
    modes.local_modes.contains(rustix::termios::LocalModes::ECHO | rustix::termios::LocalModes::ICANON)
}

/// Alone in its use of raw mode, of which a process has one.
#[test]
fn keys_are_handed_on_until_the_detach_sequence_and_the_terminal_is_given_back() {
    let (person, terminal) = terminal_pair();
    let (mut client, keeper) = pair();
    let Pipes { output, error, .. } = Pipes::new();
    let streams = Streams { input: terminal.as_fd(), output: output.1.as_fd(), error: error.1.as_fd() };
    let keys = DetachKeys::parse("ctrl-p,ctrl-q").expect("keys");
    let manner = Manner { raw: true, tty: true, detach_keys: keys, ..manner(true) };
    assert!(echoes(terminal.as_fd()));
    std::thread::scope(|scope| {
        let typed = scope.spawn(|| {
            keeper.tell(b"oready");
            read_all(output.0.as_fd(), 5);
            let raw = !echoes(terminal.as_fd());
            // ctrl-c is a key like any other.
            write_all(person.as_fd(), b"\x03").expect("type");
            let key = keeper.hear();
            write_all(person.as_fd(), b"a\x10\x11b").expect("type");
            (raw, key, keeper.hear())
        });
        let end = carry(&mut client, &streams, &NO_SIGNALS, manner).expect("an end");
        assert_eq!(end, End::Detached);
        assert_eq!(typed.join().expect("person"), (true, b"i\x03".to_vec(), b"ia".to_vec()));
    });
    assert!(echoes(terminal.as_fd()));

    // Somebody pulls the plug.
    let keys = DetachKeys::parse("").expect("none");
    let manner = Manner { raw: true, tty: true, detach_keys: keys, ..self::manner(true) };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            keeper.tell(b"ogo");
            read_all(output.0.as_fd(), 2);
            drop(person);
        });
        let end = carry(&mut client, &streams, &NO_SIGNALS, manner).expect("an end");
        assert_eq!((end, end.code()), (End::Interrupted(HUP), 129));
    });
}
