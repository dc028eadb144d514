//! Resource limits: those of whoever called `holm` are for what it started, not for the keeper.
//!
//! A keeper with its caller's `ulimit -f` would be killed by the log that it writes, and with its caller's number of
//! descriptors it could serve few clients. It sheds them at its start and gives them to its workload, where the
//! configuration asks for no other.

use holm_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Spec};
use holm_sys::signals;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const SIGXFSZ: i32 = 25;

/// What the keeper has no use for, and as what the workload gets it back.
const SHED: [(Resource, PosixRlimitType); 3] = [
    (Resource::Fsize, PosixRlimitType::RlimitFsize),
    (Resource::Cpu, PosixRlimitType::RlimitCpu),
    (Resource::As, PosixRlimitType::RlimitAs),
];

const NO_LIMIT: Rlimit = Rlimit { current: None, maximum: None };

/// Frees this process of its caller's limits as far as it may; gives those that it changed, as they were.
pub(crate) fn shed() -> Vec<PosixRlimit> {
    // Where the limit stays, a write past it is an error and not the end.
    signals::ignore(SIGXFSZ);
    let shed = SHED.into_iter().filter_map(|(resource, kind)| {
        let before = getrlimit(resource);
        raise(resource, before, NO_LIMIT).then(|| described(kind, before))
    });
    let descriptors = getrlimit(Resource::Nofile);
    let most = Rlimit { current: descriptors.maximum, ..descriptors };
    let raised = raise(Resource::Nofile, descriptors, most);
    let descriptors = raised.then(|| described(PosixRlimitType::RlimitNofile, descriptors));
    shed.chain(descriptors).collect()
}

/// Sets a limit, or as much of it as is allowed; says whether anything changed.
fn raise(resource: Resource, before: Rlimit, wanted: Rlimit) -> bool {
    let allowed = Rlimit { current: before.maximum, ..before };
    before != wanted
        && (setrlimit(resource, wanted).is_ok() || allowed != before && setrlimit(resource, allowed).is_ok())
}

fn described(kind: PosixRlimitType, limit: Rlimit) -> PosixRlimit {
    // The largest number means no limit.
    let number = |bound: Option<u64>| bound.unwrap_or(u64::MAX);
    let builder = PosixRlimitBuilder::default().typ(kind);
    let builder = builder.soft(number(limit.current)).hard(number(limit.maximum));
    builder.build().expect("no field is missing")
}

/// Gives a workload the limits of whoever started it, where its configuration has none of that kind.
pub(crate) fn give(limits: &[PosixRlimit], spec: &mut Spec) {
    let Some(process) = spec.process_mut().as_mut().filter(|_| !limits.is_empty()) else { return };
    let mut given = process.rlimits().clone().unwrap_or_default();
    for limit in limits {
        if given.iter().all(|own| own.typ() != limit.typ()) {
            given.push(*limit);
        }
    }
    process.set_rlimits(Some(given));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_ones_own_comes_first() {
        let limit = |kind, soft| described(kind, Rlimit { current: Some(soft), maximum: None });
        let mut spec = Spec::default();
        let process = spec.process_mut().as_mut().expect("the default has one");
        process.set_rlimits(Some(vec![limit(PosixRlimitType::RlimitNofile, 5)]));
        let callers = [limit(PosixRlimitType::RlimitNofile, 9), limit(PosixRlimitType::RlimitFsize, 7)];
        give(&callers, &mut spec);
        let given = spec.process().as_ref().and_then(|process| process.rlimits().clone()).expect("some");
        assert_eq!(given, [limit(PosixRlimitType::RlimitNofile, 5), callers[1]]);
        assert_eq!((given[1].soft(), given[1].hard()), (7, u64::MAX));
    }
}
