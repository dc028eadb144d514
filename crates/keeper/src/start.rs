//! Requests that open a session: start, attach, exec; and signals.

use std::error::Error as _;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};

use holm_runtime::cgroup::{Group, Hierarchies};
use holm_runtime::container::{self, Exec, Start, StartOptions, Started};
use holm_runtime::device::Rule;
use holm_runtime::rootfs::Root;
use holm_runtime::seccomp::{self, Architecture, Filter, Program};
use holm_runtime::{Answer, Error, Event, Kind, NewTerminal, Stdio};
use holm_spec::keeper::{
    ExecProcess, FailureKind, PROTOCOL, Reply, Request, Streams as SessionStreams, WindowSize,
};
use holm_spec::rootfs::RootFs;
use holm_spec::runtime::{LinuxResources, Process, Spec};
use holm_spec::workload::{Config, SeccompSource, State, Status, VERSION};
use holm_spec::{Id, Timestamp};
use holm_sys::fail_point;
use holm_sys::file::{Durability, ensure_directory, read_limited, replace};
use holm_sys::process::Child;
use holm_sys::shared_mount::SharedMount;

use crate::limits;
use crate::log::Log;
use crate::process::{Newborn, Role, Watched};
use crate::server::Server;
use crate::streams::{self, ProcessEnds, Streams};
use crate::task::{Task, group_path};

/// Longest configuration that is read, in bytes.
const CONFIG_LIMIT: u64 = 16 << 20;

impl Server {
    /// Carries out the first request of a connection.
    pub fn handle_opening(&mut self, client: usize, request: Request) {
        let protocol = match &request {
            Request::Start { protocol, .. }
            | Request::Attach { protocol, .. }
            | Request::Exec { protocol, .. }
            | Request::Signal { protocol, .. } => *protocol,
            Request::Resize { .. } | Request::SessionSignal { .. } | Request::CloseStdin => return,
        };
        if protocol != PROTOCOL {
            let message = format!(
                "the keeper speaks protocol {PROTOCOL}, not {protocol}: it was started by another version of holm"
            );
            return self.fail(client, FailureKind::Protocol, message);
        }
        if self.lock.is_none() {
            return self.fail(client, FailureKind::NotRunning, "the sandbox has ended".to_owned());
        }
        match request {
            Request::Start { workload, streams, window, .. } => {
                self.start(client, &workload, streams, window)
            }
            Request::Attach { workload, streams, .. } => self.attach(client, &workload, streams),
            Request::Exec { workload, process, streams, window, .. } => {
                self.exec(client, &workload, &process, streams, window);
            }
            Request::Signal { workload, signal, .. } => self.signal(client, &workload, signal),
            Request::Resize { .. } | Request::SessionSignal { .. } | Request::CloseStdin => {}
        }
    }

    fn fail(&mut self, client: usize, kind: FailureKind, message: String) {
        self.conclude(client, &[Reply::Failed { kind, message }]);
    }

    /// Refuses a message that makes no sense here.
    pub fn refuse(&mut self, client: usize, message: &str) {
        self.fail(client, FailureKind::Other, message.to_owned());
    }

    fn fail_with(&mut self, client: usize, error: &Error) {
        let kind = match error.kind() {
            Kind::CommandNotFound => FailureKind::CommandNotFound,
            Kind::CommandNotExecutable => FailureKind::CommandNotExecutable,
            Kind::Invalid | Kind::Unsupported | Kind::System => FailureKind::Other,
        };
        self.fail(client, kind, in_one_line(error));
    }

    fn join_session(&mut self, client: usize, process: usize, streams: SessionStreams, pid: i32) {
        self.tell(client, |client| {
            (client.process, client.streams) = (Some(process), streams);
            client.reply(&Reply::Started { pid })
        });
    }

    fn start(&mut self, client: usize, workload: &Id, streams: SessionStreams, window: Option<WindowSize>) {
        if self.tasks.contains_key(workload) {
            return self.refuse(client, "the workload runs already");
        }
        let config = match self.read_config(workload) {
            Ok(config) => config,
            Err(error) => return self.fail_with(client, &error),
        };
        match self.launch(&config, window) {
            Ok((process, pid)) => self.join_session(client, process, streams, pid),
            Err(error) => {
                self.bury_failed_start(&config, &error);
                self.fail_with(client, &error);
            }
        }
    }

