//! A conversation with a keeper about one process: its stdio, signals, window size and end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_spec::keeper::{
    FailureKind, PACKET_LIMIT, Reply, Request, STDIN_WINDOW, Stream, Streams, WindowSize,
};
use holm_sys::process::Child;
use holm_sys::{Errno, process, socket};
use rustix::event::{PollFd, PollFlags, poll};

use crate::error::{Error, Kind, Result};

/// What a session told.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Bytes of standard output, or of the terminal.
    Stdout(&'a [u8]),
    /// Bytes of standard error.
    Stderr(&'a [u8]),
    /// The process took input: there is [room](Session::room) for more.
    Taken {
        /// How much.
        bytes: usize,
    },
    /// The process ended; for `--rm`, [`Event::Removed`] follows.
    Exited {
        /// Exit code, 128 + n for signal n.
        code: i32,
        /// A process of the workload was killed for lack of memory.
        oom_killed: bool,
    },
    /// The workload is gone.
    Removed,
    /// The keeper has nothing more to say.
    Closed,
}

/// Why a workload is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Somebody asked for it.
    Request,
    /// The host goes down.
    Shutdown,
}

/// What a session of a workload's first process begins with.
#[derive(Clone, Debug, Default)]
pub struct Beginning<'a> {
    /// What it carries.
    pub streams: Streams,
    /// First size of the terminal.
    pub window: Option<WindowSize>,
    /// A descriptor of [`crate::signals`]: what it reads goes to the process also before that runs.
    pub signals: Option<BorrowedFd<'a>>,
    /// How many times its policy started it until now; 0 where somebody starts it.
    pub(crate) restarts: u32,
    /// `NAME=value`, set over the workload's environment this time, and written down nowhere.
    pub(crate) env: Vec<String>,
}

impl<'a> Beginning<'a> {
    /// What somebody begins a session with who starts a workload.
    pub fn new(streams: Streams, window: Option<WindowSize>, signals: Option<BorrowedFd<'a>>) -> Self {
        Self { streams, window, signals, restarts: 0, env: Vec::new() }
    }
}

/// A process that was started, joined or executed through its keeper.
#[derive(Debug)]
pub struct Session {
    socket: OwnedFd,
    pid: i32,
    buffer: Vec<u8>,
    /// Bytes of input that the keeper takes before the process has taken some.
    room: usize,
    /// The keeper, where this process started it: reaped when it closes the session.
    keeper: Option<Child>,
}

impl Session {
    /// Sends `request` on a connected socket and waits for the process to run.
    pub(crate) fn begin(socket: OwnedFd, request: &Request) -> Result<Self> {
        send_opening(socket.as_fd(), request)?;
        let mut session = Self::of(socket, None);
        let answer = receive_answer(session.socket.as_fd(), &mut session.buffer);
        session.take_answer(answer).map_err(ended_meanwhile)
    }

    fn of(socket: OwnedFd, keeper: Option<Child>) -> Self {
        Self { socket, pid: 0, buffer: vec![0; PACKET_LIMIT], room: STDIN_WINDOW, keeper }
    }

    /// Waits for the answer to a request that was sent already, and hands on signals meanwhile: a machine takes its time
    /// to start.
    pub(crate) fn confirm(
        socket: OwnedFd,
        keeper: Option<Child>,
        signals: Option<BorrowedFd<'_>>,
    ) -> Result<Self> {
        let mut session = Self::of(socket, keeper);
        if let Some(signals) = signals {
            session.hand_on_until_answered(signals)?;
        }
        let answer = receive_reply(session.socket.as_fd(), &mut session.buffer);
        session.take_answer(answer)
    }

