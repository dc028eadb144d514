//! The parts of the story, in the order in which they are told.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::limits::{LIMITS, Limit};
use super::session::{Session, typed};
use super::{page, text, timing};
use crate::base::{self, Base, FLASK};
use crate::mirror::Mirror;
use crate::workspace::Workspace;
use crate::{narrate, process};

/// The image that the demo is about.
pub const APP: &str = "demo/flask:bookworm";
const OTHER: &str = "demo/other:latest";

/// The container that is looked at.
const LOOKED_AT: &str = "demo-limits";
/// Its hostname.
pub const HOSTNAME: &str = "small-island";

/// The container that serves the page.
const SERVER: &str = "demo-flask";

/// The release that a root file system says it is.
pub const RELEASE: &str = ". /etc/os-release; echo \"$PRETTY_NAME\"";

/// The tarballs of two releases.
pub struct Bases {
    app: PathBuf,
    other: PathBuf,
    other_suite: &'static str,
}

impl Bases {
    /// Makes those that are not in `cache`.
    ///
    /// # Errors
    /// A tarball cannot be made.
    pub fn make(cache: &Path) -> Result<Self> {
        let other: &Base = base::other(cache)?;
        let bases = Self {
            app: FLASK.tarball(cache, Mirror::find)?,
            other: other.tarball(cache, Mirror::find)?,
            other_suite: other.suite,
        };
        narrate::say("Base images are there, as tarballs without a parent.");
        Ok(bases)
    }
}

/// Tarballs become images.
pub fn import(session: &Session, bases: &Bases) -> Result<()> {
    narrate::heading("Two tarballs become two images (each layer: one read-only EROFS file)");
    narrate::say(
        "Every command has --root and --run-root too, so that this demo keeps to itself; they are left out here.",
    );
    for (tarball, reference) in [(&bases.app, APP), (&bases.other, OTHER)] {
        let start = Instant::now();
        session.show(&["import", "--change", "CMD [\"/bin/bash\"]", text(tarball)?, reference])?;
        narrate::answered(&format!("in {}", narrate::duration(start.elapsed())));
    }
    session.show(&["images"])?;
    Ok(())
}

/// A container with limits, from inside and from outside.
pub fn look_inside(session: &Session) -> Result<()> {
    narrate::heading("A container with limits: what it sees");
    let mut run = vec!["run", "-d", "--name", LOOKED_AT, "--hostname", HOSTNAME, "--network", "none"];
    run.extend(LIMITS.iter().flat_map(|limit| [limit.flag, limit.asked]));
    run.extend([APP, "sh", "-c", "sleep 600 & wait"]);
    session.show(&run)?;
    let release = session.show(&["exec", LOOKED_AT, "cat", "/etc/os-release"])?;
    expect(release.contains(FLASK.suite), "the container runs another release than it should")?;
    let hostname = session.show(&["exec", LOOKED_AT, "hostname"])?;
    expect(hostname.trim() == HOSTNAME, "the container has another hostname than it should")?;
    session.show(&["exec", LOOKED_AT, "ps", "-ef"])?;
    seen_by_host(session)?;
    limits(session)
}

/// The same processes with the host's numbers, and who started them.
fn seen_by_host(session: &Session) -> Result<()> {
    narrate::heading("The same processes as the host sees them");
    let table = session.show(&["top", LOOKED_AT])?;
    let pids = pids(&table);
    expect(!pids.is_empty(), "`holm top` lists no process")?;
    narrate::say("Who started them: no daemon, only the keeper of this one container.");
    for pid in pids {
        let chain = chain(pid)?;
        narrate::answered(&shown(&chain));
        expect(chain.iter().any(|(_, name)| name == "holm-keeper"), "no keeper is among the parents")?;
    }
    Ok(())
}

fn limits(session: &Session) -> Result<()> {
    narrate::heading("Its limits, read back from the control groups");
    let pid = session.ask(&["inspect", "--format", "{{.State.Pid}}", LOOKED_AT])?;
    let pid: u32 = pid.trim().parse().with_context(|| format!("`{}` is no process number", pid.trim()))?;
    let mut rows = vec![["limit", "asked", "inside", "on the host", "where"].map(String::from)];
    for limit in LIMITS {
        rows.push(limit_row(session, limit, pid)?);
    }
    narrate::table(&rows);
    Ok(())
}

