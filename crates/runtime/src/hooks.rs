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

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use holm_spec::runtime::{Hook, Spec};
use holm_sys::rustix::thread::ThreadNameSpaceType;

use crate::error::{Context, Error, Kind, Result};

/// Longest output of a hook that an error shows, in bytes.
const OUTPUT_LIMIT: u64 = 4096;
/// How long the output of a hook that has ended is waited for: what it left running may hold it open.
const OUTPUT_PATIENCE: Duration = Duration::from_millis(100);

/// At which point of a container's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Runs the hooks at a point, in the runtime's namespaces or in those of the process behind `inside`.
///
/// `state` is what they read. The first that fails ends it.
///
/// # Errors
/// A hook that cannot be run, fails, or takes longer than it may.
pub fn run(spec: &Spec, point: Point, state: &[u8], inside: Option<BorrowedFd<'_>>) -> Result<()> {
    at(spec, point).iter().enumerate().try_for_each(|(index, hook)| {
        run_one(hook, state, inside).map_err(|error| {
            let message = format!("error running {} hook #{index} `{}`", point.name(), hook.path().display());
            Error::caused(Kind::System, message, error)
        })
    })
}

fn run_one(hook: &Hook, state: &[u8], inside: Option<BorrowedFd<'_>>) -> Result<()> {
    let mut command = command(hook);
    let child = match inside {
        Some(process) => holm_sys::exec::spawn_inside(&mut command, process, INSIDE),
        None => command.spawn(),
    };
    let mut child = child.context(|| "execute it")?;
    if let Some(mut input) = child.stdin.take() {
        // A hook need not read it.
        let _ = input.write_all(state);
    }
    let status = wait(&mut child, timeout(hook))?;
    if status.success() {
        return Ok(());
    }
    let output = output_of(child);
    Err(Error::new(Kind::System, format!("{}{output}", in_words(status))))
}

/// Everything but its process ids and users: a hook is no process of the container's.
const INSIDE: ThreadNameSpaceType = ThreadNameSpaceType::MOUNT
    .union(ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME)
    .union(ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION)
    .union(ThreadNameSpaceType::NETWORK)
    .union(ThreadNameSpaceType::CONTROL_GROUP);

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

fn wait(child: &mut Child, timeout: Option<Duration>) -> Result<ExitStatus> {
    let Some(timeout) = timeout else { return child.wait().context(|| "wait for it") };
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait().context(|| "wait for it")? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            let message = format!("hook ran past specified timeout of {:.1}s", timeout.as_secs_f64());
            return Err(Error::new(Kind::System, message));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}

fn output_of(child: Child) -> String {
    let said = |stream: Option<&mut dyn Stream>| {
        let text = stream.map(read_what_is_there).unwrap_or_default();
        String::from_utf8_lossy(&text).trim().to_owned()
    };
    let (mut out, mut err) = (child.stdout, child.stderr);
    let out = said(out.as_mut().map(|stream| stream as &mut dyn Stream));
    let err = said(err.as_mut().map(|stream| stream as &mut dyn Stream));
    format!(", stdout: {out}, stderr: {err}")
}

trait Stream: Read + AsFd {}
impl<T: Read + AsFd> Stream for T {}

fn read_what_is_there(stream: &mut dyn Stream) -> Vec<u8> {
    use holm_sys::rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut text = Vec::new();
    let patience = Timespec { tv_sec: 0, tv_nsec: OUTPUT_PATIENCE.subsec_nanos().into() };
    while (text.len() as u64) < OUTPUT_LIMIT {
        let ready = poll(&mut [PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN)], Some(&patience));
        let mut piece = [0; 1024];
        match ready.map(|_| stream.read(&mut piece)) {
            Ok(Ok(length)) if length > 0 => text.extend_from_slice(&piece[..length]),
            _ => break,
        }
    }
    text
}
