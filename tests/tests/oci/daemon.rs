//! A daemon of an engine, with clients beside it, in namespaces of its own: mounts, network, and processes.
//!
//! `/run` is a file system of the daemon alone; its sockets, its data and the state of the runtime lie there and go with it.
//! When the first process of the namespace dies, whatever the daemon started dies too. Dropping it ends the daemon, and
//! demands that nothing is there but what was there when it began to answer.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use holm_tests::{Call, Outcome, Running, Terminal, eventually, host, tarball};
use rustix::process::Signal;

use super::machine;

/// The first process of the namespace; its arguments are the daemon's command line. It reaps what loses its parent.
const FIRST: &str = r#"
set -e
exec 2>&1
mount -t tmpfs run /run
mkdir /run/holm
"$@" &
wait $!
"#;

/// Debian's own programs, whatever else the machine has.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// What tells one engine from another.
pub struct Engine {
    /// The daemon's command line; `GROUP` in it stands for the group of all its containers.
    pub daemon: Vec<String>,
    /// The client's, before what it shall do; `GROUP` as above.
    pub client: &'static str,
    /// What the client says to learn whether the daemon answers.
    pub question: &'static str,
    /// Where the runtime keeps its state; `GROUP` as above.
    pub states: &'static str,
}

/// A daemon that answers.
pub struct Daemon {
    outer: Running,
    /// The first process of the namespace.
    first: u32,
    client: Vec<String>,
    states: PathBuf,
    group: String,
    before: BTreeSet<String>,
    directory: tempfile::TempDir,
}

