//! Seccomp programs on the running kernel: a child installs one and reports what its calls answered.
#![expect(unsafe_code, reason = "fork, raw system calls and a 32-bit call have no safe form")]

use std::io::{PipeReader, PipeWriter, Read as _, pipe};
use std::os::fd::AsRawFd as _;

use holm_runtime::seccomp::filter::{Action, Comparison, Condition, Filter, Rule};
use holm_runtime::seccomp::{Architecture, Environment, Program, Syscall, compile, default_profile};
use holm_sys::seccomp::install;
use rustix::io::Errno;

/// A call: its number and arguments.
type Call = (i64, [u64; 6]);

const UNSHARED: Call = (libc::SYS_unshare, [0; 6]);
const UNSHARED_USER: Call = (libc::SYS_unshare, [libc::CLONE_NEWUSER as u64, 0, 0, 0, 0, 0]);
/// An operation that does not exist.
const KEYCTL: Call = (libc::SYS_keyctl, [9999, 0, 0, 0, 0, 0]);
const GETPID: Call = (libc::SYS_getpid, [0; 6]);
/// Without arguments, which the kernel refuses as invalid.
const CLONE3: Call = (libc::SYS_clone3, [0; 6]);
const CLONE_USER: Call =
    (libc::SYS_clone, [libc::CLONE_NEWUSER as u64 | libc::CLONE_FS as u64, 0, 0, 0, 0, 0]);
/// Younger than the default profile.
const OPEN_TREE_ATTR: Call = (467, [u64::MAX, 0, 0, 0, 0, 0]);

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    Exited(i32),
    Killed(i32),
}

/// Runs `body` in a forked child, which may not allocate, and reads the numbers it reports.
fn in_child(body: impl Fn(&PipeWriter) -> i32) -> (Vec<i64>, Ending) {
    let (reader, writer) = pipe().expect("a pipe");
    // SAFETY: between fork and _exit the child makes system calls only; other threads' locks stay untouched.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
    if child == 0 {
        let status = body(&writer);
        // SAFETY: ends this process without running anything of the parent's.
        unsafe { libc::_exit(status) }
    }
    drop(writer);
    let reports = read_reports(reader);
    let mut status = 0;
    // SAFETY: `status` is a valid place; the child is ours and not yet waited for.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    let killed = libc::WIFSIGNALED(status);
    let ending = if killed {
        Ending::Killed(libc::WTERMSIG(status))
    } else {
        Ending::Exited(libc::WEXITSTATUS(status))
    };
    (reports, ending)
}

fn read_reports(mut reader: PipeReader) -> Vec<i64> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).expect("a pipe can be read");
    let (reports, rest) = bytes.as_chunks();
    assert!(rest.is_empty());
    reports.iter().map(|report| i64::from_ne_bytes(*report)).collect()
}

