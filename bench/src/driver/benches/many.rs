//! Many containers, started one after another and held: whether starts get slower, and what is left of them.

use anyhow::Result;

use super::traces::{Places, Traces};
use crate::driver::Machine;
use crate::driver::pairing::Spread;
use crate::driver::process::reap_ended;
use crate::driver::report::{Figures, Goal, Report};
use crate::driver::subject::Holm;

/// How many starts make the first and the last group.
const GROUP: usize = 20;

/// Starts, compares, removes, looks.
pub fn measure(machine: &Machine<'_>, report: &mut Report) {
    let holm = match &machine.holm {
        None => return,
        Some(Err(why)) => return report.could_not_run("many", why.clone()),
        Some(Ok(holm)) => holm,
    };
    let places = places(holm);
    let before = Traces::of(&places);
    let measured = start_all(machine, holm, machine.arguments.held_containers(), report);
    let removed = holm.remove_held();
    for error in [measured.err(), removed.err()].into_iter().flatten() {
        report.could_not_run("many", format!("{error:#}"));
    }
    before.report_leftovers(&places, "many: left after removal", report);
}

fn places(holm: &Holm) -> Places {
    Places {
        mounts: vec![holm.root(), holm.run_root()],
        group: "holm",
        folders: vec![holm.run_root(), holm.root().join("workloads"), holm.root().join("snapshots")],
    }
}

/// Starts `count` containers. After each of the first and the last ones the floor runs once, which shows how
/// much of a difference is the machine's load.
fn start_all(machine: &Machine<'_>, holm: &Holm, count: usize, report: &mut Report) -> Result<()> {
    let mut holms = Vec::with_capacity(count);
    let mut floors = Vec::with_capacity(2 * GROUP);
    for number in 0..count {
        holms.push(holm.hold(&format!("bench-many-{number}"))?.as_secs_f64() * 1e3);
        reap_ended();
        let counts = number < GROUP || number + GROUP >= count;
        if let Some(Ok(floor)) = machine.floor.as_ref().filter(|_| counts) {
            floors.push(floor.run().time()?.wall.as_secs_f64() * 1e3);
        }
    }
    let mut figures = Figures::new(format!("many: {count} containers started one after another and held"));
    let growth = push_growth(&mut figures, "start", &holms, GROUP, Some(Goal::AtMost(1.3)));
    if !floors.is_empty() {
        let load = push_growth(&mut figures, "floor beside it", &floors, GROUP, None);
        figures.push("start last / first, by the floor's", growth / load, "", Some(Goal::AtMost(1.3)));
    }
    report.add(figures);
    Ok(())
}

/// Medians of the first and the last `group` times, in milliseconds, and their ratio, which it returns.
pub(super) fn push_growth(
    figures: &mut Figures,
    name: &str,
    times: &[f64],
    group: usize,
    goal: Option<Goal>,
) -> f64 {
    let first = Spread::of(times.iter().take(group).copied()).median;
    let last = Spread::of(times.iter().rev().take(group).copied()).median;
    figures.push(format!("{name}: median of the first {group}"), first, "ms", None);
    figures.push(format!("{name}: median of the last {group}"), last, "ms", None);
    figures.push(format!("{name}: last / first"), last / first, "", goal);
    last / first
}
