//! Messages between a keeper and its clients.
//!
//! The socket is `SOCK_SEQPACKET`: one packet is one message. A packet that begins with `{` is a
//! JSON [`Request`] or [`Reply`]; any other begins with a [`Stream`] byte and carries raw data of the
//! connection's session. A connection starts at most one session, with [`Request::Start`],
//! [`Request::Attach`] or [`Request::Exec`]; [`Request::Signal`] needs none.
//!
//! ```text
//! client                                  keeper
//! Start | Attach | Exec  ------------->
//!                        <-------------   Read, for Exec and Signal; Started | Failed (end of the session)
//! 0 data ...             ------------->
//!                        <-------------   1 data ... 2 data ...
//! Resize, SessionSignal, CloseStdin
//!                        ------------->
//!                        <-------------   Taken
//!                        <-------------   Exited, and for --rm Removed; then the connection closes
//! ```
//!
//! Input has a window of its own, so that what a process does not read holds nothing else up: a client may be
//! [`STDIN_WINDOW`] bytes ahead of what the keeper said it has [`Reply::Taken`]. The keeper never stops reading, so
//! signals and sizes always come through; a client that goes beyond its window is refused.
//!
//! A keeper speaks [`PROTOCOL`] and the one before; a client sends its own with each first request.

use serde::{Deserialize, Serialize};

use crate::Id;

/// Version of the protocol.
pub const PROTOCOL: u32 = 1;

/// Longest packet in bytes, data and JSON alike.
pub const PACKET_LIMIT: usize = 64 * 1024;

/// Bytes of standard input that a client may send before the keeper says [`Reply::Taken`].
pub const STDIN_WINDOW: usize = 64 * 1024;

/// Which way a data packet flows; its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    /// Client to workload.
    Stdin = 0,
    /// Workload to client; everything that a terminal prints.
    Stdout = 1,
    /// Workload to client.
    Stderr = 2,
}

impl Stream {
    /// The stream of a packet's first byte.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Stdin),
            1 => Some(Self::Stdout),
            2 => Some(Self::Stderr),
            _ => None,
        }
    }
}

/// Which streams a session carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Streams {
    /// Data from the client.
    pub stdin: bool,
    /// Standard output, or the terminal.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

impl Streams {
    /// No stream: the session only waits for the end.
    pub const NONE: Self = Self { stdin: false, stdout: false, stderr: false };
}

/// Size of a terminal window in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// A process to run inside a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecProcess {
    /// Program and arguments; at least one.
    pub args: Vec<String>,
    /// `NAME=value`, set over the workload's environment.
    pub env: Vec<String>,
    /// Working directory; the workload's if absent.
    pub cwd: Option<String>,
    /// `user[:group]`; the workload's if absent.
    pub user: Option<String>,
    /// Give the process a terminal.
    pub tty: bool,
    /// Give the process all capabilities and no seccomp filter.
    pub privileged: bool,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Start the workload and join it to this connection.
    Start {
        /// [`PROTOCOL`].
        protocol: u32,
        /// Which workload.
        workload: Id,
        /// What the session carries.
        streams: Streams,
        /// First size of the terminal.
        window: Option<WindowSize>,
        /// How many times it was started again by its policy, if it is that again.
        #[serde(default)]
        restarts: u32,
        /// `NAME=value`, set over its environment this time, and written down nowhere.
        #[serde(default)]
        env: Vec<String>,
    },
    /// Join the workload's main process to this connection.
    Attach {
        /// [`PROTOCOL`].
        protocol: u32,
        /// Which workload.
        workload: Id,
        /// What the session carries.
        streams: Streams,
    },
    /// Run another process in the workload.
    Exec {
        /// [`PROTOCOL`].
        protocol: u32,
        /// Which workload.
        workload: Id,
        /// What to run.
        process: ExecProcess,
        /// What the session carries.
        streams: Streams,
        /// First size of the terminal.
        window: Option<WindowSize>,
    },
    /// Do not start the workload again that is about to be; one that runs goes on, and the answer is that none waits.
    CancelRestart {
        /// [`PROTOCOL`].
        protocol: u32,
        /// Which workload.
        workload: Id,
    },
    /// Send a signal to the workload's first process; one that is about to be started again is not, if the signal asks it to
    /// end.
    Signal {
        /// [`PROTOCOL`].
        protocol: u32,
        /// Which workload.
        workload: Id,
        /// Signal number.
        signal: i32,
    },
    /// The session's terminal has another size.
    Resize {
        /// The new size.
        window: WindowSize,
    },
    /// Send a signal to the session's process.
    SessionSignal {
        /// Signal number.
        signal: i32,
        /// It asks the workload to end, whatever signal it is.
        #[serde(default)]
        stop: bool,
        /// Because the host goes down: nobody asked for this one to end.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        shutdown: bool,
    },
    /// No more data will come for standard input.
    CloseStdin,
}

/// Which exit code a failure to start means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The program is not there: 127.
    CommandNotFound,
    /// The program is there and cannot be run: 126.
    CommandNotExecutable,
    /// The sandbox holds no such workload, or it does not run.
    NotRunning,
    /// The client speaks another protocol.
    Protocol,
    /// Anything else: 125.
    Other,
}

/// What a keeper answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reply {
    /// A request that may be carried out once only was read; its answer follows. Without this, a keeper that is gone has not begun.
    Read,
    /// The session's process runs.
    Started {
        /// As the host numbers it.
        pid: i32,
    },
    /// The request was carried out.
    Done,
    /// The request was not carried out; the connection closes.
    Failed {
        /// What the client makes of it.
        kind: FailureKind,
        /// One line: operation, object, cause.
        message: String,
    },
    /// The process took input of this session: its client may send as much again.
    Taken {
        /// How much; told no later than when half of [`STDIN_WINDOW`] was taken.
        bytes: usize,
    },
    /// The session's process ended.
    Exited {
        /// Exit code, 128 + n for signal n.
        code: i32,
        /// A process of the workload was killed for lack of memory.
        oom_killed: bool,
    },
    /// The workload was removed because it was started so.
    Removed,
}
