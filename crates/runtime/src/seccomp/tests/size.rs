//! How large programs are, how deep their search is, and what happens at the kernel's limit.

use super::super::filter::{Action, Comparison, Condition, Rule};
use super::super::{Architecture, Filter, Kind, Program, Syscall, compile, default_profile};
use super::interpreter::{Call, check, run};
use super::{DOCKER_CAPABILITIES, environment};

/// How many instructions one call may execute in the default profile, argument checks included.
const DEEPEST: usize = 18;

#[test]
fn default_profile_is_shallow() {
    for native in [Architecture::X86_64, Architecture::Aarch64, Architecture::Riscv64] {
        let filter = default_profile::filter(&environment(native, &DOCKER_CAPABILITIES));
        let program = compile(&filter, native).unwrap();
        check(program.instructions());
        assert!(program.instructions().len() < 400, "{}", program.instructions().len());
        let token = native.audit_token();
        let steps =
            |number| run(program.instructions(), &Call { number, token, arguments: [u64::MAX; 6] }).steps;
        let deepest = (0..1024).map(steps).max();
        assert!(deepest <= Some(DEEPEST), "{deepest:?}");
    }
}

/// A filter that allows `keyctl` only if its second argument is one of `values`.
fn choosy_filter(values: impl Iterator<Item = u64>) -> Filter {
    let mut filter = default_profile::filter(&environment(Architecture::X86_64, &[]));
    let calls = vec![Syscall::from_name("keyctl").unwrap()];
    filter.architectures.clear();
    filter.rules = values
        .map(|value| Rule {
            calls: calls.clone().into(),
            action: Action::Allow,
            conditions: vec![Condition::new(1, Comparison::Equal(value)).unwrap()].into(),
        })
        .collect();
    filter
}

/// Whether `keyctl` is allowed with that second argument.
fn allows(program: &Program, value: u64) -> bool {
    let token = Architecture::X86_64.audit_token();
    let call = Call { number: 250, token, arguments: [0, value, 0, 0, 0, 0] };
    match run(program.instructions(), &call).value {
        value if value == Action::Allow.value() => true,
        value => {
            assert_eq!(value, Action::Errno(1).value());
            false
        }
    }
}

/// Values whose high halves differ, so that each needs loads of its own.
fn scattered(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|value| value << 32 | value)
}

#[test]
fn long_jumps_reach() {
    let program = compile(&choosy_filter(scattered(900)), Architecture::X86_64).unwrap();
    check(program.instructions());
    assert!(program.instructions().len() > 3000);
    for value in scattered(900) {
        assert!(allows(&program, value) && !allows(&program, value + 1), "{value:#x}");
    }
    assert!(!allows(&program, u64::MAX));
}

#[test]
fn values_of_one_argument_share_its_loads() {
    let program = compile(&choosy_filter((0..4000).step_by(2)), Architecture::X86_64).unwrap();
    check(program.instructions());
    assert!(program.instructions().len() < 2100, "{}", program.instructions().len());
    for value in 0..4000 {
        assert_eq!(allows(&program, value), value % 2 == 0, "{value}");
        assert!(!allows(&program, value | 1 << 32), "{value}");
    }
}

#[test]
fn too_long_is_an_error() {
    let error = compile(&choosy_filter(scattered(2000)), Architecture::X86_64).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), Kind::TooLarge);
    assert!(error.to_string().contains("the kernel takes 4096"), "{error}");
}
