//! The floors of an OCI runtime's `run`, `create` and `exec` with Docker's configuration: what the kernel does, by the
//! fewest calls.
//!
//! ```text
//! parent: groups, socket pair, clone3, (maps), (device program), then
//!         run: wait, release the groups            create: wait for the word, end
//! child:  groups of v1, mounts, devices, masks, pivot_root, names, limits, seccomp, capabilities,
//!         create: the word, then the FIFO          exec of the program
//! ```
//!
//! The configuration is the one that the driver gives to the runtimes (`driver/subject/oci.rs`), as constants: nothing
//! is read or parsed. What the host offers decides on the groups as in the runtimes: with v2 alone the container is born
//! in its group, has a cgroup namespace and an eBPF program for its devices; otherwise it enters two groups of v1, of
//! `freezer` and `devices`.
//!
//! | module | holds |
//! |---|---|
//! | [`groups`] | the control groups and the device rules |
//! | [`link`] | the words that parent and child wait for |
//! | `child` | the child, from the new namespaces to its program |
//! | [`exec`] | a process in a running container |

mod child;
pub mod exec;
pub mod groups;
pub mod link;

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::calls::{Calls, Failure};
use super::run::wait;
use super::sys::{self, Child};
use child::Plan;
use groups::Groups;
use link::{End, pair};

/// What [`run`] and [`create`] leave out of what a runtime does.
pub const LEFT_OUT_OF_OCI: &[&str] = &[
    "reading and checking config.json, options, ids; all state on disk, locks, hooks",
    "a copy of the own program that nobody can write to (CVE-2019-5736)",
    "resolving mount targets inside a hostile root, checks of what is mounted on, of /dev/null, of /proc",
    "closing the caller's descriptors, resetting signals, a new session keyring, umask, supplementary groups",
    "every v1 hierarchy but `freezer` and `devices`",
    "looking for the program, the user and its groups, the working directory",
    "compiling the seccomp profile and the device program (both are there already)",
    "`start` of what `run` made: it goes on to its program by itself",
];

/// What [`exec::exec`] leaves out of what a runtime does.
pub const LEFT_OUT_OF_OCI_EXEC: &[&str] = &[
    "finding the container, its state, its configuration, its groups, whether it is paused",
    "a copy of the own program that nobody can write to (CVE-2019-5736)",
    "a first stage, so that the process is born inside with nothing of the host's (CVE-2016-9962)",
    "closing the caller's descriptors, resetting signals, a new session keyring",
    "the user and its groups, the environment, the working directory",
    "compiling the seccomp profile (the filter is a constant)",
];

/// The kinds of namespaces that Docker makes on every host.
const NAMESPACES: libc::c_int =
    libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// Ids of the user namespace: 0 inside, these outside.
pub const MAP: &str = "0 100000 65536\n";

/// What to start.
pub struct Request {
    /// Directory of the root file system. It holds `/proc`, `/sys`, `/dev` and the program.
    pub root: PathBuf,
    /// Name of the groups, directly below each hierarchy's root.
    pub group: String,
    /// The program and its arguments.
    pub command: Vec<CString>,
    /// In a user namespace with [`MAP`].
    pub user_namespace: bool,
}

/// Runs the program in a container and waits for it, then releases everything; the status that it ended with.
///
/// # Errors
/// The system call that failed. The child's own failures are printed by it.
pub fn run(request: &Request, calls: Calls) -> Result<i32, Failure> {
    let groups = Groups::create(&request.group, calls)?;
    let (child, _) = start(request, &groups, None, calls)?;
    wait(&child, calls)
}

/// Makes a container whose process waits at the new FIFO `fifo` before its program; its id. The caller takes everything
/// away.
///
/// # Errors
/// As [`run`]; `ECHILD` when the child ended before it was ready.
pub fn create(request: &Request, fifo: &Path, calls: Calls) -> Result<Pid, Failure> {
    let groups = Groups::create(&request.group, calls)?;
    let hold = make_fifo(fifo, calls)?;
    let (child, link) = start(request, &groups, Some(&hold), calls)?;
    link.wait(calls)?;
    groups.keep();
    Ok(child.pid)
}

fn make_fifo(path: &Path, calls: Calls) -> Result<OwnedFd, Failure> {
    let mode = Mode::RUSR | Mode::WUSR;
    calls.make("mknodat", "FIFO", || rustix::fs::mknodat(CWD, path, FileType::Fifo, mode, 0))?;
    // For writing, too, so that neither this nor a read waits for somebody to open the other end.
    calls.make("openat", "FIFO", || rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()))
}

/// The child on its way, with all that has to be done for it done.
fn start(
    request: &Request,
    groups: &Groups,
    hold: Option<&OwnedFd>,
    calls: Calls,
) -> Result<(Child, End), Failure> {
    let root = CString::new(request.root.as_os_str().as_encoded_bytes()).map_err(|_| Failure {
        call: "mount",
        object: "root",
        errno: Errno::INVAL,
    })?;
    let arguments = sys::argument_pointers(request.command.iter().map(CString::as_c_str));
    let (ours, theirs) = pair(calls)?;
    let cloned = calls.make("clone3", "all namespaces, pidfd", || {
        sys::clone_child(namespaces(request.user_namespace), groups.birthplace())
    })?;
    let Some(child) = cloned else {
        drop(ours);
        let plan = Plan { root: &root, request, groups, link: &theirs, hold, arguments };
        plan.carry_out(calls.in_child());
    };
    calls.note("close", "the child's end");
    drop(theirs);
    let served = serve(&child, request.user_namespace, groups, &ours, calls);
    served.inspect_err(|_| end(&child))?;
    Ok((child, ours))
}

fn namespaces(user: bool) -> libc::c_int {
    let user = if user { libc::CLONE_NEWUSER } else { 0 };
    let cgroup = if super::cgroup::is_unified() { libc::CLONE_NEWCGROUP } else { 0 };
    NAMESPACES | user | cgroup
}

/// What the parent does while the child mounts, and the words that the child waits for.
fn serve(child: &Child, user: bool, groups: &Groups, link: &End, calls: Calls) -> Result<(), Failure> {
    if user {
        write_maps(child.pid, calls)?;
        link.tell(calls)?;
    }
    if groups.guard_devices(calls)? {
        link.tell(calls)?;
    }
    Ok(())
}

fn write_maps(child: Pid, calls: Calls) -> Result<(), Failure> {
    for file in ["uid_map", "gid_map"] {
        let path = format!("/proc/{}/{file}", child.as_raw_nonzero());
        calls.make("openat, write, close", file, || {
            let written =
                File::options().write(true).open(&path).and_then(|mut file| file.write_all(MAP.as_bytes()));
            written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        })?;
    }
    Ok(())
}

/// Ends a child that nobody will serve any more.
fn end(child: &Child) {
    let _ = rustix::process::pidfd_send_signal(&child.pidfd, Signal::KILL);
    // It has been killed; there is nothing to learn from its status.
    let _ = wait(child, Calls::unrecorded());
}

/// A path below the new root, as the child names it before it is there.
type Inside = &'static CStr;
