//! A process that joins a running container, in two stages.
//!
//! The first stage is a child in the host's process namespace, where nobody of the container sees it. It
//! closes everything of the keeper's, enters the cgroups, and joins all namespaces. Only then it makes
//! the second stage, born inside: a process with the container's root, no descriptor of the host's, and
//! nothing of it to be found through `/proc` by whoever may trace processes (CVE-2016-9962). Most of this process's
//! rights are gone before, too.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_sys::process::{Descriptors as Table, Namespaces};
use holm_sys::rustix::event::{PollFd, PollFlags, poll};
use holm_sys::rustix::fs::{CWD, Mode, OFlags, openat};
use holm_sys::rustix::process::{DumpableBehavior, set_dumpable_behavior, setsid};
use holm_sys::rustix::thread::{
    CapabilitySet as Bits, CapabilitySets, ThreadNameSpaceType, capabilities, move_into_thread_name_spaces,
    set_capabilities,
};
use holm_sys::{Errno, process, socket};

use super::finish::{self, Descriptors};
use super::{await_parent, enter_groups, leave_session_keyring, report, terminal};
use crate::process::{ProcessPlan, Stdio};
use crate::step::{At, Failure, Step, encode_process};

/// Everything that a joining process needs.
#[derive(Debug)]
pub(crate) struct Join<'a> {
    /// The container's first process.
    pub target: BorrowedFd<'a>,
    /// Namespaces to join, that of process ids among them.
    pub namespaces: ThreadNameSpaceType,
    /// One of them is a user namespace.
    pub changes_user: bool,
    /// Entrances of the container's v1 groups.
    pub groups: &'a [OwnedFd],
    pub process: &'a ProcessPlan,
    pub stdio: Stdio<'a>,
    pub sync: BorrowedFd<'a>,
    /// The host's `proc`, if labels are to be set through it.
    pub proc: Option<BorrowedFd<'a>>,
    /// The listener of the second stage's filter is taken out of this stage, which shares its descriptors: a parent that has no
    /// rights on the host may not trace the second.
    pub lends_listener: bool,
    /// Descriptors that the steps need, ascending; everything else is closed first.
    pub kept: &'a [i32],
}

impl Join<'_> {
    /// Runs in the child: the first stage.
    pub fn run(&self) -> i32 {
        match self.enter() {
            Ok(()) => 0,
            Err(failure) => report(self.sync, Err(failure)),
        }
    }

    fn enter(&self) -> Result<(), Failure> {
        process::close_all_but(self.kept).at(Step::CloseDescriptors)?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Step::Dumpable)?;
        process::reset_signals();
        leave_session_keyring(self.process.key_label.as_deref())?;
        enter_groups(self.groups)?;
        await_parent(self.sync)?;
        move_into_thread_name_spaces(self.target, self.namespaces).at(Step::JoinNamespaces)?;
        if self.changes_user {
            // Never to be looked into, not for a moment: the host's `/proc` is not needed here.
            process::become_root(self.process.keeps_groups).at(Step::NamespaceRoot)?;
            set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Step::Dumpable)?;
        }
        self.limit_rights()?;
        let descriptors = if self.lends_listener { Table::Shared } else { Table::Copied };
        let born_inside =
            process::clone_sibling(Namespaces::NONE, descriptors, || report(self.sync, self.steps()))
                .at(Step::BearInside)?;
        if self.lends_listener {
            // For whoever takes the listener out of it. Where the container shares the caller's process ids, its root sees a copy of
            // the memory of a caller without rights.
            set_dumpable_behavior(DumpableBehavior::Dumpable).at(Step::Dumpable)?;
        }
        let packet = encode_process(born_inside.pid.as_raw_nonzero().get());
        socket::send_descriptor(self.sync, &packet, born_inside.pidfd.as_fd()).at(Step::BearInside)?;
        if self.lends_listener { self.stay() } else { Ok(()) }
    }

    /// Until the parent has the listener and ends this process, or has ended itself.
    fn stay(&self) -> Result<(), Failure> {
        while let Err(Errno::INTR) =
            poll(&mut [PollFd::from_borrowed_fd(self.sync, PollFlags::empty())], None)
        {}
        Ok(())
    }

    /// Whoever inside may trace processes gets hold of the second stage before it is done: it is born with no
    /// more than it needs to become what it is to be. What it may never gain is gone for good
    /// ([`ProcessPlan::is_bounded`]).
    fn limit_rights(&self) -> Result<(), Failure> {
        let Some(wanted) = &self.process.capabilities else { return Ok(()) };
        let filters_early = self.process.seccomp.is_some() && !self.process.no_new_privileges;
        finish::bound(wanted.bounding)?;
        let own = capabilities(None).at(Step::Capabilities)?;
        let needed = if filters_early { SECOND_STAGE | Bits::SYS_ADMIN } else { SECOND_STAGE };
        let all = Bits::from_bits_retain(wanted.permitted.bits() | wanted.effective.bits()) | needed;
        let left = own.permitted & all;
        let sets = CapabilitySets { effective: left, permitted: left, inheritable: own.inheritable };
        set_capabilities(None, sets).at(Step::Capabilities)
    }

    /// The second stage.
    fn steps(&self) -> Result<std::convert::Infallible, Failure> {
        if self.lends_listener {
            // What is closed here the first stage may still need.
            await_parent(self.sync)?;
        }
        setsid().at(Step::Session)?;
        let descriptors = self.open_stdio()?;
        finish::run(self.process, &descriptors, self.sync, self.proc)
    }

    fn open_stdio(&self) -> Result<Descriptors<'_>, Failure> {
        match self.stdio {
            Stdio::Descriptors(descriptors) => Ok(Descriptors::Given(descriptors)),
            Stdio::Terminal(new) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let root = openat(CWD, c"/", flags, Mode::empty()).at(Step::OpenTerminal)?;
                let slave = terminal::open(root.as_fd(), new, self.process.uid, self.sync)?;
                Ok(Descriptors::Terminal(ManuallyDrop::new(slave)))
            }
        }
    }
}

/// What the second stage needs to change its identity, to give a terminal away, and to set limits and priorities.
const SECOND_STAGE: Bits = Bits::SETUID
    .union(Bits::SETGID)
    .union(Bits::SETPCAP)
    .union(Bits::CHOWN)
    .union(Bits::DAC_OVERRIDE)
    .union(Bits::SYS_RESOURCE)
    .union(Bits::SYS_NICE);