    /// From the configuration to a running, watched and recorded workload.
    fn launch(&mut self, config: &Config, window: Option<WindowSize>) -> Result<(usize, i32), Error> {
        let (started, mut task) = self.try_launch(config, window)?;
        let pid = task.state.pid;
        let index = self.watch(started).map_err(|errno| Error::system("watch the workload", errno))?;
        task.main = index;
        self.tasks.insert(config.id, task);
        Ok((index, pid))
    }

    /// Reads a workload's configuration, and gives it the limits of whoever started it.
    pub fn read_config(&self, workload: &Id) -> Result<Config, Error> {
        let path = self.layout.workload(workload).config();
        let invalid = |error: serde_json::Error| {
            Error::caused(Kind::Invalid, format!("read configuration `{}`", path.display()), error)
        };
        let text = read_limited(&path, CONFIG_LIMIT)
            .map_err(|error| Error::system(format!("read configuration `{}`", path.display()), error))?;
        let mut config: Config = serde_json::from_slice(&text).map_err(invalid)?;
        limits::give(&self.callers_limits, &mut config.oci);
        Ok(config)
    }

    fn try_launch(&self, config: &Config, window: Option<WindowSize>) -> Result<(Newborn, Task), Error> {
        let paths = self.layout.workload(&config.id);
        let directory = self.paths.workload(&config.id);
        ensure_directory(&directory, 0o700)
            .map_err(|error| Error::system("make the workload's run directory", error))?;
        let layers = mount_layers(config)?;
        fail_point::reached("keeper-layers-mounted");
        let rules = device_rules(config);
        let group = make_group(config, &rules)?;
        fail_point::reached("keeper-cgroup-made");
        let log = ensure_directory(&paths.log_dir(), 0o700)
            .and_then(|()| Log::open(&paths.log()))
            .map_err(|error| Error::system(format!("open log `{}`", paths.log().display()), error))?;
        let mut answer = |event: Event, _: &Child| match event {
            Event::Made => group.guard_devices(&rules),
            Event::Mounted => Ok(()),
            // Nobody but a command-line caller names a socket for it.
            Event::Listener(_) => Err(Error::invalid("a seccomp listener is not supported here")),
        };
        let root = root_of(config, &layers);
        let mut process = self.start_process(config, &root, &group, window, &mut answer)?;
        fail_point::reached("keeper-process-started");
        let state = running_state(process.get().pid)?;
        write_state(&self.paths.state(&config.id), &state)?;
        if !config.auto_remove {
            // What a restart of the host leaves: a run without an end.
            write_state(&paths.exit(), &state)?;
        }
        fail_point::reached("keeper-state-written");
        Ok((process, Task { config: config.clone(), state, log, group, layers, main: usize::MAX }))
    }

    fn start_process(
        &self,
        config: &Config,
        root: &RootFs,
        group: &Group,
        window: Option<WindowSize>,
        answer: &mut Answer<'_>,
    ) -> Result<Newborn, Error> {
        let directory = self.paths.workload(&config.id);
        let io = |error: std::io::Error| Error::system("make the standard streams", error);
        let ends =
            if config.tty { None } else { Some(streams::fifos(&directory, config.open_stdin).map_err(io)?) };
        let start = Start {
            spec: &config.oci,
            root: Root::Layers(root),
            bundle: Path::new("/"),
            group,
            user: Some(&config.user),
            seccomp: seccomp_program(config, &config.oci, &self.layout.seccomp_cache())?,
            stdio: stdio(ends.as_ref().map(|(_, ends)| ends), window),
            // Nobody can take over a terminal.
            options: StartOptions { dies_with_parent: config.tty, ..StartOptions::default() },
        };
        let started = container::start(start, answer)?;
        watched(Role::Main, started, ends.map(|(streams, _)| streams), config.stdin_once)
    }

