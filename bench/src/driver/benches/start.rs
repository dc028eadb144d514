//! `run --rm --network none IMAGE true`, from nothing to nothing, without and with a memory limit.

use super::{HEAVY_GOALS, compare_with_gaps, take_part};
use crate::driver::Machine;
use crate::driver::pairing::Side;
use crate::driver::report::Report;

const LIMIT_BYTES: u64 = 64 << 20;

/// With a limit too, because on a hybrid host that joins a v1 group.
pub fn measure(machine: &Machine<'_>, report: &mut Report) {
    let unlimited = sides(machine, report);
    compare_with_gaps(machine, report, "start", &unlimited, HEAVY_GOALS);
    let limited = limited_sides(machine, report);
    compare_with_gaps(machine, report, "start with --memory 64m", &limited, HEAVY_GOALS);
}

fn sides(machine: &Machine<'_>, report: &mut Report) -> Vec<Side> {
    let mut sides = Vec::new();
    take_part(&mut sides, report, "bare process", &machine.bare, |bare| Ok(bare.run()));
    take_part(&mut sides, report, "unshare", &machine.unshare, |unshare| Ok(unshare.run()));
    take_part(&mut sides, report, "floor", &machine.floor, |floor| Ok(floor.run()));
    take_part(&mut sides, report, "holm", &machine.holm, |holm| Ok(holm.run()));
    take_part(&mut sides, report, "podman", &machine.podman, |podman| Ok(podman.run()));
    sides
}

fn limited_sides(machine: &Machine<'_>, report: &mut Report) -> Vec<Side> {
    let mut sides = Vec::new();
    take_part(&mut sides, report, "floor", &machine.floor, |floor| Ok(floor.run_limited(LIMIT_BYTES)));
    take_part(&mut sides, report, "holm", &machine.holm, |holm| Ok(holm.run_limited(LIMIT_BYTES)));
    take_part(&mut sides, report, "podman", &machine.podman, |podman| Ok(podman.run_limited(LIMIT_BYTES)));
    sides
}
