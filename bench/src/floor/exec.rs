//! The floor of running a process in a running container: what the kernel does for `exec CONTAINER true`.
//!
//! ```text
//! parent: its group on v2, pidfd, setns of all namespaces, clone3 into the group, wait
//! child:  seccomp, capabilities, exec
//! ```

use std::ffi::CString;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use rustix::thread::ThreadNameSpaceType;

use super::calls::{Calls, Failure};
use super::cgroup::unified_root;
use super::confine::confine;
use super::run::{COULD_NOT_START, execute, tell, wait};
use super::sys;

/// What to run where.
pub struct Request {
    /// A process of the container.
    pub pid: Pid,
    /// The program and its arguments.
    pub command: Vec<CString>,
}

/// Runs the command in the container and waits for it; the status that it ended with.
///
/// # Errors
/// The system call that failed. The child's own failures are printed by it, with status
/// [`COULD_NOT_START`].
pub fn exec(request: &Request, calls: Calls) -> Result<i32, Failure> {
    let arguments = sys::argument_pointers(request.command.iter().map(CString::as_c_str));
    let path = group_of(request.pid, calls)?;
    let group = calls.make("openat", "cgroup", || {
        rustix::fs::open(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    })?;
    let pidfd = calls
        .make("pidfd_open", "container", || rustix::process::pidfd_open(request.pid, PidfdFlags::empty()))?;
    calls.make("setns", "all namespaces of the container", || {
        rustix::thread::move_into_thread_name_spaces(rustix::fd::AsFd::as_fd(&pidfd), namespaces())
    })?;
    let cloned = calls.make("clone3", "pidfd, into cgroup", || {
        sys::clone_child(0, Some(rustix::fd::AsFd::as_fd(&group)))
    })?;
    let Some(child) = cloned else {
        let calls = calls.in_child();
        let failure = confine(calls).err().unwrap_or_else(|| execute(&request.command, &arguments, calls));
        tell(failure);
        sys::exit_child(COULD_NOT_START)
    };
    wait(&child, calls)
}

fn namespaces() -> ThreadNameSpaceType {
    ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::CONTROL_GROUP
}

/// The directory of the v2 group that `pid` is in.
fn group_of(pid: Pid, calls: Calls) -> Result<PathBuf, Failure> {
    let file = format!("/proc/{}/cgroup", pid.as_raw_nonzero());
    let groups = calls.make("openat, read, close", "/proc/PID/cgroup", || {
        std::fs::read_to_string(file).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    })?;
    let path = parse_unified(&groups).ok_or(Failure {
        call: "read",
        object: "/proc/PID/cgroup",
        errno: Errno::NODATA,
    })?;
    Ok(PathBuf::from(unified_root()).join(path))
}

/// The v2 path in the text of `/proc/PID/cgroup`, relative to the root of the hierarchy.
fn parse_unified(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_line_is_found_among_those_of_v1() {
        assert_eq!(
            parse_unified("9:name=systemd:/a\n4:memory:/b/c\n0::/holm/x/payload\n"),
            Some("holm/x/payload")
        );
        assert_eq!(parse_unified("0::/\n"), Some(""));
        assert_eq!(parse_unified("4:memory:/b\n"), None);
    }
}
