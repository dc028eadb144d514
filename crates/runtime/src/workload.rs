//! What follows from a workload's configuration, for whoever runs it: the keeper on a host, the agent in a guest.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::Path;

use holm_spec::keeper::{ExecProcess, FailureKind, WindowSize};
use holm_spec::runtime::{LinuxResources, Mount, Process, Spec};
use holm_spec::workload::{INIT, INIT_TARGET, SeccompSource};
use holm_sys::process::Child;

use crate::capability::{CapabilitySet, ProcessCapabilities};
use crate::cgroup::Group;
use crate::container::Exec;
use crate::device::Rule;
use crate::error::{Error, Kind, Result};
use crate::handshake::Event;
use crate::process::{NewTerminal, Stdio};
use crate::seccomp::{self, Architecture, Filter, Program};
use crate::streams::{self, ProcessEnds, Streams};
use crate::watched::{Newborn, Role, Watched};

/// What the configuration limits.
pub fn resources(spec: &Spec) -> Option<&LinuxResources> {
    spec.linux().as_ref()?.resources().as_ref()
}

/// Which devices may be used.
pub fn device_rules(spec: &Spec) -> Vec<Rule> {
    let rules = resources(spec).and_then(|resources| resources.devices().as_ref());
    rules.into_iter().flatten().filter_map(Rule::from_oci).collect()
}

/// Whether the first process is Holm's init, which listens to signals and expects to find them blocked.
pub fn begins_with_init(spec: &Spec) -> bool {
    let program = spec.process().as_ref().and_then(|process| process.args().as_ref()?.first());
    let is_init = |mount: &Mount| {
        let source = mount.source().as_ref().and_then(|source| source.file_name());
        mount.destination() == Path::new(INIT_TARGET) && source == Some(OsStr::new(INIT))
    };
    program.is_some_and(|program| program == INIT_TARGET)
        && spec.mounts().as_ref().is_some_and(|mounts| mounts.iter().any(is_init))
}

/// The filter of system calls; Holm's own profile is looked for in the directory `cache` and put there.
///
/// # Errors
/// [`Kind::Invalid`]: `linux.seccomp` makes no sense.
pub fn seccomp_program(source: SeccompSource, spec: &Spec, cache: Option<&Path>) -> Result<Option<Program>> {
    let invalid = |error: seccomp::Error| Error::caused(Kind::Invalid, "compile the seccomp profile", error);
    match source {
        SeccompSource::Unconfined => Ok(None),
        SeccompSource::Default => {
            let process = spec.process().as_ref().and_then(|process| process.capabilities().as_ref());
            let bounding = ProcessCapabilities::from_oci(process).bounding;
            seccomp::default_program(bounding.bits(), cache).map(Some).map_err(invalid)
        }
        SeccompSource::Configuration => {
            let Some(document) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) else {
                return Ok(None);
            };
            let native = Architecture::NATIVE;
            let filter = Filter::from_oci(document, native).map_err(invalid)?;
            seccomp::compile(&filter, native).map(Some).map_err(invalid)
        }
    }
}

/// The process's standard streams: these ends, or a new terminal.
pub fn stdio(ends: Option<&ProcessEnds>, window: Option<WindowSize>) -> Stdio<'_> {
    let new = NewTerminal { window, plain_output: false };
    ends.map_or(Stdio::Terminal(new), |ends| Stdio::Descriptors(ends.descriptors()))
}

/// What is answered to a process that gets somewhere on its way: the devices of its group are guarded while it mounts.
///
/// # Errors
/// [`Kind::System`]: the devices cannot be guarded. [`Kind::Invalid`]: a seccomp listener, which nobody but a
/// command-line caller names a socket for.
pub fn answer(event: Event, group: &Group, rules: &[Rule]) -> Result<()> {
    match event {
        Event::Made => group.guard_devices(rules),
        Event::Mounted => Ok(()),
        Event::Listener(_) => Err(Error::invalid("a seccomp listener is not supported here")),
    }
}

/// A running workload that another process joins.
#[derive(Clone, Copy, Debug)]
pub struct Joined<'a> {
    /// Its configuration.
    pub spec: &'a Spec,
    /// `user[:group]`, looked up in its root.
    pub user: &'a str,
    /// Where its filter of system calls comes from.
    pub seccomp: SeccompSource,
    /// Where filters are kept.
    pub cache: Option<&'a Path>,
    /// Its groups.
    pub group: &'a Group,
    /// Its first process.
    pub first: &'a Watched,
    /// Descriptors that the new process inherits beside its standard streams, ascending.
    pub preserved: &'a [i32],
}

/// Runs another process in a workload, with pipes or a terminal.
///
/// # Errors
/// As [`crate::container::exec`], and [`Kind::System`] if there are no more descriptors.
pub fn exec(
    workload: Joined<'_>,
    asked: &ExecProcess,
    stdin: bool,
    window: Option<WindowSize>,
) -> Result<Newborn> {
    let process = exec_process(workload.spec, asked);
    let seccomp = if asked.privileged { SeccompSource::Unconfined } else { workload.seccomp };
    let seccomp = seccomp_program(seccomp, workload.spec, workload.cache)?;
    let io = |error| Error::system("make the standard streams", error);
    let ends = if asked.tty { None } else { Some(streams::pipes(stdin).map_err(io)?) };
    let exec = Exec {
        spec: workload.spec,
        target: workload.first.pidfd.as_fd(),
        target_pid: workload.first.pid,
        process: &process,
        program: None,
        group: workload.group,
        user: Some(asked.user.as_deref().unwrap_or(workload.user)),
        seccomp,
        stdio: stdio(ends.as_ref().map(|(_, ends)| ends), window),
        dies_with_parent: asked.tty,
        preserved: workload.preserved.to_vec(),
        landlock: None,
        affinity: None,
        resctrl: None,
    };
    // The group's devices are guarded already.
    let mut answer = |event: Event, _: &Child| answer(event, workload.group, &[]);
    let started = crate::container::exec(exec, &mut answer)?;
    Newborn::of(Role::Exec, started, ends.map(|(streams, _): (Streams, _)| streams))
}

/// The process that an exec runs: the workload's own, with what was asked over it.
pub fn exec_process(spec: &Spec, asked: &ExecProcess) -> Process {
    let mut process = spec.process().clone().unwrap_or_default();
    let mut env = process.env().clone().unwrap_or_default();
    for entry in &asked.env {
        let name = entry.split('=').next().unwrap_or(entry);
        env.retain(|old| old.split('=').next() != Some(name));
        env.push(entry.clone());
    }
    if asked.tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    process.set_env(Some(env)).set_args(Some(asked.args.clone())).set_terminal(Some(asked.tty));
    if let Some(cwd) = &asked.cwd {
        process.set_cwd(cwd.into());
    }
    if asked.privileged {
        let all = CapabilitySet::ALL.to_oci();
        let mut sets = process.capabilities().clone().unwrap_or_default();
        sets.set_bounding(Some(all.clone())).set_effective(Some(all.clone())).set_permitted(Some(all));
        process.set_capabilities(Some(sets)).set_no_new_privileges(Some(false));
    }
    process
}

/// What a client makes of a failure to start.
pub fn failure_kind(error: &Error) -> FailureKind {
    match error.kind() {
        Kind::CommandNotFound => FailureKind::CommandNotFound,
        Kind::CommandNotExecutable => FailureKind::CommandNotExecutable,
        Kind::Invalid | Kind::Unsupported | Kind::System => FailureKind::Other,
    }
}
