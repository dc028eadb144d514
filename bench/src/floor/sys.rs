//! The system calls that rustix has no safe wrapper for.
//!
//! Everything here is called from single-threaded programs; [`clone_child`] relies on it.
#![expect(
    unsafe_code,
    reason = "clone3, seccomp, bpf, execve, getrusage, sigaction and SIOCSIFFLAGS have no safe wrapper"
)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;

use super::calls::Log;

/// `struct clone_args` of clone3(2), the first version with a cgroup (Linux 5.7).
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

/// From linux/sched.h; libc's constant is too narrow to hold it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A child of [`clone_child`], as its parent sees it.
pub struct Child {
    /// Its id in the caller's PID namespace.
    pub pid: Pid,
    /// A pidfd that refers to it.
    pub pidfd: OwnedFd,
}

/// clone3(2) with the semantics of fork, a pidfd, and `CLONE_INTO_CGROUP` if there is a group of v2 to be born in.
/// `None` in the child.
///
/// # Errors
/// What the kernel answers; `EBUSY` when `cgroup` cannot hold processes.
pub fn clone_child(namespaces: libc::c_int, cgroup: Option<BorrowedFd<'_>>) -> Result<Option<Child>, Errno> {
    let mut pidfd: libc::c_int = -1;
    let namespaces = u64::try_from(namespaces).map_err(|_| Errno::INVAL)?;
    let born_in = if cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 };
    let arguments = CloneArguments {
        flags: namespaces | libc::CLONE_PIDFD as u64 | born_in,
        pidfd: ptr::from_mut(&mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: cgroup.map_or(0, |cgroup| cgroup.as_raw_fd() as u64),
        ..CloneArguments::default()
    };
    // SAFETY: the structure is live and its size is passed; without CLONE_VM the child gets a copy of the
    // memory, and the programs of this crate have no other thread that could hold a lock in that copy.
    let result =
        unsafe { libc::syscall(libc::SYS_clone3, ptr::from_ref(&arguments), size_of::<CloneArguments>()) };
    if result < 0 {
        return Err(last_errno());
    }
    let Some(pid) = i32::try_from(result).ok().and_then(Pid::from_raw) else { return Ok(None) };
    // SAFETY: the kernel stored a new descriptor, which nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Some(Child { pid, pidfd }))
}

/// seccomp(SECCOMP_SET_MODE_FILTER): from here on every system call passes `filter`.
///
/// # Errors
/// `EACCES` without CAP_SYS_ADMIN, `EINVAL` for a filter that the kernel refuses.
pub fn install_seccomp_filter(filter: &[libc::sock_filter]) -> Result<(), Errno> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| Errno::INVAL)?,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the program points to `len` live instructions, which the kernel only reads.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, ptr::from_ref(&program))
    };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

