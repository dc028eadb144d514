//! A workload that this keeper runs.

use std::os::fd::OwnedFd;

use holm_spec::layout::workload_cgroup;
use holm_spec::workload::{Config, State};
use holm_sys::shared_mount::SharedMount;

use holm_runtime::cgroup::Group;

use crate::log::Log;
use crate::shares::Helper;

/// A running workload.
#[derive(Debug)]
pub(crate) struct Task {
    pub config: Config,
    pub state: State,
    pub log: Log,
    pub group: Group,
    /// Uses of the layers; given up when the workload has ended.
    pub layers: Vec<SharedMount>,
    /// Processes that serve its machine.
    pub helpers: Vec<Helper>,
    /// What holds the host's ports that lead to it.
    pub _ports: Vec<OwnedFd>,
    /// Index of its first process.
    pub main: usize,
}

/// Path of a workload's group relative to each hierarchy.
pub(crate) fn group_path(config: &Config) -> std::path::PathBuf {
    workload_cgroup(&config.cgroup_parent, &config.sandbox, &config.id)
}
