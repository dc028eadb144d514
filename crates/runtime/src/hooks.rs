//! Hooks: programs that run at points of a container's life (OCI runtime specification, "POSIX-platform Hooks").
//!
//! | hook | when | in the namespaces of | path found in |
//! |---|---|---|---|
//! | `prestart`, `createRuntime` | all is mounted, the host's tree is still there | the runtime | the host |
//! | `createContainer` | then | the container | the host |
//! | `startContainer` | before the program | the container | the container |
//! | `poststart` | the program runs | the runtime | the host |
//! | `poststop` | the container is deleted | the runtime | the host |
//!
//! Each reads the container's state from its standard input. One that fails stops those behind it.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use holm_spec::runtime::{Hook, Spec};
use holm_sys::exec::{Inside, spawn_inside};
use holm_sys::process;
use holm_sys::rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use crate::container::JoinedNamespaces;
use crate::error::{Context, Error, Kind, Result};

/// Longest output of a hook that an error shows, in bytes.
const OUTPUT_LIMIT: usize = 4096;
/// How often the end of a hook is looked for. What it leaves running may hold its output open for ever.
const LOOK: Duration = Duration::from_millis(1);

/// At which point of a container's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Point {
    /// Deprecated; before `createRuntime`.
    Prestart,
    /// When all is mounted.
    CreateRuntime,
    /// Then, in the container's namespaces.
    CreateContainer,
    /// Before the program, in the container.
    StartContainer,
    /// When the program runs.
    Poststart,
    /// When the container is deleted.
    Poststop,
}

impl Point {
    /// As the specification spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }
}

/// All hooks of a configuration.
pub fn all(spec: &Spec) -> [(Point, &[Hook]); 6] {
    let points = [
        Point::Prestart,
        Point::CreateRuntime,
        Point::CreateContainer,
        Point::StartContainer,
        Point::Poststart,
        Point::Poststop,
    ];
    points.map(|point| (point, at(spec, point)))
}

/// The points at which a configuration has hooks.
pub fn points(spec: &Spec) -> Vec<Point> {
    all(spec).iter().filter(|(_, hooks)| !hooks.is_empty()).map(|(point, _)| *point).collect()
}

/// The hooks at a point.
pub fn at(spec: &Spec, point: Point) -> &[Hook] {
    let Some(hooks) = spec.hooks() else { return &[] };
    let list = match point {
        Point::Prestart => hooks.prestart(),
        Point::CreateRuntime => hooks.create_runtime(),
        Point::CreateContainer => hooks.create_container(),
        Point::StartContainer => hooks.start_container(),
        Point::Poststart => hooks.poststart(),
        Point::Poststop => hooks.poststop(),
    };
    list.as_deref().unwrap_or_default()
}

/// Where hooks run.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// Where the runtime is, in this directory if one is named.
    Runtime(Option<&'a Path>),
    /// In the namespaces of the container's first process, and in this directory there.
    Container(&'a process::Child, &'a Path),
}

/// Runs the hooks at a point. `state` is what they read. The first that fails ends it.
///
/// # Errors
/// A hook that cannot be run, fails, or takes longer than it may.
pub fn run(spec: &Spec, point: Point, state: &[u8], place: Place<'_>) -> Result<()> {
    at(spec, point).iter().enumerate().try_for_each(|(index, hook)| {
        run_one(hook, state, place).map_err(|error| {
            Error::caused(Kind::System, format!("error running {} hook #{index}", point.name()), error)
        })
    })
}

