//! The floor of starting a container: what the kernel does for `run --rm --network none IMAGE true`.
//!
//! ```text
//! parent: cgroup, upper and work, EROFS (attached nowhere), overlay over it, clone3, wait, release
//! child:  root, mounts, seccomp, capabilities, exec
//! ```
//!
//! Nothing is attached to the host's mount tree: the layer and the overlay are detached mounts, which go with
//! their descriptors, and the rest is in the child's mount namespace. Only the groups and the writable
//! directory have names, and guards that remove them.

use std::ffi::{CStr, CString};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{CWD, Mode};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags};
use rustix::process::{Signal, WaitId, WaitIdOptions};

use super::calls::{Calls, Failure};
use super::cgroup::{Group, MemoryLimit, unified_root};
use super::confine::confine;
use super::mount;
use super::sys::{self, ArgumentPointers, Child};

/// The status that a child ends with when it could not start its command, as in Docker.
pub const COULD_NOT_START: i32 = 125;

/// Every namespace of a container. The kernel roots the cgroup namespace at the group that the child is cloned
/// into, so that one needs no call of its own.
const NAMESPACES: libc::c_int = libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// What to start.
pub struct Request {
    /// The EROFS file. It holds `/proc`, `/sys`, `/dev` and the command.
    pub image: PathBuf,
    /// An absolute directory, below which one of this process's own is made and removed.
    pub directory: PathBuf,
    /// A limit in bytes.
    pub memory: Option<u64>,
    /// The program and its arguments.
    pub command: Vec<CString>,
    /// Print the child's id on stdout before waiting for it.
    pub report_pid: bool,
}

/// Starts the container, waits for its end, releases everything; the status that it ended with.
///
/// # Errors
/// The system call that failed. The child's own failures are printed by it, with status
/// [`COULD_NOT_START`].
pub fn run(request: &Request, calls: Calls) -> Result<i32, Failure> {
    let name = format!("holm-floor-{}", std::process::id());
    let group = Group::create(unified_root(), &name, calls)?;
    let limit = request.memory.map(|bytes| MemoryLimit::set(&group, &name, bytes, calls)).transpose()?;
    let writable = Writable::create(request, &name, calls)?;
    let layer = mount::layer(&request.image, calls)?;
    let root = mount::overlay(&[&layer], &writable.upper, &writable.work, calls)?;
    let arguments = sys::argument_pointers(request.command.iter().map(CString::as_c_str));

    let cloned = calls.make("clone3", "all namespaces, pidfd, into cgroup", || {
        sys::clone_child(NAMESPACES, Some(group.as_fd()))
    })?;
    let Some(child) = cloned else {
        let plan = Plan { root, mount_point: &writable.root, limit, request, arguments };
        plan.carry_out(calls.in_child());
    };
    report(&child, request.report_pid);
    let status = wait(&child, calls);
    calls.note("close", "overlay");
    drop(root);
    calls.note("close", "layer");
    drop(layer);
    status
}

fn report(child: &Child, wanted: bool) {
    if wanted {
        // Whoever asked for the id has gone if this fails; the child's end is awaited all the same.
        drop(writeln!(std::io::stdout(), "{}", child.pid.as_raw_nonzero()));
    }
}

/// Waits for a child by its pidfd; 128 + the signal if one ended it. An interrupt ends the child and then the
/// wait, so that the guards still release everything.
///
/// # Errors
/// What waitid answers.
pub fn wait(child: &Child, calls: Calls) -> Result<i32, Failure> {
    let pidfd = child.pidfd.as_fd();
    let status = calls.make("waitid", "pidfd", || {
        loop {
            match rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
                Err(Errno::INTR) => {
                    // It may have ended just now; the next round tells.
                    let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
                }
                ended => return ended,
            }
        }
    })?;
    let signal = status.as_ref().and_then(rustix::process::WaitIdStatus::terminating_signal);
    let exit = status.as_ref().and_then(rustix::process::WaitIdStatus::exit_status);
    Ok(exit.or(signal.map(|signal| 128 + signal)).unwrap_or(COULD_NOT_START))
}

/// The directories of the writable part, removed with everything in them.
struct Writable {
    base: PathBuf,
    upper: PathBuf,
    work: PathBuf,
    /// Where the child attaches its root.
    root: CString,
    calls: Calls,
}

