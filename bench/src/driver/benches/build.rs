//! A build of which nothing changed, beside buildah and beside the least process; the same without a cache, beside buildah; and a large context of which nothing, or one file,
//! changed, beside find(1), which looks at each of its files and does nothing with them.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use holm_bench::floor::sys;

use super::discard;
use crate::driver::Machine;
use crate::driver::pairing::{Side, alternate};
use crate::driver::process::Launch;
use crate::driver::report::{Goal, Measure, Report};

/// Two stages with eight steps that make a layer.
const DOCKERFILE: &str = "FROM scratch AS build
ADD image.tar /
ARG VERSION=1
RUN echo $VERSION >/version
WORKDIR /app
COPY src/ ./
RUN echo built >/app/result
FROM scratch
ADD image.tar /
COPY --from=build /app /app
COPY one /etc/one
ENV A=1
CMD [\"/bin/sh\"]
";
const FILES: u32 = 10_000;
const DIRECTORIES: u32 = 100;
const GOALS: &[(&str, &str, Measure, Option<Goal>)] = &[
    ("buildah", "holm", Measure::Wall, Some(Goal::AtLeast(10.0))),
    ("buildah", "holm", Measure::Cpu, None),
    ("holm", "bare process", Measure::Wall, Some(Goal::AtMost(20.0))),
];
/// Of Holm's processor time that of the keepers of its steps is no part: the wall time tells all.
const ANEW_GOALS: &[(&str, &str, Measure, Option<Goal>)] =
    &[("buildah", "holm", Measure::Wall, Some(Goal::AtLeast(3.0))), ("buildah", "holm", Measure::Cpu, None)];
const CONTEXT_GOALS: &[(&str, &str, Measure, Option<Goal>)] = &[
    ("holm", "find", Measure::Wall, Some(Goal::AtMost(1.2))),
    ("holm, one file changed", "holm", Measure::Wall, None),
];

/// Builds by turns; what they made first stays.
pub fn measure(machine: &Machine<'_>, report: &mut Report) {
    if let Err(error) = try_measure(machine, report) {
        report.could_not_run("build", format!("{error:#}"));
    }
}

fn try_measure(machine: &Machine<'_>, report: &mut Report) -> Result<()> {
    let scratch = machine.scratch.path().join("build");
    let (small, large) = (scratch.join("small"), scratch.join("large"));
    write_small(&small, &machine.scratch.path().join("image/image.tar"))?;
    write_large(&large)?;
    cached(machine, report, &scratch, &small)?;
    if !sys::interrupted() {
        anew(machine, report, &scratch, &small)?;
    }
    if !sys::interrupted() {
        context(machine, report, &large)?;
    }
    discard(&scratch)
}

fn write_small(directory: &Path, image: &Path) -> Result<()> {
    std::fs::create_dir_all(directory.join("src"))?;
    std::fs::write(directory.join("Dockerfile"), DOCKERFILE)?;
    std::fs::copy(image, directory.join("image.tar"))?;
    for (name, text) in [("src/a", "a"), ("src/b", "b"), ("one", "1")] {
        std::fs::write(directory.join(name), text)?;
    }
    Ok(())
}

fn write_large(directory: &Path) -> Result<()> {
    for number in 0..FILES {
        let below = directory.join(format!("d{}", number % DIRECTORIES));
        std::fs::create_dir_all(&below)?;
        std::fs::write(below.join(format!("f{number}")), format!("{number}\n").repeat(200))?;
    }
    std::fs::write(directory.join("Dockerfile"), "FROM scratch\nCOPY . /all/\n")?;
    Ok(())
}

fn cached(machine: &Machine<'_>, report: &mut Report, scratch: &Path, context: &Path) -> Result<()> {
    let mut sides = Vec::new();
    super::take_part(&mut sides, report, "bare process", &machine.bare, |bare| Ok(bare.run()));
    super::take_part(&mut sides, report, "holm", &machine.holm, |holm| built(holm.build(context)));
    super::take_part(&mut sides, report, "buildah", &machine.podman, |_| built(buildah(scratch, context)));
    let runs = machine.arguments.measured_runs().min(20);
    let series = alternate(&sides.iter().collect::<Vec<_>>(), runs, Duration::ZERO);
    if !sys::interrupted() {
        report.compare("build of two stages, all cached", runs, series, GOALS);
    }
    Ok(())
}

/// Every step is made, of the same files.
fn anew(machine: &Machine<'_>, report: &mut Report, scratch: &Path, context: &Path) -> Result<()> {
    let mut sides = Vec::new();
    super::take_part(&mut sides, report, "holm", &machine.holm, |holm| {
        built(holm.build(context).with(["--no-cache"]))
    });
    super::take_part(&mut sides, report, "buildah", &machine.podman, |_| {
        built(buildah(scratch, context).with(["--no-cache"]))
    });
    let runs = machine.arguments.measured_runs().min(10);
    let series = alternate(&sides.iter().collect::<Vec<_>>(), runs, Duration::ZERO);
    if !sys::interrupted() {
        report.compare("build of two stages, nothing cached", runs, series, ANEW_GOALS);
    }
    Ok(())
}

/// Builds once, so that all is there.
fn built(launch: Launch) -> Result<Launch> {
    launch.output()?;
    Ok(launch)
}

fn buildah(scratch: &Path, context: &Path) -> Launch {
    Launch::new("buildah")
        .with(["--root".as_ref(), scratch.join("buildah").as_os_str()])
        .with(["--runroot".as_ref(), scratch.join("buildah.run").as_os_str()])
        .with(["--storage-driver", "overlay", "build", "--layers", "--quiet", "--isolation", "chroot"])
        .with(["--network", "host", "--tag", "bench"])
        .with([context])
}

fn context(machine: &Machine<'_>, report: &mut Report, directory: &Path) -> Result<()> {
    // The memory of a context believes nothing that changed a moment ago.
    std::thread::sleep(Duration::from_secs(3));
    let mut sides = Vec::new();
    let find = Launch::new("find").with([directory]).with(["-printf", "%i %s %T@ %C@ %m %p\n"]);
    sides.push(Side::plain("find", find));
    super::take_part(&mut sides, report, "holm", &machine.holm, |holm| built(holm.build(directory)));
    if let Some(Ok(holm)) = &machine.holm {
        let mut changed = Side::plain("holm, one file changed", holm.build(directory));
        changed.prepare = Some(Box::new(change(directory.join("d1/f1"))));
        sides.push(changed);
    }
    let runs = machine.arguments.measured_runs().min(10);
    let series = alternate(&sides.iter().collect::<Vec<_>>(), runs, Duration::ZERO);
    if !sys::interrupted() {
        report.compare(
            "build with 10,000 files in its context, all or all but one unchanged",
            runs,
            series,
            CONTEXT_GOALS,
        );
    }
    Ok(())
}

/// Gives a file another content each time.
fn change(path: PathBuf) -> impl Fn() -> Result<()> {
    let count = Cell::new(0);
    move || {
        count.set(count.get() + 1);
        Ok(std::fs::write(&path, count.get().to_string())?)
    }
}
