//! What runs between `clone` and `exec`. Nothing here allocates, takes a lock or formats text: system
//! calls on what was prepared before, and one packet to the parent if a step fails.

mod create;
mod criu;
mod finish;
mod init;
mod join;
mod mounts;
mod outer;
mod terminal;

use std::os::fd::{BorrowedFd, OwnedFd};

use holm_sys::Errno;
use holm_sys::process;
use holm_sys::rustix::fs::{CWD, Mode, OFlags, openat};
use holm_sys::rustix::io::{read, write};
use holm_sys::rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::step::{At, Failure, PROCEED, Step};

pub(crate) use criu::{Criu, Rehearsal, Tree, set_loopback_up};
pub(crate) use init::{Init, Leave};
pub(crate) use join::Join;

/// Steps that end in `exec`; they come back only with a failure.
fn report(sync: BorrowedFd<'_>, result: Result<std::convert::Infallible, Failure>) -> i32 {
    let Err(failure) = result;
    // If the parent is gone nobody is left to tell. Plain `write`, since that is what a seccomp filter lets through.
    let _ = write(sync, &failure.encode());
    1
}

/// Leaves the caller's session keyring for a new one with a label that the program may use, while the host's `/proc` is
/// there to say so.
fn leave_session_keyring(label: Option<&[u8]>) -> Result<(), Failure> {
    if let Some(label) = label {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file =
            openat(CWD, c"/proc/thread-self/attr/keycreate", flags, Mode::empty()).at(Step::KeyLabel)?;
        write(&file, label).at(Step::KeyLabel)?;
    }
    process::leave_session_keyring();
    Ok(())
}

/// Enters the v1 groups. A lone thread that writes itself to `tasks` is the one case in which the kernel needs
/// no grace period (`docs/design/0007`).
fn enter_groups(entrances: &[OwnedFd]) -> Result<(), Failure> {
    entrances.iter().try_for_each(|tasks| write(tasks, b"0").map(drop).at(Step::EnterGroup))
}

/// Waits for the parent's word that what is done outside is done.
fn await_parent(sync: BorrowedFd<'_>) -> Result<(), Failure> {
    let mut packet = [0; 8];
    loop {
        match read(sync, &mut packet) {
            Err(Errno::INTR) => {}
            Ok(length) if packet.get(..length) == Some(PROCEED) => return Ok(()),
            Ok(_) => return Err(Errno::CANCELED).at(Step::AwaitParent),
            Err(errno) => return Err(errno).at(Step::AwaitParent),
        }
    }
}

/// Says that a point is reached and waits for the parent's word.
fn meet_parent(sync: BorrowedFd<'_>, packet: &[u8], step: Step) -> Result<(), Failure> {
    write(sync, packet).map(drop).at(step)?;
    await_parent(sync)
}

/// Becomes root of a user namespace that was entered as nobody of it.
fn become_root(keeps_groups: bool) -> Result<(), Failure> {
    process::become_root(keeps_groups).at(Step::NamespaceRoot)?;
    // The change of user took the process's own entry in /proc away from it.
    set_dumpable_behavior(DumpableBehavior::Dumpable).at(Step::NamespaceRoot)
}
