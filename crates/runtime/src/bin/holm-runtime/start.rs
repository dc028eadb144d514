//! Letting a container that was created run its program, with the hooks around that.

use std::os::fd::AsFd;

use holm_runtime::bundle::Bundle;
use holm_runtime::container::{self, Exec};
use holm_runtime::hooks::{self, Place, Point};
use holm_runtime::state::{Container, Containers, Status};
use holm_runtime::{Error, Event, Kind, Result, Stdio, seccomp};
use holm_spec::runtime::{Hook, Spec};
use holm_sys::process::{self, Child};
use holm_sys::rustix::event::{PollFd, PollFlags, Timespec, poll};
use holm_sys::rustix::pipe::{PipeFlags, pipe_with};

use crate::command::state::document;
use crate::console;
use crate::readiness::Readiness;

/// Runs the hooks that come first, releases the process, and runs those that come then. A failure ends the
/// container, as the specification demands, but for that of whoever comes too late. Whoever waits for the program's
/// readiness gets it from what is returned.
pub fn start(containers: &Containers, container: &Container) -> Result<Option<Readiness>> {
    let spec = container.spec_with_hooks(&[Point::StartContainer, Point::Poststart])?;
    let spec = spec.as_ref();
    let _alone = container.lock()?;
    check_created(container)?;
    let readiness = Readiness::listen(container)?;
    let before = spec.map_or(Ok(()), |spec| run_start_hooks(containers, container, spec));
    let started = before.and_then(|()| container.release()).and_then(|()| {
        spec.map_or(Ok(()), |spec| {
            hooks::run(spec, Point::Poststart, &state(container, Status::Running), Place::Runtime(None))
        })
    });
    started.map(|()| readiness).inspect_err(|_| {
        if let Some(process) = container.process() {
            let _ = process::signal(process.as_fd(), 9);
            // Who asks next finds it stopped.
            let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&DEATH));
        }
    })
}

/// How long a killed process may take to end.
const DEATH: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

fn check_created(container: &Container) -> Result<()> {
    match container.status() {
        Status::Created => Ok(()),
        Status::Running => Err(Error::invalid("cannot start an already running container")),
        Status::Stopped => Err(Error::invalid("cannot start a container that has stopped")),
        Status::Paused => Err(Error::invalid("cannot start a container in the paused state")),
    }
}

fn state(container: &Container, status: Status) -> Vec<u8> {
    let record = &container.record;
    document(&record.id, status.name(), Some(record.pid), &record.bundle, Some(&record.annotations))
}

fn run_start_hooks(containers: &Containers, container: &Container, spec: &Spec) -> Result<()> {
    let state = state(container, Status::Created);
    for (index, hook) in hooks::at(spec, Point::StartContainer).iter().enumerate() {
        run_inside(containers, container, spec, hook, &state).map_err(|error| {
            Error::caused(Kind::System, format!("error running startContainer hook #{index}"), error)
        })?;
    }
    Ok(())
}

/// A hook inside is another process of the container, with the same rights and filter as its first.
fn run_inside(
    containers: &Containers,
    container: &Container,
    spec: &Spec,
    hook: &Hook,
    state: &[u8],
) -> Result<()> {
    let stopped = || Error::new(Kind::System, "the container has stopped");
    let target = container.process().ok_or_else(stopped)?;
    let mut process = spec.process().clone().ok_or_else(stopped)?;
    let path = hook.path().to_string_lossy().into_owned();
    let arguments = hook.args().clone().filter(|arguments| !arguments.is_empty());
    process.set_args(Some(arguments.unwrap_or_else(|| vec![path.clone()])));
    if let Some(environment) = hook.env() {
        process.set_env(Some(environment.clone()));
    }
    let group = container.join_group(&[])?;
    let failed = |errno| Error::system("make a pipe to the hook", errno);
    let (input, feed) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    let [_, output, error] = crate::launch::standard_streams();
    let known = container.seccomp().map(Into::into);
    let filter = seccomp::container_filter(spec, known, &containers.seccomp_cache())?;
    let exec = Exec {
        spec,
        target: target.as_fd(),
        target_pid: container.record.pid,
        process: &process,
        program: Some(&path),
        group: &group,
        user: None,
        seccomp: filter.as_ref().map(|filter| filter.program.clone()),
        stdio: Stdio::Descriptors([input.as_fd(), output, error]),
        dies_with_parent: true,
        preserved: Vec::new(),
        landlock: crate::launch::landlock(spec.process().as_ref())?,
        affinity: None,
        resctrl: container.record.resctrl.as_ref(),
    };
    let mut answer = |event: Event, child: &Child| match event {
        Event::Listener(listener) => {
            let asked = filter.as_ref().and_then(|filter| filter.listener.as_ref());
            let pid = child.pid.as_raw_nonzero().get();
            console::send_listener(
                asked,
                &listener,
                &container.record.id,
                &bundle_of(container, spec),
                pid,
                "created",
            )
        }
        Event::Made | Event::Mounted => Ok(()),
    };
    let started = container::exec(exec, &mut answer)?;
    drop(input);
    // A hook need not read it, and the pipe holds a state of any size that fits into 64 KiB.
    let _ = rustix::io::write(&feed, state);
    drop(feed);
    wait_for_hook(&started.process, hook)
}

/// As much of a bundle as the receiver of a listener is told of.
pub fn bundle_of(container: &Container, spec: &Spec) -> Bundle {
    Bundle {
        directory: container.record.bundle.clone(),
        spec: spec.clone(),
        document: Vec::new(),
        unknown_capabilities: Vec::new(),
        filter: None,
    }
}

fn wait_for_hook(child: &Child, hook: &Hook) -> Result<()> {
    let timeout = hooks::timeout(hook);
    let limit = timeout
        .map(|timeout| Timespec { tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 });
    let mut ended = [PollFd::new(&child.pidfd, PollFlags::IN)];
    let in_time = poll(&mut ended, limit.as_ref()) != Ok(0);
    if !in_time {
        let _ = process::signal(child.pidfd.as_fd(), 9);
    }
    let code = process::wait(child.pidfd.as_fd()).map_err(|errno| Error::system("wait for it", errno))?;
    match (in_time, code) {
        (true, 0) => Ok(()),
        (true, code) => Err(Error::new(Kind::System, hooks::in_words(code))),
        (false, _) => {
            let seconds = timeout.unwrap_or_default().as_secs_f64();
            Err(Error::new(Kind::System, format!("hook ran past specified timeout of {seconds:.1}s")))
        }
    }
}