impl Writable {
    fn create(request: &Request, name: &str, calls: Calls) -> Result<Self, Failure> {
        let base = request.directory.join(name);
        let root = CString::new(base.join("root").as_os_str().as_bytes()).map_err(|_| Failure {
            call: "mkdir",
            object: "directory",
            errno: Errno::INVAL,
        })?;
        let writable = Self { upper: base.join("upper"), work: base.join("work"), root, base, calls };
        let make = |path: &std::path::Path, object| {
            calls.make("mkdirat", object, || rustix::fs::mkdir(path, Mode::from(0o755)))
        };
        make(&writable.base, "directory")?;
        make(&writable.upper, "upper")?;
        make(&writable.work, "work")?;
        make(&writable.base.join("root"), "mount point")?;
        Ok(writable)
    }
}

impl Drop for Writable {
    fn drop(&mut self) {
        self.calls.note("openat, getdents64, unlinkat", "upper, work, mount point");
        // What is left after a failure lies in the directory that the caller gave and removes.
        drop(std::fs::remove_dir_all(&self.base));
    }
}

/// What the child does, with everything that it needs.
struct Plan<'a> {
    root: OwnedFd,
    mount_point: &'a CStr,
    limit: Option<MemoryLimit>,
    request: &'a Request,
    arguments: ArgumentPointers<'a>,
}

impl Plan<'_> {
    fn carry_out(self, calls: Calls) -> ! {
        let failure = match self.prepare(calls) {
            Err(failure) => failure,
            Ok(()) => execute(&self.request.command, &self.arguments, calls),
        };
        tell(failure);
        sys::exit_child(COULD_NOT_START)
    }

    fn prepare(&self, calls: Calls) -> Result<(), Failure> {
        if let Some(limit) = &self.limit {
            limit.join(calls)?;
        }
        self.enter_root(calls)?;
        mount_kernel_file_systems(calls)?;
        confine(calls)
    }

    fn enter_root(&self, calls: Calls) -> Result<(), Failure> {
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        calls.make("mount", "/ private", || rustix::mount::mount_change(c"/", private))?;
        calls.make("move_mount", "root", || {
            let from_descriptor = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            rustix::mount::move_mount(&self.root, c"", CWD, self.mount_point, from_descriptor)
        })?;
        calls.make("chdir", "root", || rustix::process::chdir(self.mount_point))?;
        calls.make("pivot_root", "root", || rustix::process::pivot_root(c".", c"."))?;
        calls.make("umount2", "old root", || rustix::mount::unmount(c".", UnmountFlags::DETACH))?;
        calls.make("chdir", "/", || rustix::process::chdir(c"/"))
    }
}

fn mount_kernel_file_systems(calls: Calls) -> Result<(), Failure> {
    let strict = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mount = |kind: &'static str, target: &CStr, flags: MountFlags, data: &CStr| {
        calls.make("mount", kind, || rustix::mount::mount(kind, target, kind, flags, Some(data)))
    };
    let make = |path: &CStr, object: &'static str| {
        calls.make("mkdirat", object, || rustix::fs::mkdirat(CWD, path, Mode::from(0o755)))
    };
    mount("proc", c"/proc", strict, c"")?;
    mount("tmpfs", c"/dev", MountFlags::NOSUID | MountFlags::STRICTATIME, c"mode=755,size=65536k")?;
    make(c"/dev/pts", "/dev/pts")?;
    let terminals = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("devpts", c"/dev/pts", terminals, c"newinstance,ptmxmode=0666,mode=0620,gid=5")?;
    make(c"/dev/mqueue", "/dev/mqueue")?;
    mount("mqueue", c"/dev/mqueue", strict, c"")?;
    make(c"/dev/shm", "/dev/shm")?;
    mount("tmpfs", c"/dev/shm", strict, c"mode=1777,size=65536k")?;
    mount("sysfs", c"/sys", strict | MountFlags::RDONLY, c"")
}

/// Executes the command in the child; returns only when that failed.
pub fn execute(command: &[CString], arguments: &ArgumentPointers<'_>, calls: Calls) -> Failure {
    let object = "command";
    calls.note("execve", object);
    let errno = match command.first() {
        Some(program) => sys::execute(program, arguments),
        None => Errno::INVAL,
    };
    Failure { call: "execve", object, errno }
}

/// Prints a child's failure without allocating; stderr is a descriptor of the parent's, still open.
pub fn tell(failure: Failure) {
    let mut line = [0_u8; 160];
    let size = {
        let mut rest = &mut line[..];
        let number = failure.errno.raw_os_error();
        // A line that does not fit is cut.
        drop(writeln!(rest, "holm-floor: child: {} `{}`: errno {number}", failure.call, failure.object));
        160 - rest.len()
    };
    drop(std::io::stderr().write(line.get(..size).unwrap_or_default()));
}
