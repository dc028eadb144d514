//! `cargo xtask test`: everything that must hold before a change goes in, as named and timed groups.
//!
//! All groups run, whatever fails before them, except that nothing is tested if the binaries that ship cannot be built.
//! The last line is `N passed, N failed, N skipped`: tests, plus one failure for every other group that fails.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::arguments::Arguments;
use crate::leak::{self, Census, Scope};
use crate::packages::{self, Purpose};
use crate::totals::Totals;
use crate::workspace::Workspace;
use crate::{Verb, build, guest_disk, narrate, process, tidy};

/// The verb.
pub const VERB: Verb = Verb {
    name: "test",
    usage: " [--slow] [FILTER]",
    summary: "Run every check and every test; .ci/run calls exactly this",
    help: "  FILTER   run only the tests whose names contain this, on freshly built binaries, and no other checks\n  \
           --slow   run only the tests that are left out otherwise because they take minutes; those of\n           \
           `guest::suite`, which take ten, only if FILTER names it\n\n\
           Groups: format, clippy, tidy, build, tests, leaks (what the tests left on the machine: mounts, control\n\
           groups, namespaces, interfaces, loop devices, processes, files). Tests run as root, on target/dist.\n",
    run,
};

/// Tests that take so long that even `--slow` runs them only for a filter that names them.
const BY_NAME_ONLY: &str = "guest::suite";

/// What runs each test program: one that hangs fails, and what comes after it is still run. Several times as long as the
/// longest takes on a slow machine.
const RUNNER: &str = "target.'cfg(all())'.runner=['timeout', '--foreground', '--verbose', '20m']";
const SLOW_RUNNER: &str = "target.'cfg(all())'.runner=['timeout', '--foreground', '--verbose', '2h']";

/// The directories of one run of the tests.
struct Place {
    /// The binaries that ship.
    dist: PathBuf,
    /// Where tests make their files, so that what stays there is noticed.
    scratch: PathBuf,
    /// Where everything that is built lies.
    target: PathBuf,
}

impl Place {
    /// Makes a directory that is empty, and short for the sake of the sockets in it: a socket's path has 108 bytes.
    fn make(workspace: &Workspace) -> Result<Self> {
        let scratch = std::env::temp_dir().join(format!("holm-test-{}", std::process::id()));
        let made = fs::create_dir_all(&scratch).and_then(|()| scratch.canonicalize());
        let scratch = made.with_context(|| format!("creating `{}`", scratch.display()))?;
        Ok(Self { dist: workspace.dist(), scratch, target: workspace.target.clone() })
    }

    fn scope(&self) -> Scope {
        Scope { directory: self.scratch.clone(), binaries: self.target.clone() }
    }
}

/// A group that is over.
struct Finished {
    name: &'static str,
    time: Duration,
    failure: Option<String>,
}

#[derive(Default)]
struct Report {
    groups: Vec<Finished>,
    totals: Totals,
}

fn run(workspace: &Workspace, mut arguments: Arguments) -> Result<()> {
    let slow = arguments.flag("--slow");
    let filter = arguments.positional();
    arguments.finish()?;
    packages::require(&[Purpose::Build, Purpose::Test])?;
    let mut report = Report::default();
    if slow {
        packages::require(&[Purpose::Guest])?;
        report.group("guest", || guest_disk::require(workspace));
    }
    if filter.is_none() && !slow {
        add_components()?;
        report.group("format", || process::run(workspace.cargo().args(["fmt", "--all", "--check"])));
        report.group("clippy", || process::run(&mut clippy(workspace)));
        report.group("tidy", || tidy::check(workspace));
    }
    if report.group("build", || build::distribution(workspace, "release").map(drop)) {
        let place = Place::make(workspace)?;
        report.tests(&place, tests(workspace, &place, slow, filter.as_deref()));
    }
    report.close()
}

impl Report {
    /// Runs a group; says whether it succeeded.
    fn group(&mut self, name: &'static str, body: impl FnOnce() -> Result<()>) -> bool {
        narrate::heading(name);
        let start = Instant::now();
        let failure = body().err().map(|error| format!("{error:#}"));
        if let Some(failure) = &failure {
            println!("{name} failed: {failure}");
        }
        let succeeded = failure.is_none();
        self.groups.push(Finished { name, time: start.elapsed(), failure });
        succeeded
    }

    /// Runs the tests, then looks for what they left.
    fn tests(&mut self, place: &Place, command: Command) {
        let before = Census::take(&place.scope());
        let mut totals = Totals::default();
        self.group("tests", || stream(command, &mut std::io::stdout(), &mut totals));
        self.totals = totals;
        self.group("leaks", || leaks(&before, &place.scratch));
    }

