//! Facts about the host: rights, kernel, control groups.

use std::path::{Path, PathBuf};

use holm_runtime::cgroup::{Hierarchies, limits_in_force};
use holm_spec::layout::workload_cgroup;
use holm_spec::workload::Status;

use crate::{Engine, Error, Kind, Result, Workload};

/// What `holm info` shows of the host and of this installation.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostInfo {
    /// Workloads of any state.
    pub containers: usize,
    /// Running workloads that are not paused.
    pub containers_running: usize,
    /// Paused workloads.
    pub containers_paused: usize,
    /// Created or exited workloads.
    pub containers_stopped: usize,
    /// Images.
    pub images: usize,
    /// Kernel release.
    pub kernel_version: String,
    /// Name of the operating system.
    pub operating_system: String,
    /// `linux`.
    #[serde(rename = "OSType")]
    pub os_type: String,
    /// Processor architecture as `uname` says.
    pub architecture: String,
    /// Processors.
    #[serde(rename = "NCPU")]
    pub cpus: usize,
    /// Memory in bytes.
    #[serde(rename = "MemTotal")]
    pub memory: u64,
    /// Host name.
    pub name: String,
    /// `v2`, `v1` or `hybrid`.
    pub cgroup_version: String,
    /// Hierarchies that limits go to: controller to `v1` or `v2`.
    pub cgroup_controllers: std::collections::BTreeMap<String, String>,
    /// Where state lies.
    pub root: String,
    /// The same under Docker's name, for its users' scripts.
    pub docker_root_dir: String,
    /// Where run-time state lies.
    pub run_root: String,
    /// Things that this host cannot do, one line each.
    pub warnings: Vec<String>,
}

/// Limits in force, read back from the cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Resources {
    /// Memory limit in bytes.
    pub memory: Option<u64>,
    /// Processor time in billionths of a processor.
    pub nano_cpus: Option<u64>,
    /// Limit of processes and threads.
    pub pids: Option<u64>,
}

pub(crate) fn require_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::new(Kind::NotPermitted, "holm needs root: it makes namespaces, mounts and control groups"))
}

/// A program of ours, which lies beside this one.
pub(crate) fn helper(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(|error| Error::io("find the own program", error))?;
    let path = own.parent().unwrap_or(Path::new("/")).join(name);
    if path.exists() {
        return Ok(path);
    }
    let message = format!("`{name}` is not beside `{}`", own.display());
    Err(Error::new(Kind::Failed, message))
}

/// The program that serves a registry: it lies beside this one.
///
/// # Errors
/// It does not.
pub fn registry_server() -> Result<PathBuf> {
    helper("holm-registry")
}

impl Engine {
    /// Facts about the host and this installation.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] for a workload that cannot be read.
    pub fn info(&self) -> Result<HostInfo> {
        let workloads = self.list()?;
        let running = workloads.iter().filter(|workload| workload.state.status == Status::Running).count();
        let paused = workloads.iter().filter(|workload| workload.paused).count();
        let system = rustix::system::uname();
        let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
        let hierarchies = Hierarchies::detect()?;
        let controllers = controllers(&hierarchies)?;
        Ok(HostInfo {
            containers: workloads.len(),
            containers_running: running - paused,
            containers_paused: paused,
            containers_stopped: workloads.len() - running,
            images: self.store.list()?.len(),
            kernel_version: text(system.release()),
            operating_system: operating_system(),
            os_type: "linux".to_owned(),
            architecture: text(system.machine()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory: memory_total(),
            name: text(system.nodename()),
            cgroup_version: hierarchies.version().to_owned(),
            warnings: warnings(&controllers),
            cgroup_controllers: controllers,
            root: self.layout.root.display().to_string(),
            docker_root_dir: self.layout.root.display().to_string(),
            run_root: self.layout.run.display().to_string(),
        })
    }

    /// Limits in force of a running workload, read back from its control groups.
    ///
    /// # Errors
    /// The host has no control groups.
    pub fn resources(&self, workload: &Workload) -> Result<Resources> {
        let config = &workload.config;
        let group = workload_cgroup(&config.cgroup_parent, &config.sandbox, &config.id);
        let limits = limits_in_force(&Hierarchies::detect()?, &group);
        Ok(Resources { memory: limits.memory, nano_cpus: limits.nano_cpus, pids: limits.pids })
    }
}

/// The hierarchy that each limit would go to.
fn controllers(hierarchies: &Hierarchies) -> Result<std::collections::BTreeMap<String, String>> {
    let unified = hierarchies.unified_controllers()?;
    let place = |name: &str| {
        if unified.iter().any(|known| known == name) {
            return Some("v2");
        }
        hierarchies.legacy(name).map(|_| "v1")
    };
    let known = ["cpu", "memory", "pids"];
    Ok(known.into_iter().filter_map(|name| Some((name.to_owned(), place(name)?.to_owned()))).collect())
}

fn warnings(controllers: &std::collections::BTreeMap<String, String>) -> Vec<String> {
    let missing = ["cpu", "memory", "pids"].into_iter().filter(|name| !controllers.contains_key(*name));
    missing.map(|name| format!("no cgroup controller `{name}`: its limits cannot be set")).collect()
}

/// `PRETTY_NAME` of os-release(5).
fn operating_system() -> String {
    let text =
        ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| std::fs::read_to_string(path).ok());
    let name =
        text.as_deref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

pub(crate) fn memory_total() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: u64 = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0);
    kib * 1024
}
