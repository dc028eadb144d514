//! `holm-machine`: a virtual machine's process on the host. Started by `holm-keeper` in a jail of its own; nothing here
//! is for people.
//!
//! ```text
//! holm-machine run PLAN NOTICES     descriptors: a file with a `Plan`, a packet socket for `Notice`s
//! holm-machine exec PLAN NOTICES    in the jail of one that runs: a file with an `ExecPlan`
//! holm-machine probe                prints why KVM does not serve here, or nothing
//! ```
//!
//! `run` starts the emulator as its child and is to the keeper what a container's first process is: it has the
//! workload's standard streams, hands signals on to it, and ends with its exit code. `exec` gives its own streams to
//! the one that runs and waits. What the guest says is parsed here, where there are no rights, and nowhere else.

mod clients;
mod console;
mod exec;
mod guest;
mod input;
mod relay;
mod session;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use holm_spec::keeper::FailureKind;
use holm_spec::machine::{KeeperWord, Notice};
use holm_sys::Errno;
use holm_sys::process::adopt_descriptor;
use holm_sys::socket::{send_packet, try_receive_packet};
use holm_vmm::{Error, Result};

/// musl's allocator asks the kernel for every few blocks; this one keeps what it got.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// What this ends with if there is no exit code to end with.
const FAILED: u8 = 125;
/// Where the one that runs listens for those that want more processes in its workload.
const SOCKET_DIRECTORY: &str = "/run";
/// Longest plan in bytes.
const PLAN_LIMIT: u64 = 16 << 20;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words == ["probe"] {
        let fault = holm_vmm::probe::run().err().unwrap_or_default();
        return ExitCode::from(u8::from(writeln!(std::io::stdout(), "{fault}").is_err()));
    }
    let [mode, plan, notices] = words.as_slice() else { return ExitCode::from(FAILED) };
    let (Some(plan), Some(notices)) = (descriptor(plan), descriptor(notices)) else {
        return ExitCode::from(FAILED);
    };
    let notices = Notices(notices);
    let result = match mode.as_str() {
        "run" => read(plan).and_then(|plan| relay::run(plan, &notices)),
        "exec" => read(plan).and_then(|plan| exec::run(plan, &notices)),
        _ => return ExitCode::from(FAILED),
    };
    ExitCode::from(result.unwrap_or_else(|error| {
        notices.failed(FailureKind::Other, &error);
        FAILED
    }))
}

fn descriptor(number: &str) -> Option<OwnedFd> {
    adopt_descriptor(number.parse().ok()?).ok()
}

fn read<T: serde::de::DeserializeOwned>(file: OwnedFd) -> Result<T> {
    let failed = |error: std::io::Error| Error::caused("read the machine's plan", error);
    let mut file = File::from(file);
    file.rewind().map_err(failed)?;
    let mut text = Vec::new();
    file.take(PLAN_LIMIT).read_to_end(&mut text).map_err(failed)?;
    serde_json::from_slice(&text).map_err(|error| Error::caused("read the machine's plan", error))
}

/// The keeper's ear.
#[derive(Debug)]
struct Notices(OwnedFd);

impl Notices {
    /// Says something; a keeper that was killed does not hear it.
    fn say(&self, notice: &Notice) {
        let packet = serde_json::to_vec(notice).expect("a notice is plain data");
        let _ = send_packet(self.0.as_fd(), &packet, &[]);
    }

    /// What the keeper has said; `None` if there is nothing, `Err` once it is gone.
    fn hear(&self) -> std::result::Result<Option<KeeperWord>, Errno> {
        let mut buffer = [0; 256];
        match try_receive_packet(self.0.as_fd(), &mut buffer) {
            Ok((0, _)) => Err(Errno::PIPE),
            Ok((length, _)) => Ok(serde_json::from_slice(&buffer[..length]).ok()),
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn failed(&self, kind: FailureKind, error: &Error) {
        self.say(&Notice::Failed { kind, message: error.to_string() });
    }
}
