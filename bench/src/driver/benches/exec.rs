//! `exec CONTAINER true` in a container that is already running.

use anyhow::Result;

use super::{HEAVY_GOALS, compare_with_gaps, take_part};
use crate::driver::Machine;
use crate::driver::report::Report;
use crate::driver::subject::{Floor, HeldFloor, Holm};

const NAME: &str = "bench-exec";

/// The floor enters holm's own container where there is one, else one of its own.
pub fn measure(machine: &Machine<'_>, report: &mut Report) {
    let mut sides = Vec::new();
    let mut floors_own = None;
    take_part(&mut sides, report, "bare process", &machine.bare, |bare| Ok(bare.run()));
    let mut pid = None;
    take_part(&mut sides, report, "holm", &machine.holm, |holm| {
        pid = Some(hold(holm)?);
        Ok(holm.exec(NAME))
    });
    take_part(&mut sides, report, "floor", &machine.floor, |floor| match pid {
        Some(pid) => Ok(floor.exec(pid)),
        None => Ok(floor.exec(hold_own(floor, &mut floors_own)?)),
    });
    take_part(&mut sides, report, "podman", &machine.podman, |podman| Ok(podman.exec(&podman.hold()?)));
    compare_with_gaps(machine, report, "exec", &sides, HEAVY_GOALS);
    if let Some(Ok(holm)) = &machine.holm
        && let Err(error) = holm.remove_held()
    {
        report.could_not_run("holm rm", format!("{error:#}"));
    }
}

fn hold(holm: &Holm) -> Result<u32> {
    holm.hold(NAME)?;
    holm.pid(NAME)
}

fn hold_own(floor: &Floor, kept: &mut Option<HeldFloor>) -> Result<u32> {
    Ok(kept.insert(floor.hold()?).pid)
}
