//! What a caller asks for when it creates a workload: typed values, not yet held against the image.

use std::collections::BTreeMap;
use std::path::PathBuf;

use holm_spec::life::RestartPolicy;
use holm_spec::log::Driver;
use holm_spec::machine::Hypervisor;
use holm_spec::network::{Attachment, Port, Publication};
use holm_spec::platform::Platform;
use holm_spec::workload::{ExtraHost, Isolation, Resolver};

/// A request for a new workload. `Default` asks for what `docker create IMAGE` does.
#[derive(Clone, Debug, Default)]
pub struct CreateRequest {
    /// Reference, digest or id prefix of the image.
    pub image: String,
    /// Arguments behind the image; empty for the image's own command.
    pub command: Vec<String>,
    /// Replaces the image's entry point; `Some(vec![])` removes it.
    pub entrypoint: Option<Vec<String>>,
    /// Name; a random one if absent.
    pub name: Option<String>,
    /// Container or VM.
    pub isolation: Isolation,
    /// Kernel of the virtual machine; the default one if absent.
    pub kernel: Option<String>,
    /// What runs the virtual machine.
    pub hypervisor: Hypervisor,
    /// Demand an image of this platform.
    pub platform: Option<Platform>,
    /// Changes to the image's environment, in order.
    pub env: Vec<EnvChange>,
    /// Working directory; the image's or `/` if absent.
    pub workdir: Option<String>,
    /// `user[:group]`; the image's or root if absent.
    pub user: Option<String>,
    /// Hostname; the short id if absent (the host's own with the host's network).
    pub hostname: Option<String>,
    /// What it mounts of the host, of volumes and of images.
    pub mounts: Vec<MountRequest>,
    /// Workloads whose binds and volumes it mounts, too.
    pub volumes_from: Vec<VolumesFrom>,
    /// tmpfs mounts: target to mount options (`size=64m,mode=1777,exec`).
    pub tmpfs: BTreeMap<String, String>,
    /// The root file system is read-only.
    pub read_only: bool,
    /// Memory limit in bytes, at least 6 MiB.
    pub memory: Option<u64>,
    /// Processor limit in billionths of a processor.
    pub nano_cpus: Option<u64>,
    /// Limit of processes and threads; `None` for no limit.
    pub pids_limit: Option<u64>,
    /// Capabilities to add: names with or without `CAP_`, any case, or `ALL`.
    pub cap_add: Vec<String>,
    /// Capabilities to drop, as above.
    pub cap_drop: Vec<String>,
    /// Gain no privileges by set-user-id programs or file capabilities.
    pub no_new_privileges: bool,
    /// Which system calls are allowed.
    pub seccomp: SeccompChoice,
    /// All privileges of the host's root, all devices.
    pub privileged: bool,
    /// Run an init as the first process.
    pub init: bool,
    /// Signal that asks the process to end; the image's or SIGTERM if absent.
    pub stop_signal: Option<i32>,
    /// Seconds before SIGKILL; 10 if absent, -1 for never.
    pub stop_timeout: Option<i64>,
    /// What is to happen when it has ended.
    pub restart: RestartPolicy,
    /// How its health is found out.
    pub health: HealthRequest,
    /// Labels over the image's.
    pub labels: BTreeMap<String, String>,
    /// Network of the sandbox.
    pub network: NetworkChoice,
    /// Ports of the host that lead to it.
    pub ports: Vec<Publication>,
    /// Every exposed port is published.
    pub publish_all: bool,
    /// Ports that it says it has, beside the image's.
    pub exposed: Vec<Port>,
    /// How it finds names.
    pub resolver: Resolver,
    /// Names that it knows.
    pub extra_hosts: Vec<ExtraHost>,
    /// Who keeps its output.
    pub log: LogRequest,
    /// Give the process a terminal.
    pub tty: bool,
    /// Keep standard input open for clients.
    pub open_stdin: bool,
    /// Close standard input when the first attached client goes.
    pub stdin_once: bool,
    /// Remove the workload when it ends.
    pub auto_remove: bool,
    /// The workload will be started by [`crate::Engine::start_created`]; if that never happens, its maker
    /// was killed.
    pub start_at_once: bool,
}