fn limit_row(session: &Session, limit: &Limit, pid: u32) -> Result<[String; 5]> {
    let inside = session.ask(&["exec", LOOKED_AT, "sh", "-c", &limit.inside()])?.trim().to_owned();
    let (group, outside) = limit.on_host(pid)?;
    expect(
        inside == limit.expected && outside == limit.expected,
        &format!(
            "{} should be {}, but is {inside} inside and {outside} on the host",
            limit.name, limit.expected
        ),
    )?;
    Ok([limit.name.to_owned(), limit.asked.to_owned(), inside, outside, group.display().to_string()])
}

/// Exit codes and times beside those of processes without a container.
pub fn compare_with_bare_processes(session: &Session) -> Result<()> {
    narrate::heading("Exit codes and time, beside a process without a container");
    narrate::say(&format!(
        "Each as `{}`.",
        typed(&["run", "--rm", "--init", "--network", "none", APP, "sh", "-c", "…"])
    ));
    let mut rows = vec![["", "bare", "container"].map(String::from)];
    for script in ["exit 0", "exit 42", "kill -9 $$", "no-such-command"] {
        rows.push(exit_row(session, script)?);
    }
    let bare = || Command::new("true");
    let pair = timing::compare(bare, || session.holm(&["run", "--rm", "--network", "none", APP, "true"]))?;
    rows.push([
        "true, start to end".to_owned(),
        narrate::duration(pair.first),
        narrate::duration(pair.second),
    ]);
    narrate::table(&rows);
    narrate::say(
        "Times are medians of 10 runs. `cargo xtask bench` measures with care, and beside other engines.",
    );
    Ok(())
}

fn exit_row(session: &Session, script: &str) -> Result<[String; 3]> {
    let bare = process::collect(Command::new("sh").args(["-c", script]))?;
    let run = ["run", "--rm", "--init", "--network", "none", APP, "sh", "-c", script];
    let inside = process::collect(&mut session.holm(&run))?;
    let codes = [bare.status, inside.status].map(process::shell_code);
    let [outside, inside] = codes;
    expect(
        outside == inside,
        &format!("`{script}` ends with {outside} bare and with {inside} in a container"),
    )?;
    Ok([script.to_owned(), outside.to_string(), inside.to_string()])
}

/// The Flask application, and another release beside it.
pub fn serve_and_run_beside(session: &Session, workspace: &Workspace) -> Result<()> {
    narrate::heading("A Flask application on the host's network");
    let port = page::free_port()?;
    let volume = format!("{}:/app:ro", text(&workspace.root.join("examples/flask"))?);
    let variable = format!("PORT={port}");
    let run = [
        "run",
        "-d",
        "--name",
        SERVER,
        "--network",
        "host",
        "-v",
        &volume,
        "-w",
        "/app",
        "-e",
        &variable,
        APP,
    ];
    session.show(&[&run[..], &["python3", "app.py"]].concat())?;
    narrate::typed(&format!("curl http://127.0.0.1:{port}/"));
    match page::fetch(port, "/") {
        Ok(body) => narrate::answered(&body),
        Err(error) => {
            let logs = process::collect(&mut session.holm(&["logs", SERVER]))?;
            return Err(error)
                .context(format!("the server said: {}", String::from_utf8_lossy(&logs.stderr).trim()));
        }
    }
    run_beside(session)?;
    narrate::heading("Stopping");
    session.show(&["stop", SERVER])?;
    session.show(&["ps", "--all"])?;
    Ok(())
}

/// Another release of Debian while the first one serves: other files, the same kernel.
fn run_beside(session: &Session) -> Result<()> {
    narrate::heading("Another Debian release beside it, on the same kernel");
    let script = format!("{RELEASE}; uname -r");
    let mut rows = vec![["", "release", "kernel"].map(String::from)];
    let host = process::capture(Command::new("sh").args(["-c", &script]))?;
    rows.push(release_row("this machine", &host));
    rows.push(release_row(APP, &session.ask(&["exec", SERVER, "sh", "-c", &script])?));
    rows.push(release_row(
        OTHER,
        &session.ask(&["run", "--rm", "--network", "none", OTHER, "sh", "-c", &script])?,
    ));
    narrate::table(&rows);
    let [_, app, other] = [&rows[1], &rows[2], &rows[3]];
    expect(app[1] != other[1], "both images are the same release")?;
    expect(rows[1..].iter().all(|row| row[2] == rows[1][2]), "the kernels differ")
}

