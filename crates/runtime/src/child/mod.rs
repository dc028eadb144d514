//! What runs between `clone` and `exec`. Nothing here allocates, takes a lock or formats text: system
//! calls on what was prepared before, and one packet to the parent if a step fails.

mod finish;
mod init;
mod join;
mod mounts;
mod terminal;

use std::os::fd::{BorrowedFd, OwnedFd};

use holm_sys::rustix::io::write;
use holm_sys::socket::send_packet;

use crate::step::{At, Failure, PROCEED, Step};

pub(crate) use init::Init;
pub(crate) use join::Join;

/// Steps that end in `exec`; they come back only with a failure.
fn report(sync: BorrowedFd<'_>, result: Result<std::convert::Infallible, Failure>) -> i32 {
    let Err(failure) = result;
    // If the parent is gone nobody is left to tell.
    let _ = send_packet(sync, &failure.encode(), &[]);
    1
}

/// Enters the v1 groups. A lone thread that writes itself to `tasks` is the one case in which the kernel needs
/// no grace period (`docs/design/0007`).
fn enter_groups(entrances: &[OwnedFd]) -> Result<(), Failure> {
    entrances.iter().try_for_each(|tasks| write(tasks, b"0").map(drop).at(Step::EnterGroup))
}

/// Waits for the parent's word that everything outside is ready.
fn await_parent(sync: BorrowedFd<'_>) -> Result<(), Failure> {
    let mut packet = [0; 8];
    let (length, _) = holm_sys::socket::receive_packet(sync, &mut packet).at(Step::AwaitParent)?;
    if packet.get(..length) == Some(PROCEED) {
        return Ok(());
    }
    Err(Failure { step: Step::AwaitParent, index: 0, errno: holm_sys::Errno::CANCELED })
}
