//! The groups that a floor puts its container in.
//!
//! The group on v2 is joined by `CLONE_INTO_CGROUP`. A memory limit needs the memory controller: on v2 it is
//! a file of the same group, on a hybrid host a second group on the v1 hierarchy, which the child joins by writing
//! itself to `tasks` (`docs/design/0007`: a write to `cgroup.procs` would wait for an RCU grace period).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::calls::{Calls, Failure};

const UNIFIED: &str = "/sys/fs/cgroup";
const HYBRID: &str = "/sys/fs/cgroup/unified";
const V1_MEMORY: &str = "/sys/fs/cgroup/memory";

/// Where cgroup v2 is mounted: at the top, or beside v1 on a hybrid host.
pub fn unified_root() -> &'static str {
    let at_top = rustix::fs::access("/sys/fs/cgroup/cgroup.controllers", rustix::fs::Access::EXISTS).is_ok();
    if at_top { UNIFIED } else { HYBRID }
}

/// Whether the host has v2 alone.
pub fn is_unified() -> bool {
    unified_root() == UNIFIED
}

/// A group that is removed when its owner is dropped.
pub struct Group {
    parent: OwnedFd,
    name: String,
    group: OwnedFd,
    calls: Calls,
}

impl Group {
    /// Makes the group `name` below `root`.
    ///
    /// # Errors
    /// When the hierarchy is not mounted or may not be written.
    pub fn create(root: &'static str, name: &str, calls: Calls) -> Result<Self, Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = calls.make("openat", root, || rustix::fs::openat(CWD, root, flags, Mode::empty()))?;
        calls.make("mkdirat", "cgroup", || rustix::fs::mkdirat(&parent, name, Mode::from(0o755)))?;
        let group = calls
            .make("openat", "cgroup", || {
                rustix::fs::openat(&parent, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            })
            .inspect_err(|_| {
                let _ = rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR);
            })?;
        Ok(Self { parent, name: name.to_owned(), group, calls })
    }

    /// Opens a file of the group for writing.
    ///
    /// # Errors
    /// When the group has no such file.
    pub fn open(&self, file: &'static str) -> Result<OwnedFd, Failure> {
        self.calls.make("openat", file, || {
            rustix::fs::openat(&self.group, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        })
    }

    /// Leaves the group where it is.
    pub fn keep(self) {
        std::mem::forget(self);
    }

    fn write(&self, file: &'static str, value: &str) -> Result<(), Failure> {
        let descriptor = self.open(file)?;
        self.calls.make("write", file, || rustix::io::write(&descriptor, value.as_bytes()))?;
        self.calls.note("close", file);
        Ok(())
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // EBUSY while the last process is on its way out; it has been reaped, so this is brief.
        for _ in 0..1000 {
            let removed = self.calls.make("unlinkat", "cgroup", || {
                rustix::fs::unlinkat(&self.parent, self.name.as_str(), AtFlags::REMOVEDIR)
            });
            match removed {
                Err(failure) if failure.errno == Errno::BUSY => {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                _ => return,
            }
        }
    }
}

/// The memory limit of a container.
pub struct MemoryLimit {
    /// `tasks` of the v1 group that the child joins.
    join: Option<OwnedFd>,
    _v1: Option<Group>,
}

impl MemoryLimit {
    /// Limits `group` to `bytes`, or makes a v1 memory group `name` with that limit on a hybrid host.
    ///
    /// # Errors
    /// When no hierarchy offers the memory controller.
    pub fn set(group: &Group, name: &str, bytes: u64, calls: Calls) -> Result<Self, Failure> {
        let bytes = bytes.to_string();
        if is_unified() {
            group.write("memory.max", &bytes)?;
            return Ok(Self { join: None, _v1: None });
        }
        let v1 = Group::create(V1_MEMORY, name, calls)?;
        v1.write("memory.limit_in_bytes", &bytes)?;
        let join = v1.open("tasks")?;
        Ok(Self { join: Some(join), _v1: Some(v1) })
    }

    /// Moves the calling process below the limit.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn join(&self, calls: Calls) -> Result<(), Failure> {
        let Some(file) = &self.join else { return Ok(()) };
        calls.make("write", "tasks", || rustix::io::write(file, b"0")).map(drop)
    }
}
