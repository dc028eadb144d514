//! Messages between a machine on the host and the agent in its guest.
//!
//! The agent is the guest's first process; it runs workloads by the same OCI configuration and the same code as the
//! host runs containers. Messages travel in [`frame`]s over any stream of bytes. The machine gives every process a
//! number, its *session*: the first process of a workload, and each that runs beside it.
//!
//! ```text
//! machine                                  agent
//! Hello                    ------------->
//!                          <-------------  Welcome
//! Create{workload}         ------------->
//!                          <-------------  Done | Refused
//! Start{session} | Exec{session} | Files{session}
//!                          ------------->
//!                          <-------------  Started | Failed (end of the session)
//! data 0 ...               ------------->
//!                          <-------------  data 1 ... data 2 ...   Taken
//! Acknowledge, Resize, Signal, CloseStdin
//!                          ------------->
//!                          <-------------  Exited (end of the session)
//! Shutdown                 ------------->
//!                                          powers the guest off
//! ```
//!
//! All streams share the channel, so each has a window: the machine is at most [`WINDOW`] bytes of standard input
//! ahead of what the agent says was [`Report::Taken`], the agent at most [`WINDOW`] bytes of each output ahead of what
//! the machine [`Command::Acknowledge`]s. What one process does not read, or nobody reads of it, holds nothing else up.
//! Either side opens a window again no later than when half of it was taken, so a sender must be content with pieces that
//! fit. A session that gets more input than its window holds is ended with SIGKILL.
//!
//! A workload is forgotten when its first process has ended or could not be started: it is created again to run again,
//! and finds what it wrote to the scratch disk. A number that another process has is not answered, for that would be the
//! other one's answer; what is not understood, or is about a session that has ended, changes nothing.
//!
//! A second `Hello` is the word of another machine, or of this one after a snapshot was restored: the agent answers it
//! with what it runs, opens all windows, and sends what was not sent yet; what was in the channel when that was closed is
//! lost. Before a `Hello` the agent says nothing and does nothing that it is asked, also after the port was closed; one
//! that is opened again at once looks as if it never was, so whoever opens it says `Hello` first.

pub mod frame;

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::files::Task;
use crate::keeper::{ExecProcess, FailureKind, Stream, WindowSize};
use crate::network::Device;
use crate::workload::SeccompSource;
use crate::{Id, runtime};

/// Version of the protocol.
pub const PROTOCOL: u32 = 1;
/// Bytes of a stream that may be on their way.
pub const WINDOW: u32 = 64 * 1024;
/// Name of the virtio-serial port that is the channel: `/sys/class/virtio-ports/*/name`.
pub const PORT: &str = "holm.agent.0";
/// Serial number of the disk with the layers, a partition each: `/sys/block/*/serial`.
pub const LAYERS_DISK: &str = "holm-layers";
/// Serial number of the disk with what workloads write.
pub const SCRATCH_DISK: &str = "holm-scratch";
/// Tag of the virtio file system with what the host shares: an entry for each, named by its number from 0.
pub const SHARES_TAG: &str = "holm-shares";
/// Where the agent mounts it; sources of a workload's bind mounts lie below.
pub const SHARES: &str = "/run/holm/shares";
/// Where the agent's archive has the init that a workload may ask for.
pub const INIT_PATH: &str = "/usr/lib/holm/holm-init";

