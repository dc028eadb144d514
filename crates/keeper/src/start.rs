//! Requests that open a session: start, attach, exec; and signals.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use holm_network::{Membership, Ports};
use holm_runtime::cgroup::{Group, Hierarchies, thaw};
use holm_runtime::container::{self, Start, StartOptions};
use holm_runtime::device::Rule;
use holm_runtime::layers;
use holm_runtime::rootfs::Root;
use holm_runtime::streams;
use holm_runtime::watched::{Newborn, Role};
use holm_runtime::workload::{self, Joined};
use holm_runtime::{Answer, Error, Event, Kind};
use holm_spec::changes::Changes;
use holm_spec::keeper::{
    ExecProcess, FailureKind, PROTOCOL, Reply, Request, Streams as SessionStreams, WindowSize,
};
use holm_spec::life::{Health, RestartPolicy};
use holm_spec::rootfs::RootFs;
use holm_spec::workload::{Config, Isolation, State, Status, VERSION};
use holm_spec::{Id, Timestamp, signal};
use holm_sys::fail_point;
use holm_sys::file::{Durability, ensure_directory, read_limited, replace};
use holm_sys::process::Child;
use holm_sys::shared_mount::SharedMount;
use serde::de::DeserializeOwned;

use crate::health::Watch;
use crate::limits;
use crate::log::Log;
use crate::mounts;
use crate::server::Server;
use crate::shares::Helper;
use crate::task::{Task, group_path};

/// Longest configuration that is read, in bytes.
const CONFIG_LIMIT: u64 = 16 << 20;

/// A workload's first process with what it was started in.
pub(crate) struct Begun {
    pub process: Newborn,
    pub group: Group,
    pub layers: Vec<SharedMount>,
    /// Processes that serve its machine.
    pub helpers: Vec<Helper>,
    /// The host's ports that lead to it.
    pub ports: Ports,
    /// Where its machine says what becomes of it, if it is in one.
    pub notices: Option<OwnedFd>,
}

/// How a run of a workload is begun.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    /// First size of the terminal.
    pub window: Option<WindowSize>,
    /// How many times it was started again by its policy until now.
    pub restarts: u32,
    /// How long it waited before; not at all if somebody started it.
    pub pause: Duration,
}

/// Adds variables for one run, the last of a name counts.
fn add_environment(config: &mut Config, added: Vec<String>) {
    let Some(process) = config.oci.process_mut().as_mut().filter(|_| !added.is_empty()) else { return };
    let name_of = |entry: &String| entry.split_once('=').map_or(entry.clone(), |(name, _)| name.to_owned());
    let names: Vec<String> = added.iter().map(name_of).collect();
    let mut env = process.env().clone().unwrap_or_default();
    env.retain(|entry| !names.contains(&name_of(entry)));
    env.extend(added);
    process.set_env(Some(env));
}

impl Server {
    /// Carries out the first request of a connection.
    pub fn handle_opening(&mut self, client: usize, request: Request) {
        let protocol = match &request {
            Request::Start { protocol, .. }
            | Request::Attach { protocol, .. }
            | Request::Exec { protocol, .. }
            | Request::CancelRestart { protocol, .. }
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
            Request::Start { workload, streams, window, restarts, env, .. } => {
                self.start(client, &workload, streams, Run { window, restarts, ..Run::default() }, env)
            }
            Request::Attach { workload, streams, .. } => self.attach(client, &workload, streams),
            Request::Exec { workload, process, streams, window, .. } => {
                self.tell(client, |client| client.reply(&Reply::Read));
                self.exec(client, &workload, &process, streams, window);
            }
            Request::CancelRestart { workload, .. } => {
                if !self.signal_waiting(client, &workload, signal::KILL) {
                    self.fail(client, FailureKind::NotRunning, "it does not wait to be started".to_owned());
                }
            }
            Request::Signal { workload, signal, .. } => {
                self.tell(client, |client| client.reply(&Reply::Read));
                self.signal(client, &workload, signal);
            }
            Request::Resize { .. } | Request::SessionSignal { .. } | Request::CloseStdin => {}
        }
    }

    pub(crate) fn fail(&mut self, client: usize, kind: FailureKind, message: String) {
        self.conclude(client, &[Reply::Failed { kind, message }]);
    }

    /// Refuses a message that makes no sense here.
    pub fn refuse(&mut self, client: usize, message: &str) {
        self.fail(client, FailureKind::Other, message.to_owned());
    }

    fn fail_with(&mut self, client: usize, error: &Error) {
        self.fail(client, workload::failure_kind(error), error.in_one_line());
    }

