//! Taking over a workload whose keeper was killed.
//!
//! Its process lives, as somebody else's child. The new keeper opens the FIFOs again, so output that
//! was held up flows on; how the process ends is told by the kernel through the pidfd (Linux 6.15), on
//! older kernels the exit code is lost. A terminal was lost with the old keeper.

use std::fs;
use std::time::Instant;

use holm_runtime::cgroup::{Group, Hierarchies};
use holm_runtime::layers;
use holm_runtime::streams::{Streams, reopen_fifos};
use holm_runtime::watched::{Newborn, Watched};
use holm_spec::Id;
use holm_spec::workload::{Isolation, State};
use holm_sys::process::open_pidfd;

use crate::health::Watch;
use crate::log::Log;
use crate::mounts;
use crate::server::Server;
use crate::start::Run;
use crate::task::{Task, group_path};

impl Server {
    /// Watches the workload's first process again; `None` if it is not there any more.
    pub fn adopt(&mut self, workload: Id) -> Option<()> {
        let config = self.read_config(&workload).ok()?;
        let state: State = serde_json::from_slice(&fs::read(self.paths.state(&workload)).ok()?).ok()?;
        let pidfd = open_pidfd(state.pid, state.pid_start)?;
        let log = Log::open(&self.layout.workload(&workload), &config).ok()?;
        // The limits stand and the devices are guarded: only where the groups are must be known.
        let group = Group::find(&Hierarchies::detect().ok()?, &group_path(&config), &[], None).ok()?;
        // A machine reads the layers' files itself.
        let mounted = config.root.layers.iter().filter(|_| config.isolation == Isolation::Container);
        let layers = mounted.filter_map(|layer| layers::share(layer).ok());
        let layers = layers.chain(mounts::share_images_again(&config, &self.layout)).collect();
        let volumes = mounts::share_volumes_again(&config, &self.layout);
        let streams =
            if config.tty { Streams::default() } else { reopen_fifos(&self.paths.workload(&workload)) };
        let main =
            self.watch(Newborn::new(Watched::adopted(state.pid, pidfd, state.pid_start, streams))).ok()?;
        let ports = self.hold_ports(&config);
        let network = config.settings.network;
        let run = Run { restarts: state.restarts, ..Run::default() };
        let health = Watch::of(&config);
        let task = Task {
            config,
            state,
            log,
            group,
            layers,
            volumes,
            helpers: Vec::new(),
            published: ports.into(),
            main,
            run,
            began: Instant::now(),
            health,
        };
        self.tasks.insert(workload, task);
        self.watch_ports(main);
        self.watch_networks(&network);
        Some(())
    }
}
