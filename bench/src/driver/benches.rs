//! The benches: one file for each promise.

pub mod build;
pub mod convert;
pub mod dns;
pub mod exec;
pub mod import;
pub mod large_layer;
pub mod logs;
pub mod many;
pub mod memory;
pub mod mount;
pub mod network;
pub mod oci;
pub mod oci_many;
pub mod pull;
pub mod registry_server;
pub mod start;
pub mod throughput;
mod traces;
pub mod vm;

use std::path::Path;

use anyhow::Context;
use holm_bench::floor::sys;

use super::host;
use super::pairing::{Side, alternate};
use super::process::Launch;
use super::report::{Goal, Measure, Report};
use super::{Available, Machine};

/// A ratio of two sides, and its goal.
type Wanted = (&'static str, &'static str, Measure, Option<Goal>);

/// What `start` and `exec` promise beside what is light.
const LIGHT_GOALS: &[Wanted] = &[("holm", "floor", Measure::Wall, Some(Goal::AtMost(3.0)))];

/// And beside what is heavy.
const HEAVY_GOALS: &[Wanted] =
    &[("podman", "holm", Measure::Wall, Some(Goal::AtLeast(10.0))), ("podman", "floor", Measure::Wall, None)];

/// Compares the sides back to back and with gaps, because a tight loop hides the RCU grace periods that
/// some calls wait for. The heavy ones come in a second comparison: the kernel clears up after them for
/// tens of milliseconds, and whoever runs next would pay for it.
fn compare_with_gaps(
    machine: &Machine<'_>,
    report: &mut Report,
    title: &str,
    sides: &[Side],
    heavy_goals: &'static [Wanted],
) {
    let pick = |names: &[&str]| sides.iter().filter(|side| names.contains(&side.name.as_str())).collect();
    let light: Vec<&Side> = pick(&["bare process", "unshare", "floor", "holm"]);
    let heavy: Vec<&Side> = pick(&["floor", "holm", "podman"]);
    let beside_podman = format!("{title}, beside podman");
    let mut comparisons = vec![(title, light, LIGHT_GOALS)];
    if heavy.iter().any(|side| side.name == "podman") {
        comparisons.push((&beside_podman, heavy, heavy_goals));
    }
    let runs = machine.arguments.measured_runs();
    for (title, sides, goals) in comparisons {
        for gap in machine.arguments.gaps() {
            let series = alternate(&sides, runs, gap);
            if sys::interrupted() {
                return;
            }
            report.compare(&format!("{title}, {}", describe_gap(gap)), runs, series, goals);
        }
    }
}

/// Adds a side for a subject that is there; notes why one is not.
fn take_part<T>(
    sides: &mut Vec<Side>,
    report: &mut Report,
    name: &str,
    subject: &Available<T>,
    launch: impl FnOnce(&T) -> anyhow::Result<Launch>,
) {
    let launch = match subject {
        None => return,
        Some(Err(why)) => Err(why.clone()),
        Some(Ok(subject)) => launch(subject).map_err(|error| format!("{error:#}")),
    };
    match launch {
        Ok(launch) => sides.push(Side::plain(name, launch)),
        Err(why) => report.could_not_run(name, why),
    }
}

/// `back to back`, or the pause.
fn describe_gap(gap: std::time::Duration) -> String {
    if gap.is_zero() { "back to back".to_owned() } else { format!("after {} ms each", gap.as_millis()) }
}

/// Removes a directory and all mounts in it, if it is there.
fn discard(directory: &Path) -> anyhow::Result<()> {
    host::detach_mounts_below(directory);
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("removing `{}`", directory.display())),
    }
}

/// Bytes that are not like those of another `number`, nor like themselves.
fn content(number: usize, size: usize) -> Vec<u8> {
    let mut state = number as u64 + 1;
    let mut next = || {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..size.div_ceil(8)).flat_map(|_| next()).collect();
    bytes.truncate(size);
    bytes
}
