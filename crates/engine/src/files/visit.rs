//! Visitors: a virtual machine that does not run has its files on a disk that only a guest may look at, so one is started
//! for that.
//!
//! A visitor is a workload like any other, so that its processes, its groups and what a crash leaves of it are cared
//! for: it is started with `--rm`, has the same image, kernel and layers, and as its disk a second name of the visited
//! one's. It runs nothing; it ends when its standard input does, which is when whoever came has gone. The lock on the
//! disk keeps the visited workload from being started meanwhile, whatever becomes of this process.

use std::collections::BTreeMap;

use holm_spec::Id;
use holm_spec::keeper::Streams;
use holm_spec::life::RestartPolicy;
use holm_spec::log::LogSettings;
use holm_spec::workload::{Config, NetworkMode};
use holm_sys::file::random_bytes;
use holm_sys::lock::Lock;

use super::machine::Machine;
use crate::session::{Beginning, Event, Session};
use crate::{Engine, Error, Kind, Result};

/// A visitor that runs.
#[derive(Debug)]
pub(super) struct Visit {
    session: Session,
    /// Of the visited workload.
    _lock: Lock,
}

impl Engine {
    /// Starts a visitor of a workload that does not run.
    pub(super) fn visit(&self, visited: &Config) -> Result<Machine> {
        let lock = self.lock_workload(&visited.id)?;
        if self.workload(&visited.id)?.state.pid != 0 {
            let message = format!("workload `{}` was started meanwhile", visited.name);
            return Err(Error::new(Kind::StillRunning, message));
        }
        let id = Id::from_bytes(random_bytes());
        let created = self.create_visitor(visitor(visited, id), &visited.id)?;
        let streams = Streams { stdin: true, ..Streams::NONE };
        let session = self.start_created(created, Beginning::new(streams, None, None))?;
        let state = self.workload(&id)?.state;
        Ok(Machine::visited(visited.id, state, Visit { session, _lock: lock }))
    }
}

impl Visit {
    /// Lets the guest write what is not on the disk yet, and waits until the visitor is gone.
    pub fn end(mut self) {
        let _ = self.session.close_stdin();
        while !matches!(self.session.receive(), Ok(Event::Closed) | Err(_)) {}
    }
}

fn visitor(visited: &Config, id: Id) -> Config {
    let mut config = visited.clone();
    (config.id, config.sandbox, config.visits) = (id, id, Some(visited.id));
    config.name = format!("visitor-{}", id.short());
    (config.auto_remove, config.start_at_once) = (true, true);
    (config.tty, config.open_stdin, config.stdin_once) = (false, true, true);
    config.labels = BTreeMap::new();
    (config.restart, config.health) = (RestartPolicy::No, None);
    (config.settings.mounts, config.settings.log) = (Vec::new(), LogSettings::default());
    // Nothing of the host's is needed, and nothing of what was shared may be seen.
    config.oci.set_mounts(None);
    (config.settings.network, config.settings.networks) = (NetworkMode::None, Vec::new());
    config
}
