//! Configuration and state of one workload: the two JSON documents that everything else follows.
//!
//! `config.json` says what was asked, fully resolved, and never changes. `state.json` (while its
//! sandbox runs) and `exit.json` (afterwards) say what is:
//!
//! ```text
//! (config.json only) created --start--> running --exit--> exited --start--> running ...
//!                       |                |    ^              |
//!                       |   exit, by the v    |              |
//!                       |   policy    restarting             |
//!                       +------ rm --------+---- rm -f ------+----> gone
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::life::{Health, HealthCheck, RestartPolicy};
use crate::log::LogSettings;
use crate::machine::Machine;
use crate::network::{Attachment, Port, Publication};
use crate::rootfs::RootFs;
use crate::volume::MountPoint;
use crate::{Digest, Id, Timestamp, runtime};

/// Version that this code writes into [`Config`] and [`State`]; it reads this one and none newer.
pub const VERSION: u32 = 1;

/// File name of Holm's init.
pub const INIT: &str = "holm-init";
/// Where a workload's init is seen, as with Docker.
pub const INIT_TARGET: &str = "/sbin/docker-init";

/// What separates a sandbox from its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Namespaces and control groups on the host's kernel.
    #[default]
    Container,
    /// A virtual machine with a kernel of its own.
    Vm,
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Container => "container",
            Self::Vm => "vm",
        })
    }
}

impl FromStr for Isolation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "container" => Ok(Self::Container),
            "vm" => Ok(Self::Vm),
            _ => Err(format!("unknown isolation `{text}`: container or vm")),
        }
    }
}

/// What was asked for a workload, resolved against its image; immutable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// [`VERSION`].
    pub version: u32,
    /// The workload.
    pub id: Id,
    /// Its name, unique among workloads.
    pub name: String,
    /// The sandbox that it runs in; of the same id for a sandbox of its own.
    pub sandbox: Id,
    /// The sandbox's isolation.
    pub isolation: Isolation,
    /// The machine, for the isolation `vm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
    /// It runs nothing and shows the files of this workload, whose disk is its own: no list has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visits: Option<Id>,
    /// When it was created.
    pub created: Timestamp,
    /// What it runs.
    pub image: ImageUse,
    /// Remove the workload when it ends.
    pub auto_remove: bool,
    /// Made to be started at once: one that was never started and is removed at its end had its maker
    /// killed.
    pub start_at_once: bool,
    /// The process has a terminal.
    pub tty: bool,
    /// Standard input is kept open for clients; otherwise it is `/dev/null`.
    pub open_stdin: bool,
    /// Close standard input when the first client that was attached to it goes.
    pub stdin_once: bool,
    /// `user[:group]`, names or numbers, looked up inside the root file system; empty for root.
    pub user: String,
    /// Run an init as the first process that reaps orphans and passes signals on.
    pub init: bool,
    /// Signal that asks the process to end.
    pub stop_signal: i32,
    /// Seconds between the stop signal and SIGKILL; `None` waits for ever.
    pub stop_timeout: Option<u32>,
    /// What is to happen when it has ended.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// How its health is found out, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// Labels of the image and of the request.
    pub labels: BTreeMap<String, String>,
    /// The request's settings as they were asked, for `inspect`.
    pub settings: Settings,
    /// The root file system.
    pub root: RootFs,
    /// Parent of the sandbox's cgroup, relative to each hierarchy's root.
    pub cgroup_parent: String,
    /// Where the filter of system calls comes from.
    pub seccomp: SeccompSource,
    /// The OCI runtime configuration.
    pub oci: runtime::Spec,
}

/// The image that a workload was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageUse {
    /// As the user wrote it.
    pub name: String,
    /// Digest of the image's configuration.
    pub id: Digest,
}

/// Where a workload's filter of system calls comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeccompSource {
    /// Holm's default profile, which is the same for everybody and so is not written into each
    /// configuration.
    #[default]
    Default,
    /// `linux.seccomp` of the OCI configuration.
    Configuration,
    /// No filter.
    Unconfined,
}

/// The network of a workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// A network namespace of its own with nothing but loopback.
    #[default]
    None,
    /// The host's network namespace.
    Host,
    /// A network namespace of its own with a device in each of its networks.
    Networks,
    /// The network namespace of another workload.
    Container(Id),
}

