//! Many containers, started one after another and held: whether starts get slower, and what is left of them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::driver::Machine;
use crate::driver::host;
use crate::driver::pairing::Spread;
use crate::driver::process::reap_ended;
use crate::driver::report::{Figures, Goal, Report};
use crate::driver::subject::Holm;

/// How many starts make the first and the last group.
const GROUP: usize = 20;
/// How long the kernel and process 1 may take to clear away what `rm` has released.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts, compares, removes, looks.
pub fn measure(machine: &Machine<'_>, report: &mut Report) {
    let holm = match &machine.holm {
        None => return,
        Some(Err(why)) => return report.could_not_run("many", why.clone()),
        Some(Ok(holm)) => holm,
    };
    let before = Traces::of(holm);
    let measured = start_all(machine, holm, machine.arguments.held_containers(), report);
    let removed = holm.remove_held();
    for error in [measured.err(), removed.err()].into_iter().flatten() {
        report.could_not_run("many", format!("{error:#}"));
    }
    report_leftovers(holm, &before, report);
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
    let growth = push_growth(&mut figures, "start", &holms, Some(Goal::AtMost(1.3)));
    if !floors.is_empty() {
        let load = push_growth(&mut figures, "floor beside it", &floors, None);
        figures.push("start last / first, by the floor's", growth / load, "", Some(Goal::AtMost(1.3)));
    }
    report.add(figures);
    Ok(())
}

/// Medians of the first and the last times, and their ratio, which it returns.
fn push_growth(figures: &mut Figures, name: &str, times: &[f64], goal: Option<Goal>) -> f64 {
    let first = Spread::of(times.iter().take(GROUP).copied()).median;
    let last = Spread::of(times.iter().rev().take(GROUP).copied()).median;
    figures.push(format!("{name}: median of the first {GROUP}"), first, "ms", None);
    figures.push(format!("{name}: median of the last {GROUP}"), last, "ms", None);
    figures.push(format!("{name}: last / first"), last / first, "", goal);
    last / first
}

/// What containers leave traces in.
struct Traces {
    processes: Vec<String>,
    mounts: Vec<PathBuf>,
    groups: Vec<PathBuf>,
    entries: Vec<PathBuf>,
}

impl Traces {
    fn of(holm: &Holm) -> Self {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let processes =
            host::descendants(own).into_iter().map(|one| format!("{} {}", one.pid, one.name)).collect();
        let mut mounts = host::mounts_below(&holm.root());
        mounts.extend(host::mounts_below(&holm.run_root()));
        let groups = host::groups_named("holm").iter().flat_map(|group| host::groups_below(group)).collect();
        let folders = [holm.run_root(), holm.root().join("workloads"), holm.root().join("snapshots")];
        Self {
            processes,
            mounts,
            groups,
            entries: folders.iter().flat_map(|folder| entries(folder)).collect(),
        }
    }

    /// What is here and was not `before`, as text.
    fn since(&self, before: &Self) -> [(&'static str, Vec<String>); 4] {
        let paths = |now: &[PathBuf], then: &[PathBuf]| {
            now.iter().filter(|path| !then.contains(path)).map(|path| path.display().to_string()).collect()
        };
        let ours = self.processes.iter().filter(|one| !before.processes.contains(one)).cloned().collect();
        [
            ("processes left", ours),
            ("mounts left", paths(&self.mounts, &before.mounts)),
            ("groups left", paths(&self.groups, &before.groups)),
            ("files and folders left", paths(&self.entries, &before.entries)),
        ]
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Looks until nothing is left or patience ends; then reports how much is left, and one example of each.
fn report_leftovers(holm: &Holm, before: &Traces, report: &mut Report) {
    let deadline = Instant::now() + PATIENCE;
    let left = loop {
        reap_ended();
        let left = Traces::of(holm).since(before);
        if left.iter().all(|(_, traces)| traces.is_empty()) || Instant::now() > deadline {
            break left;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let mut figures = Figures::new("many: left after removal");
    for (kind, traces) in left {
        let example = traces.first().map(|trace| format!(", such as {trace}")).unwrap_or_default();
        figures.push(format!("{kind}{example}"), traces.len() as f64, "", Some(Goal::AtMost(0.0)));
    }
    report.add(figures);
}
