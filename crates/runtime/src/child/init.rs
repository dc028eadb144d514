//! The first process of a container, from the new namespaces to its program.
//!
//! The order matters: mounts must not reach the host before any is made; the host's tree goes before
//! anything of the image is resolved; kernel parameters before `/proc/sys` is made read-only; the groups
//! before the cgroup namespace, whose root is the group at that moment.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_sys::rustix::fs::{CWD, Mode, OFlags, openat};
use holm_sys::rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use holm_sys::rustix::process::{chdir, fchdir, pivot_root, setsid};
use holm_sys::rustix::system::{setdomainname, sethostname};
use holm_sys::{interface, mount, process};

use super::finish::{self, Descriptors};
use super::{await_parent, enter_groups, mounts, report, terminal};
use crate::process::{ProcessPlan, Stdio};
use crate::rootfs::RootPlan;
use crate::step::{At, Failure, Step};

/// Everything that a container's first process needs.
#[derive(Debug)]
pub(crate) struct Init<'a> {
    pub root: &'a RootPlan,
    pub process: &'a ProcessPlan,
    pub stdio: Stdio<'a>,
    pub sync: BorrowedFd<'a>,
    pub hostname: Option<&'a [u8]>,
    pub domainname: Option<&'a [u8]>,
    pub loopback: bool,
    /// Entrances of the v1 groups.
    pub groups: &'a [OwnedFd],
    /// Make a cgroup namespace once the groups are entered.
    pub cgroup_namespace: bool,
    /// Descriptors that the steps need, ascending; everything else is closed first.
    pub kept: &'a [i32],
}

impl Init<'_> {
    /// Runs in the child.
    pub fn run(&self) -> i32 {
        report(self.sync, self.steps())
    }

    fn steps(&self) -> Result<std::convert::Infallible, Failure> {
        // The parent's end of the sync socket above all: while a copy of it is open, the parent's death
        // would go unnoticed.
        process::close_all_but(self.kept).at(Step::CloseDescriptors)?;
        process::reset_signals();
        process::leave_session_keyring();
        setsid().at(Step::Session)?;
        self.enter_groups()?;
        self.enter_root()?;
        // Closed with everything else before the end; dropping it after that would close a stranger.
        let proc = ManuallyDrop::new(mounts::make_all(self.root)?);
        mounts::set_parameters(self.root, proc.as_ref().map(AsFd::as_fd))?;
        mounts::cover_paths(self.root)?;
        mounts::protect_paths(self.root)?;
        self.set_names()?;
        await_parent(self.sync)?;
        let descriptors = self.open_stdio()?;
        mounts::make_directory(self.root)?;
        self.seal_root()?;
        let proc = proc.as_ref().map(AsFd::as_fd);
        finish::run(self.process, &descriptors, self.sync, proc)
    }

    /// Changes to the new root and lets go of the host's tree.
    fn enter_root(&self) -> Result<(), Failure> {
        let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        mount_change(c"/", slave).at(Step::Propagation)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place = openat(CWD, self.root.place.as_c_str(), flags, Mode::empty()).at(Step::AttachRoot)?;
        mount::attach(self.root.root.as_fd(), place.as_fd()).at(Step::AttachRoot)?;
        fchdir(&self.root.root).at(Step::PivotRoot)?;
        pivot_root(c".", c".").at(Step::PivotRoot)?;
        unmount(c".", UnmountFlags::DETACH).at(Step::DetachHost)?;
        chdir(c"/").at(Step::PivotRoot)
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

    fn enter_groups(&self) -> Result<(), Failure> {
        enter_groups(self.groups)?;
        if self.cgroup_namespace {
            process::unshare_cgroup_namespace().at(Step::CgroupNamespace)?;
        }
        Ok(())
    }

    fn open_stdio(&self) -> Result<Descriptors<'_>, Failure> {
        match self.stdio {
            Stdio::Descriptors(descriptors) => Ok(Descriptors::Given(descriptors)),
            Stdio::Terminal(window) => {
                let slave = terminal::open(self.root.root.as_fd(), window, self.process.uid, self.sync)?;
                terminal::mount_console(self.root.root.as_fd(), slave.as_fd())?;
                Ok(Descriptors::Terminal(ManuallyDrop::new(slave)))
            }
        }
    }

    /// Last, since everything before may have to create a mount point.
    fn seal_root(&self) -> Result<(), Failure> {
        let root = self.root.root.as_fd();
        if self.root.read_only {
            const RDONLY: u64 = 1;
            let change = mount::AttributeChange { set: RDONLY, ..mount::AttributeChange::default() };
            mount::set_attributes(root, &change, false).at(Step::ReadOnlyRoot)?;
        }
        if let Some((propagation, recursive)) = self.root.propagation {
            let change = mount::AttributeChange { propagation, ..mount::AttributeChange::default() };
            mount::set_attributes(root, &change, recursive).at(Step::RootPropagation)?;
        }
        Ok(())
    }
}
