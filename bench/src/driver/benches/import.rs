//! `import` of a Debian root file system, beside reading, hashing and writing the same file once.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use holm_bench::floor::sys;

use super::{discard, take_part};
use crate::driver::Machine;
use crate::driver::pairing::{Side, alternate};
use crate::driver::process::{Bounds, Launch};
use crate::driver::report::{Figures, Goal, Measure, Report};

/// Imports are long, so few of them say enough.
const MOST_RUNS: u32 = 10;
/// The release and the packages of the demo's image; also the name of its tarball.
const CONTENTS: [&str; 3] = ["bookworm", "procps", "python3-flask"];
const MAKE_SECONDS: u64 = 1200;

/// CPU time decides: the disk's speed is nobody's merit.
pub fn measure(machine: &Machine<'_>, report: &mut Report) {
    match tarball(machine) {
        Ok(tar) => compare(machine, report, &tar),
        Err(error) => report.could_not_run("import", format!("{error:#}")),
    }
}

fn compare(machine: &Machine<'_>, report: &mut Report, tar: &Path) {
    let mut size = Figures::new(format!("import of `{}`", tar.display()));
    size.push("size", std::fs::metadata(tar).map_or(0.0, |data| data.len() as f64 / 1024.0), "KiB", None);
    report.add(size);
    let mut sides: Vec<Side> = Vec::new();
    take_part(&mut sides, report, "floor", &machine.floor, |floor| Ok(floor.import(tar)));
    if let (Some(Ok(floor)), Some(side)) = (&machine.floor, sides.last_mut()) {
        let copy = floor.copy();
        side.reset = Some(Box::new(move || Ok(std::fs::remove_file(&copy)?)));
    }
    let others = sides.len();
    take_part(&mut sides, report, "holm", &machine.holm, |holm| Ok(holm.import_apart(tar)));
    if let (Some(Ok(holm)), Some(side)) = (&machine.holm, sides.get_mut(others)) {
        let apart = holm.apart();
        side.reset = Some(Box::new(move || discard(&apart)));
    }
    let runs = machine.arguments.measured_runs().min(MOST_RUNS);
    let series = alternate(&sides.iter().collect::<Vec<_>>(), runs, std::time::Duration::ZERO);
    if sys::interrupted() {
        return;
    }
    let goal = Some(Goal::AtMost(1.5));
    let wanted = [("holm", "floor", Measure::Cpu, goal), ("holm", "floor", Measure::Wall, None)];
    report.compare("import", runs, series, &wanted);
}

/// The tarball that was asked for, or the one that the demo makes too.
fn tarball(machine: &Machine<'_>) -> Result<PathBuf> {
    if let Some(tar) = &machine.arguments.tar {
        std::fs::metadata(tar).with_context(|| format!("opening `{}`", tar.display()))?;
        return Ok(std::path::absolute(tar)?);
    }
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/demo-cache");
    let tar = cache.join(format!("{}.tar", CONTENTS.join("+")));
    if !tar.exists() {
        std::fs::create_dir_all(&cache)?;
        make(&tar)?;
    }
    Ok(tar.canonicalize()?)
}

/// Makes the root file system, which gets its name only when it is whole.
fn make(tar: &Path) -> Result<()> {
    let partial = tar.with_extension(format!("{}.partial.tar", std::process::id()));
    let [suite, packages @ ..] = CONTENTS;
    let include = format!("--include={}", packages.join(","));
    let bounds = Bounds { command: std::time::Duration::from_secs(MAKE_SECONDS), ..Bounds::default() };
    let made = Launch::new("mmdebstrap")
        .with(["--quiet", "--variant=minbase", &include, suite])
        .with([&partial])
        .with(std::env::var_os("HOLM_DEMO_MIRROR"))
        .bounded(bounds)
        .output();
    if made.is_err() {
        // It may not even have been begun.
        drop(std::fs::remove_file(&partial));
    }
    made.context("making the Debian root file system")?;
    Ok(std::fs::rename(&partial, tar)?)
}
