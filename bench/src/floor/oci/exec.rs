//! The floor of an OCI runtime's `exec`.
//!
//! ```text
//! parent: the container's groups, pidfd, setns of all namespaces, clone3, wait
//! child:  groups of v1, session, limits, seccomp, capabilities, exec
//! ```

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags};
use rustix::thread::ThreadNameSpaceType;

use super::super::calls::{Calls, Failure};
use super::super::cgroup::is_unified;
use super::super::confine::confine;
use super::super::run::{COULD_NOT_START, execute, tell, wait};
use super::super::sys;
use super::child::set_limits;
use super::groups::enter;

/// What to run where.
pub struct Request {
    /// The container's first process.
    pub pid: Pid,
    /// Its groups, relative to each hierarchy's root.
    pub group: PathBuf,
    /// The program and its arguments.
    pub command: Vec<CString>,
}

/// Runs the program in the container and waits for it; the status that it ended with.
///
/// # Errors
/// The system call that failed. The child's own failures are printed by it.
pub fn exec(request: &Request, calls: Calls) -> Result<i32, Failure> {
    let arguments = sys::argument_pointers(request.command.iter().map(CString::as_c_str));
    let places = open_groups(&request.group, calls)?;
    let pidfd = calls
        .make("pidfd_open", "container", || rustix::process::pidfd_open(request.pid, PidfdFlags::empty()))?;
    calls.make("setns", "all namespaces of the container", || {
        rustix::thread::move_into_thread_name_spaces(pidfd.as_fd(), namespaces())
    })?;
    let cloned = calls.make("clone3", "pidfd", || sys::clone_child(0, places.birthplace()))?;
    let Some(child) = cloned else {
        let calls = calls.in_child();
        let failure = prepare(&places, calls).err();
        tell(failure.unwrap_or_else(|| execute(&request.command, &arguments, calls)));
        sys::exit_child(COULD_NOT_START)
    };
    wait(&child, calls)
}

fn prepare(places: &Places, calls: Calls) -> Result<(), Failure> {
    if let Places::Legacy(tasks) = places {
        enter(tasks, calls)?;
    }
    calls.make("setsid", "session", rustix::process::setsid)?;
    set_limits(calls)?;
    confine(calls)
}

/// Where the process goes.
enum Places {
    /// Into the group of v2, with its birth.
    Unified(OwnedFd),
    /// Into groups of v1, by its own hand, through their `tasks` files.
    Legacy([OwnedFd; 2]),
}

impl Places {
    fn birthplace(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        match self {
            Self::Unified(group) => Some(group.as_fd()),
            Self::Legacy(_) => None,
        }
    }
}

fn open_groups(group: &Path, calls: Calls) -> Result<Places, Failure> {
    let open = |root: &str, file: &str, flags| {
        let path = Path::new(root).join(group).join(file);
        calls.make("openat", "cgroup", || rustix::fs::open(&path, flags | OFlags::CLOEXEC, Mode::empty()))
    };
    if is_unified() {
        return open("/sys/fs/cgroup", "", OFlags::RDONLY | OFlags::DIRECTORY).map(Places::Unified);
    }
    let freezer = open("/sys/fs/cgroup/freezer", "tasks", OFlags::WRONLY)?;
    let devices = open("/sys/fs/cgroup/devices", "tasks", OFlags::WRONLY)?;
    Ok(Places::Legacy([freezer, devices]))
}

/// Those of Docker's configuration; the cgroup namespace only changes anything where the container has one.
fn namespaces() -> ThreadNameSpaceType {
    ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::CONTROL_GROUP
}
