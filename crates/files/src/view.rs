//! The directories that a task is about.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_runtime::rootfs::overlay;
use holm_spec::files::Task;
use holm_spec::rootfs::RootFs;
use rustix::fs::{Mode, OFlags, open};

use crate::{Error, Result};

/// The directories of one workload.
#[derive(Debug)]
pub struct View {
    /// Its root.
    pub root: OwnedFd,
    /// What it wrote: the upper directory of an overlay.
    pub upper: Option<OwnedFd>,
    /// Its image without that.
    pub lower: Option<OwnedFd>,
}

/// The root of a process whose number cannot become another's meanwhile.
///
/// # Errors
/// As open(2).
pub fn root_of(pid: i32) -> Result<OwnedFd> {
    open(format!("/proc/{pid}/root"), DIRECTORY, Mode::empty())
        .map_err(|errno| Error::io("open the root of the workload", errno))
}

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl View {
    /// The directory `root` alone.
    pub fn of(root: OwnedFd) -> Self {
        Self { root, upper: None, lower: None }
    }

    /// What `task` is about, of a workload whose layers are mounted: its root as its first process sees it, `running`, or
    /// put together anew where there is none; for exports and changes the root without what is mounted there.
    ///
    /// # Errors
    /// A directory that is not there; the kernel does not mount it.
    pub fn new(task: &Task, root: &RootFs, running: Option<OwnedFd>) -> Result<Self> {
        match (task, running) {
            (Task::Export, _) => mount_read_only(root, true).map(Self::of),
            (Task::Changes { .. } | Task::Layer { .. }, _) => {
                let upper = open(&root.writable.upper, DIRECTORY, Mode::empty())
                    .map_err(|errno| Error::io("open what the workload wrote", errno))?;
                let lower = mount_read_only(root, false)?;
                Ok(Self {
                    root: upper.try_clone().map_err(|error| Error::io("copy a descriptor", error))?,
                    upper: Some(upper),
                    lower: Some(lower),
                })
            }
            (Task::Look { .. } | Task::Pack { .. } | Task::Unpack { .. }, Some(root)) => Ok(Self::of(root)),
            (Task::Look { .. } | Task::Pack { .. } | Task::Unpack { .. }, None) => {
                // An upper directory that was mounted `volatile` is not mounted again.
                let root = RootFs { volatile: false, ..root.clone() };
                overlay::mount(&root).map(Self::of).map_err(from_runtime)
            }
        }
    }

    /// All of them.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        [Some(&self.root), self.upper.as_ref(), self.lower.as_ref()]
            .into_iter()
            .flatten()
            .map(AsFd::as_fd)
            .collect()
    }

    /// The two that changes are found by.
    pub(crate) fn layers(&self) -> Result<(BorrowedFd<'_>, BorrowedFd<'_>)> {
        match (&self.upper, &self.lower) {
            (Some(upper), Some(lower)) => Ok((upper.as_fd(), lower.as_fd())),
            _ => Err(Error::invalid("look for changes: the workload has no writable part")),
        }
    }
}

fn mount_read_only(root: &RootFs, written: bool) -> Result<OwnedFd> {
    overlay::mount_read_only(root, written).map_err(from_runtime)
}

fn from_runtime(error: holm_runtime::Error) -> Error {
    Error::failed(error.in_one_line())
}