    /// Prints how every group went and the totals.
    fn close(mut self) -> Result<()> {
        narrate::heading("summary");
        for name in &self.totals.failures {
            println!("failed: {name}");
        }
        if !self.totals.omissions.is_empty() {
            println!("left out, run by `cargo xtask test --slow`:");
            narrate::answered(&self.totals.omissions.join("\n"));
        }
        let rows: Vec<_> = self.groups.iter().map(Finished::row).collect();
        narrate::table(&rows);
        let failed: Vec<_> = self.groups.iter().filter(|group| group.failure.is_some()).collect();
        // The tests count one by one; if they failed without a count, they did not even compile.
        let uncounted =
            failed.iter().filter(|group| group.name != "tests" || self.totals.failed == 0).count();
        let names: Vec<_> = failed.iter().map(|group| group.name).collect();
        self.totals.failed += uncounted;
        println!("\n{}", self.totals.line());
        if !names.is_empty() {
            bail!("failed: {}", names.join(", "));
        }
        Ok(())
    }
}

impl Finished {
    fn row(&self) -> Vec<String> {
        let outcome = if self.failure.is_some() { "FAILED" } else { "ok" };
        vec![self.name.to_owned(), outcome.to_owned(), narrate::duration(self.time)]
    }
}

fn clippy(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    command
}

fn tests(workspace: &Workspace, place: &Place, slow: bool, filter: Option<&str>) -> Command {
    let mut command = workspace.cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    command.args(["--config", if slow { SLOW_RUNNER } else { RUNNER }, "--"]);
    if slow {
        command.arg("--ignored");
        if !filter.is_some_and(|filter| filter.contains(BY_NAME_ONLY)) {
            command.args(["--skip", BY_NAME_ONLY]);
        }
    }
    command.args(filter).env("HOLM_BIN_DIR", &place.dist).env("TMPDIR", &place.scratch);
    command
}

/// Runs `command`, passing its lines on to `output` as they come and adding up what they report.
fn stream(mut command: Command, output: &mut impl Write, totals: &mut Totals) -> Result<()> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("starting `cargo test`")?;
    let mut lines = BufReader::new(child.stdout.take().expect("the output was just piped"));
    let mut line = Vec::new();
    // By bytes: a test may print anything.
    while lines.read_until(b'\n', &mut line)? > 0 {
        output.write_all(&line)?;
        totals.read_line(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`cargo test` ended with {status}");
    }
    Ok(())
}

/// Compares the machine with `before`, removes `scratch`, and fails if anything was left.
fn leaks(before: &Census, scratch: &Path) -> Result<()> {
    let mut left = before.left_since();
    let files = fs::read_dir(scratch).with_context(|| format!("reading `{}`", scratch.display()))?;
    left.extend(files.flatten().map(|entry| format!("file {}", entry.path().display())));
    leak::remove_directory(scratch)?;
    before.remove_new_standing_groups();
    if left.is_empty() {
        println!("nothing was left behind");
        return Ok(());
    }
    println!("left behind:");
    narrate::answered(&left.join("\n"));
    bail!("{} things were left behind", left.len());
}

/// A minimal toolchain comes without them; on a full one this is over at once.
fn add_components() -> Result<()> {
    for (component, program) in [("rustfmt", "cargo-fmt"), ("clippy", "cargo-clippy")] {
        if !Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success()) {
            let hint =
                format!("`{component}` is missing from this Rust toolchain, and rustup did not add it");
            process::run(Command::new("rustup").args(["component", "add", component])).context(hint)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_counted_while_it_passes() {
        let mut totals = Totals::default();
        let mut command = Command::new("printf");
        command.arg("test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\\377\n");
        // Not to the standard output: whoever runs these tests would count that line too.
        let mut output = Vec::new();
        stream(command, &mut output, &mut totals).unwrap();
        assert_eq!(totals.line(), "2 passed, 0 failed, 1 skipped");
        assert!(output.ends_with(b"filtered out\n\xff\n"));
        assert!(stream(Command::new("false"), &mut output, &mut totals).is_err());
    }

    #[test]
    fn a_failed_group_counts_and_others_still_run() {
        let mut report = Report::default();
        assert!(!report.group("tidy", || bail!("no")));
        assert!(report.group("build", || Ok(())));
        assert_eq!(report.groups.len(), 2);
        assert_eq!(report.close().unwrap_err().to_string(), "failed: tidy");
    }
}
