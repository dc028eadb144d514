//! `holm-keeper`: the small process, one a sandbox, that owns its workloads' standard streams, logs and
//! exit status. Started by `holm`; nothing here is for people.
//!
//! ```text
//! holm-keeper start ROOT RUN SANDBOX LOCK HANDOFF    LOCK and HANDOFF are descriptor numbers
//! holm-keeper adopt ROOT RUN SANDBOX LOCK WORKLOAD
//! ```
//!
//! `start` reads its first request from HANDOFF, a connection like any other; `adopt` takes over a
//! workload whose keeper was killed. Either way the keeper holds the lock of the sandbox's directory
//! (`holm_spec::layout`) until that directory is gone. One thread, one epoll; what it says goes
//! through its sockets (`holm_spec::keeper`), never to a terminal.

mod adopt;
mod client;
mod finish;
mod health;
mod jail;
mod limits;
mod log;
mod machine;
mod mounts;
mod network_watch;
mod networks;
mod notices;
mod pace;
mod ports;
mod restart;
mod server;
mod shares;
mod start;
mod task;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use holm_spec::Id;
use holm_spec::layout::Layout;
use holm_sys::fail_point;
use holm_sys::lock::Lock;
use holm_sys::process::adopt_descriptor;

use server::Server;

/// musl's allocator asks the kernel for every few blocks; this one keeps what it got.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    fail_point::reached("keeper-begun");
    // Every mode below is meant as it is written: device nodes are 0666, FIFOs and logs 0600.
    rustix::process::umask(rustix::fs::Mode::empty());
    // Nobody but the host's root may look into a keeper, nor into a child before it runs its program.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    match begin() {
        Some(server) => {
            server.run();
            ExitCode::SUCCESS
        }
        // Nobody reads a message of a keeper that was not started by `holm`.
        None => ExitCode::from(125),
    }
}

fn begin() -> Option<Server> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [mode, root, run, sandbox, lock, last] = arguments.as_slice() else { return None };
    if lock == last {
        // One descriptor would get two owners.
        return None;
    }
    let layout = Layout::new(root, run);
    let sandbox: Id = sandbox.to_str()?.parse().ok()?;
    let lock = Lock::from_held(descriptor(lock)?);
    let mut server = Server::new(layout, sandbox, lock, limits::shed()).ok()?;
    match mode.to_str()? {
        "start" => server.add_client(descriptor(last)?),
        "adopt" => server.adopt(last.to_str()?.parse().ok()?)?,
        _ => return None,
    }
    Some(server)
}

/// A descriptor that `holm` announced by number.
fn descriptor(number: &OsString) -> Option<OwnedFd> {
    adopt_descriptor(number.to_str()?.parse().ok()?).ok()
}
