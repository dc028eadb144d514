//! The commands of OCI runtimes on bundles with Docker's configuration, each beside the same of crun and runc, and
//! beside its floor or a program that only ends.

use std::path::Path;

use anyhow::{Context, Result};
use holm_bench::floor::sys;

use super::{Wanted, describe_gap};
use crate::arguments::Peer;
use crate::driver::Machine;
use crate::driver::pairing::{Side, alternate};
use crate::driver::process::Launch;
use crate::driver::report::{Figures, Goal, Measure, Report};
use crate::driver::subject::{
    Floor, Held, OURS, OciRuntimes, Program, RUNTIMES, Runtime, Setting, View, crun_can_use_v2,
};

/// What is compared under which circumstances.
const COMPARISONS: &[(Setting, &[Verb])] = &[
    (
        Setting { view: View::V1, user_namespace: false },
        &[Verb::Run, Verb::Create, Verb::Start, Verb::State, Verb::Kill, Verb::Delete, Verb::Exec],
    ),
    (Setting { view: View::V2, user_namespace: false }, &[Verb::Run, Verb::Create, Verb::Exec]),
    (Setting { view: View::V1, user_namespace: true }, &[Verb::Run, Verb::Create]),
    (Setting { view: View::V2, user_namespace: true }, &[Verb::Run, Verb::Create]),
];

/// In KiB, of `run`, `create` and `exec`.
const PEAK_GOAL: Goal = Goal::AtMost(2000.0);

const FLOOR: &str = "floor";
const NOTHING: &str = "static true";

/// A command of a runtime.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Run,
    Create,
    Start,
    State,
    Kill,
    Delete,
    Exec,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Create => "create",
            Self::Start => "start",
            Self::State => "state",
            Self::Kill => "kill",
            Self::Delete => "delete",
            Self::Exec => "exec",
        }
    }

    /// What is promised of it, and what its peers need.
    fn wanted(self) -> &'static [Wanted] {
        match self {
            Self::Run => &[
                (OURS, FLOOR, Measure::Wall, Some(Goal::AtMost(2.2))),
                ("crun", OURS, Measure::Wall, Some(Goal::AtLeast(2.0))),
                ("runc", OURS, Measure::Wall, Some(Goal::AtLeast(5.0))),
            ],
            Self::Create | Self::Exec => &[
                (OURS, FLOOR, Measure::Wall, Some(Goal::AtMost(1.7))),
                ("crun", OURS, Measure::Wall, None),
                ("runc", OURS, Measure::Wall, None),
            ],
            Self::Start | Self::State | Self::Kill | Self::Delete => &[
                (OURS, NOTHING, Measure::Beyond, Some(Goal::AtMost(1.5))),
                ("crun", NOTHING, Measure::Beyond, None),
                ("runc", NOTHING, Measure::Beyond, None),
            ],
        }
    }
}

/// Every command under its circumstances, back to back and with gaps; then the peak of memory.
pub fn measure(machine: &Machine<'_>, report: &mut Report) {
    let Some(runtimes) = available(machine, report) else { return };
    for (setting, verbs) in COMPARISONS {
        for verb in *verbs {
            let comparison = Comparison { machine, runtimes, setting: *setting, verb: *verb };
            comparison.measure(report);
            if sys::interrupted() {
                return;
            }
        }
    }
    measure_peaks(machine, runtimes, report);
}

/// The runtimes, if they were asked for and are there.
pub(super) fn available<'a>(machine: &'a Machine<'_>, report: &mut Report) -> Option<&'a OciRuntimes> {
    match &machine.runtimes {
        None => None,
        Some(Ok(runtimes)) => Some(runtimes),
        Some(Err(why)) => {
            report.could_not_run("OCI runtimes", why.clone());
            None
        }
    }
}

/// One command under certain circumstances.
struct Comparison<'a> {
    machine: &'a Machine<'a>,
    runtimes: &'a OciRuntimes,
    setting: Setting,
    verb: Verb,
}

