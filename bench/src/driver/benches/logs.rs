//! What a keeper's part costs when a workload prints 50,000 lines a second, by each driver, beside the floor that only
//! reads and writes; whether a line is lost; and how late `logs -f` is. The journal takes part where there is one.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use holm_bench::floor::{log, sys};
use holm_spec::log::JOURNAL_SOCKET;

use crate::driver::Machine;
use crate::driver::pairing::Spread;
use crate::driver::process::time_of;
use crate::driver::report::{Figures, Goal, Report};
use crate::driver::subject::{Floor, Holm};

const RATE: u64 = 50_000;
/// Lines whose delay is measured.
const MEASURED: u64 = 100;
/// How long the last line may take.
const PATIENCE: Duration = Duration::from_secs(20);
const DRIVERS: [&str; 4] = ["local", "json-file", "journald", "none"];

/// Measures every driver once: each takes seconds, in which thousands of reads are taken together.
pub fn measure(machine: &Machine<'_>, report: &mut Report) {
    let (Some(Ok(holm)), Some(Ok(floor))) = (&machine.holm, &machine.floor) else { return };
    let seconds = if machine.arguments.quick { 2 } else { 5 };
    let mut figures =
        Figures::new(format!("logs: {RATE} lines of {} bytes a second, for {seconds} s", log::LINE));
    match measure_floor(floor, machine, seconds) {
        Ok(share) => figures.push("floor: of one processor", share, "%", None),
        Err(error) => report.could_not_run("logs: floor", format!("{error:#}")),
    }
    for driver in DRIVERS {
        if sys::interrupted() {
            return;
        }
        if driver == "journald" && !Path::new(JOURNAL_SOCKET).exists() {
            continue;
        }
        if let Err(error) = measure_driver(holm, floor, driver, seconds, &mut figures) {
            report.could_not_run(format!("logs: {driver}"), format!("{error:#}"));
        }
    }
    match delays(holm, floor) {
        Ok(spread) => {
            figures.push("logs -f: delay, median", spread.median, "ms", None);
            figures.push("logs -f: delay, longest", spread.max, "ms", None);
        }
        Err(error) => report.could_not_run("logs: delay", format!("{error:#}")),
    }
    report.add(figures);
    if let Err(error) = holm.remove_held() {
        report.could_not_run("logs", format!("{error:#}"));
    }
}

/// The processor time of what only reads and writes, as a share of the time in percent.
fn measure_floor(floor: &Floor, machine: &Machine<'_>, seconds: u64) -> Result<f64> {
    let mut speaker = Command::new(floor.program())
        .args(["speak", &RATE.to_string(), &seconds.to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    let input = speaker.stdout.take().context("a pipe was asked for")?;
    let mut keep = Command::new(floor.program());
    keep.arg("keep-log").arg(machine.scratch.path().join("floor.log"));
    let mut keeper = keep.stdin(input).spawn()?;
    speaker.wait()?;
    let before = sys::time_of_children();
    keeper.wait()?;
    Ok(share(sys::time_of_children().saturating_sub(before), seconds))
}

fn share(time: Duration, seconds: u64) -> f64 {
    100.0 * time.as_secs_f64() / seconds as f64
}

fn measure_driver(
    holm: &Holm,
    floor: &Floor,
    driver: &str,
    seconds: u64,
    figures: &mut Figures,
) -> Result<()> {
    let name = format!("speaker-{driver}");
    let script = format!("/floor speak {RATE} {seconds}; exec sleep 3600");
    holm.hold_speaker(&name, driver, floor.program(), &script)?;
    let keeper = parent(holm.pid(&name)?)?;
    // The start is not what is measured; neither is what came before this.
    let (begun, before) = (Instant::now(), time_of(keeper));
    std::thread::sleep(Duration::from_secs(seconds));
    let lines = RATE * seconds;
    if driver != "none" {
        wait_for_last(holm, &name, lines)?;
    }
    let time = time_of(keeper).saturating_sub(before);
    let goal = Some(Goal::AtMost(25.0));
    figures.push(
        format!("{driver}: keeper, of one processor"),
        share(time, begun.elapsed().as_secs().max(1)),
        "%",
        goal,
    );
    if driver != "none" {
        let lost = lines as f64 - kept_lines(holm, &name)? as f64;
        figures.push(format!("{driver}: lines lost"), lost, "", Some(Goal::AtMost(0.0)));
    }
    Ok(())
}

/// How many lines of a log come in the order of their numbers.
fn kept_lines(holm: &Holm, name: &str) -> Result<u64> {
    let mut reader = holm.logs(&[], name).spawn(Stdio::piped(), Stdio::null())?;
    let said = BufReader::new(reader.stdout.take().context("a pipe was asked for")?);
    let mut kept = 0;
    for line in said.lines() {
        kept += u64::from(line?.starts_with(&format!("{kept:08} ")));
    }
    reader.wait()?;
    Ok(kept)
}

fn wait_for_last(holm: &Holm, name: &str, lines: u64) -> Result<()> {
    let (last, deadline) = (format!("{:08} ", lines - 1), Instant::now() + PATIENCE);
    while !holm.logs(&["--tail", "1"], name).output()?.starts_with(&last) {
        if Instant::now() > deadline {
            bail!("the last line did not come");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The keeper of a container, by the container's first process.
fn parent(pid: u32) -> Result<i32> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading `{path}`"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("PPid:")).context("a process has a parent")?;
    Ok(line.trim().parse()?)
}

/// How long lines take from a container's `write` to the reader of `logs -f`, in milliseconds.
fn delays(holm: &Holm, floor: &Floor) -> Result<Spread> {
    let script = format!("/floor tell-time {MEASURED}; exec sleep 3600");
    holm.hold_speaker("clock", "local", floor.program(), &script)?;
    let mut follower = holm.logs(&["--follow"], "clock").spawn(Stdio::piped(), Stdio::null())?;
    let said = BufReader::new(follower.stdout.take().context("a pipe was asked for")?);
    let mut delays = Vec::new();
    // Those at the beginning were there before the follower.
    for line in said.lines().take(MEASURED as usize) {
        delays.push((log::monotonic() - line?.parse::<i64>()?) as f64 / 1e6);
    }
    follower.kill()?;
    follower.wait()?;
    Ok(Spread::of(delays.split_off(delays.len() / 2)))
}
