//! Processes: `clone3` with everything it can do at once, pidfds, waiting, and identity beyond pids.
#![expect(unsafe_code, reason = "clone3, close_range and the pidfd ioctl have no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Gid, Pid, Uid, WaitId, WaitIdOptions};

/// Declares a set of bits; a crate for it would be the only use of it here.
macro_rules! bitflags_like {
    ($(#[$doc:meta])* $name:ident { $($(#[$bit_doc:meta])* $bit:ident = $value:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name(u64);
        impl $name {
            $($(#[$bit_doc])* pub const $bit: Self = Self($value as u64);)*
            /// No bit.
            pub const NONE: Self = Self(0);
            /// The raw bits as clone(2) numbers them.
            pub const fn bits(self) -> u64 { self.0 }
            /// Whether every bit of `other` is set.
            pub const fn contains(self, other: Self) -> bool { self.0 & other.0 == other.0 }
            /// Removes the bits of `other`.
            pub const fn without(self, other: Self) -> Self { Self(self.0 & !other.0) }
            /// Adds the bits of `other`.
            pub const fn with(self, other: Self) -> Self { Self(self.0 | other.0) }
        }
    };
}

bitflags_like! {
    /// Namespaces that a new process gets of its own (clone(2)).
    Namespaces {
        /// Hostname and domain name.
        UTS = libc::CLONE_NEWUTS,
        /// System V IPC and POSIX message queues.
        IPC = libc::CLONE_NEWIPC,
        /// Process ids.
        PID = libc::CLONE_NEWPID,
        /// Mount points.
        MOUNT = libc::CLONE_NEWNS,
        /// Network devices, addresses, routes, rules.
        NETWORK = libc::CLONE_NEWNET,
        /// The cgroup that looks like the root.
        CGROUP = libc::CLONE_NEWCGROUP,
        /// User and group ids, capabilities.
        USER = libc::CLONE_NEWUSER,
        /// Offsets of the monotonic and the boot-time clock; only for clone3 and unshare.
        TIME = 0x80,
    }
}

/// How to make a child.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneOptions<'a> {
    /// Namespaces of its own.
    pub namespaces: Namespaces,
    /// Directory of the cgroup v2 group to be born in.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// A child process and the descriptor that names it without doubt.
#[derive(Debug)]
pub struct Child {
    /// As the caller's pid namespace numbers it.
    pub pid: Pid,
    /// Becomes readable when the process ends; close-on-exec.
    pub pidfd: OwnedFd,
}

/// Runs `child` in a new process and gives the process back to the caller.
///
/// The memory is a copy, so nothing that `child` does is seen here. What `child` returns is the exit
/// code; destructors of the caller's frames do not run in the child. The caller must have no other
/// thread whose locks the child could need: Holm's keeper is single-threaded, and every other caller
/// lets the child do nothing but system calls on what was prepared before.
///
/// # Errors
/// Of `clone3`: among others `ENOSYS` before Linux 5.3, `EPERM`, `ENOSPC` beyond a namespace limit.
pub fn clone(options: &CloneOptions<'_>, child: impl FnOnce() -> i32) -> Result<Child, Errno> {
    let mut pidfd = -1;
    let mut arguments = CloneArguments::new(options, &mut pidfd);
    // SAFETY: without CLONE_VM the child has its own copy of all memory, so both returns are sound;
    // `arguments` is a valid clone_args of the given size and `pidfd` outlives the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<CloneArguments>()) };
    match pid {
        -1 => Err(last_errno()),
        0 => {
            let code = child();
            // SAFETY: _exit ends the process without running anything of the copied parent.
            unsafe { libc::_exit(code) }
        }
        pid => born(pid as isize, pidfd),
    }
}

/// The child that `clone3` says it has made, or what it failed with.
fn born(result: isize, pidfd: i32) -> Result<Child, Errno> {
    let number = i32::try_from(result).expect("clone3 gives a pid or an error number");
    match Pid::from_raw(number.max(0)) {
        // SAFETY: the kernel stored a new descriptor that nobody else owns.
        Some(pid) => Ok(Child { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
        None => Err(Errno::from_raw_os_error(-number)),
    }
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Whose descriptors a new process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptors {
    /// Copies of the caller's.
    Copied,
    /// The caller's: what one opens or closes the other does. Its `exec` parts them.
    Shared,
}

/// Runs `child` in a new process that is a sibling of the caller: its parent is the caller's parent.
///
/// As [`clone`]. The pid is as the caller's pid namespace numbers it, also when the child is born in another
/// one. May be called in a child.
pub fn clone_sibling(
    namespaces: Namespaces,
    descriptors: Descriptors,
    child: impl FnOnce() -> i32,
) -> Result<Child, Errno> {
    let mut pidfd: i32 = -1;
    let files = if descriptors == Descriptors::Shared { libc::CLONE_FILES } else { 0 };
    // The exit signal is the caller's own: clone3 wants none to be given.
    let mut arguments = CloneArguments {
        flags: (libc::CLONE_PIDFD | libc::CLONE_PARENT | files) as u64 | namespaces.bits(),
        pidfd: &raw mut pidfd as u64,
        ..CloneArguments::default()
    };
    // SAFETY: as in `clone`.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<CloneArguments>()) };
    match pid {
        -1 => Err(last_errno()),
        0 => {
            let code = child();
            // SAFETY: as in `clone`.
            unsafe { libc::_exit(code) }
        }
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
            // SAFETY: as in `clone`.
            Ok(Child { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
        }
    }
}

/// `struct clone_args` of linux/sched.h, version 2 (88 bytes).
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

impl CloneArguments {
    /// A child by `options`, whose descriptor goes to `pidfd`.
    fn new(options: &CloneOptions<'_>, pidfd: &mut i32) -> Self {
        let mut arguments = Self {
            flags: options.namespaces.bits() | libc::CLONE_PIDFD as u64,
            pidfd: std::ptr::from_mut(pidfd) as u64,
            exit_signal: libc::SIGCHLD as u64,
            ..Self::default()
        };
        if let Some(cgroup) = options.cgroup {
            arguments.flags |= CLONE_INTO_CGROUP;
            arguments.cgroup = u64::try_from(cgroup.as_raw_fd()).expect("a descriptor is not negative");
        }
        arguments
    }
}

/// The error number that the last libc call of this thread left.
pub(crate) fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// How a process ended, as a shell counts it: its exit code, or 128 + signal.
pub fn wait(pidfd: BorrowedFd<'_>) -> Result<i32, Errno> {
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Ok(Some(status)) => {
                let signal = status.terminating_signal().map(|signal| 128 + signal);
                return Ok(status.exit_status().or(signal).unwrap_or(255));
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// How a process ended that is no child of ours: from its entry while it is a zombie, else through the
/// pidfd (Linux 6.15). `None` where the kernel does not tell.
pub fn foreign_exit_code(pid: i32, start_time: u64, pidfd: BorrowedFd<'_>) -> Option<i32> {
    let zombie = stat_fields(pid).filter(|fields| field(fields, START_TIME) == Some(start_time));
    let status =
        zombie.and_then(|fields| field(&fields, EXIT_CODE)).and_then(|status| i32::try_from(status).ok());
    status.map(exit_code).or_else(|| reaped_exit_code(pidfd))
}

fn exit_code(status: i32) -> i32 {
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
}

fn reaped_exit_code(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the ioctl writes at most the size that its number encodes into `info`.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO as _, &raw mut info) };
    if result != 0 || info.mask & PIDFD_INFO_EXIT == 0 {
        return None;
    }
    Some(exit_code(info.exit_code))
}

const PIDFD_INFO_EXIT: u64 = 1 << 3;
const PIDFD_GET_INFO: u64 = 0xC000_FF0B | ((size_of::<PidfdInfo>() as u64) << 16);

/// `struct pidfd_info` of linux/pidfd.h, version 1 (64 bytes).
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    identity: [u32; 11],
    exit_code: i32,
}

/// Sends a signal through a pidfd; fine if the process has ended.
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    // SAFETY: plain integers and a null siginfo, as pidfd_send_signal(2) allows.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    match if result == 0 { Ok(()) } else { Err(last_errno()) } {
        Err(Errno::SRCH) | Ok(()) => Ok(()),
        other => other,
    }
}

/// Opens a pidfd for the process of that pid and start time; `None` if it is gone or a zombie.
pub fn open_pidfd(pid: i32, start_time: u64) -> Option<OwnedFd> {
    let pidfd =
        rustix::process::pidfd_open(Pid::from_raw(pid)?, rustix::process::PidfdFlags::empty()).ok()?;
    // The pid may name another process since; the start time tells, now that the pidfd pins it.
    let fields = stat_fields(pid)?;
    let ended = fields.starts_with('Z') || fields.starts_with('X');
    (!ended && field(&fields, START_TIME) == Some(start_time)).then_some(pidfd)
}

/// Start time of a process in clock ticks since boot.
pub fn start_time(pid: i32) -> Option<u64> {
    field(&stat_fields(pid)?, START_TIME)
}

/// Whether a process has run another program since it was forked; also known of a zombie.
pub fn has_executed(pid: i32) -> Option<bool> {
    const PF_FORKNOEXEC: u64 = 0x40;
    field(&stat_fields(pid)?, FLAGS).map(|flags| flags & PF_FORKNOEXEC == 0)
}

/// Numbers of fields of `/proc/<pid>/stat` (proc(5)).
const FLAGS: usize = 9;
const START_TIME: usize = 22;
const EXIT_CODE: usize = 52;

/// The fields of `/proc/<pid>/stat` from the third on: the second is the command in parentheses and may
/// hold anything.
fn stat_fields(pid: i32) -> Option<String> {
    // Longer than 52 numbers and a name can be, so one call reads it all: the kernel makes it anew for each.
    let mut stat = [0; 2048];
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(format!("/proc/{pid}/stat"), flags, rustix::fs::Mode::empty()).ok()?;
    let length = rustix::io::read(&file, &mut stat).ok()?;
    let stat = String::from_utf8_lossy(stat.get(..length)?);
    stat.rsplit_once(") ").map(|(_, fields)| fields.to_owned())
}

fn field(fields: &str, number: usize) -> Option<u64> {
    fields.split_whitespace().nth(number - 3)?.parse().ok()
}

/// The kernel's random id of this boot.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim_end().to_owned())
}

/// Nanoseconds since the Unix epoch.
pub fn now() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// When the host was started, in nanoseconds since the Unix epoch, exact to the second.
pub fn boot_time() -> i64 {
    let uptime = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    (now() / 1_000_000_000 - uptime.tv_sec) * 1_000_000_000
}

/// Marks every descriptor from `first` on close-on-exec. May be called in a child.
pub fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from `first` to `last`, both included. May be called in a child.
///
/// Only for a child that owns nothing in that range that it will use again.
pub fn close_range_now(first: u32, last: u32) -> Result<(), Errno> {
    close_range(first, last, 0)
}

fn close_range(first: u32, last: u32, flags: libc::c_uint) -> Result<(), Errno> {
    if first > last {
        return Ok(());
    }
    // SAFETY: integers only. Closing is for children after clone that own nothing in the range.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Puts `source` at descriptor number `target`, without close-on-exec. May be called in a child.
pub fn place_descriptor(source: BorrowedFd<'_>, target: i32) -> Result<(), Errno> {
    if source.as_raw_fd() == target {
        return rustix::io::fcntl_setfd(source, rustix::io::FdFlags::empty());
    }
    // SAFETY: dup2 onto a number that the child reserves for this; nothing of ours owns `target`.
    let result = unsafe { libc::dup2(source.as_raw_fd(), target) };
    if result >= 0 { Ok(()) } else { Err(last_errno()) }
}

/// Lets a descriptor outlive `exec` at its number. May be called in a child.
pub fn keep_over_exec(descriptor: impl std::os::fd::AsFd) -> Result<(), Errno> {
    rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty())
}

/// Takes ownership of an inherited descriptor, for example one that the parent announced by number.
///
/// # Errors
/// `EBADF` if the number names no open descriptor.
pub fn adopt_descriptor(number: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: F_SETFD changes a flag only and fails for a number that is not open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(last_errno());
    }
    // SAFETY: the descriptor is open and the caller says that it was handed to this process to own.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Leaves the session keyring that came from the caller for a new, empty one. Fine where the kernel has
/// no keyrings or forbids them. May be called in a child.
pub fn leave_session_keyring() {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
}

/// Closes every descriptor from 3 but the given ones, which are in ascending order. May be called in a
/// child that owns nothing else that it will use.
pub fn close_all_but(kept: &[i32]) -> Result<(), Errno> {
    let mut next = 3_u32;
    for &number in kept {
        let number = u32::try_from(number).map_err(|_| Errno::BADF)?;
        if number < next {
            continue;
        }
        close_range_now(next, number.saturating_sub(1))?;
        next = number + 1;
    }
    close_range_now(next, u32::MAX)
}

/// Gives the process namespaces of its own; those of process ids and of time are for its children. May be
/// called in a child.
pub fn unshare(namespaces: Namespaces) -> Result<(), Errno> {
    // SAFETY: only CLONE_FILES, which is no namespace, would endanger descriptors of other threads.
    if unsafe { libc::syscall(libc::SYS_unshare, namespaces.bits()) } == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

/// Which kind of namespace a descriptor is, as its bit of clone(2) (`NS_GET_NSTYPE`, ioctl_ns(2)).
///
/// # Errors
/// `ENOTTY` for what is no namespace.
pub fn namespace_kind(namespace: &OwnedFd) -> Result<u64, Errno> {
    const NS_GET_NSTYPE: u32 = 0xb703;
    // SAFETY: the ioctl takes no argument.
    let kind = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE as _) };
    u64::try_from(kind).map_err(|_| last_errno())
}

/// Fails with `ENOENT` if the working directory cannot be reached from the root: a directory of the
/// host that came in by a descriptor. May be called in a child.
pub fn check_directory_inside_root() -> Result<(), Errno> {
    let mut path = [0_u8; 4096];
    // SAFETY: the kernel writes at most the given length.
    let length = unsafe { libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) };
    match length {
        -1 => Err(last_errno()),
        _ if path[0] == b'/' => Ok(()),
        _ => Err(Errno::NOENT),
    }
}

/// Gives all signals their default action and unblocks them. May be called in a child.
///
/// By the system calls alone: the C library has its own books to keep of each. `CLONE_CLEAR_SIGHAND` would do it for
/// nothing, but leaves what is ignored ignored, and to ask what that is costs as much.
pub fn reset_signals() {
    // `struct sigaction` as the kernel has it: the default action, no flags, an empty mask.
    let default = [0_u64; 4];
    let none = 0_u64;
    let size = size_of_val(&none);
    // SAFETY: both structures are read only, and at least as large as on any 64-bit machine; the default action installs
    // no code; failures (KILL, STOP) are expected.
    unsafe {
        for number in 1..=64 {
            let old = std::ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), old, size);
        }
        let old = std::ptr::null_mut::<u64>();
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, old, size);
    }
}