impl Comparison<'_> {
    fn measure(&self, report: &mut Report) {
        let title = format!("OCI {}, {}", self.verb.name(), self.setting);
        let mut sides = Vec::new();
        let mut held = Vec::new();
        for name in RUNTIMES {
            if name == "crun" && self.setting.view == View::V2 && !crun_can_use_v2() {
                continue;
            }
            match self.runtimes.runtime(name, self.setting).and_then(|runtime| self.side(&runtime, &mut held))
            {
                Ok(side) => sides.push(side),
                Err(error) => report.could_not_run(format!("{title}: {name}"), format!("{error:#}")),
            }
        }
        match self.machine.floor.as_ref().map(|floor| self.base(floor.as_ref(), &held)) {
            Some(Ok(side)) => sides.insert(0, side),
            Some(Err(error)) => report.could_not_run(format!("{title}: {FLOOR}"), format!("{error:#}")),
            None => {}
        }
        self.alternate(&title, &sides, report);
    }

    fn alternate(&self, title: &str, sides: &[Side], report: &mut Report) {
        let runs = self.machine.arguments.measured_runs();
        for gap in self.machine.arguments.gaps() {
            let series = alternate(&sides.iter().collect::<Vec<_>>(), runs, gap);
            if sys::interrupted() {
                return;
            }
            report.compare(&format!("{title}, {}", describe_gap(gap)), runs, series, self.verb.wanted());
        }
    }

    /// A runtime's side; what has to run meanwhile goes to `held`.
    fn side(&self, runtime: &Runtime, held: &mut Vec<Held>) -> Result<Side> {
        let id = id(runtime);
        let plain = |launch| Side::plain(runtime.name, launch);
        let (ours, its) = (runtime.clone(), id.clone());
        let removed = move |side: Side| Side { reset: Some(Box::new(move || ours.remove(&its))), ..side };
        let (ours, its) = (runtime.clone(), id.clone());
        Ok(match self.verb {
            Verb::Run => plain(runtime.run(&id)),
            Verb::Create => removed(plain(runtime.create(&id, Program::True))),
            Verb::Start => {
                let create = move || ours.create(&its, Program::True).time_and_leave().map(drop);
                removed(Side { prepare: Some(Box::new(create)), ..plain(runtime.start(&id)) })
            }
            Verb::Delete => Side {
                prepare: Some(Box::new(move || ours.leave_stopped(&its))),
                ..plain(runtime.delete(&id))
            },
            Verb::State | Verb::Kill | Verb::Exec => {
                held.push(runtime.hold(&id)?);
                plain(match self.verb {
                    Verb::State => runtime.state(&id),
                    // Nothing happens to a first process that does not ask for this one.
                    Verb::Kill => runtime.kill(&id, "CONT"),
                    _ => runtime.exec(&id),
                })
            }
        })
    }

    /// What the runtimes are measured by.
    fn base(&self, floor: Result<&Floor, &String>, held: &[Held]) -> Result<Side> {
        let floor = floor.map_err(|why| anyhow::anyhow!("{why}"))?;
        let ours = self.runtimes.floor(floor.program(), self.setting)?;
        Ok(match self.verb {
            Verb::Run => Side::plain(FLOOR, ours.run()),
            Verb::Create => {
                let launch = ours.create();
                Side { reset: Some(Box::new(move || ours.remove())), ..Side::plain(FLOOR, launch) }
            }
            Verb::Exec => {
                let container = held.first().context("there is no container to enter")?;
                // Where holm-runtime puts a container that names no groups.
                Side::plain(FLOOR, ours.exec(container.pid, &Path::new(OURS).join(&container.id)))
            }
            _ => Side::plain(NOTHING, floor.nothing()),
        })
    }
}

/// Of the one container that a runtime has at a time.
fn id(runtime: &Runtime) -> String {
    format!("bench-{}", runtime.name)
}

/// Whatever is left of a runtime's container when a command failed or was interrupted; goes with this.
struct Remains(Runtime);

impl Drop for Remains {
    fn drop(&mut self) {
        // There is nothing to remove unless something failed, which was told.
        drop(self.0.remove(&id(&self.0)));
    }
}

/// Runs of which the highest peak counts: the kernel adds pages to a process's count in batches of 32 a processor, so
/// one run may look smaller than it is.
const PEAK_RUNS: usize = 5;

/// The most memory that each runtime has in use, its container's process included.
fn measure_peaks(machine: &Machine<'_>, runtimes: &OciRuntimes, report: &mut Report) {
    let Some(Ok(floor)) = &machine.floor else { return };
    if !machine.arguments.includes(Peer::Runtimes) {
        return;
    }
    let setting = Setting { view: View::V1, user_namespace: false };
    let mut figures = Figures::new(format!("OCI runtimes, peak of resident memory, {setting}"));
    for name in RUNTIMES {
        let measured = runtimes.runtime(name, setting).and_then(|runtime| peaks(&runtime, floor.program()));
        match measured {
            Err(error) => report.could_not_run(format!("peak of {name}"), format!("{error:#}")),
            Ok(peaks) => {
                for (verb, peak) in peaks {
                    let goal = (name == OURS).then_some(PEAK_GOAL);
                    figures.push(format!("{name} {}", verb.name()), peak, "KiB", goal);
                }
            }
        }
    }
    report.add(figures);
}

fn peaks(runtime: &Runtime, meter: &Path) -> Result<[(Verb, f64); 3]> {
    let _remains = Remains(runtime.clone());
    let id = id(runtime);
    let run = highest(|| peak(&runtime.run(&id), meter))?;
    let create = highest(|| {
        let peak = peak(&runtime.create(&id, Program::True), meter);
        runtime.remove(&id).and(peak)
    })?;
    let held = runtime.hold(&id)?;
    let exec = highest(|| peak(&runtime.exec(&held.id), meter))?;
    Ok([(Verb::Run, run), (Verb::Create, create), (Verb::Exec, exec)])
}

fn highest(look: impl Fn() -> Result<f64>) -> Result<f64> {
    (0..PEAK_RUNS).try_fold(0.0, |highest, _| look().map(|peak| f64::max(highest, peak)))
}

fn peak(launch: &Launch, meter: &Path) -> Result<f64> {
    let text = launch.through(meter, &["peak", "--"]).output()?;
    text.parse().with_context(|| format!("`{text}` is no size"))
}
