//! The files of a virtual machine: its agent is asked, over the socket of the machine's own process.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use holm_spec::Id;
use holm_spec::agent::{Command, Report};
use holm_spec::files::{Failure, Task};
use holm_spec::keeper::PACKET_LIMIT;
use holm_spec::workload::State;
use holm_sys::socket::{receive_packet, send_descriptor, send_packet};
use rustix::pipe::{PipeFlags, pipe_with};

use super::copy::pipe;
use super::kind_of;
use super::visit::Visit;
use crate::machine::connect;
use crate::{Error, Kind, Result};

/// Longest text of a failure.
const FAILURE_LIMIT: u64 = 64 << 10;

/// A machine that runs.
#[derive(Debug)]
pub(super) struct Machine {
    workload: Id,
    state: State,
    /// It runs for this alone.
    visit: Option<Visit>,
}

impl Machine {
    /// The machine of a workload that runs.
    pub fn running(workload: Id, state: State) -> Self {
        Self { workload, state, visit: None }
    }

    /// A visitor of a workload that does not.
    pub fn visited(workload: Id, state: State, visit: Visit) -> Self {
        Self { workload, state, visit: Some(visit) }
    }

    /// Lets the agent carry out a task. The machine's process gets pipes of ours and never what the caller has: it would
    /// make that non-blocking, cannot wait for a file, and takes a full disk for a reader that has gone.
    pub fn perform(&self, task: &Task, input: Option<OwnedFd>, output: OwnedFd) -> Result<()> {
        let (theirs_out, ours_out) = pipe()?;
        let (ours_in, theirs_in) = pipe()?;
        match input {
            // Not waited for: a caller's terminal may say nothing for ever.
            Some(input) => drop(thread::spawn(|| pour(input, ours_in))),
            None => drop(ours_in),
        }
        thread::scope(|scope| {
            let pouring = scope.spawn(|| pour(ours_out, output));
            let done = self.ask(task, [theirs_in, theirs_out]);
            let poured = pouring.join().unwrap_or_else(|_| Err(std::io::Error::other("given up")));
            poured.map_err(|error| Error::io("write what the machine sends", error))?;
            done
        })
    }

    fn ask(&self, task: &Task, [input, output]: [OwnedFd; 2]) -> Result<()> {
        let failed = |errno: holm_sys::Errno| Error::io("ask the machine for its files", errno);
        let socket = connect(&self.state).map_err(failed)?;
        // It takes as long as it takes.
        rustix::io::ioctl_fionbio(&socket, false).map_err(failed)?;
        let (failure, errors) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(failed)?;
        for (name, stream) in [(b"0", &input), (b"1", &output), (b"2", &errors)] {
            send_descriptor(socket.as_fd(), name, stream.as_fd()).map_err(failed)?;
        }
        // Whoever is at the other ends sees when they are closed.
        drop((input, output, errors));
        let command = Command::Files { session: 0, workload: self.workload, task: task.clone() };
        let packet = serde_json::to_vec(&command).expect("a command is plain data");
        if packet.len() > PACKET_LIMIT {
            return Err(Error::new(Kind::InvalidRequest, "the paths are too long"));
        }
        send_packet(socket.as_fd(), &packet, &[]).map_err(failed)?;
        match wait(&socket)? {
            0 => Ok(()),
            _ => Err(read_failure(failure)),
        }
    }
}

/// From one stream to the other, to the end of the first.
fn pour(from: OwnedFd, to: OwnedFd) -> std::io::Result<()> {
    std::io::copy(&mut File::from(from), &mut File::from(to)).map(drop)
}

/// Waits for the end of the process in the guest; its exit code.
fn wait(socket: &OwnedFd) -> Result<i32> {
    let mut buffer = vec![0; PACKET_LIMIT];
    loop {
        let (length, _) = receive_packet(socket.as_fd(), &mut buffer)
            .map_err(|errno| Error::io("wait for the machine", errno))?;
        if length == 0 {
            return Err(Error::new(Kind::NotRunning, "its machine has ended"));
        }
        match serde_json::from_slice(&buffer[..length]) {
            Ok(Report::Exited { code, .. }) => return Ok(code),
            Ok(Report::Failed { message, .. }) => return Err(Error::new(Kind::Failed, message)),
            Ok(_) => {}
            Err(error) => return Err(Error::caused(Kind::Failed, "understand the machine", error)),
        }
    }
}

/// What the process in the guest said; it has ended, and everything has arrived.
fn read_failure(pipe: OwnedFd) -> Error {
    let mut text = Vec::new();
    let read = File::from(pipe).take(FAILURE_LIMIT).read_to_end(&mut text);
    let complete = read.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::WouldBlock);
    match serde_json::from_slice::<Failure>(&text).ok().filter(|_| complete) {
        Some(Failure { kind, message }) => Error::new(kind_of(kind), message),
        None => Error::new(Kind::Failed, "the guest could not do it, and does not say why"),
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(visit) = self.visit.take() {
            visit.end();
        }
    }
}
