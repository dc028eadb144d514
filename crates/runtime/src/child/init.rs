//! The first process of a container, from the new namespaces to its program.
//!
//! The order matters: mounts must not reach the host before any is made; the host's tree goes before
//! anything of the image is resolved, unless hooks must find it or the kernel wants to see its `/proc` before it
//! lets a user namespace mount one; kernel parameters before `/proc/sys` is made read-only; the groups
//! before the cgroup namespace, whose root is the group at that moment.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_sys::rustix::fs::{CWD, Mode, OFlags, openat};
use holm_sys::rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use holm_sys::rustix::process::{chdir, chroot, fchdir, pivot_root, setsid};
use holm_sys::rustix::system::{setdomainname, sethostname};
use holm_sys::rustix::thread::move_into_link_name_space;
use holm_sys::{interface, mount, process};

use super::finish::{self, Descriptors};
use super::{
    await_parent, become_root, enter_groups, leave_session_keyring, meet_parent, mounts, outer, report,
    terminal,
};
use crate::namespaces::NamespacePlan;
use crate::process::{ProcessPlan, Stdio};
use crate::rootfs::{RootPlan, Source};
use crate::step::{At, Failure, MOUNTED, Step};

/// How the host's tree is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// By pivot_root(2): nothing of it is left.
    Pivot,
    /// The root is moved over it: for a host whose root cannot be pivoted away from, such as a ramdisk.
    Move,
    /// Not at all, since the mounts are the host's: the process changes its root only.
    ChangeRoot,
}

/// Everything that a container's first process needs.
#[derive(Debug)]
pub(crate) struct Init<'a> {
    pub root: &'a RootPlan,
    pub process: &'a ProcessPlan,
    pub namespaces: &'a NamespacePlan,
    pub stdio: Stdio<'a>,
    pub sync: BorrowedFd<'a>,
    pub hostname: Option<&'a [u8]>,
    pub domainname: Option<&'a [u8]>,
    pub loopback: bool,
    /// Entrances of the v1 groups.
    pub groups: &'a [OwnedFd],
    /// The parent moves this process into its group.
    pub is_carried: bool,
    /// Make a cgroup namespace once the groups are entered.
    pub cgroup_namespace: bool,
    /// Leave the caller's session keyring.
    pub new_keyring: bool,
    pub leave: Leave,
    /// Mount before the host's tree is left.
    pub mount_first: bool,
    /// Meet the parent when all is mounted.
    pub meet_when_mounted: bool,
    /// Descriptors that the steps need, ascending; everything else is closed first.
    pub kept: &'a [i32],
}

