//! Seccomp filters, as seen by programs whose system calls they judge.

use serde_json::{Value, json};

use super::runtime::{Feature, lacks};
use super::setup::Oci;

/// What the runtime's last steps and a shell with simple commands call.
const SHELL: &str = "access arch_prctl brk capget capset chdir clock_gettime clock_nanosleep clone clone3 close \
    close_range dup dup2 dup3 epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 execve exit \
    exit_group faccessat faccessat2 fchdir fcntl fork fstat fstatfs futex getcwd getdents64 getegid \
    geteuid getgid getpgrp getpid getppid getrandom gettid getuid ioctl lseek lstat madvise mmap \
    mprotect munmap nanosleep newfstatat open openat openat2 pipe pipe2 poll prctl pread64 prlimit64 \
    read readlink readlinkat restart_syscall rseq rt_sigaction rt_sigprocmask rt_sigreturn \
    sched_getaffinity sched_yield sendfile set_robust_list set_tid_address setgid setgroups setuid \
    sigaltstack stat statfs statx tgkill umask uname vfork wait4 write writev";

/// A container with these rules beside "allow all".
fn filtered(rules: Value) -> Oci {
    let mut oci = Oci::new();
    oci.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
    oci
}

#[test]
fn a_call_may_fail() {
    let mut oci = filtered(json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]));
    let text = oci.sh("mkdir /x 2>&1; touch /y && echo fine; grep Seccomp: /proc/self/status");
    assert_eq!(text, "mkdir: can't create directory '/x': Operation not permitted\nfine\nSeccomp:\t2");
}

#[test]
fn with_an_error_of_choice() {
    let mut oci =
        filtered(json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]));
    assert!(oci.sh("mkdir /x 2>&1; true").contains("No space left on device"));
}

#[test]
fn the_default_may_be_an_error() {
    let mut oci = Oci::new();
    let names: Vec<_> = SHELL.split_whitespace().collect();
    oci.set(
        "/linux/seccomp",
        json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]}),
    );
    if cfg!(target_arch = "x86_64") {
        assert_eq!(oci.sh("echo fine; mkdir /x 2>/dev/null || echo refused"), "fine\nrefused");
    }
}

#[test]
fn arguments_are_compared() {
    // chmod of busybox calls `chmod` or `fchmodat`; the mode is the second argument or the third.
    let rule = |operator: &str, value: u32, two: u32| {
        json!([{"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": value, "valueTwo": two, "op": operator}]},
            {"names": ["fchmodat"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 2, "value": value, "valueTwo": two, "op": operator}]}])
    };
    for (operator, value, two, refused) in [
        ("SCMP_CMP_EQ", 0o700, 0, "700"),
        ("SCMP_CMP_NE", 0o700, 0, "600 755"),
        ("SCMP_CMP_GT", 0o700, 0, "755"),
        ("SCMP_CMP_GE", 0o700, 0, "700 755"),
        ("SCMP_CMP_LT", 0o700, 0, "600"),
        ("SCMP_CMP_LE", 0o700, 0, "600 700"),
        ("SCMP_CMP_MASKED_EQ", 0o007, 0o005, "755"),
    ] {
        let mut oci = filtered(rule(operator, value, two));
        let script =
            "touch /x; for m in 600 700 755; do chmod $m /x 2>/dev/null || echo $m; done | tr '\\n' ' '";
        assert_eq!(oci.sh(script).trim(), refused, "{operator}");
    }
}

#[test]
fn all_arguments_of_a_rule_must_match() {
    let mut oci = filtered(json!([{"names": ["lseek"], "action": "SCMP_ACT_ERRNO", "args": [
        {"index": 1, "value": 4096, "op": "SCMP_CMP_EQ"}, {"index": 2, "value": 0, "op": "SCMP_CMP_EQ"}]}]));
    let text = oci.sh("head -c 20000 /dev/zero > /x; for n in 1 2; do dd if=/x of=/dev/null bs=4096 skip=$n count=1 2>/dev/null; echo $?; done");
    // `skip` seeks from where the file is: the third argument says so and is not 0.
    assert_eq!(text, "0\n0");
}

