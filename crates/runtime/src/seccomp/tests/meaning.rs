//! What documents mean, said by hand: the oracle shares the filter with the compiler, so the way from a
//! document to a filter and the rules of precedence are pinned here by examples.

use holm_spec::runtime::LinuxSeccomp;
use holm_sys::seccomp::{
    FLAG_LOG, FLAG_NEW_LISTENER, FLAG_SPEC_ALLOW, FLAG_TSYNC, FLAG_TSYNC_ESRCH, FLAG_WAIT_KILLABLE_RECV,
};
use serde_json::json;

use super::super::{Architecture, Error, Filter, Kind, Program, Syscall, compile};
use super::interpreter::{Call, run};

const ALLOW: u32 = 0x7fff_0000;
const KILL_THREAD: u32 = 0;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn filter(document: serde_json::Value) -> Result<Filter, Error> {
    let document: LinuxSeccomp = serde_json::from_value(document).unwrap();
    Filter::from_oci(&document, Architecture::X86_64)
}

fn program(document: serde_json::Value) -> Program {
    compile(&filter(document).unwrap(), Architecture::X86_64).unwrap()
}

fn ask(program: &Program, architecture: Architecture, name: &str, arguments: &[u64]) -> u32 {
    let number = Syscall::from_name(name).unwrap().number(architecture).unwrap();
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    run(program.instructions(), &Call { number, token: architecture.audit_token(), arguments: all }).value
}

fn ask_native(program: &Program, name: &str, arguments: &[u64]) -> u32 {
    ask(program, Architecture::X86_64, name, arguments)
}

#[test]
fn every_action_has_its_value() {
    for (action, data, value) in [
        ("SCMP_ACT_KILL", None, 0),
        ("SCMP_ACT_KILL_THREAD", None, 0),
        ("SCMP_ACT_KILL_PROCESS", None, 0x8000_0000),
        ("SCMP_ACT_TRAP", None, 0x0003_0000),
        ("SCMP_ACT_ERRNO", None, EPERM),
        ("SCMP_ACT_ERRNO", Some(13), 0x0005_000d),
        ("SCMP_ACT_TRACE", None, 0x7ff0_0001),
        ("SCMP_ACT_TRACE", Some(9), 0x7ff0_0009),
        ("SCMP_ACT_LOG", None, 0x7ffc_0000),
        ("SCMP_ACT_NOTIFY", None, 0x7fc0_0000),
    ] {
        let program = program(json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": "/run/listener",
            "syscalls": [{ "names": ["mkdir"], "action": action, "errnoRet": data }],
        }));
        assert_eq!(ask_native(&program, "mkdir", &[]), value, "{action}");
        assert_eq!(ask_native(&program, "rmdir", &[]), ALLOW);
    }
}

#[test]
fn every_operator_compares_all_64_bits() {
    let value: u64 = 0x5_0000_0007;
    let near = [value - 1, value, value + 1, 7, 0x6_0000_0000, 0x4_ffff_ffff, 0, u64::MAX];
    type Test = fn(u64, u64) -> bool;
    let operators: [(&str, Test); 6] = [
        ("SCMP_CMP_NE", |a, b| a != b),
        ("SCMP_CMP_LT", |a, b| a < b),
        ("SCMP_CMP_LE", |a, b| a <= b),
        ("SCMP_CMP_EQ", |a, b| a == b),
        ("SCMP_CMP_GE", |a, b| a >= b),
        ("SCMP_CMP_GT", |a, b| a > b),
    ];
    for (operator, holds) in operators {
        let program = program(json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{
                "names": ["mkdir"], "action": "SCMP_ACT_ALLOW",
                "args": [{ "index": 3, "value": value, "op": operator }],
            }],
        }));
        for argument in near {
            let expected = if holds(argument, value) { ALLOW } else { EPERM };
            assert_eq!(
                ask_native(&program, "mkdir", &[0, 0, 0, argument]),
                expected,
                "{argument:#x} {operator}"
            );
        }
    }
}

#[test]
fn masked_comparison() {
    let program = program(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{
            "names": ["mkdir"], "action": "SCMP_ACT_ALLOW",
            "args": [{ "index": 0, "value": 0xf0_0000_00f0_u64, "valueTwo": 0x10_0000_0020_u64, "op": "SCMP_CMP_MASKED_EQ" }],
        }],
    }));
    assert_eq!(ask_native(&program, "mkdir", &[0x10_0000_0020]), ALLOW);
    assert_eq!(ask_native(&program, "mkdir", &[0xff0f_ff1f_ffff_ff2f]), ALLOW);
    assert_eq!(ask_native(&program, "mkdir", &[0x20]), EPERM);
    assert_eq!(ask_native(&program, "mkdir", &[0x10_0000_0000]), EPERM);
}