impl Init<'_> {
    /// Runs in the child.
    pub fn run(&self) -> i32 {
        if self.namespaces.needs_stage() { outer::run(self) } else { report(self.sync, self.whole()) }
    }

    /// The steps of a process that all namespaces were made with.
    fn whole(&self) -> Result<std::convert::Infallible, Failure> {
        self.leave_caller()?;
        if self.is_carried {
            await_parent(self.sync)?;
        }
        enter_groups(self.groups)?;
        self.steps()
    }

    /// Lets go of what came from whoever started the runtime.
    pub(super) fn leave_caller(&self) -> Result<(), Failure> {
        // The parent's end of the sync socket above all: while a copy of it is open, the parent's death
        // would go unnoticed.
        process::close_all_but(self.kept).at(Step::CloseDescriptors)?;
        process::reset_signals();
        if self.new_keyring {
            leave_session_keyring(self.process.key_label.as_deref())?;
        }
        Ok(())
    }

    /// Everything from inside the namespaces on.
    pub(super) fn steps(&self) -> Result<std::convert::Infallible, Failure> {
        setsid().at(Step::Session)?;
        // Opened as who may look at the host's directories, which the user namespace's root may not.
        let place = self.open_place()?;
        if self.namespaces.maps.is_some() && !self.namespaces.needs_stage() {
            await_parent(self.sync)?;
            become_root(self.process.keeps_groups)?;
        }
        self.join_namespaces()?;
        if self.cgroup_namespace {
            process::unshare(process::Namespaces::CGROUP).at(Step::CgroupNamespace)?;
        }
        let root = self.root.root.as_fd();
        self.attach_root(place)?;
        if !self.mount_first {
            self.leave_host()?;
        }
        // Closed with everything else before the end; dropping it after that would close a stranger.
        let mounted = ManuallyDrop::new(mounts::make_all(self.root, root, Some(self.sync))?);
        let proc = mounted.proc.as_ref().map(AsFd::as_fd);
        mounts::make_devices(self.root, root)?;
        if self.meet_when_mounted {
            meet_parent(self.sync, MOUNTED, Step::Outside)?;
        }
        if self.mount_first {
            self.leave_host()?;
        }
        mounts::set_parameters(self.root, proc)?;
        mounts::cover_paths(self.root, root)?;
        mounts::protect_paths(self.root, root)?;
        self.set_names()?;
        if !mounted.has_word {
            await_parent(self.sync)?;
        }
        let descriptors = self.open_stdio()?;
        mounts::make_directory(self.root, root)?;
        self.seal_root()?;
        finish::run(self.process, &descriptors, self.sync, proc)
    }

    fn join_namespaces(&self) -> Result<(), Failure> {
        for (index, joined) in self.namespaces.joined.iter().enumerate() {
            move_into_link_name_space(joined.namespace.as_fd(), Some(joined.kind))
                .at_index(Step::JoinNamespace, index)?;
        }
        Ok(())
    }

    /// Where the root is attached for a moment. The top will do where nobody looks for it by its path.
    fn open_place(&self) -> Result<ManuallyDrop<OwnedFd>, Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place = openat(CWD, self.root.place.as_c_str(), flags, Mode::empty());
        let place = if self.meet_when_mounted || self.leave == Leave::ChangeRoot {
            place
        } else {
            place.or_else(|_| openat(CWD, c"/", flags, Mode::empty()))
        };
        place.map(ManuallyDrop::new).at(Step::OpenRoot)
    }

    /// Makes the root a part of the mount namespace.
    fn attach_root(&self, place: ManuallyDrop<OwnedFd>) -> Result<(), Failure> {
        if self.leave != Leave::ChangeRoot {
            let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
            mount_change(c"/", slave).at(Step::Propagation)?;
        }
        mount::attach(self.root.root.as_fd(), place.as_fd()).at(Step::AttachRoot)
    }

    /// Changes to the new root and lets go of the host's tree.
    fn leave_host(&self) -> Result<(), Failure> {
        fchdir(&self.root.root).at(Step::PivotRoot)?;
        match self.leave {
            Leave::Pivot => {
                pivot_root(c".", c".").at(Step::PivotRoot)?;
                unmount(c".", UnmountFlags::DETACH).at(Step::DetachHost)?;
            }
            Leave::Move => self.move_root()?,
            Leave::ChangeRoot => chroot(c".").at(Step::PivotRoot)?,
        }
        chdir(c"/").at(Step::PivotRoot)
    }

    /// The kernel's file systems of the host go first: below the new root they would be found by who knows how.
    fn move_root(&self) -> Result<(), Failure> {
        for path in [c"/proc", c"/sys"] {
            // Where it is no mount there is nothing to hide.
            let _ = unmount(path, UnmountFlags::DETACH);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = ManuallyDrop::new(openat(CWD, c"/", flags, Mode::empty()).at(Step::MoveRoot)?);
        mount::attach(self.root.root.as_fd(), top.as_fd()).at(Step::MoveRoot)?;
        chroot(c".").at(Step::MoveRoot)
    }

    fn set_names(&self) -> Result<(), Failure> {
        if let Some(name) = self.hostname {
            sethostname(name).at(Step::Hostname)?;
        }
        if let Some(name) = self.domainname {
            setdomainname(name).at(Step::Domainname)?;
        }
        if self.loopback {
            interface::set_loopback_up().at(Step::Loopback)?;
        }
        Ok(())
    }

    fn open_stdio(&self) -> Result<Descriptors<'_>, Failure> {
        match self.stdio {
            Stdio::Descriptors(descriptors) => Ok(Descriptors::Given(descriptors)),
            Stdio::Terminal(new) => {
                let slave = terminal::open(self.root.root.as_fd(), new, self.process.uid, self.sync)?;
                terminal::mount_console(self.root.root.as_fd(), slave.as_fd())?;
                Ok(Descriptors::Terminal(ManuallyDrop::new(slave)))
            }
        }
    }

    /// Last, since everything before may have to create a mount point.
    fn seal_root(&self) -> Result<(), Failure> {
        let root = self.root.root.as_fd();
        const RDONLY: u64 = 1;
        let read_only = mount::AttributeChange { set: RDONLY, ..mount::AttributeChange::default() };
        let dev = self.root.read_only_dev.and_then(|number| self.root.mounts.get(number));
        if let Some(Source::Ready(dev)) = dev.map(|mount| &mount.source) {
            mount::set_attributes(dev.as_fd(), &read_only, false).at(Step::ReadOnlyDev)?;
        }
        if self.root.read_only {
            mount::set_attributes(root, &read_only, false).at(Step::ReadOnlyRoot)?;
        }
        if let Some((propagation, recursive)) = self.root.propagation {
            let change = mount::AttributeChange { propagation, ..mount::AttributeChange::default() };
            mount::set_attributes(root, &change, recursive).at(Step::RootPropagation)?;
        }
        Ok(())
    }
}