/// What the machine asks of the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// The first message.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// The host's clock, in nanoseconds since 1970.
        clock: u64,
        /// 32 bytes for the guest's random numbers, in hexadecimal.
        seed: String,
    },
    /// Make a workload known and make its root; nothing runs yet.
    Create {
        /// What to answer with.
        request: u32,
        /// The workload.
        workload: Box<GuestWorkload>,
    },
    /// Start a workload's first process.
    Start {
        /// The number that it is to have.
        session: u32,
        /// Which workload.
        workload: Id,
        /// First size of its terminal.
        window: Option<WindowSize>,
    },
    /// Run another process in a workload.
    Exec {
        /// The number that it is to have.
        session: u32,
        /// Which workload.
        workload: Id,
        /// What to run.
        process: ExecProcess,
        /// Data for its standard input will come.
        stdin: bool,
        /// First size of its terminal.
        window: Option<WindowSize>,
    },
    /// Do something with a workload's files, in a process that reads and writes what the task says.
    Files {
        /// The number that the process is to have.
        session: u32,
        /// Which workload; it need not run.
        workload: Id,
        /// What.
        task: Task,
    },
    /// Send a signal to a session's process.
    Signal {
        /// Which session.
        session: u32,
        /// Signal number.
        signal: i32,
    },
    /// A session's terminal has another size.
    Resize {
        /// Which session.
        session: u32,
        /// The new size.
        window: WindowSize,
    },
    /// No more data will come for a session's standard input.
    CloseStdin {
        /// Which session.
        session: u32,
    },
    /// Output arrived where it belongs.
    Acknowledge {
        /// Which session.
        session: u32,
        /// 1 or 2, see [`Stream`].
        stream: u8,
        /// How many bytes more.
        bytes: u32,
    },
    /// What a workload uses.
    Stats {
        /// What to answer with.
        request: u32,
        /// Which workload.
        workload: Id,
    },
    /// Which processes a workload has.
    Processes {
        /// What to answer with.
        request: u32,
        /// Which workload.
        workload: Id,
    },
    /// Write all that is not yet on the scratch disk.
    Sync {
        /// What to answer with.
        request: u32,
    },
    /// Set the clock: the guest was paused or restored.
    Time {
        /// The host's clock, in nanoseconds since 1970.
        clock: u64,
    },
    /// Stir the guest's random numbers: it may have a twin.
    Reseed {
        /// 32 bytes in hexadecimal.
        seed: String,
    },
    /// End what runs, write what is not written, power off.
    Shutdown,
}

/// What the agent says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Report {
    /// The answer to [`Command::Hello`].
    Welcome {
        /// [`PROTOCOL`].
        protocol: u32,
        /// The guest kernel's release.
        release: String,
        /// Sessions that run, and the workloads that they belong to.
        #[serde(deserialize_with = "numbered")]
        sessions: BTreeMap<u32, Id>,
    },
    /// A request was carried out.
    Done {
        /// Which.
        request: u32,
    },
    /// A request was not carried out.
    Refused {
        /// Which.
        request: u32,
        /// One line: operation, object, cause.
        message: String,
    },
    /// A session's process runs.
    Started {
        /// Which session.
        session: u32,
        /// As the guest numbers it.
        pid: i32,
    },
    /// A session's process could not be started; the session is over.
    Failed {
        /// Which session.
        session: u32,
        /// What a client makes of it.
        kind: FailureKind,
        /// One line: operation, object, cause.
        message: String,
    },
    /// A process took input.
    Taken {
        /// Which session.
        session: u32,
        /// How many bytes more.
        bytes: u32,
    },
    /// A session's process ended; all its output was sent before.
    Exited {
        /// Which session.
        session: u32,
        /// Exit code, 128 + n for signal n.
        code: i32,
        /// A process of the workload was killed for lack of memory.
        oom_killed: bool,
    },
    /// What a workload uses.
    Stats {
        /// Which request.
        request: u32,
        /// The figures.
        stats: Stats,
    },
    /// Which processes a workload has.
    Processes {
        /// Which request.
        request: u32,
        /// At most [`PROCESSES_LIMIT`].
        processes: Vec<ProcessRow>,
    },
}

/// Most processes that an agent lists.
pub const PROCESSES_LIMIT: usize = 4096;