#[test]
fn conditions_are_joined_and_rules_are_alternatives() {
    let equal = |index, value| json!({ "index": index, "value": value, "op": "SCMP_CMP_EQ" });
    let rule = |args| json!({ "names": ["mkdir"], "action": "SCMP_ACT_ALLOW", "args": args });
    let program = program(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [rule(json!([equal(0, 1), equal(1, 2)])), rule(json!([equal(0, 5)]))],
    }));
    for (arguments, expected) in [([1, 2], ALLOW), ([1, 3], EPERM), ([0, 2], EPERM), ([5, 9], ALLOW)] {
        assert_eq!(ask_native(&program, "mkdir", &arguments), expected, "{arguments:?}");
    }
}

#[test]
fn two_conditions_on_one_argument_are_alternatives() {
    let equal = |value| json!({ "index": 0, "value": value, "op": "SCMP_CMP_EQ" });
    let program = program(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ALLOW", "args": [equal(1), equal(4)] }],
    }));
    for (argument, expected) in [(1, ALLOW), (4, ALLOW), (2, EPERM)] {
        assert_eq!(ask_native(&program, "mkdir", &[argument]), expected);
    }
}

#[test]
fn precedence_of_rules() {
    let conditional = json!([{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }]);
    let program = program(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            { "names": ["mkdir"], "action": "SCMP_ACT_ALLOW", "args": conditional },
            { "names": ["mkdir"], "action": "SCMP_ACT_TRAP" },
            { "names": ["mkdir"], "action": "SCMP_ACT_LOG" },
            { "names": ["rmdir"], "action": "SCMP_ACT_ERRNO" },
            { "names": ["rmdir"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["chdir"], "action": "SCMP_ACT_LOG", "args": conditional },
            { "names": ["chdir"], "action": "SCMP_ACT_TRAP", "args": conditional },
        ],
    }));
    assert_eq!(ask_native(&program, "mkdir", &[1]), 0x0003_0000, "unconditional beats conditional");
    assert_eq!(ask_native(&program, "rmdir", &[]), ALLOW, "the default action as a rule says nothing");
    assert_eq!(ask_native(&program, "chdir", &[1]), 0x7ffc_0000, "the first alternative counts");
}

#[test]
fn new_calls_are_absent_unless_the_default_lets_them_through() {
    let document = |default| {
        json!({
            "defaultAction": default,
            "syscalls": [{ "names": ["mkdir", "close_range"], "action": "SCMP_ACT_KILL_PROCESS" }],
        })
    };
    for (default, below, above) in [
        ("SCMP_ACT_ERRNO", EPERM, ENOSYS),
        ("SCMP_ACT_KILL", KILL_THREAD, ENOSYS),
        ("SCMP_ACT_TRAP", 0x0003_0000, ENOSYS),
        ("SCMP_ACT_ALLOW", ALLOW, ALLOW),
        ("SCMP_ACT_LOG", 0x7ffc_0000, 0x7ffc_0000),
        ("SCMP_ACT_TRACE", 0x7ff0_0001, 0x7ff0_0001),
    ] {
        let program = program(document(default));
        assert_eq!(ask_native(&program, "clone3", &[]), below, "{default}");
        assert_eq!(ask_native(&program, "openat2", &[]), above, "{default}");
    }
}

#[test]
fn unlisted_architectures_are_killed_and_listed_ones_judged() {
    let document = |architectures| {
        json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": architectures,
            "syscalls": [{ "names": ["mkdir", "rt_sigaction", "chown32"], "action": "SCMP_ACT_ALLOW" }],
        })
    };
    let alone = program(document(json!(["SCMP_ARCH_X86_64"])));
    assert_eq!(ask_native(&alone, "mkdir", &[]), ALLOW);
    for other in [Architecture::X86, Architecture::X32, Architecture::Arm] {
        assert_eq!(ask(&alone, other, "mkdir", &[]), KILL_THREAD, "{other:?}");
    }
    let all = program(document(json!(["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_MIPS"])));
    assert_eq!(ask_native(&all, "mkdir", &[]), ALLOW, "the native one is always there");
    assert_eq!(ask(&all, Architecture::X86, "chown32", &[]), ALLOW);
    assert_eq!(ask(&all, Architecture::X32, "rt_sigaction", &[]), ALLOW);
    assert_eq!(ask(&all, Architecture::X32, "getpid", &[]), EPERM);
}