    pub(crate) fn join_session(&mut self, client: usize, process: usize, streams: SessionStreams, pid: i32) {
        self.tell(client, |client| {
            (client.process, client.streams) = (Some(process), streams);
            client.reply(&Reply::Started { pid })
        });
    }

    fn start(&mut self, client: usize, workload: &Id, streams: SessionStreams, run: Run, env: Vec<String>) {
        if self.tasks.contains_key(workload) {
            return self.refuse(client, "the workload runs already");
        }
        let mut config = match self.read_config(workload) {
            Ok(config) => config,
            Err(error) => return self.fail_with(client, &error),
        };
        add_environment(&mut config, env);
        match self.launch(&config, &run) {
            Ok((process, pid)) => self.join_when_started(client, process, streams, pid),
            Err(error) => {
                self.bury_failed_start(&config, workload::failure_kind(&error), &error.to_string());
                self.fail_with(client, &error);
            }
        }
    }

    /// From the configuration to a running, watched and recorded workload.
    pub fn launch(&mut self, config: &Config, run: &Run) -> Result<(usize, i32), Error> {
        let (process, mut task, notices) = self.try_launch(config, run)?;
        let pid = task.state.pid;
        let index = self.watch(process).map_err(|errno| Error::system("watch the workload", errno))?;
        task.main = index;
        self.watch_helpers(index, &task.helpers);
        self.tasks.insert(config.id, task);
        self.listen_to(index, notices);
        self.watch_ports(index);
        self.watch_networks(&config.settings.network);
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
        if let Some(changed) = self.changed_networks(workload)? {
            config.settings.networks = changed;
        }
        if let Some(changes) = self.changes(workload)? {
            changes.apply(&mut config);
        }
        limits::give(&self.callers_limits, &mut config.oci);
        Ok(config)
    }

    /// The groups of a workload whose limits were changed: it may have one more of v1 since.
    fn group_after_changes(&self, config: &Config) -> Result<Option<Group>, Error> {
        if !self.layout.workload(&config.id).changes().exists() {
            return Ok(None);
        }
        Group::find(&Hierarchies::detect()?, &group_path(config), &[], None).map(Some)
    }

    /// What was changed of a workload, if anything was.
    pub fn changes(&self, workload: &Id) -> Result<Option<Changes>, Error> {
        read_document(&self.layout.workload(workload).changes(), CONFIG_LIMIT)
    }

    fn try_launch(&self, config: &Config, run: &Run) -> Result<(Newborn, Task, Option<OwnedFd>), Error> {
        let paths = self.layout.workload(&config.id);
        let directory = self.paths.workload(&config.id);
        ensure_directory(&directory, 0o700)
            .map_err(|error| Error::system("make the workload's run directory", error))?;
        let log = Log::open(&paths, config)?;
        let found = mounts::find(config, &self.layout)?;
        let Begun { mut process, group, mut layers, helpers, ports, notices } = match config.isolation {
            Isolation::Container => self.start_container(&found.config, run.window)?,
            Isolation::Vm => self.start_machine(&found.config, run.window)?,
        };
        layers.extend(found.layers);
        fail_point::reached("keeper-process-started");
        let health = config.health.as_ref().map(|_| Health::starting());
        let state = State { restarts: run.restarts, health, ..running_state(process.get().pid)? };
        write_state(&self.paths.state(&config.id), &state)?;
        if !config.auto_remove {
            // What a restart of the host leaves: a run without an end.
            write_last_state(&paths.exit(), config, &state)?;
        }
        self.tell_event(config, "start", []);
        fail_point::reached("keeper-state-written");
        let task = Task {
            config: config.clone(),
            state,
            log,
            group,
            layers,
            volumes: found.volumes,
            helpers,
            published: ports.into(),
            main: usize::MAX,
            run: *run,
            began: Instant::now(),
            health: Watch::of(config),
        };
        Ok((process, task, notices))
    }