/// Becomes root of a user namespace that was entered as nobody of it, with no other groups unless they are to be kept.
/// Of this thread only, so it has to be the only one. May be called in a child.
pub fn become_root(keeps_groups: bool) -> Result<(), Errno> {
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    match if keeps_groups { Ok(()) } else { set_thread_groups(&[]) } {
        // Where groups may never be dropped, those that are left are the caller's own.
        Ok(()) | Err(Errno::PERM) => {}
        other => other?,
    }
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
}

/// Lets signals that end a process end this one, also if it is the first of its namespace, where the kernel drops what
/// has no handler. Its program gets the default actions back. May be called in a child.
pub fn end_on_signals() {
    extern "C" fn end(signal: libc::c_int) {
        // SAFETY: it ends the process and may be called in a handler.
        unsafe { libc::_exit(128 + signal) }
    }
    let handler = end as extern "C" fn(libc::c_int) as libc::sighandler_t;
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        // SAFETY: the handler does nothing that is not safe in one.
        unsafe { libc::signal(signal, handler) };
    }
}

/// Next signal number from a [`crate::signals::descriptor`]; `None` if none is pending.
pub fn read_signal(descriptor: BorrowedFd<'_>) -> Option<i32> {
    let mut record = [0_u8; size_of::<libc::signalfd_siginfo>()];
    let length = rustix::io::read(descriptor, &mut record).ok()?;
    let number: [u8; 4] = record.get(..4).filter(|_| length == record.len())?.try_into().ok()?;
    i32::try_from(u32::from_ne_bytes(number)).ok()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_child_ends_with_its_code() {
        let child = clone(&CloneOptions::default(), || 42).expect("clone3");
        assert_eq!(wait(child.pidfd.as_fd()), Ok(42));
    }

    #[test]
    fn a_child_may_have_all_signals_as_they_were() {
        let child = clone(&CloneOptions::default(), || {
            // SAFETY: no code is installed; the queries read into valid structures.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                let mut mask: libc::sigset_t = std::mem::zeroed();
                for number in [libc::SIGPIPE, libc::SIGUSR1, libc::SIGRTMAX()] {
                    libc::signal(number, libc::SIG_IGN);
                    libc::sigaddset(&raw mut mask, number);
                }
                libc::sigprocmask(libc::SIG_BLOCK, &raw const mask, std::ptr::null_mut());
                reset_signals();
                libc::sigprocmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut mask);
                let wrong = (1..=64).filter(|number| {
                    let asked = libc::sigaction(*number, std::ptr::null(), &raw mut action) == 0;
                    asked && action.sa_sigaction != libc::SIG_DFL
                        || libc::sigismember(&raw const mask, *number) == 1
                });
                i32::try_from(wrong.count()).unwrap_or(99)
            }
        });
        assert_eq!(wait(child.expect("clone3").pidfd.as_fd()), Ok(0));
    }

    #[test]
    fn a_signal_ends_a_child() {
        let child = clone(&CloneOptions::default(), || {
            loop {
                std::thread::park();
            }
        })
        .expect("clone3");
        signal(child.pidfd.as_fd(), libc::SIGKILL).expect("signal");
        assert_eq!(wait(child.pidfd.as_fd()), Ok(137));
        signal(child.pidfd.as_fd(), libc::SIGKILL).expect("fine when gone");
    }

    #[test]
    fn identity_needs_the_start_time() {
        let me = i32::try_from(std::process::id()).expect("pid");
        let started = start_time(me).expect("own stat");
        assert!(open_pidfd(me, started).is_some());
        assert!(open_pidfd(me, started + 1).is_none());
    }
}
