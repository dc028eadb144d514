//! Holm's default profile: the calls a container may make unless a person says otherwise.
//!
//! It permits what Docker's default profile permits, under the same conditions, so that an image that
//! runs there runs here. Everything else is answered `EPERM`. Calls are grouped by what they are for; a
//! call that exists only on some architectures stands in its group, since elsewhere its name has no
//! number. Kept out on purpose: what reaches beyond the container (kernel modules, keyrings, swap, clocks,
//! quotas, other namespaces) or has been a way out of it (`userfaultfd`, `io_uring`, `bpf`,
//! `perf_event_open`), unless a capability that stands for it was granted.

use std::borrow::Cow;

use super::architecture::Architecture;
use super::environment::{Environment, KernelVersion, capability};
use super::filter::{Action, Comparison, Condition, Filter, Rule};
use super::syscalls::{Syscall, calls};

/// Changes with every change of the groups; part of every cache key. A unit test holds it to them.
pub(super) const FINGERPRINT: &str = "2d4e8a094a02a02356c09062576a096a01a3bcc4f655408c099600feb4f941cf";

/// `EPERM`
const REFUSED: Action = Action::Errno(1);
/// `ENOSYS`
const ABSENT: Action = Action::Errno(38);

/// When a group applies.
#[derive(Clone, Copy, Debug)]
enum When {
    Always,
    /// This capability is in the bounding set.
    Holds(u64),
    /// This capability is not in the bounding set.
    Lacks(u64),
    /// The kernel is this one or newer.
    Since(KernelVersion),
    /// The machine's own architecture is one of these.
    On(&'static [Architecture]),
}

/// An action for some calls.
#[derive(Clone, Copy, Debug)]
struct Group {
    when: When,
    calls: &'static [Syscall],
    action: Action,
    conditions: &'static [Condition],
}

/// Calls allowed whatever their arguments.
const fn allow(when: When, calls: &'static [Syscall]) -> Group {
    Group { when, calls, action: Action::Allow, conditions: &[] }
}

/// Calls allowed if an argument is right.
const fn allow_if(when: When, calls: &'static [Syscall], conditions: &'static [Condition]) -> Group {
    Group { when, calls, action: Action::Allow, conditions }
}

const fn first_argument(comparison: Comparison) -> [Condition; 1] {
    [Condition::new(0, comparison).expect("there is an argument 0")]
}

const fn bit(name: &str) -> u64 {
    capability(name).expect("every name below is a capability's")
}

const BPF: u64 = bit("CAP_BPF");
const DAC_READ_SEARCH: u64 = bit("CAP_DAC_READ_SEARCH");
const PERFMON: u64 = bit("CAP_PERFMON");
const SYSLOG: u64 = bit("CAP_SYSLOG");
const SYS_ADMIN: u64 = bit("CAP_SYS_ADMIN");
const SYS_BOOT: u64 = bit("CAP_SYS_BOOT");
const SYS_CHROOT: u64 = bit("CAP_SYS_CHROOT");
const SYS_MODULE: u64 = bit("CAP_SYS_MODULE");
const SYS_NICE: u64 = bit("CAP_SYS_NICE");
const SYS_PACCT: u64 = bit("CAP_SYS_PACCT");
const SYS_PTRACE: u64 = bit("CAP_SYS_PTRACE");
const SYS_RAWIO: u64 = bit("CAP_SYS_RAWIO");
const SYS_TIME: u64 = bit("CAP_SYS_TIME");
const SYS_TTY_CONFIG: u64 = bit("CAP_SYS_TTY_CONFIG");

/// Files by descriptor: data, position, locks, readiness of one.
const FILES: &[Syscall] = calls!(
    "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek _llseek close \
     close_range dup dup2 dup3 fcntl fcntl64 flock ioctl fsync fdatasync sync syncfs sync_file_range \
     fallocate ftruncate ftruncate64 fadvise64 fadvise64_64 readahead cachestat copy_file_range \
     sendfile sendfile64 splice tee vmsplice pipe pipe2 memfd_create memfd_secret"
);

/// Files by name: opening, making, removing, what is known about them.
const PATHS: &[Syscall] = calls!(
    "open openat openat2 creat access faccessat faccessat2 stat stat64 lstat lstat64 fstat fstat64 \
     fstatat64 newfstatat statx statfs statfs64 fstatfs fstatfs64 statmount listmount readlink \
     readlinkat getdents getdents64 getcwd chdir fchdir mkdir mkdirat rmdir mknod mknodat link linkat \
     symlink symlinkat unlink unlinkat rename renameat renameat2 truncate truncate64 chmod fchmod \
     fchmodat fchmodat2 chown chown32 fchown fchown32 fchownat lchown lchown32 umask utime utimes \
     futimesat utimensat utimensat_time64 name_to_handle_at"
);

/// Extended attributes.
const ATTRIBUTES: &[Syscall] = calls!(
    "getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat listxattr \
     llistxattr flistxattr listxattrat removexattr lremovexattr fremovexattr removexattrat"
);

/// Waiting for several things, watching files, asynchronous input and output.
const EVENTS: &[Syscall] = calls!(
    "poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 epoll_create epoll_create1 \
     epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2 \
     signalfd signalfd4 inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark \
     io_setup io_submit io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 \
     ioprio_get ioprio_set"
);

/// Memory of the caller.
const MEMORY: &[Syscall] = calls!(
    "brk mmap mmap2 munmap mremap remap_file_pages mprotect pkey_alloc pkey_free pkey_mprotect madvise \
     mincore msync mseal mlock mlock2 mlockall munlock munlockall map_shadow_stack process_mrelease \
     membarrier"
);

/// Processes and threads: beginning, ending, waiting, groups and sessions.
const PROCESSES: &[Syscall] = calls!(
    "fork vfork execve execveat exit exit_group wait4 waitid waitpid getpid getppid gettid getpgid \
     getpgrp setpgid getsid setsid pidfd_open pidfd_send_signal prctl set_tid_address set_thread_area \
     get_thread_area restart_syscall uname sysinfo getcpu getrandom rseq riscv_hwprobe uretprobe"
);

/// Locks between threads.
const FUTEXES: &[Syscall] = calls!(
    "futex futex_time64 futex_wait futex_waitv futex_wake futex_requeue get_robust_list \
     set_robust_list"
);

/// Signals.
const SIGNALS: &[Syscall] = calls!(
    "kill tkill tgkill pause sigaltstack sigprocmask sigreturn rt_sigaction rt_sigpending \
     rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 \
     rt_tgsigqueueinfo"
);

/// Users, groups, capabilities, and giving up rights.
const IDENTITY: &[Syscall] = calls!(
    "getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32 \
     getresgid getresgid32 getgroups getgroups32 setuid setuid32 setgid setgid32 setreuid setreuid32 \
     setregid setregid32 setresuid setresuid32 setresgid setresgid32 setfsuid setfsuid32 setfsgid \
     setfsgid32 setgroups setgroups32 capget capset seccomp landlock_create_ruleset landlock_add_rule \
     landlock_restrict_self"
);

/// Scheduling, priorities, limits, accounts.
const SCHEDULING: &[Syscall] = calls!(
    "sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam \
     sched_setparam sched_getscheduler sched_setscheduler sched_get_priority_max \
     sched_get_priority_min sched_rr_get_interval sched_rr_get_interval_time64 getpriority setpriority \
     getrlimit ugetrlimit setrlimit prlimit64 getrusage times"
);

/// Reading clocks, sleeping, timers. The two `adjtime` calls read too; the kernel asks for
/// `CAP_SYS_TIME` when they would set.
const TIME: &[Syscall] = calls!(
    "time gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64 clock_nanosleep \
     clock_nanosleep_time64 nanosleep adjtimex clock_adjtime clock_adjtime64 alarm getitimer setitimer \
     timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime \
     timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime \
     timerfd_settime64"
);

/// Sockets. `socket` itself depends on the family; `socketcall` cannot be judged by it.
const SOCKETS: &[Syscall] = calls!(
    "socketpair socketcall bind connect listen accept accept4 shutdown getsockname getpeername \
     getsockopt setsockopt send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64"
);

/// Shared memory, semaphores and message queues of System V and POSIX.
const MESSAGES: &[Syscall] = calls!(
    "ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl \
     shmdt shmget mq_open mq_unlink mq_getsetattr mq_notify mq_timedreceive mq_timedreceive_time64 \
     mq_timedsend mq_timedsend_time64"
);

/// Looking into other processes. Before Linux 4.8 `ptrace` let a tracer change a call that had already
/// passed the filter.
const TRACING: &[Syscall] = calls!("process_vm_readv process_vm_writev ptrace");
const FILTER_SEES_TRACED_CALLS: KernelVersion = KernelVersion { kernel: 4, major: 8 };

const SOCKET: &[Syscall] = calls!("socket");
/// The kernel's cryptography: a large surface that hardly any program needs (`AF_ALG`).
const CRYPTOGRAPHY: u64 = 38;
/// Talking to hypervisors: families are not confined by network namespaces (`AF_VSOCK`).
const HYPERVISOR: u64 = 40;
const FAMILY_BELOW_CRYPTOGRAPHY: &[Condition] = &first_argument(Comparison::Less(CRYPTOGRAPHY));
const FAMILY_BETWEEN: &[Condition] = &first_argument(Comparison::Equal(CRYPTOGRAPHY + 1));
const FAMILY_ABOVE_HYPERVISOR: &[Condition] = &first_argument(Comparison::Greater(HYPERVISOR));

const PERSONALITY: &[Syscall] = calls!("personality");
const PERSONALITY_LINUX: &[Condition] = &first_argument(Comparison::Equal(0));
const PERSONALITY_LINUX32: &[Condition] = &first_argument(Comparison::Equal(0x8));
const PERSONALITY_UNAME26: &[Condition] = &first_argument(Comparison::Equal(0x2_0000));
const PERSONALITY_LINUX32_UNAME26: &[Condition] = &first_argument(Comparison::Equal(0x2_0008));
/// Asks without setting.
const PERSONALITY_QUERY: &[Condition] = &first_argument(Comparison::Equal(0xffff_ffff));

const CLONE: &[Syscall] = calls!("clone");
/// `CLONE_NEW` of mount, cgroup, UTS, IPC, user, PID and network namespaces (not time: its bit is the
/// signal's).
const NEW_NAMESPACES: u64 = 0x7e02_0000;
const NO_NEW_NAMESPACE: &[Condition] =
    &first_argument(Comparison::MaskedEqual { mask: NEW_NAMESPACES, value: 0 });
/// Its flags lie in memory, where a filter cannot look. `ENOSYS` makes the C library use `clone`.
const CLONE3: &[Syscall] = calls!("clone3");

/// What stands behind `CAP_SYS_ADMIN`: mounts, namespaces, names of the host, tracing of the kernel.
const ADMINISTRATION: &[Syscall] = calls!(
    "mount umount umount2 mount_setattr move_mount open_tree fsopen fsconfig fsmount fspick quotactl \
     quotactl_fd clone clone3 unshare setns sethostname setdomainname syslog bpf perf_event_open \
     fanotify_init lookup_dcookie lsm_get_self_attr lsm_list_modules lsm_set_self_attr"
);

/// Every group, in order.
const GROUPS: &[Group] = &[
    allow(When::Always, FILES),
    allow(When::Always, PATHS),
    allow(When::Always, ATTRIBUTES),
    allow(When::Always, EVENTS),
    allow(When::Always, MEMORY),
    allow(When::Always, PROCESSES),
    allow(When::Always, FUTEXES),
    allow(When::Always, SIGNALS),
    allow(When::Always, IDENTITY),
    allow(When::Always, SCHEDULING),
    allow(When::Always, TIME),
    allow(When::Always, SOCKETS),
    allow(When::Always, MESSAGES),
    allow_if(When::Always, SOCKET, FAMILY_BELOW_CRYPTOGRAPHY),
    allow_if(When::Always, SOCKET, FAMILY_BETWEEN),
    allow_if(When::Always, SOCKET, FAMILY_ABOVE_HYPERVISOR),
    allow_if(When::Always, PERSONALITY, PERSONALITY_LINUX),
    allow_if(When::Always, PERSONALITY, PERSONALITY_LINUX32),
    allow_if(When::Always, PERSONALITY, PERSONALITY_UNAME26),
    allow_if(When::Always, PERSONALITY, PERSONALITY_LINUX32_UNAME26),
    allow_if(When::Always, PERSONALITY, PERSONALITY_QUERY),
    allow(When::Since(FILTER_SEES_TRACED_CALLS), TRACING),
    allow(
        When::On(&[Architecture::Arm, Architecture::Aarch64]),
        calls!("arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"),
    ),
    allow(When::On(&[Architecture::X86_64]), calls!("arch_prctl")),
    allow(When::On(&[Architecture::X86_64, Architecture::X86]), calls!("modify_ldt")),
    allow(When::On(&[Architecture::Riscv64]), calls!("riscv_flush_icache")),
    allow_if(When::Lacks(SYS_ADMIN), CLONE, NO_NEW_NAMESPACE),
    Group { when: When::Lacks(SYS_ADMIN), calls: CLONE3, action: ABSENT, conditions: &[] },
    allow(When::Holds(SYS_ADMIN), ADMINISTRATION),
    allow(When::Holds(DAC_READ_SEARCH), calls!("open_by_handle_at")),
    allow(When::Holds(SYS_BOOT), calls!("reboot")),
    allow(When::Holds(SYS_CHROOT), calls!("chroot")),
    allow(When::Holds(SYS_MODULE), calls!("init_module finit_module delete_module")),
    allow(When::Holds(SYS_PACCT), calls!("acct")),
    allow(When::Holds(SYS_PTRACE), TRACING),
    allow(When::Holds(SYS_PTRACE), calls!("kcmp pidfd_getfd process_madvise")),
    allow(When::Holds(SYS_RAWIO), calls!("iopl ioperm")),
    allow(When::Holds(SYS_TIME), calls!("settimeofday stime clock_settime clock_settime64")),
    allow(When::Holds(SYS_TTY_CONFIG), calls!("vhangup")),
    allow(When::Holds(SYS_NICE), calls!("get_mempolicy mbind set_mempolicy set_mempolicy_home_node")),
    allow(When::Holds(SYSLOG), calls!("syslog")),
    allow(When::Holds(BPF), calls!("bpf")),
    allow(When::Holds(PERFMON), calls!("perf_event_open")),
];

/// The default profile for a container in `environment`.
///
/// The architectures whose programs the machine also runs are included.
#[must_use]
pub fn filter(environment: &Environment) -> Filter {
    let groups = GROUPS.iter().filter(|group| group.when.applies(environment));
    Filter {
        default_action: REFUSED,
        architectures: environment.architecture.companions().to_vec(),
        flags: 0,
        rules: groups.map(Group::rule).collect(),
        listener: None,
        unknown: Vec::new(),
    }
}

/// The capabilities that the profile asks for; it is the same whatever the others are.
pub(super) const CAPABILITIES: u64 = {
    let (mut all, mut index) = (0, 0);
    while index < GROUPS.len() {
        if let When::Holds(bit) | When::Lacks(bit) = GROUPS[index].when {
            all |= bit;
        }
        index += 1;
    }
    all
};

impl When {
    fn applies(self, environment: &Environment) -> bool {
        match self {
            Self::Always => true,
            Self::Holds(bit) => environment.capabilities & bit != 0,
            Self::Lacks(bit) => environment.capabilities & bit == 0,
            Self::Since(kernel) => environment.kernel >= kernel,
            Self::On(architectures) => architectures.contains(&environment.architecture),
        }
    }
}

impl Group {
    fn rule(&self) -> Rule {
        Rule {
            calls: Cow::Borrowed(self.calls),
            action: self.action,
            conditions: Cow::Borrowed(self.conditions),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::hex_digest;
    use super::*;

    #[test]
    fn fingerprint_follows_the_groups() {
        let companions = Architecture::ALL.map(Architecture::companions);
        let mut text = format!("{REFUSED:?} {companions:?}\n");
        for group in GROUPS {
            let names: Vec<_> = group.calls.iter().map(|call| call.name()).collect();
            text += &format!("{:?} {names:?} {:?} {:?}\n", group.when, group.action, group.conditions);
        }
        assert_eq!(hex_digest(text.as_bytes()), FINGERPRINT, "update FINGERPRINT");
    }

    #[test]
    fn other_capabilities_change_nothing() {
        let environment = |capabilities| Environment {
            capabilities,
            architecture: Architecture::X86_64,
            kernel: KernelVersion { kernel: 6, major: 12 },
        };
        for bit in 0..64 {
            let changed = filter(&environment(1 << bit)) != filter(&environment(0));
            assert_eq!(changed, CAPABILITIES & (1 << bit) != 0, "capability {bit}");
        }
    }

    #[test]
    fn no_call_is_listed_twice_unconditionally() {
        let mut seen: Vec<Syscall> = Vec::new();
        for group in GROUPS.iter().filter(|group| matches!(group.when, When::Always)) {
            if group.conditions.is_empty() {
                seen.extend(group.calls);
            }
        }
        let listed = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), listed);
    }
}