    fn take_answer(mut self, answer: Result<Reply>) -> Result<Self> {
        match answer {
            Ok(Reply::Started { pid }) => {
                self.pid = pid;
                Ok(self)
            }
            Ok(Reply::Failed { kind, message }) => {
                self.reap_keeper();
                Err(failure(kind, message))
            }
            Ok(other) => Err(Error::new(Kind::Failed, format!("keeper answered out of turn: {other:?}"))),
            Err(error) => {
                if error.kind() == Kind::KeeperEnded {
                    // Its socket may be closed before its lock is: whoever comes next shall find that free.
                    self.reap_keeper();
                }
                Err(error)
            }
        }
    }

    fn hand_on_until_answered(&self, signals: BorrowedFd<'_>) -> Result<()> {
        loop {
            let mut ready =
                [PollFd::new(&self.socket, PollFlags::IN), PollFd::from_borrowed_fd(signals, PollFlags::IN)];
            match poll(&mut ready, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::io("wait for the keeper", errno)),
            }
            if !ready[0].revents().is_empty() {
                return Ok(());
            }
            while let Some(signal) = process::read_signal(signals) {
                self.signal(signal)?;
            }
        }
    }

    /// The keeper is on its way out; waiting for it leaves no zombie to the caller's parent.
    fn reap_keeper(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            let _ = process::wait(keeper.pidfd.as_fd());
        }
    }

    /// The process, as the host numbers it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Bytes that [`Session::send_stdin`] takes now; more after [`Event::Taken`].
    pub fn room(&self) -> usize {
        self.room
    }

    /// Sends as many of the bytes to standard input as there is room for, half a packet at most; says how many.
    pub fn send_stdin(&mut self, bytes: &[u8]) -> Result<usize> {
        let length = bytes.len().min(self.room).min(PACKET_LIMIT / 2);
        if length > 0 {
            let chunk = &bytes[..length];
            tolerate_end(socket::send_packet(self.socket.as_fd(), &[Stream::Stdin as u8], chunk))?;
            self.room -= length;
        }
        Ok(length)
    }

    /// Says that standard input has ended.
    pub fn close_stdin(&self) -> Result<()> {
        send(self.socket.as_fd(), &Request::CloseStdin)
    }

    /// Gives the process's terminal another size.
    pub fn resize(&self, window: WindowSize) -> Result<()> {
        send(self.socket.as_fd(), &Request::Resize { window })
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: i32) -> Result<()> {
        send(self.socket.as_fd(), &Request::SessionSignal { signal, stop: false, shutdown: false })
    }

    /// Asks the process to end by a signal: no policy starts it again, or none until the host is up again that goes down.
    pub(crate) fn end_by(&self, signal: i32, why: Cause) -> Result<()> {
        let shutdown = why == Cause::Shutdown;
        send(self.socket.as_fd(), &Request::SessionSignal { signal, stop: !shutdown, shutdown })
    }

    /// Waits for the next event.
    pub fn receive(&mut self) -> Result<Event<'_>> {
        let length = match socket::receive_packet(self.socket.as_fd(), &mut self.buffer) {
            Ok((length, _)) => length,
            Err(Errno::CONNRESET) => 0,
            Err(errno) => return Err(Error::io("read from the keeper", errno)),
        };
        if length == 0 {
            self.reap_keeper();
        }
        let event = parse_event(&self.buffer[..length])?;
        if let Event::Taken { bytes } = event {
            self.room = self.room.saturating_add(bytes).min(STDIN_WINDOW);
        }
        Ok(event)
    }
}

impl AsFd for Session {
    /// Readable when [`Session::receive`] will not wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn parse_event(packet: &[u8]) -> Result<Event<'_>> {
    let Some((&first, data)) = packet.split_first() else { return Ok(Event::Closed) };
    match Stream::from_byte(first) {
        Some(Stream::Stdout) => return Ok(Event::Stdout(data)),
        Some(Stream::Stderr) => return Ok(Event::Stderr(data)),
        Some(Stream::Stdin) | None => {}
    }
    match parse_reply(packet)? {
        Reply::Exited { code, oom_killed } => Ok(Event::Exited { code, oom_killed }),
        Reply::Removed => Ok(Event::Removed),
        Reply::Taken { bytes } => Ok(Event::Taken { bytes }),
        Reply::Failed { kind, message } => Err(failure(kind, message)),
        other @ (Reply::Started { .. } | Reply::Done | Reply::Read) => {
            Err(Error::new(Kind::Failed, format!("keeper answered out of turn: {other:?}")))
        }
    }
}