#[test]
fn a_call_that_a_tracer_skips_is_not_killed() {
    let program = program(json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [] }));
    let call = |number| Call { number, token: Architecture::X86_64.audit_token(), arguments: [0; 6] };
    assert_eq!(run(program.instructions(), &call(u32::MAX)).value, EPERM);
    assert_eq!(run(program.instructions(), &call(u32::MAX - 1)).value, KILL_THREAD);
}

#[test]
fn narrow_arguments_ignore_their_high_half() {
    let program = program(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [{
            "names": ["mkdir"], "action": "SCMP_ACT_ALLOW",
            "args": [{ "index": 0, "value": u64::MAX, "op": "SCMP_CMP_EQ" }],
        }],
    }));
    assert_eq!(ask(&program, Architecture::X86, "mkdir", &[0xffff_ffff]), ALLOW);
    assert_eq!(ask_native(&program, "mkdir", &[0xffff_ffff]), EPERM);
}

#[test]
fn old_x86_programs_reach_sockets_by_socketcall() {
    let only = |action, args| {
        program(json!({
            "defaultAction": if action == "SCMP_ACT_ALLOW" { "SCMP_ACT_ERRNO" } else { "SCMP_ACT_ALLOW" },
            "architectures": ["SCMP_ARCH_X86"],
            "syscalls": [{ "names": ["socket", "shmget"], "action": action, "args": args }],
        }))
    };
    let family = json!([{ "index": 0, "value": 40, "op": "SCMP_CMP_EQ" }]);
    let socketcall = |program: &Program, code| ask(program, Architecture::X86, "socketcall", &[code]);
    let allowed = only("SCMP_ACT_ALLOW", json!([]));
    assert_eq!((socketcall(&allowed, 1), socketcall(&allowed, 2)), (ALLOW, EPERM));
    let refused = only("SCMP_ACT_ERRNO", json!([]));
    assert_eq!((socketcall(&refused, 1), socketcall(&refused, 2)), (EPERM, ALLOW));
    assert_eq!(ask(&refused, Architecture::X86, "ipc", &[0x1_0017]), EPERM, "whatever the version");
    let allowed_sometimes = only("SCMP_ACT_ALLOW", family.clone());
    assert_eq!(socketcall(&allowed_sometimes, 1), EPERM, "cannot look, so not allowed");
    let refused_sometimes = only("SCMP_ACT_ERRNO", family);
    assert_eq!(socketcall(&refused_sometimes, 1), EPERM, "cannot look, so refused");
}

#[test]
fn flags_and_listener_are_kept() {
    let document = |flags| {
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "flags": flags,
            "listenerPath": "/run/listener",
            "listenerMetadata": "about",
            "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }],
        })
    };
    let plain = document(json!([
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
    ]));
    let compiled = program(plain.clone());
    assert_eq!(compiled.flags(), FLAG_LOG | FLAG_SPEC_ALLOW | FLAG_WAIT_KILLABLE_RECV | FLAG_NEW_LISTENER);
    assert!(compiled.has_listener());
    let listener = filter(plain).unwrap().listener.unwrap();
    assert_eq!(
        (listener.path.to_str(), listener.metadata.as_deref()),
        (Some("/run/listener"), Some("about"))
    );
    let synchronised = program(document(json!(["SECCOMP_FILTER_FLAG_TSYNC"])));
    assert_eq!(synchronised.flags(), FLAG_TSYNC | FLAG_TSYNC_ESRCH | FLAG_NEW_LISTENER);
}

#[test]
fn unknown_names_are_reported_and_ignored() {
    let filter = filter(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "names": ["mkdir", "make_coffee", "swapcontext"], "action": "SCMP_ACT_ALLOW" }],
    }));
    assert_eq!(filter.unwrap().unknown_names(), ["make_coffee", "swapcontext"]);
}

#[test]
fn bad_documents_are_refused() {
    let rule = |rule| json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
    let argument = json!([{ "index": 6, "value": 0, "op": "SCMP_CMP_EQ" }]);
    for (document, kind) in [
        (rule(json!({ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096 })), Kind::Invalid),
        (rule(json!({ "names": ["mkdir"], "action": "SCMP_ACT_TRACE", "errnoRet": 65536 })), Kind::Invalid),
        (rule(json!({ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": argument })), Kind::Invalid),
        (rule(json!({ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" })), Kind::Unsupported),
        (rule(json!({ "names": ["write"], "action": "SCMP_ACT_NOTIFY" })), Kind::Unsupported),
        (json!({ "defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/run/l" }), Kind::Unsupported),
        (json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5000 }), Kind::Invalid),
    ] {
        assert_eq!(filter(document.clone()).unwrap_err().kind(), kind, "{document}");
    }
}