#[test]
fn two_conditions_on_one_argument_are_two_rules() {
    let condition = |index: u32, value: u32| json!({"index": index, "value": value, "op": "SCMP_CMP_EQ"});
    let mut oci = filtered(json!([
        {"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "args": [condition(1, 0o700), condition(1, 0o755)]},
        {"names": ["fchmodat"], "action": "SCMP_ACT_ERRNO", "args": [condition(2, 0o700), condition(2, 0o755)]}]));
    let script = "touch /x; for m in 600 700 755; do chmod $m /x 2>/dev/null || echo $m; done | tr '\\n' ' '";
    assert_eq!(oci.sh(script).trim(), "700 755");
}

#[test]
fn a_call_may_kill() {
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP"] {
        let mut oci = filtered(json!([{"names": ["mkdir", "mkdirat"], "action": action}]));
        oci.set("/process/rlimits", json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]));
        assert_eq!(oci.sh("(mkdir /x) 2>/dev/null; echo $?"), "159", "{action}: 128 and SIGSYS");
    }
}

#[test]
fn a_call_may_be_logged() {
    let mut oci = filtered(json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_LOG"}]));
    assert_eq!(oci.sh("mkdir /x && echo made"), "made");
}

#[test]
fn a_call_may_be_traced() {
    let mut oci =
        filtered(json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_TRACE", "errnoRet": 5}]));
    // Nobody traces, so the call does not exist.
    assert!(oci.sh("mkdir /x 2>&1; true").contains("not implemented"));
}

#[test]
fn names_that_the_kernel_does_not_know_are_left_out() {
    let mut oci =
        filtered(json!([{"names": ["no_such_call", "mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]));
    assert_eq!(oci.sh("mkdir /x 2>/dev/null || echo refused"), "refused");
}

#[test]
fn it_holds_with_and_without_new_privileges() {
    for value in [true, false] {
        let mut oci = filtered(json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]));
        oci.set("/process/noNewPrivileges", json!(value))
            .set("/process/user", json!({"uid": 1000, "gid": 1000}));
        let expected = format!("refused\nNoNewPrivs:\t{}", u8::from(value));
        assert_eq!(
            oci.sh("mkdir /tmp/x 2>/dev/null || echo refused; grep NoNewPrivs /proc/self/status"),
            expected
        );
    }
}

#[test]
fn flags() {
    for flags in [
        json!([]),
        json!(["SECCOMP_FILTER_FLAG_LOG"]),
        json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]),
        json!(["SECCOMP_FILTER_FLAG_TSYNC"]),
    ] {
        if flags != json!([]) && lacks(Feature::SeccompFlags) {
            continue;
        }
        let mut oci = filtered(json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]));
        oci.set("/linux/seccomp/flags", flags);
        assert_eq!(oci.sh("mkdir /x 2>/dev/null || echo refused"), "refused");
    }
}

#[test]
fn other_architectures_are_taken() {
    let mut oci = filtered(json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]));
    oci.set(
        "/linux/seccomp/architectures",
        json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"]),
    );
    assert_eq!(oci.sh("mkdir /x 2>/dev/null || echo refused"), "refused");
}

#[test]
fn what_it_cannot_say_is_refused() {
    for seccomp in [
        json!({"defaultAction": "SCMP_ACT_FLY"}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_FLY"}]}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"], "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_ABOUT"}]}]}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_FLY"], "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 9, "value": 1, "op": "SCMP_CMP_EQ"}]}]}),
    ] {
        let mut oci = Oci::new();
        oci.set("/linux/seccomp", seccomp);
        oci.refused(&[]);
    }
}

#[test]
fn an_error_number_with_an_action_that_has_none_is_refused() {
    if lacks(Feature::StrictConfiguration) {
        return;
    }
    let mut oci = filtered(json!([{"names": ["mkdir"], "action": "SCMP_ACT_KILL", "errnoRet": 5}]));
    oci.refused(&["errnoRet"]);
    oci.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 5}));
    oci.refused(&["rrnoRet"]);
}

#[test]
fn a_filter_with_many_rules() {
    let names: Vec<_> = [
        "mkdir",
        "mkdirat",
        "rmdir",
        "symlink",
        "symlinkat",
        "link",
        "linkat",
        "mknod",
        "mknodat",
        "sync",
        "chroot",
    ]
    .into();
    let rules: Vec<_> = (0..200u32)
        .map(|number| json!({"names": names, "action": "SCMP_ACT_ERRNO", "args": [{"index": 5, "value": 1_000_000 + number, "op": "SCMP_CMP_EQ"}]}))
        .collect();
    let mut oci = filtered(json!(rules));
    assert_eq!(oci.sh("mkdir /x && echo made"), "made");
}