    fn attach(&mut self, client: usize, workload: &Id, streams: SessionStreams) {
        let Some(task) = self.tasks.get(workload) else {
            return self.fail(
                client,
                FailureKind::NotRunning,
                format!("workload {} does not run", workload.short()),
            );
        };
        let (process, pid) = (task.main, task.state.pid);
        self.join_session(client, process, streams, pid);
    }

    fn signal(&mut self, client: usize, workload: &Id, signal: i32) {
        let Some(main) = self.tasks.get(workload).map(|task| task.main) else {
            return self.fail(
                client,
                FailureKind::NotRunning,
                format!("workload {} does not run", workload.short()),
            );
        };
        match self.process(main).map(|process| process.signal(signal)) {
            Some(Err(errno)) => {
                self.fail_with(client, &Error::system(format!("send signal {signal}"), errno))
            }
            _ => self.conclude(client, &[Reply::Done]),
        }
    }

    fn exec(
        &mut self,
        client: usize,
        workload: &Id,
        asked: &ExecProcess,
        streams: SessionStreams,
        window: Option<WindowSize>,
    ) {
        match self.try_exec(workload, asked, streams, window) {
            Ok(mut process) => {
                let pid = process.get().pid;
                match self.watch(process) {
                    Ok(index) => self.join_session(client, index, streams, pid),
                    Err(errno) => self.fail_with(client, &Error::system("watch the process", errno)),
                }
            }
            Err(Some(error)) if self.runs(workload) => self.fail_with(client, &error),
            Err(_) => {
                self.fail(
                    client,
                    FailureKind::NotRunning,
                    format!("workload {} does not run", workload.short()),
                );
            }
        }
    }

    /// Whether a workload's first process has not ended.
    fn runs(&mut self, workload: &Id) -> bool {
        let Some(main) = self.tasks.get(workload).map(|task| task.main) else { return false };
        // One that is on its way out has let go of its root before its end shows.
        let patience = rustix::event::Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        self.process(main).is_some_and(|process| {
            let mut ended = [PollFd::new(&process.pidfd, PollFlags::IN)];
            poll(&mut ended, Some(&patience)) == Ok(0)
        })
    }

    fn try_exec(
        &mut self,
        workload: &Id,
        asked: &ExecProcess,
        streams: SessionStreams,
        window: Option<WindowSize>,
    ) -> Result<Newborn, Option<Error>> {
        let main = self.tasks.get(workload).map(|task| task.main).ok_or(None)?;
        let cache = self.layout.seccomp_cache();
        let target = self.process(main).and_then(|process| process.pidfd.try_clone().ok()).ok_or(None)?;
        let task = self.tasks.get(workload).ok_or(None)?;
        let config = &task.config;
        let process = exec_process(config, asked);
        let seccomp = if asked.privileged { None } else { seccomp_program(config, &config.oci, &cache)? };
        let io = |error: std::io::Error| Error::system("make the standard streams", error);
        let ends = if asked.tty { None } else { Some(streams::pipes(streams.stdin).map_err(io)?) };
        let exec = Exec {
            spec: &config.oci,
            target: target.as_fd(),
            target_pid: task.state.pid,
            process: &process,
            program: None,
            group: &task.group,
            user: Some(asked.user.as_deref().unwrap_or(&config.user)),
            seccomp,
            stdio: stdio(ends.as_ref().map(|(_, ends)| ends), window),
            dies_with_parent: asked.tty,
            preserved: Vec::new(),
            landlock: None,
            affinity: None,
            resctrl: None,
        };
        let mut answer = |event: Event, _: &Child| match event {
            Event::Listener(_) => Err(Error::invalid("a seccomp listener is not supported here")),
            Event::Made | Event::Mounted => Ok(()),
        };
        let started = container::exec(exec, &mut answer)?;
        Ok(watched(Role::Exec, started, ends.map(|(streams, _)| streams), true)?)
    }
}

/// An error with its causes, for a client that shows one line.
fn in_one_line(error: &Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    if error.is_kernel_too_old() {
        line.push_str(" (Holm needs Linux 6.1 or later, with nothing that filters its system calls)");
    }
    line
}

