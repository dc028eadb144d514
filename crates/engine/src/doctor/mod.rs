//! What this host can do, found out by trying, and what helps where it cannot.
//!
//! Probes leave nothing: mounts are made in a mount namespace that goes with its thread, files have no name. No right is
//! needed to ask; without root's most answers are that it is missing.

mod containers;
mod firewalld;
mod machines;
mod mounts;
mod names;

use holm_spec::layout::Layout;
use serde::Serialize;

use crate::host::helper;

/// Whether something works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does.
    Ok,
    /// It does, but not all of it, or more slowly.
    Limited,
    /// It does not.
    Missing,
}

/// What something is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// No container starts without it.
    Containers,
    /// Some settings of containers.
    Settings,
    /// Virtual machines.
    Machines,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Check {
    /// Its name: lower-case words.
    pub name: &'static str,
    /// Whether it works.
    pub state: State,
    /// What it is for.
    pub need: Need,
    /// What was found.
    pub found: String,
    /// What a gap means; empty if there is none.
    pub means: String,
    /// What helps; empty if there is nothing to help, or nothing helps.
    pub hint: String,
}

impl Check {
    fn ok(name: &'static str, need: Need, found: impl Into<String>) -> Self {
        Self { name, state: State::Ok, need, found: found.into(), means: String::new(), hint: String::new() }
    }

    fn limited(self, means: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { state: State::Limited, means: means.into(), hint: hint.into(), ..self }
    }

    fn missing(self, means: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { state: State::Missing, means: means.into(), hint: hint.into(), ..self }
    }
}

/// Runs a guest of a few instructions on `/dev/kvm`; the error says, for people, why KVM does not serve.
type KvmTrial<'a> = &'a dyn Fn() -> Result<(), String>;

/// All checks, those for containers first.
pub fn examine(layout: &Layout) -> Vec<Check> {
    examine_with(layout, &|| match helper("holm-machine") {
        Ok(program) => holm_vmm::host::try_kvm(&program),
        Err(_) => Err("`holm-machine`, which tries it, is not beside holm".to_owned()),
    })
}

fn examine_with(layout: &Layout, kvm: KvmTrial<'_>) -> Vec<Check> {
    let mut checks = containers::examine(layout);
    checks.extend(machines::examine(layout, kvm));
    checks
}

/// How well it goes together: what is missing or limited of what is needed.
pub fn verdict(checks: &[Check], need: Need) -> State {
    checks.iter().filter(|check| check.need == need).map(|check| check.state).max().unwrap_or(State::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_what_is_needed_counts() {
        let check = |need, state| Check { state, ..Check::ok("x", need, "") };
        let checks = [
            check(Need::Containers, State::Ok),
            check(Need::Machines, State::Limited),
            check(Need::Machines, State::Missing),
        ];
        assert_eq!(verdict(&checks, Need::Containers), State::Ok);
        assert_eq!(verdict(&checks, Need::Machines), State::Missing);
        assert_eq!(verdict(&checks, Need::Settings), State::Ok);
    }

    #[test]
    fn every_gap_says_what_it_means_and_the_trial_decides_about_kvm() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout::new(directory.path().join("r"), directory.path().join("x"));
        for trial in [Ok(()), Err("it is odd".to_owned())] {
            let checks = examine_with(&layout, &|| trial.clone());
            for check in &checks {
                assert!(check.state == State::Ok || !check.means.is_empty(), "{check:?}");
                assert!(!check.found.is_empty(), "{check:?}");
            }
            let kvm = checks.iter().find(|check| check.name == "kvm").expect("a check");
            assert!(trial.is_ok() || kvm.state != State::Ok, "{kvm:?}");
        }
        assert!(!layout.root.exists() && !layout.run.exists());
    }
}