/// What a workload's `/etc/resolv.conf` says, as it was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Resolver {
    /// Name servers.
    pub servers: Vec<IpAddr>,
    /// Domains that names are looked for in; `.` for none.
    pub search: Vec<String>,
    /// Options of resolv.conf(5).
    pub options: Vec<String>,
}

/// A name that a workload's `/etc/hosts` has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// Its address; that of the host, as the workload sees it, if absent.
    pub address: Option<IpAddr>,
}

/// Settings as the user asked for them; the effective ones are in the OCI configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Entry point after resolution.
    pub entrypoint: Vec<String>,
    /// Command after resolution.
    pub command: Vec<String>,
    /// Network of the sandbox.
    pub network: NetworkMode,
    /// Its networks, for [`NetworkMode::Networks`].
    pub networks: Vec<Attachment>,
    /// Ports of the host that lead to it.
    pub ports: Vec<Publication>,
    /// Ports that it says it has, the image's too.
    pub exposed: Vec<Port>,
    /// Every exposed port is published.
    pub publish_all: bool,
    /// How it finds names.
    pub resolver: Resolver,
    /// Names that it knows.
    pub extra_hosts: Vec<ExtraHost>,
    /// `source:target[:options]`, of binds and volumes that were asked for so.
    pub binds: Vec<String>,
    /// What it mounts of the host, resolved.
    pub mounts: Vec<MountPoint>,
    /// Workloads whose mounts it took: `name[:options]`.
    pub volumes_from: Vec<String>,
    /// tmpfs mounts: target to options.
    pub tmpfs: BTreeMap<String, String>,
    /// Anonymous memory and page cache limit in bytes.
    pub memory: Option<u64>,
    /// Processor time limit in billionths of a processor.
    pub nano_cpus: Option<u64>,
    /// Limit of the number of processes and threads.
    pub pids_limit: Option<u64>,
    /// Capabilities beyond the default set.
    pub cap_add: Vec<String>,
    /// Capabilities removed from the default set.
    pub cap_drop: Vec<String>,
    /// `no-new-privileges`, `seccomp=...`.
    pub security_opt: Vec<String>,
    /// All privileges of the host's root, all devices.
    pub privileged: bool,
    /// The root file system is read-only.
    pub read_only: bool,
    /// Who keeps its output.
    pub log: LogSettings,
}

/// Where a workload is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Never started.
    Created,
    /// Its process runs.
    Running,
    /// Its process ended, and its keeper is about to start it again.
    Restarting,
    /// Its process ended.
    Exited,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
        })
    }
}

/// What a workload is doing, as its keeper last wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// [`VERSION`].
    pub version: u32,
    /// Where it is in its life.
    pub status: Status,
    /// First process, as the host numbers it; 0 when none runs.
    pub pid: i32,
    /// Start time of that process in clock ticks since boot: with the pid it names one process.
    pub pid_start: u64,
    /// The kernel's boot id at the time of writing.
    pub boot_id: String,
    /// Start of the last run.
    pub started: Timestamp,
    /// End of the last run.
    pub finished: Timestamp,
    /// Exit code of the last run, 128 + n for signal n.
    pub exit_code: i32,
    /// The kernel killed a process of the workload for lack of memory.
    pub oom_killed: bool,
    /// Why the last start failed; empty if it did not.
    pub error: String,
    /// How many times it was started again by its policy since somebody started it.
    #[serde(default)]
    pub restarts: u32,
    /// Somebody asked it to end.
    #[serde(default)]
    pub stopped: bool,
    /// The host went down: it would run otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shutdown: bool,
    /// Its health, if that is found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

impl State {
    /// The state of a workload that was never started.
    pub fn created() -> Self {
        Self {
            version: VERSION,
            status: Status::Created,
            pid: 0,
            pid_start: 0,
            boot_id: String::new(),
            started: Timestamp::NEVER,
            finished: Timestamp::NEVER,
            exit_code: 0,
            oom_killed: false,
            error: String::new(),
            restarts: 0,
            stopped: false,
            shutdown: false,
            health: None,
        }
    }
}
