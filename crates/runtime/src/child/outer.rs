//! The first stage of a container that joins namespaces whose making needs an order (see
//! [`crate::namespaces`]).
//!
//! The order: what others made first, with the rights of this process; then the user namespace, which takes those
//! rights and gives all inside; then what was refused before and is that user namespace's. Clocks are set before
//! the identity changes, since their file belongs to who this process was. The container's first process is a
//! sibling, born inside everything.

use holm_sys::process::{self, Descriptors, Namespaces};
use holm_sys::rustix::fs::{CWD, Mode, OFlags, openat};
use holm_sys::rustix::io::write;
use holm_sys::rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use holm_sys::{Errno, socket};

use std::os::fd::AsFd;

use super::{Init, await_parent, become_root, enter_groups, report};
use crate::step::{At, Failure, MAPS_WANTED, Step, encode_process};

/// Runs the first stage in the child: an exit code.
pub(super) fn run(init: &Init<'_>) -> i32 {
    match steps(init) {
        Ok(()) => 0,
        Err(failure) => report(init.sync, Err(failure)),
    }
}

fn steps(init: &Init<'_>) -> Result<(), Failure> {
    let plan = init.namespaces;
    init.leave_caller()?;
    await_parent(init.sync)?;
    enter_groups(init.groups)?;
    let mut refused = 0_u64;
    join(init, &mut refused)?;
    enter_user_namespace(init)?;
    make_clocks(init)?;
    if plan.changes_user() {
        become_root(init.process.keeps_groups)?;
    }
    join_refused(init, refused)?;
    let made = plan.made.without(Namespaces::USER).without(Namespaces::TIME);
    let first = process::clone_sibling(made, Descriptors::Copied, || report(init.sync, init.steps()));
    let first = first.at(Step::BearInside)?;
    let packet = encode_process(first.pid.as_raw_nonzero().get());
    socket::send_descriptor(init.sync, &packet, first.pidfd.as_fd()).at(Step::BearInside)
}

/// Joins what may be joined now; bit n of `refused` is number n of the list.
fn join(init: &Init<'_>, refused: &mut u64) -> Result<(), Failure> {
    let may_be_refused = init.namespaces.changes_user();
    for (index, joined) in init.namespaces.joined_outside.iter().enumerate() {
        match move_into_link_name_space(joined.namespace.as_fd(), Some(joined.kind)) {
            Err(Errno::PERM) if may_be_refused => *refused |= 1 << (index & 63),
            other => other.at_index(Step::JoinNamespace, index)?,
        }
    }
    Ok(())
}

fn join_refused(init: &Init<'_>, refused: u64) -> Result<(), Failure> {
    for (index, joined) in init.namespaces.joined_outside.iter().enumerate() {
        if refused & 1 << (index & 63) != 0 {
            move_into_link_name_space(joined.namespace.as_fd(), Some(joined.kind))
                .at_index(Step::JoinNamespace, index)?;
        }
    }
    Ok(())
}

fn enter_user_namespace(init: &Init<'_>) -> Result<(), Failure> {
    if let Some(user) = &init.namespaces.joined_user {
        return move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))
            .at(Step::UserNamespace);
    }
    if !init.namespaces.made.contains(Namespaces::USER) {
        return Ok(());
    }
    process::unshare(Namespaces::USER).at(Step::UserNamespace)?;
    socket::send_packet(init.sync, MAPS_WANTED, &[]).at(Step::AskForMaps)?;
    await_parent(init.sync)
}

fn make_clocks(init: &Init<'_>) -> Result<(), Failure> {
    if !init.namespaces.made.contains(Namespaces::TIME) {
        return Ok(());
    }
    process::unshare(Namespaces::TIME).at(Step::TimeNamespace)?;
    let Some(offsets) = &init.namespaces.offsets else { return Ok(()) };
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(CWD, c"/proc/self/timens_offsets", flags, Mode::empty()).at(Step::TimeOffsets)?;
    write(&file, offsets).map(drop).at(Step::TimeOffsets)
}
