//! The default profile by examples, and its program by digest.

use super::super::compile::COMPILER_VERSION;
use super::super::filter::Action;
use super::super::{Architecture, Environment, KernelVersion, Program, Syscall, compile, default_profile};
use super::interpreter::{Call, run};
use super::{DOCKER_CAPABILITIES, environment, hex_digest};

const ALLOWED: u32 = Action::Allow.value();
const REFUSED: u32 = Action::Errno(1).value();
const ABSENT: u32 = Action::Errno(38).value();

fn program(environment: &Environment) -> Program {
    compile(&default_profile::filter(environment), environment.architecture).unwrap()
}

fn ask(program: &Program, architecture: Architecture, name: &str, first: u64) -> u32 {
    let number = Syscall::from_name(name).unwrap().number(architecture).unwrap();
    let arguments = [first, 0, 0, 0, 0, 0];
    run(program.instructions(), &Call { number, token: architecture.audit_token(), arguments }).value
}

#[test]
fn an_ordinary_container() {
    let program = program(&environment(Architecture::X86_64, &DOCKER_CAPABILITIES));
    let answer = |name, first| ask(&program, Architecture::X86_64, name, first);
    for name in [
        "read",
        "openat",
        "execve",
        "futex",
        "epoll_pwait2",
        "ptrace",
        "chroot",
        "arch_prctl",
        "fanotify_mark",
    ] {
        assert_eq!(answer(name, 0), ALLOWED, "{name}");
    }
    for name in [
        "mount",
        "unshare",
        "setns",
        "keyctl",
        "add_key",
        "request_key",
        "bpf",
        "userfaultfd",
        "io_uring_setup",
        "init_module",
        "reboot",
        "swapon",
        "settimeofday",
        "open_by_handle_at",
        "perf_event_open",
        "kexec_load",
        "iopl",
        "fsopen",
        "pidfd_getfd",
        "nfsservctl",
    ] {
        assert_eq!(answer(name, 0), REFUSED, "{name}");
    }
    assert_eq!(answer("clone3", 0), ABSENT);
    assert_eq!(answer("open_tree_attr", 0), ABSENT, "newer than the profile");
}

#[test]
fn arguments_that_matter() {
    for architecture in [Architecture::X86_64, Architecture::X86, Architecture::X32] {
        let program = program(&environment(Architecture::X86_64, &DOCKER_CAPABILITIES));
        let answer = |name, first| ask(&program, architecture, name, first);
        assert_eq!(answer("clone", 0x0100_0f11), ALLOWED);
        for namespace in
            [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000]
        {
            assert_eq!(answer("clone", namespace | 17), REFUSED, "{namespace:#x}");
        }
        for family in [1, 2, 10, 16, 17, 37, 39, 41, 44] {
            assert_eq!(answer("socket", family), ALLOWED, "{family}");
        }
        for family in [38, 40] {
            assert_eq!(answer("socket", family), REFUSED, "{family}");
        }
        for persona in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
            assert_eq!(answer("personality", persona), ALLOWED, "{persona:#x}");
        }
        assert_eq!(answer("personality", 0x0040_0000), REFUSED);
    }
}

#[test]
fn capabilities_open_calls() {
    for (capability, name) in [
        ("CAP_SYS_ADMIN", "mount"),
        ("CAP_SYS_ADMIN", "clone3"),
        ("CAP_SYS_ADMIN", "unshare"),
        ("CAP_BPF", "bpf"),
        ("CAP_PERFMON", "perf_event_open"),
        ("CAP_SYSLOG", "syslog"),
        ("CAP_SYS_BOOT", "reboot"),
        ("CAP_SYS_CHROOT", "chroot"),
        ("CAP_SYS_MODULE", "finit_module"),
        ("CAP_SYS_NICE", "mbind"),
        ("CAP_SYS_PACCT", "acct"),
        ("CAP_SYS_PTRACE", "kcmp"),
        ("CAP_SYS_RAWIO", "iopl"),
        ("CAP_SYS_TIME", "clock_settime"),
        ("CAP_SYS_TTY_CONFIG", "vhangup"),
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ] {
        let with = program(&environment(Architecture::X86_64, &[capability]));
        let without = program(&environment(Architecture::X86_64, &[]));
        assert_eq!(ask(&with, Architecture::X86_64, name, 0), ALLOWED, "{capability} {name}");
        assert_ne!(ask(&without, Architecture::X86_64, name, 0), ALLOWED, "{capability} {name}");
    }
}

#[test]
fn tracing_needs_a_kernel_that_filters_traced_calls() {
    let old = KernelVersion { kernel: 4, major: 7 };
    let old = Environment { kernel: old, ..environment(Architecture::X86_64, &[]) };
    assert_eq!(ask(&program(&old), Architecture::X86_64, "ptrace", 0), REFUSED);
    let new = Environment { kernel: KernelVersion { kernel: 4, major: 8 }, ..old };
    assert_eq!(ask(&program(&new), Architecture::X86_64, "ptrace", 0), ALLOWED);
}

#[test]
fn program_is_pinned() {
    const PROGRAMS: (u32, &str) = (1, "e67e4a37e60c85cde8bc236130bfc6ea504554676e6ff30a9df8dc06cecca0f1");
    let mut bytes = Vec::new();
    for architecture in [Architecture::X86_64, Architecture::Aarch64, Architecture::Riscv64] {
        for instruction in program(&environment(architecture, &DOCKER_CAPABILITIES)).instructions() {
            bytes.extend(instruction.code.to_le_bytes());
            bytes.extend([instruction.jt, instruction.jf]);
            bytes.extend(instruction.k.to_le_bytes());
        }
    }
    let programs = (COMPILER_VERSION, hex_digest(&bytes));
    assert_eq!(
        (programs.0, programs.1.as_str()),
        PROGRAMS,
        "update the digest; if the profile is the same, raise COMPILER_VERSION"
    );
}
