//! The one that waits: it gives its standard streams to the machine's own process, hands signals on, and ends with
//! the exit code of the process in the guest.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use holm_spec::agent::{Command, Report};
use holm_spec::keeper::PACKET_LIMIT;
use holm_spec::machine::{ExecPlan, Notice, SOCKET};
use holm_sys::process::read_signal;
use holm_sys::socket::{connect_packets, receive_packet, send_descriptor, send_packet};
use holm_vmm::{Error, Result};
use rustix::event::{PollFd, PollFlags, poll};

use crate::input::{Streams, window};
use crate::relay::{WINDOW_CHANGED, forwarded};
use crate::{FAILED, Notices, SOCKET_DIRECTORY};

/// What a process ends with that was killed.
const KILLED: u8 = 128 + holm_spec::signal::KILL as u8;

/// Runs a process in the guest of this jail; its exit code.
///
/// # Errors
/// The machine is gone.
pub fn run(plan: ExecPlan, notices: &Notices) -> Result<u8> {
    let failed = |errno| Error::caused("ask the machine for a process", errno);
    let signals = holm_sys::signals::descriptor(&forwarded()).map_err(failed)?;
    let streams = Streams::take(true, plan.process.tty)?;
    let socket = connect_packets(Path::new(SOCKET_DIRECTORY), SOCKET).map_err(failed)?;
    let terminal = plan.process.tty.then(|| streams.stdout.try_clone()).transpose();
    let terminal = terminal.map_err(|error| Error::caused("copy a descriptor", error))?;
    let window = terminal.as_ref().and_then(|terminal| window(terminal.as_fd())).or(plan.window);
    hand_over(&socket, streams).map_err(failed)?;
    let ExecPlan { workload, process, stdin, .. } = plan;
    let mut socket = Relayed { socket, terminal, notices, started: false };
    socket.ask(&Command::Exec { session: 0, workload, process, stdin, window }).map_err(failed)?;
    socket.wait(&signals)
}

/// Standard input, output and error, in this order.
fn hand_over(socket: &OwnedFd, streams: Streams) -> std::result::Result<(), holm_sys::Errno> {
    let stderr = streams.stderr.as_ref().unwrap_or(&streams.stdout);
    let stdin = streams.stdin.as_ref().unwrap_or(&streams.stdout);
    for (name, stream) in [(b"0", stdin), (b"1", &streams.stdout), (b"2", stderr)] {
        send_descriptor(socket.as_fd(), name, stream.as_fd())?;
    }
    Ok(())
}

/// The connection to the machine's own process.
struct Relayed<'a> {
    socket: OwnedFd,
    terminal: Option<OwnedFd>,
    notices: &'a Notices,
    /// The process runs in the guest.
    started: bool,
}

impl Relayed<'_> {
    fn ask(&self, command: &Command) -> std::result::Result<(), holm_sys::Errno> {
        let packet = serde_json::to_vec(command).expect("a command is plain data");
        send_packet(self.socket.as_fd(), &packet, &[])
    }

    fn wait(&mut self, signals: &OwnedFd) -> Result<u8> {
        let mut buffer = vec![0; PACKET_LIMIT];
        loop {
            let mut ready = [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
            match poll(&mut ready, None) {
                Ok(_) | Err(holm_sys::Errno::INTR) => {}
                Err(errno) => return Err(Error::caused("wait for the machine", errno)),
            }
            let (told, signalled) = (!ready[0].revents().is_empty(), !ready[1].revents().is_empty());
            if signalled {
                self.hand_on_signals(signals);
            }
            if told {
                let length = receive_packet(self.socket.as_fd(), &mut buffer).map_or(0, |(length, _)| length);
                if let Some(code) = self.hear(&buffer[..length])? {
                    return Ok(code);
                }
            }
        }
    }

    fn hand_on_signals(&self, signals: &OwnedFd) {
        while let Some(number) = read_signal(signals.as_fd()) {
            let command = match (number, self.terminal.as_ref().and_then(|terminal| window(terminal.as_fd())))
            {
                (WINDOW_CHANGED, Some(window)) => Command::Resize { session: 0, window },
                (WINDOW_CHANGED, None) => continue,
                (signal, _) => Command::Signal { session: 0, signal },
            };
            // A machine that is gone is seen by its silence.
            let _ = self.ask(&command);
        }
    }

    /// What the machine says; the exit code, once there is one.
    fn hear(&mut self, packet: &[u8]) -> Result<Option<u8>> {
        if packet.is_empty() {
            // What runs ends with its machine, as a process does with the namespace that it is in.
            return if self.started { Ok(Some(KILLED)) } else { Err(Error::new("the machine has ended")) };
        }
        match serde_json::from_slice(packet) {
            Ok(Report::Started { pid, .. }) => {
                self.started = true;
                self.notices.say(&Notice::Started { pid, facts: None });
                Ok(None)
            }
            Ok(Report::Failed { kind, message, .. }) => {
                self.notices.say(&Notice::Failed { kind, message });
                Ok(Some(FAILED))
            }
            Ok(Report::Exited { code, .. }) => Ok(Some(u8::try_from(code).unwrap_or(FAILED))),
            Ok(_) => Ok(None),
            Err(error) => Err(Error::caused("understand the machine", error)),
        }
    }
}
