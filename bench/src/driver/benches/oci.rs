//! `run` of a bundle with Docker's configuration, by OCI runtimes alone.

use holm_bench::floor::sys;

use super::{Wanted, describe_gap, take_part};
use crate::driver::Machine;
use crate::driver::pairing::alternate;
use crate::driver::report::{Goal, Measure, Report};

const GOALS: &[Wanted] = &[
    ("crun", "holm-runtime", Measure::Wall, Some(Goal::AtLeast(2.0))),
    ("runc", "holm-runtime", Measure::Wall, Some(Goal::AtLeast(5.0))),
    ("holm-runtime", "bare process", Measure::Wall, None),
];

/// Back to back and with gaps.
pub fn measure(machine: &Machine<'_>, report: &mut Report) {
    let mut sides = Vec::new();
    take_part(&mut sides, report, "bare process", &machine.bare, |bare| Ok(bare.run()));
    for runtime in ["holm-runtime", "crun", "runc"] {
        take_part(&mut sides, report, runtime, &machine.runtimes, |runtimes| Ok(runtimes.run(runtime)));
    }
    let runs = machine.arguments.measured_runs();
    for gap in machine.arguments.gaps() {
        let series = alternate(&sides.iter().collect::<Vec<_>>(), runs, gap);
        if sys::interrupted() {
            return;
        }
        report.compare(&format!("OCI runtimes, {}", describe_gap(gap)), runs, series, GOALS);
    }
}