fn release_row(name: &str, answer: &str) -> [String; 3] {
    let mut lines = answer.lines();
    let mut next = || lines.next().unwrap_or("?").to_owned();
    [name.to_owned(), next(), next()]
}

/// What to type now.
pub fn what_next(workspace: &Workspace, bases: &Bases, kernel: &Path) {
    narrate::heading("What to try next");
    let holm = workspace.shown(&workspace.dist().join("holm"));
    for (path, suite) in [(&bases.app, FLASK.suite), (&bases.other, bases.other_suite)] {
        println!("  {holm} import {} debian:{suite}", process::quoted(&workspace.shown(path)));
    }
    println!("  {holm} run --rm -it --memory 512m debian:{} bash", bases.other_suite);
    println!("  {holm} kernel import {}", process::quoted(&workspace.shown(kernel)));
    println!("  {holm} run --rm -it --vm debian:{} bash", bases.other_suite);
    println!("  {holm} run --help          # every flag, with examples");
    println!("  cargo xtask test           # every check and test");
    println!("  cargo xtask bench          # figures, beside the floor and other engines");
}

/// The numbers in the column `PID` of a table as ps(1) prints it.
fn pids(table: &str) -> Vec<u32> {
    let mut lines = table.lines();
    let header = lines.next().unwrap_or_default();
    let Some(column) = header.split_whitespace().position(|title| title == "PID") else { return Vec::new() };
    lines.filter_map(|line| line.split_whitespace().nth(column)?.parse().ok()).collect()
}

/// The process `pid` and its parents, each with its name.
fn chain(pid: u32) -> Result<Vec<(u32, String)>> {
    let mut chain = Vec::new();
    let mut next = pid;
    while next != 0 {
        let path = format!("/proc/{next}/status");
        let status = fs::read_to_string(&path).with_context(|| format!("reading `{path}`"))?;
        chain.push((next, field(&status, "Name:").unwrap_or("?").to_owned()));
        next = field(&status, "PPid:").and_then(|parent| parent.parse().ok()).unwrap_or(0);
    }
    Ok(chain)
}

/// `init(1) > holm-keeper(80) > sh(81)`.
fn shown(chain: &[(u32, String)]) -> String {
    let links: Vec<_> = chain.iter().rev().map(|(pid, name)| format!("{name}({pid})")).collect();
    links.join(" > ")
}

/// A field of `/proc/PID/status` (proc_pid_status(5)).
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// What the demo claims, it checks.
///
/// # Errors
/// It does not hold.
pub fn expect(holds: bool, otherwise: &str) -> Result<()> {
    if !holds {
        bail!("{otherwise}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_column_pid_is_found_by_its_title() {
        let table =
            "UID   PID   PPID  C STIME TTY TIME     CMD\nroot  812   790   0 10:00 ?   00:00:00 sh -c wait\n";
        assert_eq!(pids(table), [812]);
        assert!(pids("").is_empty() && pids("NAME\n1\n").is_empty());
    }

    #[test]
    fn a_chain_leads_to_the_first_process() {
        let chain = chain(std::process::id()).unwrap();
        assert_eq!(chain.first().unwrap().0, std::process::id());
        assert!(chain.len() > 1);
        let named = [(81, "sh".to_owned()), (80, "holm-keeper".to_owned()), (1, "init".to_owned())];
        assert_eq!(shown(&named), "init(1) > holm-keeper(80) > sh(81)");
    }

    #[test]
    fn an_answer_becomes_a_row() {
        assert_eq!(release_row("a", "Debian 13\n6.18\n"), ["a", "Debian 13", "6.18"].map(String::from));
        assert_eq!(release_row("a", ""), ["a", "?", "?"].map(String::from));
    }
}
