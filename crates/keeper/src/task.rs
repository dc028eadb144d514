//! A workload that this keeper runs.

use std::time::Instant;

use holm_spec::layout::workload_cgroup;
use holm_spec::workload::{Config, State};
use holm_sys::shared_mount::SharedMount;
use holm_volume::Share;

use holm_runtime::cgroup::Group;

use crate::health::Watch;
use crate::log::Log;
use crate::ports::Published;
use crate::shares::Helper;
use crate::start::Run;

/// A running workload.
#[derive(Debug)]
pub(crate) struct Task {
    pub config: Config,
    pub state: State,
    pub log: Log,
    pub group: Group,
    /// Uses of the layers; given up when the workload has ended.
    pub layers: Vec<SharedMount>,
    /// Uses of the volumes that are file systems.
    pub volumes: Vec<Share>,
    /// Processes that serve its machine.
    pub helpers: Vec<Helper>,
    /// The host's ports that lead to it.
    pub published: Published,
    /// Index of its first process.
    pub main: usize,
    /// How it was begun.
    pub run: Run,
    /// When that was, or when this keeper took it over.
    pub began: Instant,
    /// The checks of its health, if there are any.
    pub health: Option<Watch>,
}

/// Path of a workload's group relative to each hierarchy.
pub(crate) fn group_path(config: &Config) -> std::path::PathBuf {
    workload_cgroup(&config.cgroup_parent, &config.sandbox, &config.id)
}
