//! Many containers through holm-runtime, one after another and at once: whether it gets slower, and what is left.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use holm_bench::floor::sys;

use super::many::push_growth;
use super::oci::available;
use super::traces::{Places, Traces};
use crate::driver::Machine;
use crate::driver::process;
use crate::driver::report::{Figures, Goal, Report};
use crate::driver::subject::{Held, OURS, OciFloor, OciRuntimes, Runtime, Setting, View};

/// The first and the last tenth are compared.
const PART: usize = 10;
/// How long a process may take to end that was killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// In a row, then at once.
pub fn measure(machine: &Machine<'_>, report: &mut Report) {
    let Some(runtimes) = available(machine, report) else { return };
    if let Err(error) = measure_both(machine, runtimes, report) {
        report.could_not_run("oci-many", format!("{error:#}"));
    }
}

fn measure_both(machine: &Machine<'_>, runtimes: &OciRuntimes, report: &mut Report) -> Result<()> {
    let setting = Setting { view: View::Host, user_namespace: false };
    let runtime = runtimes.runtime(OURS, setting)?;
    let floor = machine.floor.as_ref().and_then(|floor| floor.as_ref().ok());
    let floor = floor.map(|floor| runtimes.floor(floor.program(), setting)).transpose()?;
    // One in advance: it makes what stays, such as the compiled filter.
    cycle(&runtime, "bench-first")?;
    let places = Places {
        mounts: vec![machine.scratch.path().to_owned()],
        group: OURS,
        folders: vec![runtimes.state()],
    };
    let before = Traces::of(&places);
    let measured = in_a_row(&runtime, floor.as_ref(), machine.arguments.containers_in_a_row(), report)
        .and_then(|()| at_once(&runtime, floor.as_ref(), machine.arguments.held_containers(), report));
    before.report_leftovers(&places, "oci-many: left after removal", report);
    measured
}

fn in_a_row(runtime: &Runtime, floor: Option<&OciFloor>, count: usize, report: &mut Report) -> Result<()> {
    let mut load = Load::beside(floor, count);
    let mut times = Vec::with_capacity(count);
    for number in 0..count {
        times.push(cycle(runtime, &format!("bench-row-{number}"))?);
        load.look(number)?;
    }
    let mut figures = Figures::new(format!("oci-many: {count} containers in a row"));
    load.push(&mut figures, "create, start, kill, delete", &times);
    report.add(figures);
    Ok(())
}

fn at_once(runtime: &Runtime, floor: Option<&OciFloor>, count: usize, report: &mut Report) -> Result<()> {
    let mut load = Load::beside(floor, count);
    let mut held = Vec::with_capacity(count);
    let mut up = Vec::with_capacity(count);
    for number in 0..count {
        let started = Instant::now();
        held.push(runtime.hold(&format!("bench-once-{number}"))?);
        up.push(milliseconds(started.elapsed()));
        load.look(number)?;
    }
    let mut figures = Figures::new(format!("oci-many: {count} containers at once"));
    load.push(&mut figures, "create, start", &up);
    let mut load = Load::beside(floor, count);
    let mut down = Vec::with_capacity(count);
    for (number, held) in held.into_iter().enumerate() {
        down.push(take_down(runtime, held)?);
        load.look(number)?;
    }
    load.push(&mut figures, "kill, delete", &down);
    report.add(figures);
    Ok(())
}

/// A container's whole life; how long the four commands took, in milliseconds.
fn cycle(runtime: &Runtime, id: &str) -> Result<f64> {
    let started = Instant::now();
    let held = runtime.hold(id)?;
    let up = milliseconds(started.elapsed());
    Ok(up + take_down(runtime, held)?)
}

/// Kills and deletes; how long that took without the wait for the process's end, in milliseconds.
fn take_down(runtime: &Runtime, held: Held) -> Result<f64> {
    let kill = runtime.kill(&held.id, "KILL").time_and_leave()?;
    // Whoever started the container reaps it; that is this program.
    process::reap(held.pid, Instant::now() + PATIENCE)?;
    let delete = runtime.delete(&held.id).time_and_leave()?;
    held.forget();
    Ok(milliseconds(kill + delete))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The floor, run once after each of the first and the last containers: how much of a difference is the machine's load.
struct Load<'a> {
    floor: Option<&'a OciFloor>,
    count: usize,
    times: Vec<f64>,
}

impl<'a> Load<'a> {
    fn beside(floor: Option<&'a OciFloor>, count: usize) -> Self {
        Self { floor, count, times: Vec::new() }
    }

    fn look(&mut self, number: usize) -> Result<()> {
        if sys::interrupted() {
            bail!("interrupted by a signal");
        }
        let part = self.count / PART;
        if let Some(floor) = self.floor.filter(|_| number < part || number + part >= self.count) {
            self.times.push(milliseconds(floor.run().time()?.wall));
        }
        Ok(())
    }

    /// How much `times` grew, and how much of that is not the load.
    fn push(&self, figures: &mut Figures, name: &str, times: &[f64]) {
        let part = self.count / PART;
        let growth = push_growth(figures, name, times, part, Some(Goal::AtMost(1.3)));
        if !self.times.is_empty() {
            let load = push_growth(figures, "floor beside it", &self.times, part, None);
            let title = format!("{name}: last / first, by the floor's");
            figures.push(title, growth / load, "", Some(Goal::AtMost(1.3)));
        }
    }
}
