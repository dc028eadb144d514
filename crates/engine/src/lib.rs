//! Sandboxes, workloads and images of one machine: what every front door of Holm calls.
//!
//! The engine is a library over state on disk (`holm_spec::layout`); it keeps nothing in memory
//! between calls and needs no daemon. Readers take no lock; whoever changes a workload holds its
//! lock. A workload that runs is reached through its keeper's socket (`holm_spec::keeper`).
//!
//! ```text
//! create --> config.json published      (workload: created)
//! start  --> keeper executed, Started   (workload: running)  --> Session: stdio, exit
//! pause  --> its control group is frozen (workload: running, and paused)
//! stop, kill --> signal by the keeper   (workload: exited)
//! remove --> every trace gone
//! repair --> what a crash left: dead keepers' sandboxes adopted or buried, half-made things removed
//! ```

mod build;
mod build_output;
mod check;
pub mod compare;
mod create;
pub mod doctor;
mod error;
mod events;
mod files;
mod find;
mod host;
mod image_files;
mod inspect;
mod kernels;
mod launch;
mod logs;
mod machine;
mod networks;
mod pause;
mod prune;
mod repair;
mod request;
mod resolvers;
mod restart;
mod session;
mod sources;
mod stats;
mod supervise;
mod top;
mod update;
mod usage;
mod volumes;
mod workload;

pub use check::{BrokenWorkload, CheckReport};
pub use create::Created;
pub use error::{Error, Kind, Result};
pub use events::{Condition, EventOptions, EventReader};
pub use files::{CommitRequest, CopyOptions, Files, Side};
pub use holm_network as network;
pub use holm_registry as registry;
pub use holm_store as images;
pub use holm_volume as volume;
pub use host::{HostInfo, Resources, registry_server};
pub use image_files::ImageMount;
/// Signals as a descriptor, for front doors with one loop.
pub mod signals {
    pub use holm_sys::process::read_signal as read;
    pub use holm_sys::signals::descriptor;
}
pub use build::{BuildSurroundings, StepLimits};
pub use holm_store::creation_time;
pub use kernels::FetchedPackage;
pub use logs::{LogForm, LogOptions, LogReader, LogRecord};
pub use prune::{Extent, FitsLabels, PruneReport, PruneRequest};
pub use request::{
    Below, Bind, CreateRequest, EnvChange, HealthRequest, IdMaps, IdRange, LogRequest, MountRequest,
    MountSource, NetworkChoice, SeccompChoice, VolumesFrom,
};
pub use session::{Beginning, Event, Session};
pub use sources::{Arrived, Download, Unpacked};
pub use stats::{Chosen, Sample, Used, Watch};
pub use supervise::Supervisor;
pub use top::ProcessRow;
pub use usage::{DiskUsage, VolumeUsage, WorkloadUsage};
pub use volumes::PrunedVolumes;
pub use workload::{PAUSED, Workload};

use holm_spec::layout::Layout;

/// One Holm installation: two roots and what lies in them.
#[derive(Debug)]
pub struct Engine {
    layout: Layout,
    store: holm_store::Store,
}

impl Engine {
    /// Opens the installation at `layout`, creating its directories where absent.
    ///
    /// # Errors
    /// [`Kind::NotPermitted`] if this is not root or a root directory cannot be written.
    pub fn open(layout: Layout) -> Result<Self> {
        host::require_root()?;
        let store = holm_store::Store::open(&layout)?;
        for directory in [
            layout.workloads(),
            layout.names(),
            layout.sandboxes(),
            layout.layer_mounts(),
            layout.seccomp_cache(),
        ] {
            if !directory.exists() {
                holm_sys::file::ensure_directory(&directory, 0o700)
                    .and_then(|()| holm_sys::file::sync_directory(directory.parent().unwrap_or(&directory)))
                    .map_err(|error| Error::io(format!("make `{}`", directory.display()), error))?;
            }
        }
        Ok(Self { layout, store })
    }

    /// The installation at `layout`, whether it is there or not, for who only reads; makes nothing.
    ///
    /// # Errors
    /// [`Kind::NotPermitted`] if this is not root.
    pub fn peek(layout: Layout) -> Result<Self> {
        host::require_root()?;
        let store = holm_store::Store::peek(&layout);
        Ok(Self { layout, store })
    }

    /// The same, but no larger layers come in, and they are mounted in this form.
    #[must_use]
    pub fn take_layers(self, limits: holm_store::LayerLimits, form: holm_store::LayerForm) -> Self {
        Self { store: self.store.limit_layers(limits).mount_layers_as(form), ..self }
    }

    /// Parent of every cgroup of ours, relative to each hierarchy's root.
    pub(crate) fn cgroup_parent(&self) -> &str {
        "holm"
    }

    /// Where everything lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The networks: find, list.
    pub fn networks(&self) -> holm_network::Networks {
        holm_network::Networks::new(&self.layout)
    }

    /// The volumes: find, list.
    pub fn volumes(&self) -> holm_volume::Volumes {
        holm_volume::Volumes::new(&self.layout)
    }

    /// The image store: import, list, tag, inspect, history.
    pub fn images(&self) -> &holm_store::Store {
        &self.store
    }
}