fn mount_layers(config: &Config) -> Result<Vec<SharedMount>, Error> {
    let acquire = |layer: &holm_spec::rootfs::LayerMount| {
        SharedMount::acquire(&layer.source, &layer.lock, &layer.target)
            .map_err(|error| Error::caused(Kind::System, "mount the image", error))
    };
    config.root.layers.iter().map(acquire).collect()
}

/// The root with its layers where they are mounted for this keeper's mount namespace.
fn root_of(config: &Config, layers: &[SharedMount]) -> RootFs {
    let mut root = config.root.clone();
    for (layer, mount) in root.layers.iter_mut().zip(layers) {
        mount.target().clone_into(&mut layer.target);
    }
    root
}

fn resources(config: &Config) -> Option<&LinuxResources> {
    config.oci.linux().as_ref()?.resources().as_ref()
}

fn device_rules(config: &Config) -> Vec<Rule> {
    let rules = resources(config).and_then(|resources| resources.devices().as_ref());
    rules.into_iter().flatten().filter_map(Rule::from_oci).collect()
}

fn make_group(config: &Config, rules: &[Rule]) -> Result<Group, Error> {
    Group::create(&Hierarchies::detect()?, &group_path(config), resources(config), rules)
}

fn seccomp_program(config: &Config, spec: &Spec, cache: &Path) -> Result<Option<Program>, Error> {
    let invalid = |error: seccomp::Error| Error::caused(Kind::Invalid, "compile the seccomp profile", error);
    match config.seccomp {
        SeccompSource::Unconfined => Ok(None),
        SeccompSource::Default => {
            let process = spec.process().as_ref().and_then(|process| process.capabilities().as_ref());
            let bounding = holm_runtime::capability::ProcessCapabilities::from_oci(process).bounding;
            seccomp::default_program(bounding.bits(), Some(cache)).map(Some).map_err(invalid)
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

fn stdio<'a>(ends: Option<&'a ProcessEnds>, window: Option<WindowSize>) -> Stdio<'a> {
    let new = NewTerminal { window, plain_output: false };
    ends.map_or(Stdio::Terminal(new), |ends| Stdio::Descriptors(ends.descriptors()))
}

fn watched(
    role: Role,
    started: Started,
    streams: Option<Streams>,
    stdin_once: bool,
) -> Result<Newborn, Error> {
    let mut newborn = Newborn::new(Watched {
        role,
        pid: started.process.pid.as_raw_nonzero().get(),
        pidfd: started.process.pidfd,
        adopted: None,
        streams: streams.unwrap_or_default(),
        backlog: Vec::new(),
        close_after_backlog: false,
        stdin_once,
    });
    if let Some(master) = started.terminal {
        newborn.get().streams =
            streams::terminal(master).map_err(|error| Error::system("take the terminal", error))?;
    }
    Ok(newborn)
}

fn running_state(pid: i32) -> Result<State, Error> {
    let boot_id = holm_sys::process::boot_id().map_err(|error| Error::system("read the boot id", error))?;
    Ok(State {
        version: VERSION,
        status: Status::Running,
        pid,
        pid_start: holm_sys::process::start_time(pid).unwrap_or(0),
        boot_id,
        started: Timestamp::from_nanos(holm_sys::process::now()),
        ..State::created()
    })
}

/// Writes a state for readers who take no lock.
pub(crate) fn write_state(path: &Path, state: &State) -> Result<(), Error> {
    let text = serde_json::to_vec(state).expect("a state is plain data");
    replace(path, &text, Durability::Volatile)
        .map_err(|error| Error::system(format!("write state `{}`", path.display()), error))
}

/// The process that an exec runs: the workload's own, with what was asked over it.
fn exec_process(config: &Config, asked: &ExecProcess) -> Process {
    let mut process = config.oci.process().clone().unwrap_or_default();
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
        let all = holm_runtime::capability::CapabilitySet::ALL.to_oci();
        let mut sets = process.capabilities().clone().unwrap_or_default();
        sets.set_bounding(Some(all.clone())).set_effective(Some(all.clone())).set_permitted(Some(all));
        process.set_capabilities(Some(sets)).set_no_new_privileges(Some(false));
    }
    process
}
