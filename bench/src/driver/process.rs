//! Starting one command, timing it, and waiting for what it leaves behind.
//!
//! Three times are kept of a run: `wall`, until the command ended; `settled`, until the last process that it
//! left behind ended (engines clean up behind the user's back); and the CPU time of all of them. The driver is
//! the subreaper of its descendants, so orphans come to it and are counted. CPU time that the kernel spends in
//! its own threads, such as dismantling a network namespace, is nobody's and is not counted.
//!
//! Output goes to a memory file, not to a pipe: a daemon that keeps the descriptor open delays nothing.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use holm_bench::floor::sys;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use rustix::thread::LinkNameSpaceType;

/// How long things may take before they count as hung.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// One command, from its start to its end.
    pub command: Duration,
    /// What it leaves behind.
    pub orphans: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { command: Duration::from_secs(120), orphans: Duration::from_secs(10) }
    }
}

/// What one run took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// From before the start to the end of the command.
    pub wall: Duration,
    /// From before the start to the end of the last process that it left behind.
    pub settled: Duration,
    /// User and system time of the command and of what it left behind.
    pub cpu: Duration,
}

/// A command that can be run any number of times.
#[derive(Clone)]
pub struct Launch {
    program: OsString,
    arguments: Vec<OsString>,
    mount_namespace: Option<Rc<MountNamespace>>,
    bounds: Bounds,
    leaves: bool,
}

impl Launch {
    /// How many arguments messages show.
    const SHOWN_ARGUMENTS: usize = 20;

    /// `program` without arguments.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            mount_namespace: None,
            bounds: Bounds::default(),
            leaves: false,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn with<I>(mut self, arguments: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Runs in another mount namespace.
    #[must_use]
    pub fn inside(mut self, namespace: Option<Rc<MountNamespace>>) -> Self {
        self.mount_namespace = namespace;
        self
    }

    /// Bounds other than the default.
    #[must_use]
    pub fn bounded(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// What it leaves behind is meant to stay: [`Self::time`] counts the processor time that it took so far.
    #[must_use]
    pub fn leaving(mut self) -> Self {
        self.leaves = true;
        self
    }

    /// The same command as the argument of another one.
    #[must_use]
    pub fn through(&self, program: impl AsRef<OsStr>, words: &[&str]) -> Self {
        let inner = std::iter::once(&self.program).chain(&self.arguments);
        let outer = words.iter().map(OsString::from);
        let arguments = outer.chain(inner.cloned()).collect();
        Self { program: program.as_ref().to_owned(), arguments, ..self.clone() }
    }

    /// Runs the command and waits for it and for its orphans.
    ///
    /// # Errors
    /// When it cannot be started, fails, hangs, or leaves a process behind that does not end.
    pub fn time(&self) -> Result<Sample> {
        let before = children()?;
        let cpu = sys::time_of_children();
        let started = Instant::now();
        let wall = self.run_to_end(started)?.0;
        if self.leaves {
            let left: Duration = children()?.difference(&before).copied().map(time_of).sum();
            let cpu = sys::time_of_children().saturating_sub(cpu) + left;
            return Ok(Sample { wall, settled: wall, cpu });
        }
        reap_orphans(&before, started + wall + self.bounds.orphans).with_context(|| self.to_string())?;
        Ok(Sample { wall, settled: started.elapsed(), cpu: sys::time_of_children().saturating_sub(cpu) })
    }

    /// Runs the command, which leaves a container running, and waits only for the command.
    ///
    /// # Errors
    /// As [`Self::time`].
    pub fn time_and_leave(&self) -> Result<Duration> {
        Ok(self.run_to_end(Instant::now())?.0)
    }

    /// Runs the command; what it wrote on stdout, without white space at the end.
    ///
    /// # Errors
    /// As [`Self::time`].
    pub fn output(&self) -> Result<String> {
        Ok(self.run_to_end(Instant::now())?.1.trim_end().to_owned())
    }

    fn run_to_end(&self, started: Instant) -> Result<(Duration, String)> {
        let (out, err) = (memory_file()?, memory_file()?);
        let mut child = self.spawn(out.try_clone()?.into(), err.try_clone()?.into())?;
        let ended = wait(&child, started + self.bounds.command);
        let wall = started.elapsed();
        if ended.is_err() {
            end(&mut child);
        }
        let status = child.wait().with_context(|| self.to_string())?;
        ended.with_context(|| self.to_string())?;
        if !status.success() {
            let said = read_back(err)?;
            bail!("{self}: {status}: {}", said.lines().last().unwrap_or("no message"));
        }
        Ok((wall, read_back(out)?))
    }

    /// Starts the command and leaves it running; its stdout is `out`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, out: Stdio, err: Stdio) -> Result<Child> {
        let _entered = self.mount_namespace.as_deref().map(MountNamespace::enter).transpose()?;
        Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("starting `{}`", self.program.display()))
    }
}

impl std::fmt::Display for Launch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "`{}", self.program.display())?;
        let shown = self.arguments.iter().take(Self::SHOWN_ARGUMENTS);
        shown.clone().try_for_each(|argument| write!(formatter, " {}", argument.display()))?;
        formatter.write_str(if shown.len() < self.arguments.len() { " …`" } else { "`" })
    }
}

/// A mount namespace to start commands in.
pub struct MountNamespace {
    other: OwnedFd,
    own: OwnedFd,
}