    fn start_container(&self, config: &Config, window: Option<WindowSize>) -> Result<Begun, Error> {
        let layers = layers::mount(&config.root)?;
        fail_point::reached("keeper-layers-mounted");
        let rules = workload::device_rules(&config.oci);
        let group = make_group(config, &rules)?;
        fail_point::reached("keeper-cgroup-made");
        let mut membership = self.join_networks(config)?;
        let mut answer = |event: Event, child: &Child| {
            if let (Event::Made, Some(membership)) = (&event, &mut membership) {
                self.connect_networks(config, membership, child.pid)?;
            }
            workload::answer(event, &group, &rules)
        };
        let root = layers::mounted(&config.root, &layers);
        let config = self.in_others_network(config)?;
        let process = self.start_process(&config, &root, &group, window, &mut answer)?;
        let ports = membership.map(Membership::keep).unwrap_or_default();
        Ok(Begun { process, group, layers, helpers: Vec::new(), ports, notices: None })
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
        let cache = self.layout.seccomp_cache();
        let start = Start {
            spec: &config.oci,
            root: Root::Layers(root),
            bundle: Path::new("/"),
            group,
            user: Some(&config.user),
            seccomp: workload::seccomp_program(config.seccomp, &config.oci, Some(&cache))?,
            stdio: workload::stdio(ends.as_ref().map(|(_, ends)| ends), window),
            // Nobody can take over a terminal.
            options: StartOptions {
                dies_with_parent: config.tty,
                blocks_signals: workload::begins_with_init(&config.oci),
                ..StartOptions::default()
            },
        };
        let started = container::start(start, answer)?;
        Newborn::of(Role::Main, started, ends.map(|(streams, _)| streams))
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
        if self.signal_waiting(client, workload, signal) {
            return;
        }
        let Some(main) = self.tasks.get(workload).map(|task| task.main) else {
            return self.fail(
                client,
                FailureKind::NotRunning,
                format!("workload {} does not run", workload.short()),
            );
        };
        self.note_request_to_end(main, signal, false);
        match self.process(main).map(|process| process.signal(signal)) {
            Some(Err(errno)) => {
                self.fail_with(client, &Error::system(format!("send signal {signal}"), errno))
            }
            _ => {
                self.let_go_on(main);
                self.conclude(client, &[Reply::Done]);
            }
        }
    }

    /// Lets the workload of a process that got a signal go on, if it is paused, so that the signal arrives.
    pub(crate) fn let_go_on(&self, process: usize) {
        let Some(task) = self.tasks.values().find(|task| task.main == process) else { return };
        if let Ok(hierarchies) = Hierarchies::detect() {
            // One that is not frozen any more has ended.
            let _ = thaw(&hierarchies, &group_path(&task.config));
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
        match self.try_exec(workload, asked, streams.stdin, window) {
            Ok((mut process, notices)) => {
                let pid = process.get().pid;
                match self.watch(process) {
                    Ok(index) => {
                        self.listen_to(index, notices);
                        self.join_when_started(client, index, streams, pid);
                    }
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
    fn runs(&self, workload: &Id) -> bool {
        let main = self.tasks.get(workload).and_then(|task| self.watched(task.main));
        main.is_some_and(|process| !process.is_on_its_way_out())
    }

    /// Starts another process in a workload; no error says that the workload has ended.
    pub fn try_exec(
        &self,
        workload: &Id,
        asked: &ExecProcess,
        stdin: bool,
        window: Option<WindowSize>,
    ) -> Result<(Newborn, Option<OwnedFd>), Option<Error>> {
        let cache = self.layout.seccomp_cache();
        let task = self.tasks.get(workload).ok_or(None)?;
        let config = &task.config;
        if config.isolation == Isolation::Vm {
            let (process, notices) = self.exec_in_machine(task, asked, stdin, window)?;
            return Ok((process, Some(notices)));
        }
        let changed = self.group_after_changes(config)?;
        let joined = Joined {
            spec: &config.oci,
            user: &config.user,
            seccomp: config.seccomp,
            cache: Some(&cache),
            group: changed.as_ref().unwrap_or(&task.group),
            first: self.watched(task.main).ok_or(None)?,
            preserved: &[],
        };
        Ok((workload::exec(joined, asked, stdin, window)?, None))
    }
}

fn make_group(config: &Config, rules: &[Rule]) -> Result<Group, Error> {
    Group::create(&Hierarchies::detect()?, &group_path(config), workload::resources(&config.oci), rules)
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

/// Reads a document that is there only if something was changed.
pub(crate) fn read_document<T: DeserializeOwned>(path: &Path, limit: u64) -> Result<Option<T>, Error> {
    let about = || format!("read `{}`", path.display());
    match read_limited(path, limit) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::system(about(), error)),
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| Error::caused(Kind::Invalid, about(), error)),
    }
}

/// Writes a state for readers who take no lock.
pub(crate) fn write_state(path: &Path, state: &State) -> Result<(), Error> {
    write(path, state, Durability::Volatile)
}

/// Writes down what a restart of the host finds. Where that decides what a boot brings back, a power cut must not undo it.
pub(crate) fn write_last_state(path: &Path, config: &Config, state: &State) -> Result<(), Error> {
    let decides = config.restart != RestartPolicy::No;
    write(path, state, if decides { Durability::Durable } else { Durability::Volatile })
}

fn write(path: &Path, state: &State, durability: Durability) -> Result<(), Error> {
    let text = serde_json::to_vec(state).expect("a state is plain data");
    replace(path, &text, durability)
        .map_err(|error| Error::system(format!("write state `{}`", path.display()), error))
}
