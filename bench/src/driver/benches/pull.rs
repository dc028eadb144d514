//! `pull` and `push` of an image of three layers, from and to Debian's docker-registry, and to ours, beside the floor, podman
//! and skopeo.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use holm_bench::floor::{LEFT_OUT_OF_PULL, sys};

use super::{discard, take_part};
use crate::driver::Machine;
use crate::driver::pairing::{Side, alternate};
use crate::driver::process::Launch;
use crate::driver::report::{Figures, Goal, Measure, Report};
use crate::driver::subject::Holm;
use crate::driver::subject::registry::{self, DockerRegistry, REPOSITORY, TAG};
use crate::driver::subject::server::Server;

/// Each takes seconds, so few of them say enough.
const MOST_RUNS: u32 = 10;

/// A cold store each time.
pub fn measure(machine: &Machine<'_>, report: &mut Report) {
    if let Err(error) = try_measure(machine, report) {
        report.could_not_run("pull", format!("{error:#}"));
    }
}

fn try_measure(machine: &Machine<'_>, report: &mut Report) -> Result<()> {
    let storage = registry::storage()?;
    let scratch = machine.scratch.path().join("pull");
    std::fs::create_dir(&scratch)?;
    let registry = DockerRegistry::serve(&scratch, "from", &storage)?;
    let image = format!("{}/{REPOSITORY}:{TAG}", registry.address);
    report.note("the floor of a pull leaves out", LEFT_OUT_OF_PULL);
    pull(machine, report, &scratch, &registry, &image);
    if !sys::interrupted() {
        peak(machine, report, &image)?;
        push(machine, report, &scratch, &image)?;
    }
    Ok(())
}

fn runs(machine: &Machine<'_>) -> u32 {
    machine.arguments.measured_runs().min(MOST_RUNS)
}

fn pull(machine: &Machine<'_>, report: &mut Report, scratch: &Path, registry: &DockerRegistry, image: &str) {
    let mut sides: Vec<Side> = Vec::new();
    take_part(&mut sides, report, "floor", &machine.floor, |floor| {
        let directory = scratch.join("floor");
        Ok(Launch::new(floor.program()).with(["pull", &registry.address, REPOSITORY, TAG]).with([directory]))
    });
    take_part(&mut sides, report, "holm", &machine.holm, |holm| Ok(holm.apart_with(&["pull", "-q", image])));
    take_part(&mut sides, report, "podman", &machine.podman, |podman| {
        Ok(podman.apart(scratch).with(["pull", "--quiet", "--tls-verify=false", image]))
    });
    for side in &mut sides {
        let places = [scratch.join("floor"), scratch.join("podman"), apart(machine)];
        let floor = scratch.join("floor");
        side.prepare = Some(Box::new(move || Ok(std::fs::create_dir_all(&floor)?)));
        side.reset = Some(Box::new(move || places.iter().try_for_each(|place| discard(place))));
    }
    let runs = runs(machine);
    let series = alternate(&sides.iter().collect::<Vec<_>>(), runs, std::time::Duration::ZERO);
    let wanted = [
        ("holm", "floor", Measure::Cpu, Some(Goal::AtMost(1.5))),
        ("holm", "floor", Measure::Wall, None),
        ("podman", "holm", Measure::Cpu, Some(Goal::AtLeast(4.0))),
        ("podman", "holm", Measure::Wall, Some(Goal::AtLeast(4.0))),
    ];
    report.compare("pull of an image of three layers", runs, series, &wanted);
}

fn peak(machine: &Machine<'_>, report: &mut Report, image: &str) -> Result<()> {
    let (Some(Ok(floor)), Some(Ok(holm))) = (&machine.floor, &machine.holm) else { return Ok(()) };
    let mut figures = Figures::new("memory of a pull");
    let pull = holm.apart_with(&["pull", "-q", image]);
    let peak = pull.through(floor.program(), &["peak", "--"]).output();
    discard(&apart(machine))?;
    let peak = peak?;
    let kib: f64 = peak.lines().last().unwrap_or_default().trim().parse().context("reading the peak")?;
    figures.push("peak", kib, "KiB", Some(Goal::AtMost(f64::from(64 << 10))));
    report.add(figures);
    Ok(())
}

/// To Debian's registry and to ours, each without the image at every push.
fn push(machine: &Machine<'_>, report: &mut Report, scratch: &Path, image: &str) -> Result<()> {
    let Some(Ok(holm)) = &machine.holm else { return Ok(()) };
    holm.apart_with(&["pull", "-q", image]).output()?;
    let layout = format!("oci:{}:{TAG}", scratch.join("layout").display());
    let from = format!("docker://{image}");
    let copied = skopeo().with(["--src-tls-verify=false", &from, &layout]).output();
    let layout = copied.map(|_| layout).map_err(|error| report.could_not_run("skopeo", format!("{error:#}")));
    let push = Push { machine, holm, image, layout: layout.ok() };
    let storage = scratch.join("to");
    let debians = DockerRegistry::serve(scratch, "to", &storage)?;
    push.compare(report, "docker-registry", &debians.address, &[storage.join("docker")])?;
    let ours = Server::ours(scratch, machine.arguments.bin_dir.as_deref())?;
    push.compare(report, "holm registry serve", &ours.address, &Server::content(scratch))?;
    discard(&apart(machine))
}

fn skopeo() -> Launch {
    Launch::new("skopeo").with(["copy", "--quiet", "--insecure-policy"])
}

/// An image that is pushed.
struct Push<'a> {
    machine: &'a Machine<'a>,
    holm: &'a Holm,
    /// Its name in the store.
    image: &'a str,
    /// The same as an OCI layout, for skopeo.
    layout: Option<String>,
}

impl Push<'_> {
    /// To the registry `name` at `address`, whose `content` is removed after each.
    fn compare(&self, report: &mut Report, name: &str, address: &str, content: &[PathBuf]) -> Result<()> {
        let target = format!("{address}/{REPOSITORY}:{TAG}");
        self.holm.apart_with(&["tag", self.image, &target]).output()?;
        let mut sides = vec![Side::plain("holm", self.holm.apart_with(&["push", "-q", &target]))];
        if let Some(layout) = &self.layout {
            let to = format!("docker://{target}");
            sides.push(Side::plain("skopeo", skopeo().with(["--dest-tls-verify=false", layout, &to])));
        }
        for side in &mut sides {
            let content = content.to_vec();
            side.reset = Some(Box::new(move || content.iter().try_for_each(|place| discard(place))));
        }
        let runs = runs(self.machine);
        let series = alternate(&sides.iter().collect::<Vec<_>>(), runs, std::time::Duration::ZERO);
        let wanted = [
            ("skopeo", "holm", Measure::Wall, Some(Goal::AtLeast(1.0))),
            ("skopeo", "holm", Measure::Cpu, Some(Goal::AtLeast(1.0))),
        ];
        report.compare(&format!("push of the same image to {name}"), runs, series, &wanted);
        Ok(())
    }
}

/// The store of Holm that is cold each time.
fn apart(machine: &Machine<'_>) -> PathBuf {
    match &machine.holm {
        Some(Ok(holm)) => holm.apart(),
        _ => machine.scratch.path().join("none"),
    }
}