fn parse_reply(packet: &[u8]) -> Result<Reply> {
    serde_json::from_slice(packet).map_err(|error| {
        Error::caused(Kind::Failed, "the keeper sent a message that this version does not know", error)
    })
}

/// Sends a request and waits for it to be carried out.
pub(crate) fn ask(socket: BorrowedFd<'_>, request: &Request) -> Result<()> {
    send_opening(socket, request)?;
    let mut buffer = vec![0; PACKET_LIMIT];
    match receive_answer(socket, &mut buffer).map_err(ended_meanwhile)? {
        Reply::Done => Ok(()),
        Reply::Failed { kind, message } => Err(failure(kind, message)),
        other => Err(Error::new(Kind::Failed, format!("keeper answered out of turn: {other:?}"))),
    }
}

/// Sends the first request of a connection.
fn send_opening(socket: BorrowedFd<'_>, request: &Request) -> Result<()> {
    match send_packet(socket, request)? {
        Err(Errno::PIPE | Errno::CONNRESET) => Err(unread()),
        sent => tolerate_end(sent),
    }
}

pub(crate) fn send(socket: BorrowedFd<'_>, request: &Request) -> Result<()> {
    tolerate_end(send_packet(socket, request)?)
}

fn send_packet(socket: BorrowedFd<'_>, request: &Request) -> Result<std::result::Result<(), Errno>> {
    let packet = serde_json::to_vec(request).expect("a request is plain data");
    if packet.len() > PACKET_LIMIT {
        return Err(Error::new(
            Kind::InvalidRequest,
            "the command with its environment is longer than 64 KiB",
        ));
    }
    Ok(socket::send_packet(socket, &packet, &[]))
}

fn unread() -> Error {
    Error::new(Kind::Unread, "the keeper ended before it read the request")
}

/// A process that has ended needs no more input: its exit is told by the next event.
fn tolerate_end(result: std::result::Result<(), Errno>) -> Result<()> {
    match result {
        Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
        Err(errno) => Err(Error::io("write to the keeper", errno)),
    }
}

/// A keeper that ends without an answer had nothing more to run.
fn ended_meanwhile(error: Error) -> Error {
    match error.kind() {
        Kind::KeeperEnded => Error::new(Kind::NotRunning, "the workload has just ended"),
        _ => error,
    }
}

/// The answer to a request of a connection's own. Of a keeper that is gone without a word that it read the request, nobody
/// needs to fear that it carried it out: the request may be made again.
fn receive_answer(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Reply> {
    let mut read = false;
    loop {
        match receive_reply(socket, buffer) {
            Ok(Reply::Read) => read = true,
            Err(error) if error.kind() == Kind::KeeperEnded && !read => return Err(unread()),
            answer => return answer,
        }
    }
}

fn receive_reply(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Reply> {
    let length = match socket::receive_packet(socket, buffer) {
        Ok((length, _)) => length,
        // Closed with the request unread.
        Err(Errno::CONNRESET) => 0,
        Err(errno) => return Err(Error::io("read from the keeper", errno)),
    };
    if length == 0 {
        return Err(Error::new(Kind::KeeperEnded, "the keeper ended before it answered"));
    }
    parse_reply(&buffer[..length])
}

fn failure(kind: FailureKind, message: String) -> Error {
    let kind = match kind {
        FailureKind::CommandNotFound => Kind::CommandNotFound,
        FailureKind::CommandNotExecutable => Kind::CommandNotExecutable,
        FailureKind::NotRunning => Kind::NotRunning,
        FailureKind::Protocol => Kind::Unsupported,
        FailureKind::Other => Kind::Failed,
    };
    Error::new(kind, message)
}