impl Daemon {
    /// Starts a daemon and waits for its first answer.
    pub fn start(engine: &Engine) -> Self {
        let directory = tempfile::Builder::new().prefix("he").tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("base.tar"), tarball::base()).expect("a file in it");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let group = format!("holm-oci-test-{}-daemon{number}", std::process::id());
        let named = |text: &str| text.replace("GROUP", &group);
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["--propagation", "private", "sh", "-c", FIRST, "sh"]);
        command.args(engine.daemon.iter().map(|word| named(word))).env("PATH", PATH);
        let outer = Call::new(command).timeout(Duration::from_secs(300)).spawn();
        let mut daemon = Self {
            first: child(outer.pid()),
            outer,
            client: named(engine.client).split_whitespace().map(String::from).collect(),
            states: named(engine.states).into(),
            group,
            before: BTreeSet::new(),
            directory,
        };
        eventually("the daemon answers", || daemon.run(engine.question, &[]).code() == 0);
        daemon.before = daemon.census();
        daemon
    }

    /// A path for the test's own files, which daemon and client know by the same name.
    pub fn path(&self, name: &str) -> String {
        let path = self.directory.path().join(name);
        path.into_os_string().into_string().expect("temporary paths are text")
    }

    /// The group of all containers, from the mount point of a hierarchy.
    pub fn group(&self) -> String {
        format!("/{}", self.group)
    }

    /// A call of the client: the words of a line, then arguments as they are.
    pub fn call(&self, line: &str, arguments: &[&str]) -> Call {
        let mut command = self.inside();
        command.args(line.split_whitespace()).args(arguments);
        Call::new(command)
    }

    /// Calls the client to its end.
    pub fn run(&self, line: &str, arguments: &[&str]) -> Outcome {
        self.call(line, arguments).run()
    }

    /// Calls the client and demands success; returns what it wrote.
    #[track_caller]
    pub fn ok(&self, line: &str, arguments: &[&str]) -> String {
        self.run(line, arguments).ok()
    }

    /// Kills a process by the number that the daemon knows it by.
    #[track_caller]
    pub fn kill_inside(&self, pid: &str) {
        let mut command = self.enter();
        command.args(["kill", "-KILL", pid]);
        Call::new(command).run().ok();
    }

    /// What the groups of a process say, by the number that the daemon knows it by: for each controller a file.
    #[track_caller]
    pub fn group_values(&self, pid: u32, files: &[(&str, &str)]) -> Vec<String> {
        let pid = companions(self.first).into_iter().find(|one| inner(*one) == Some(pid));
        let value = |(controller, file): &(&str, &str)| {
            host::group_value(pid.expect("it runs"), controller, file).unwrap_or_default()
        };
        files.iter().map(value).collect()
    }

    /// Runs the client on a terminal of its own.
    pub fn terminal(&self, line: &str, arguments: &[&str], rows: u16, columns: u16) -> Terminal {
        let inside = self.inside();
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(inside.get_program()).args(inside.get_args());
        command.args(line.split_whitespace()).args(arguments).envs(environment(self.directory.path()));
        Terminal::command(command, rows, columns)
    }

    /// The client, what it shall do still to come.
    fn inside(&self) -> Command {
        let mut command = self.enter();
        command.args(&self.client);
        command
    }

    /// A command of the daemon's namespaces, its program still to come.
    fn enter(&self) -> Command {
        let namespace = |kind: &str| format!("/proc/{}/ns/{kind}", self.first);
        let mut command = Command::new("nsenter");
        for (option, kind) in [("--mount", "mnt"), ("--net", "net"), ("--pid", "pid")] {
            command.arg(format!("{option}={}", namespace(kind)));
        }
        command.envs(environment(self.directory.path()));
        command
    }

    /// What is there: mounts and processes of its namespaces, groups of containers, states of the runtime.
    fn census(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let table = std::fs::read_to_string(format!("/proc/{}/mountinfo", self.first)).unwrap_or_default();
        found.extend(
            table.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| format!("mount {point}")),
        );
        found.extend(companions(self.first).into_iter().map(|pid| format!("{} {pid}", host::program(pid))));
        for group in machine::groups(&self.group()) {
            found.extend(names(&group).map(|name| format!("group {} {name}", group.display())));
        }
        let states = PathBuf::from(format!("/proc/{}/root{}", self.first, self.states.display()));
        found.extend(names(&states).map(|name| format!("state {name}")));
        found
    }

    /// What is there and was not when the daemon began to answer; waits a little for it to go away.
    fn left(&self) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let left: Vec<_> = self.census().difference(&self.before).cloned().collect();
            if left.is_empty() || Instant::now() > deadline {
                return left;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks the daemon to end, and waits for it.
    fn end(&mut self) -> bool {
        host::signal(child(self.first), Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.outer.is_over() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.outer.is_over()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let panicking = std::thread::panicking();
        let left = if panicking { Vec::new() } else { self.left() };
        let ended = !panicking && self.end();
        if panicking {
            let text = self.outer.stdout();
            let skipped = text.lines().count().saturating_sub(40);
            println!("--- the daemon's last words");
            text.lines().skip(skipped).for_each(|line| println!("{line}"));
        }
        host::kill(self.first);
        machine::destroy(&self.group());
        if !panicking {
            assert!(left.is_empty(), "left in the daemon's namespaces: {left:?}");
            assert!(ended, "the daemon does not end: {}", self.outer.stdout());
            let directory = self.path("");
            assert_eq!(host::processes_naming(&directory), Vec::<u32>::new(), "processes are left");
            assert_eq!(host::mounts_below(self.directory.path()), Vec::<PathBuf>::new());
        }
    }
}

fn environment(directory: &Path) -> [(&'static str, PathBuf); 2] {
    [("PATH", PATH.into()), ("DOCKER_CONFIG", directory.to_owned())]
}

fn all() -> impl Iterator<Item = u32> {
    names(Path::new("/proc")).filter_map(|name| name.parse().ok())
}

/// The child that a process has or is about to have.
fn child(parent: u32) -> u32 {
    let mut found = None;
    eventually("it has a child", || {
        found = all().find(|pid| host::parent(*pid) == Some(parent));
        found.is_some()
    });
    found.expect("it was waited for")
}

/// Processes that run and stem from the first one of a namespace, itself included: nobody inside has another ancestor.
fn companions(first: u32) -> Vec<u32> {
    let stems = |pid: u32| std::iter::successors(Some(pid), |pid| host::parent(*pid)).any(|pid| pid == first);
    all().filter(|pid| host::runs(*pid) && stems(*pid)).collect()
}

/// The number that a process has one namespace further in (proc_pid_status(5), `NSpid`).
fn inner(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Directories in a directory, by name; those that begin with a dot are nobody's.
fn names(directory: &Path) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    folders.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| !name.starts_with('.'))
}