/// A workload as its guest gets it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestWorkload {
    /// Its id.
    pub id: Id,
    /// The sandbox that it belongs to: several workloads of one share a guest.
    pub sandbox: Id,
    /// Its layers as partitions of the disk [`LAYERS_DISK`], lowest layer first, the first partition being 1.
    pub layers: Vec<u32>,
    /// What it writes goes to the disk [`SCRATCH_DISK`] and stays there; otherwise to memory.
    pub scratch: bool,
    /// Files to mount over its root: of paths and contents that its host made for it.
    pub files: Vec<GuestFile>,
    /// Devices of the machine that it gets, beside loopback.
    pub devices: Vec<Device>,
    /// The process has a terminal.
    pub tty: bool,
    /// Data for its standard input will come; otherwise it is `/dev/null`.
    pub open_stdin: bool,
    /// `user[:group]`, looked up in its root.
    pub user: String,
    /// Where its filter of system calls comes from.
    pub seccomp: SeccompSource,
    /// Its OCI runtime configuration; sources of mounts are paths of the guest.
    pub oci: runtime::Spec,
}

/// A small file for a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestFile {
    /// Absolute path in the workload.
    pub target: String,
    /// Its text.
    pub content: String,
}

/// What a workload uses, read from its control group in the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stats {
    /// Processor time in microseconds.
    pub cpu_usage: u64,
    /// Bytes of memory, without file pages that nobody has used for a while.
    pub memory: u64,
    /// Limit of memory in bytes; that of the guest if the workload has none.
    pub memory_limit: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes read from disks.
    pub read: u64,
    /// Bytes written to disks.
    pub written: u64,
    /// Bytes of the guest's memory that it could still give to processes.
    pub guest_available: u64,
}

/// A process of a workload, as the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessRow {
    /// User id.
    pub uid: u32,
    /// Number in the guest.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Start time in seconds since 1970.
    pub started: u64,
    /// Processor time in hundredths of a second.
    pub cpu: u64,
    /// Terminal, as `ps` names it; empty for none.
    pub terminal: String,
    /// Program and arguments.
    pub command: String,
}

/// Names of JSON are strings, also where they are numbers; in a message that is told by its tag they are met as such.
fn numbered<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<u32, Id>, D::Error> {
    let named = BTreeMap::<String, Id>::deserialize(deserializer)?;
    let number = |(name, id): (String, Id)| name.parse().map(|number| (number, id)).map_err(D::Error::custom);
    named.into_iter().map(number).collect()
}

/// The output stream that a number in [`Command::Acknowledge`] means.
pub fn output_stream(number: u8) -> Option<Stream> {
    Stream::from_byte(number).filter(|stream| *stream != Stream::Stdin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_what_the_protocol_says() {
        let command: Command =
            serde_json::from_str(r#"{"command":"signal","session":3,"signal":15}"#).expect("valid");
        assert_eq!(command, Command::Signal { session: 3, signal: 15 });
        let text = serde_json::to_string(&Report::Taken { session: 1, bytes: 5 }).expect("plain");
        assert_eq!(text, r#"{"report":"taken","session":1,"bytes":5}"#);
        let unknown = serde_json::from_str::<Command>(r#"{"command":"sync","request":1,"more":2}"#);
        assert!(unknown.is_err(), "our own formats refuse what they do not know");
    }

    #[test]
    fn sessions_are_read_as_they_are_written() {
        let sessions = BTreeMap::from([(7, Id::from_bytes([1; 32])), (u32::MAX, Id::from_bytes([2; 32]))]);
        let welcome = Report::Welcome { protocol: PROTOCOL, release: "6.1".to_owned(), sessions };
        let text = serde_json::to_string(&welcome).expect("plain");
        assert_eq!(serde_json::from_str::<Report>(&text).expect("as written"), welcome);
        assert!(serde_json::from_str::<Report>(&text.replace(r#""7""#, r#""seven""#)).is_err());
    }

    #[test]
    fn output_has_two_streams() {
        assert_eq!([0, 1, 2, 3].map(output_stream), [None, Some(Stream::Stdout), Some(Stream::Stderr), None]);
    }
}