fn report(writer: &PipeWriter, number: i64) {
    let bytes = number.to_ne_bytes();
    // SAFETY: the bytes are valid for reading, the descriptor is open.
    unsafe { libc::write(writer.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
}

/// What the kernel answers: a result, or the errno below zero.
fn make(call: &Call) -> i64 {
    let (number, [a, b, c, d, e, f]) = *call;
    // SAFETY: the calls of this file take no pointers, or null where the kernel refuses it.
    let answer = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if answer >= 0 {
        return answer;
    }
    // SAFETY: `errno` is a valid place of this thread.
    -i64::from(unsafe { *libc::__errno_location() })
}

/// Takes the way back to privileges, then installs the program.
fn confine(program: &Program) -> Result<bool, Errno> {
    // SAFETY: this option takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    install(program.instructions(), program.flags()).map(|listener| listener.is_some())
}

/// The answers to `calls` in a child, under `program` if there is one.
fn answers(program: Option<&Program>, calls: &[Call]) -> (Vec<i64>, Ending) {
    in_child(|writer| {
        if program.is_some_and(|program| confine(program).is_err()) {
            return 99;
        }
        for call in calls {
            report(writer, make(call));
        }
        0
    })
}

fn default_program() -> Program {
    let environment = Environment::here(0).expect("the kernel has a version");
    compile(&default_profile::filter(&environment), Architecture::NATIVE).expect("it is short")
}

/// A filter that allows everything but what `rule` says.
fn all_but(name: &str, action: Action, conditions: Vec<Condition>) -> Program {
    let calls = vec![Syscall::from_name(name).expect("it exists")].into();
    let filter = Filter {
        default_action: Action::Allow,
        architectures: Vec::new(),
        flags: 0,
        rules: vec![Rule { calls, action, conditions: conditions.into() }],
        listener: None,
        unknown: Vec::new(),
    };
    compile(&filter, Architecture::NATIVE).expect("it is short")
}

const fn errno(errno: i32) -> i64 {
    -(errno as i64)
}

#[test]
fn default_profile_refuses_and_allows() {
    let calls = [UNSHARED, UNSHARED_USER, KEYCTL, CLONE3, CLONE_USER, OPEN_TREE_ATTR];
    let (refused, ending) = answers(Some(&default_program()), &calls);
    assert_eq!(ending, Ending::Exited(0));
    let (eperm, enosys) = (errno(libc::EPERM), errno(libc::ENOSYS));
    assert_eq!(refused, [eperm, eperm, eperm, enosys, eperm, enosys]);
    // The same without a filter, so that it is the filter that answered.
    let (free, _) = answers(None, &[UNSHARED, KEYCTL, CLONE3]);
    assert_eq!(free, [0, errno(libc::EOPNOTSUPP), errno(libc::EINVAL)]);
    let (allowed, _) = answers(Some(&default_program()), &[GETPID, (libc::SYS_close, [9999, 0, 0, 0, 0, 0])]);
    assert!(allowed[0] > 0, "{allowed:?}");
    assert_eq!(allowed[1], errno(libc::EBADF));
}

#[test]
fn default_profile_looks_at_arguments() {
    let socket = |family: i32| (libc::SYS_socket, [family as u64, libc::SOCK_DGRAM as u64, 0, 0, 0, 0]);
    let personality = |persona| (libc::SYS_personality, [persona, 0, 0, 0, 0, 0]);
    let calls = [
        socket(libc::AF_UNIX),
        socket(libc::AF_VSOCK),
        socket(libc::AF_ALG),
        personality(0xffff_ffff),
        personality(0x0040_0000),
    ];
    let (answers, ending) = answers(Some(&default_program()), &calls);
    assert_eq!(ending, Ending::Exited(0));
    assert!(answers[0] > 0 && answers[3] >= 0, "{answers:?}");
    for refused in [1, 2, 4] {
        assert_eq!(answers[refused], errno(libc::EPERM), "{answers:?}");
    }
}

#[test]
fn arguments_are_compared_whole() {
    let far = Condition::new(1, Comparison::GreaterOrEqual(1 << 32)).unwrap();
    let program = all_but("lseek", Action::Errno(13), vec![far]);
    let seek = |offset| (libc::SYS_lseek, [9999, offset, 0, 0, 0, 0]);
    let (answers, _) = answers(Some(&program), &[seek(0xffff_ffff), seek(1 << 32), seek(u64::MAX)]);
    assert_eq!(answers, [errno(libc::EBADF), errno(libc::EACCES), errno(libc::EACCES)]);
}

#[test]
fn killing_actions_kill() {
    for action in [Action::KillThread, Action::KillProcess, Action::Trap] {
        let program = all_but("keyctl", action, Vec::new());
        let (before, ending) = answers(Some(&program), &[GETPID, KEYCTL, GETPID]);
        assert_eq!((before.len(), ending), (1, Ending::Killed(libc::SIGSYS)), "{action:?}");
    }
}

#[test]
fn notification_gives_a_listener() {
    let program = all_but("keyctl", Action::Notify, Vec::new());
    assert!(program.has_listener());
    let (reports, ending) = in_child(|writer| match confine(&program) {
        Ok(listener) => {
            report(writer, i64::from(listener));
            0
        }
        Err(error) => error.raw_os_error(),
    });
    assert_eq!((reports, ending), (vec![1], Ending::Exited(0)));
}

#[cfg(target_arch = "x86_64")]
mod foreign {
    use super::*;

    /// `getpid` by `int 0x80`.
    fn getpid_of_32_bits() -> i64 {
        let answer: i32;
        // SAFETY: the call takes no arguments and changes no register but eax.
        unsafe { std::arch::asm!("int 0x80", inlateout("eax") 20 => answer, options(nostack)) };
        i64::from(answer)
    }

    fn call_32_bits(program: Option<&Program>) -> (Vec<i64>, Ending) {
        in_child(|writer| {
            if program.is_some_and(|program| confine(program).is_err()) {
                return 99;
            }
            report(writer, getpid_of_32_bits());
            0
        })
    }

    #[test]
    fn unlisted_architectures_are_killed() {
        let native_only = all_but("keyctl", Action::Errno(1), Vec::new());
        let x32_getpid = (libc::SYS_getpid | 1 << 30, [0; 6]);
        let (_, ending) = answers(Some(&native_only), &[x32_getpid]);
        assert_eq!(ending, Ending::Killed(libc::SIGSYS));
        // A kernel without 32-bit calls kills differently, before any filter.
        if call_32_bits(None).1 == Ending::Exited(0) {
            assert_eq!(call_32_bits(Some(&native_only)).1, Ending::Killed(libc::SIGSYS));
        }
    }

    #[test]
    fn companions_are_judged_by_the_default_profile() {
        let (free, ending) = call_32_bits(None);
        if ending != Ending::Exited(0) {
            return;
        }
        assert!(free[0] > 0);
        let (allowed, ending) = call_32_bits(Some(&default_program()));
        assert_eq!(ending, Ending::Exited(0));
        assert!(allowed[0] > 0, "{allowed:?}");
    }
}