impl MountNamespace {
    /// The namespace of process `pid`.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: u32) -> Result<Self> {
        let open = |path: String| File::open(&path).with_context(|| format!("opening `{path}`"));
        Ok(Self {
            other: open(format!("/proc/{pid}/ns/mnt"))?.into(),
            own: open("/proc/self/ns/mnt".to_owned())?.into(),
        })
    }

    /// One like the present one, changed by a shell's `commands`. A short-lived process makes it; the descriptor keeps
    /// it.
    ///
    /// # Errors
    /// When the commands fail.
    pub fn made_by(commands: &str) -> Result<Self> {
        let script = format!("{commands} && echo ready && exec sleep 10");
        let mut maker = Launch::new("unshare")
            .with(["--mount", "--propagation", "private", "sh", "-c", &script])
            .spawn(Stdio::piped(), Stdio::null())?;
        let out = maker.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        let read = BufReader::new(out).read_line(&mut line);
        let namespace = Self::of(maker.id());
        // It sleeps, or has failed and ended.
        drop(maker.kill());
        maker.wait()?;
        read?;
        if line.trim() != "ready" {
            bail!("`{commands}` failed in a mount namespace of its own");
        }
        namespace
    }

    fn enter(&self) -> Result<Entered<'_>> {
        rustix::thread::move_into_link_name_space(self.other.as_fd(), Some(LinkNameSpaceType::Mount))
            .context("entering a mount namespace")?;
        Ok(Entered(self))
    }
}

/// The way back from [`MountNamespace::enter`].
struct Entered<'a>(&'a MountNamespace);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        rustix::thread::move_into_link_name_space(self.0.own.as_fd(), Some(LinkNameSpaceType::Mount))
            .expect("the way back needs the same rights as the way there");
    }
}

/// Makes this process the one that orphans below it come to.
///
/// # Errors
/// Never on Linux 3.4 and later.
pub fn adopt_orphans() -> Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// The ids of the children of this (single-threaded) process.
///
/// # Errors
/// When the kernel does not offer the list (CONFIG_PROC_CHILDREN).
pub fn children() -> Result<BTreeSet<i32>> {
    let path = "/proc/thread-self/children";
    let list = std::fs::read_to_string(path).with_context(|| format!("reading `{path}`"))?;
    Ok(list.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect())
}

/// Processor time of a process, in all. Zero when the kernel does not tell (CONFIG_SCHED_INFO).
pub fn time_of(pid: i32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
    Duration::from_nanos(nanoseconds)
}

/// Kills a child and reaps it.
///
/// # Errors
/// When it is no child of this process.
pub fn kill(pid: Pid) -> Result<()> {
    // It may have ended by itself.
    let _ = rustix::process::kill_process(pid, Signal::KILL);
    reap(pid, Instant::now() + Bounds::default().orphans)
}

/// Waits until a child has ended, and reaps it.
///
/// # Errors
/// When it is still there at the deadline; it is killed. When it is no child of this process.
pub fn reap(pid: Pid, deadline: Instant) -> Result<()> {
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let ended = wait_for_exit(&pidfd, deadline);
    if ended.is_err() {
        rustix::process::kill_process(pid, Signal::KILL)?;
    }
    rustix::process::waitpid(Some(pid), WaitOptions::empty())?;
    ended.with_context(|| format!("waiting for process {}, left behind", pid.as_raw_nonzero()))
}

/// Waits until every child that is not in `before` has ended, and reaps it.
///
/// # Errors
/// When one is still there at the deadline; it is killed.
pub fn reap_orphans(before: &BTreeSet<i32>, deadline: Instant) -> Result<()> {
    while let Some(pid) = children()?.difference(before).next().copied().and_then(Pid::from_raw) {
        reap(pid, deadline)?;
    }
    Ok(())
}

/// Reaps every child that has ended, and waits for none. Not while a [`Child`] is held that somebody will wait
/// for.
pub fn reap_ended() {
    while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
}

/// Ends a command that hangs or whose driver was interrupted; gives it time to clean up.
fn end(child: &mut Child) {
    const GRACE: Duration = Duration::from_secs(5);
    // Both signals may come too late; the caller reaps it in any case.
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, Signal::TERM);
    }
    if wait(child, Instant::now() + GRACE).is_err() {
        drop(child.kill());
    }
}

fn wait(child: &Child, deadline: Instant) -> Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| anyhow!("pid 0"))?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    wait_for_exit(&pidfd, deadline)
}

fn wait_for_exit(pidfd: &OwnedFd, deadline: Instant) -> Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec { tv_sec: i64::try_from(left.as_secs())?, tv_nsec: left.subsec_nanos().into() };
    match rustix::event::poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&timeout)) {
        Ok(0) => bail!("still running after its time"),
        Err(Errno::INTR) => bail!("interrupted by a signal"),
        other => Ok(other.map(drop)?),
    }
}

fn memory_file() -> Result<File> {
    Ok(rustix::fs::memfd_create("output", MemfdFlags::CLOEXEC)?.into())
}

fn read_back(mut file: File) -> Result<String> {
    const MOST: u64 = 1 << 20;
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_failure_carry_what_the_command_said() {
        let shell = |script: &str| Launch::new("/bin/sh").with(["-c", script]);
        assert_eq!(shell("echo one; echo two").output().unwrap(), "one\ntwo");
        let error = shell("echo first >&2; echo last >&2; exit 3").time_and_leave().unwrap_err().to_string();
        assert!(error.contains("exit status: 3: last"), "{error}");
        let error = Launch::new("/nowhere/at/all").output().unwrap_err();
        assert!(format!("{error:#}").contains("starting `/nowhere/at/all`"), "{error:#}");
    }

    #[test]
    fn a_hung_command_ends_at_its_bound() {
        let bounds = Bounds { command: Duration::from_millis(50), ..Bounds::default() };
        let error = Launch::new("/bin/sleep").with(["600"]).bounded(bounds).time_and_leave().unwrap_err();
        assert!(format!("{error:#}").contains("still running"), "{error:#}");
    }
}
