//! What a network costs a start: `run --rm IMAGE true` on the default bridge beside `--network none`, and beside podman with
//! its bridge; and whether starts get slower when many workloads are on one bridge.
//!
//! All of it happens in a network namespace of the bench's own, so bridges and rules are nobody else's.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use holm_sys::interface::set_loopback_up;
use holm_sys::process::{Namespaces, unshare};
use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::many::push_growth;
use super::{describe_gap, take_part};
use crate::driver::Machine;
use crate::driver::pairing::{Side, alternate};
use crate::driver::process::reap_ended;
use crate::driver::report::{Figures, Goal, Measure, Report};
use crate::driver::subject::Holm;

/// Workloads that are on one bridge at last.
const HELD: usize = 100;
/// How many starts make the first and the last group.
const GROUP: usize = 10;

/// Compares, then fills a bridge.
pub fn measure(machine: &Machine<'_>, report: &mut Report) {
    let namespace = match Apart::enter() {
        Ok(namespace) => namespace,
        Err(error) => return report.could_not_run("network", format!("{error:#}")),
    };
    compare(machine, report);
    if let Some(Ok(holm)) = &machine.holm
        && let Err(error) = fill(holm, report)
    {
        report.could_not_run("network: many on one bridge", format!("{error:#}"));
    }
    drop(namespace);
}

fn compare(machine: &Machine<'_>, report: &mut Report) {
    let mut sides = Vec::new();
    take_part(&mut sides, report, "holm, none", &machine.holm, |holm| Ok(holm.run()));
    take_part(&mut sides, report, "holm, bridge", &machine.holm, |holm| Ok(holm.run_bridged(&[])));
    let ports = ["--publish", "8080:80"];
    take_part(&mut sides, report, "holm, a port", &machine.holm, |holm| Ok(holm.run_bridged(&ports)));
    take_part(&mut sides, report, "podman, bridge", &machine.podman, |podman| Ok(podman.run_bridged()));
    let goals = &[
        ("holm, bridge", "holm, none", Measure::Wall, Some(Goal::AtMost(2.0))),
        ("holm, a port", "holm, none", Measure::Wall, None),
        ("podman, bridge", "holm, bridge", Measure::Wall, Some(Goal::AtLeast(12.0))),
    ];
    let sides: Vec<&Side> = sides.iter().collect();
    let runs = machine.arguments.measured_runs();
    for gap in machine.arguments.gaps() {
        let series = alternate(&sides, runs, gap);
        report.compare(&format!("network, {}", describe_gap(gap)), runs, series, goals);
    }
}

fn fill(holm: &Holm, report: &mut Report) -> Result<()> {
    let times = (0..HELD).map(|number| {
        let time = holm.hold_bridged(&format!("bench-network-{number}"));
        reap_ended();
        time.map(|time| time.as_secs_f64() * 1e3)
    });
    let times = times.collect::<Result<Vec<_>>>();
    let removed = holm.remove_held();
    let mut figures = Figures::new(format!("network: {HELD} workloads on one bridge"));
    push_growth(&mut figures, "start", &times?, GROUP, Some(Goal::AtMost(1.3)));
    report.add(figures);
    removed
}

/// The way back to the network namespace that this thread came from.
pub struct Apart(OwnedFd);

impl Apart {
    /// Leaves it for a new one, with loopback up.
    pub fn enter() -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let own = rustix::fs::open("/proc/thread-self/ns/net", flags, Mode::empty())
            .context("opening the network namespace")?;
        unshare(Namespaces::NETWORK).context("making a network namespace")?;
        set_loopback_up().context("setting its loopback up")?;
        Ok(Self(own))
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // Whoever stays would measure on in the wrong place, which its figures would show.
        let _ = move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network));
    }
}