/// What is asked for the health checks, over what the image says. Times are in nanoseconds, and 0 is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthRequest {
    /// None, whatever the image says.
    pub none: bool,
    /// A line for the workload's shell; the image's check if absent.
    pub test: Option<String>,
    /// Between two checks.
    pub interval: Option<u64>,
    /// How long one may take.
    pub timeout: Option<u64>,
    /// Failures in a row that make it unhealthy.
    pub retries: Option<u32>,
    /// How long it may take to become healthy.
    pub start_period: Option<u64>,
    /// Between two checks while that lasts.
    pub start_interval: Option<u64>,
}

/// Who is to keep the output of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRequest {
    /// Files, the journal, nobody.
    pub driver: Driver,
    /// Docker's options of this driver.
    pub options: BTreeMap<String, String>,
}

/// The network that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NetworkChoice {
    /// The default one; none for a virtual machine, for now.
    #[default]
    Default,
    /// Nothing but loopback.
    None,
    /// The host's.
    Host,
    /// That of another workload, by name or id.
    Container(String),
    /// These.
    Networks(Vec<Attachment>),
}

/// One change to the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvChange {
    /// `NAME=value`.
    Set(String, String),
    /// Remove the image's variable: `-e NAME` where the caller has no such variable.
    Unset(String),
}

/// Something that the workload mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountRequest {
    /// What.
    pub source: MountSource,
    /// Absolute path in the workload.
    pub target: String,
    /// The workload cannot write there.
    pub read_only: bool,
    /// A path below the source that is shown in place of it; it must be there at each start.
    pub subpath: Option<String>,
    /// Propagation of later mounts: `rprivate` (default), `private`, `rshared`, `shared`, `rslave`, `slave`.
    pub propagation: Option<String>,
    /// Another workload's volume that nobody named there.
    pub nameless: bool,
    /// Everything in it becomes the user's that the workload runs as.
    pub owned: bool,
    /// Options as they were written, for `inspect`.
    pub mode: String,
    /// The whole text, if it was written as `SOURCE:TARGET[:OPTIONS]`.
    pub text: Option<String>,
}

impl MountRequest {
    /// A mount where nothing more is said.
    pub fn new(source: MountSource, target: String) -> Self {
        Self {
            source,
            target,
            read_only: false,
            subpath: None,
            propagation: None,
            nameless: false,
            owned: false,
            mode: String::new(),
            text: None,
        }
    }
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// A directory or file of the host.
    Bind(Bind),
    /// A volume.
    Volume {
        /// Its name; one of its own, which nobody named, if absent.
        name: Option<String>,
        /// Fill it with what the image has there, if it is empty.
        copy: bool,
        /// Options of the volume, if it is not there yet.
        options: BTreeMap<String, String>,
        /// Labels of the volume, if it is not there yet.
        labels: BTreeMap<String, String>,
    },
    /// The files of an image, read-only.
    Image(String),
    /// A file system in memory, of the workload's own, with options as in [`CreateRequest::tmpfs`].
    Memory(String),
}

impl MountSource {
    /// A volume that is filled with what the image has there; one of its own if it has no name.
    pub fn volume(name: Option<String>) -> Self {
        Self::Volume { name, copy: true, options: BTreeMap::new(), labels: BTreeMap::new() }
    }
}

/// A directory or file of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bind {
    /// Absolute path on the host.
    pub path: PathBuf,
    /// Make a directory of it if it is not there, as `docker run -v` does; otherwise that is an error.
    pub create: bool,
    /// What becomes of what is mounted below it.
    pub below: Below,
    /// Ids that its files appear with; their own if absent.
    pub ids: Option<IdMaps>,
}

/// What becomes of what is mounted below a directory that is bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Below {
    /// It is shown, too, and read-only if the directory is.
    #[default]
    Shown,
    /// It is shown, too, as writable as it is.
    Writable,
    /// It is not shown.
    Hidden,
}

/// Ids that the files of a mount appear with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMaps {
    /// Users.
    pub users: Vec<IdRange>,
    /// Groups.
    pub groups: Vec<IdRange>,
}

/// Ids in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first as the file system has it.
    pub from: u32,
    /// The first as it appears.
    pub to: u32,
    /// How many.
    pub count: u32,
}

/// A workload whose binds and volumes are mounted, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumesFrom {
    /// Its name or id.
    pub workload: String,
    /// Whether they are read-only; as they are there if absent.
    pub read_only: Option<bool>,
}

/// Which system calls a workload may make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SeccompChoice {
    /// Holm's default profile, the policy of Docker's.
    #[default]
    Default,
    /// All.
    Unconfined,
    /// A profile in Docker's JSON format: where it was read, for messages, and its content.
    Profile(String, String),
}