/// The part of `union bpf_attr` that loads a program (Linux 4.15).
#[repr(C)]
struct BpfLoad {
    program_type: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The part of `union bpf_attr` that attaches a program.
#[repr(C)]
struct BpfAttach {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

/// bpf(2), `BPF_PROG_LOAD` of a program of the kind `BPF_PROG_TYPE_CGROUP_DEVICE`.
///
/// # Errors
/// What the kernel answers; `EINVAL` for a program that it refuses.
pub fn load_device_program(instructions: &[u64]) -> Result<OwnedFd, Errno> {
    const BPF_PROG_LOAD: libc::c_int = 5;
    const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
    let attributes = BpfLoad {
        program_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(instructions.len()).map_err(|_| Errno::INVAL)?,
        instructions: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the structure, the instructions and the license are live; the kernel only reads them.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, ptr::from_ref(&attributes), size_of::<BpfLoad>())
    };
    let number = libc::c_int::try_from(result).ok().filter(|number| *number >= 0).ok_or_else(last_errno)?;
    // SAFETY: the kernel made a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// bpf(2), `BPF_PROG_ATTACH` of a device program to a group of v2.
///
/// # Errors
/// What the kernel answers.
pub fn attach_device_program(group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    const BPF_PROG_ATTACH: libc::c_int = 8;
    const BPF_CGROUP_DEVICE: u32 = 6;
    let number = |fd: BorrowedFd<'_>| u32::try_from(fd.as_raw_fd()).map_err(|_| Errno::BADF);
    let attributes = BpfAttach {
        target: number(group)?,
        program: number(program)?,
        attach_type: BPF_CGROUP_DEVICE,
        flags: 0,
    };
    // SAFETY: the structure is live; the kernel only reads it.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, ptr::from_ref(&attributes), size_of::<BpfAttach>())
    };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

/// ioctl(2) `SIOCSIFFLAGS`: sets the loopback interface up, through any socket of its network namespace.
///
/// # Errors
/// What the kernel answers.
pub fn set_loopback_up(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: all zero is a valid request; the name is filled below and ends with a zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(*b"lo") {
        *slot = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is live and of the type that this call reads.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, ptr::from_mut(&mut request)) };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

/// execve(2) with a constant environment. Returns only when it failed.
///
/// `arguments` ends with a null pointer; [`argument_pointers`] makes it.
pub fn execute(path: &CStr, arguments: &ArgumentPointers<'_>) -> Errno {
    let environment = [c"PATH=/usr/sbin:/usr/bin:/sbin:/bin".as_ptr(), ptr::null()];
    // SAFETY: path, arguments and environment are live, and the two arrays end with null.
    unsafe { libc::execve(path.as_ptr(), arguments.pointers.as_ptr(), environment.as_ptr()) };
    last_errno()
}

/// The argument vector of [`execute`], made before the clone because the child does not allocate.
pub struct ArgumentPointers<'a> {
    pointers: Vec<*const libc::c_char>,
    strings: std::marker::PhantomData<&'a CStr>,
}

/// A null-terminated vector of pointers to `arguments`.
pub fn argument_pointers<'a>(arguments: impl IntoIterator<Item = &'a CStr>) -> ArgumentPointers<'a> {
    let mut pointers: Vec<_> = arguments.into_iter().map(CStr::as_ptr).collect();
    pointers.push(ptr::null());
    ArgumentPointers { pointers, strings: std::marker::PhantomData }
}

/// _exit(2): the end of a child, without the parent's destructors or buffered output.
pub fn exit_child(status: i32) -> ! {
    // SAFETY: _exit takes any status and touches no memory.
    unsafe { libc::_exit(status) }
}

/// An empty record in memory that children share.
///
/// # Errors
/// `ENOMEM`.
pub fn shared_log() -> Result<&'static Log, Errno> {
    // SAFETY: a new anonymous mapping at an address of the kernel's choice disturbs no other memory.
    let address = unsafe {
        libc::mmap(
            ptr::null_mut(),
            size_of::<Log>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(last_errno());
    }
    // SAFETY: the mapping is page aligned, large enough, zeroed, never unmapped, and all-zero atomics are a
    // valid `Log`.
    Ok(unsafe { &*address.cast::<Log>() })
}

/// User and system time of this process.
pub fn time_of_this_process() -> Duration {
    let usage = usage(libc::RUSAGE_SELF);
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

/// User and system time of all children that this process has waited for, and of theirs.
pub fn time_of_children() -> Duration {
    let usage = usage(libc::RUSAGE_CHILDREN);
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

/// The most memory that any one of these children had in use, in KiB (`ru_maxrss`). A child begins with what its
/// parent has.
pub fn peak_of_children() -> u64 {
    u64::try_from(usage(libc::RUSAGE_CHILDREN).ru_maxrss).unwrap_or_default()
}

fn usage(who: libc::c_int) -> libc::rusage {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel fills a structure that is live; all zero is valid, should it answer an error.
    unsafe {
        libc::getrusage(who, usage.as_mut_ptr());
        usage.assume_init()
    }
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let microseconds = u64::try_from(time.tv_usec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_micros(microseconds)
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupt(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Makes SIGINT, SIGTERM and SIGHUP set a flag, so that a program can unwind through its guards.
///
/// # Errors
/// Never with these signals on Linux.
pub fn catch_interrupts() -> Result<(), Errno> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: all zero is a valid sigaction: no flags (so that waits end with EINTR), an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = interrupt as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        if unsafe { libc::sigaction(signal, &action, ptr::null_mut()) } < 0 {
            return Err(last_errno());
        }
    }
    Ok(())
}

/// Whether a signal of [`catch_interrupts`] has arrived.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}
