//! Programs against the oracle: every number, every architecture, sampled arguments.

use super::super::filter::Filter;
use super::super::{Architecture, compile, default_profile};
use super::interpreter::{Call, check, run};
use super::oracle::Oracle;
use super::random::{Random, arguments};
use super::{DOCKER_CAPABILITIES, environment};

/// The numbers -1 to 1024, the same for `x32`, and the private ones of Arm with their surroundings.
fn numbers() -> impl Iterator<Item = u32> {
    let plain = 0..=1024;
    let x32 = 0x3fff_fff0..=0x4000_0400;
    let private = 0xe_fff0..=0xf_0010;
    plain.chain(x32).chain(private).chain([0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff])
}

/// The tokens of all architectures and of some that no filter knows.
fn tokens() -> impl Iterator<Item = u32> {
    let known = [
        Architecture::X86_64,
        Architecture::X86,
        Architecture::Aarch64,
        Architecture::Arm,
        Architecture::Riscv64,
    ];
    known.map(Architecture::audit_token).into_iter().chain([0, 8, 0xffff_ffff])
}

/// Compares the program of `filter` with what the filter says.
fn assert_equivalent(what: &str, filter: &Filter, native: Architecture, samples: &[[u64; 6]]) {
    let program = compile(filter, native).unwrap();
    check(program.instructions());
    let oracle = Oracle::new(filter, native);
    for token in tokens() {
        for number in numbers() {
            let any = Call { number, token, arguments: [0; 6] };
            let samples = if oracle.is_conditional(&any) { samples } else { &samples[..1] };
            for &arguments in samples {
                let call = Call { number, token, arguments };
                let outcome = run(program.instructions(), &call);
                let expected = oracle.answer(&call);
                assert_eq!(outcome.value, expected.value(), "{what}: {call:x?}: {expected:?}");
            }
        }
    }
}

#[test]
fn default_profile_on_every_architecture() {
    let flags =
        [0, 1, 8, 38, 39, 40, 0x2_0000, 0x2_0008, 0xffff_ffff, 0x7e02_0000, 0x1_0000_0000, 0x1000_0000];
    let samples: Vec<_> = flags.map(|first| [first, 0, 0, 0, 0, 0]).to_vec();
    for native in [Architecture::X86_64, Architecture::Aarch64, Architecture::Riscv64] {
        for capabilities in [&[][..], &DOCKER_CAPABILITIES, &["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_BPF"]] {
            let filter = default_profile::filter(&environment(native, capabilities));
            let what = format!("{native:?} with {capabilities:?}");
            assert_equivalent(&what, &filter, native, &samples);
        }
    }
}

#[test]
fn random_filters() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let filter = random.filter();
        let samples = arguments(&mut random, &filter);
        let native = Architecture::ALL[random.below(Architecture::ALL.len())];
        assert_equivalent(&format!("seed {seed}"), &filter, native, &samples);
    }
}