fn run_one(hook: &Hook, state: &[u8], place: Place<'_>) -> Result<()> {
    let mut command = command(hook);
    let child = match place {
        Place::Container(process, directory) => {
            let directory = crate::rootfs::path_string(directory)?;
            let namespaces = JoinedNamespaces::of(process.pid.as_raw_nonzero().get())?;
            let inside =
                Inside { namespaces: namespaces.kinds, becomes_root: namespaces.changes_user, directory };
            spawn_inside(&mut command, process.pidfd.as_fd(), inside)
        }
        Place::Runtime(directory) => {
            directory.map(|directory| command.current_dir(directory));
            command.spawn()
        }
    };
    let mut child = child.context(|| format!("execute `{}`", hook.path().display()))?;
    if let Some(mut input) = child.stdin.take() {
        // A hook need not read it.
        let _ = input.write_all(state);
    }
    let mut said = Said::take(&mut child);
    let status = wait(&mut child, timeout(hook), &mut said)?;
    if status.success() {
        return Ok(());
    }
    let ended = match (status.code(), status.signal()) {
        (Some(code), _) => in_words(code),
        (None, signal) => in_words(128 + signal.unwrap_or_default()),
    };
    Err(Error::new(Kind::System, format!("{ended}{}", said.in_words())))
}

fn command(hook: &Hook) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(hook.path());
    if let Some((name, arguments)) = hook.args().as_deref().and_then(<[String]>::split_first) {
        command.arg0(name).args(arguments);
    }
    if let Some(environment) = hook.env() {
        command.env_clear();
        command.envs(environment.iter().filter_map(|entry| entry.split_once('=')));
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// How long a hook may run.
pub fn timeout(hook: &Hook) -> Option<Duration> {
    hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs)
}

/// Waits for the hook while reading what it says, so that it never has to wait for that.
fn wait(child: &mut Child, timeout: Option<Duration>, said: &mut Said) -> Result<ExitStatus> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    loop {
        said.read_for(LOOK);
        if let Some(status) = child.try_wait().context(|| "wait for it")? {
            said.read_for(Duration::ZERO);
            return Ok(status);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            let _ = child.kill();
            let _ = child.wait();
            let seconds = timeout.unwrap_or_default().as_secs_f64();
            return Err(Error::new(
                Kind::System,
                format!("hook ran past specified timeout of {seconds:.1}s"),
            ));
        }
    }
}

/// How a hook has ended, by its exit code or 128 + the signal that ended it: in the words of Go's library for what
/// a filter of system calls does, since callers look for them.
pub fn in_words(code: i32) -> String {
    match code - 128 {
        9 => "signal: killed".to_owned(),
        31 => "signal: bad system call".to_owned(),
        signal @ 1..=64 => format!("signal {signal}"),
        _ => format!("exit status {code}"),
    }
}

/// What a hook said, as far as an error shows it.
struct Said {
    streams: [Option<(OwnedFd, Vec<u8>)>; 2],
}

impl Said {
    fn take(child: &mut Child) -> Self {
        let out = child.stdout.take().map(|stream| (OwnedFd::from(stream), Vec::new()));
        let err = child.stderr.take().map(|stream| (OwnedFd::from(stream), Vec::new()));
        Self { streams: [out, err] }
    }

    /// Reads what is there, waiting for it at most that time.
    fn read_for(&mut self, time: Duration) {
        let timeout = Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
        let mut open: Vec<PollFd<'_>> =
            self.streams.iter().flatten().map(|(stream, _)| PollFd::new(stream, PollFlags::IN)).collect();
        // Without streams this is a pause.
        let waited = poll(&mut open, Some(&timeout));
        drop(open);
        if waited.is_ok_and(|ready| ready > 0) {
            self.streams.iter_mut().for_each(read_once);
        }
    }

    fn in_words(&self) -> String {
        let text = |index: usize| {
            let text = self.streams[index].as_ref().map(|(_, text)| text.as_slice()).unwrap_or_default();
            String::from_utf8_lossy(text).trim().to_owned()
        };
        format!(", stdout: {}, stderr: {}", text(0), text(1))
    }
}

/// Takes what a stream has, keeping no more than an error shows.
fn read_once(stream: &mut Option<(OwnedFd, Vec<u8>)>) {
    let Some((open, text)) = stream else { return };
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut [PollFd::new(&*open, PollFlags::IN)], Some(&now)) != Ok(1) {
        return;
    }
    let mut piece = [0; 4096];
    if let Ok(length) = rustix::io::read(&*open, &mut piece) {
        let room = OUTPUT_LIMIT.saturating_sub(text.len());
        text.extend_from_slice(&piece[..length.min(room)]);
    }
}
