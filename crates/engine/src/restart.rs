//! Workloads that are started again: by somebody, after their keeper was killed, after a boot of the host.
//!
//! While a workload's keeper lives, that does what the policy says. Where it does not any more, whoever finds the sandbox
//! without it does (`repair`), and after a boot whoever is asked to.

use std::time::Duration;

use holm_spec::Id;
use holm_spec::keeper::{PROTOCOL, Request};
use holm_spec::life::RestartPolicy;
use holm_spec::workload::{Config, NetworkMode, State, Status};
use holm_sys::lock::{Lock, Mode};
use holm_sys::process::boot_id;

use crate::find::UNKNOWN_EXIT;
use crate::launch::Ground;
use crate::session::{self, Beginning};
use crate::{Engine, Error, Kind, Result};

impl Engine {
    /// Stops a workload if it runs, as [`Engine::stop`] does, and starts it.
    ///
    /// # Errors
    /// As [`Engine::stop`] and [`Engine::start`].
    pub fn restart(&self, id: &Id, signal: Option<i32>, timeout: Option<Option<Duration>>) -> Result<()> {
        self.stop(id, signal, timeout)?;
        self.start(id, Beginning::default()).map(drop)?;
        self.tell(&self.config(id)?, "restart", []);
        Ok(())
    }

    /// Sees to it that a workload which is about to be started again is not; says whether it was.
    pub(crate) fn cancel_restart(&self, id: &Id) -> Result<bool> {
        let Some(socket) = self.try_connect(id)? else { return Ok(false) };
        let request = Request::CancelRestart { protocol: PROTOCOL, workload: *id };
        match session::ask(std::os::fd::AsFd::as_fd(&socket), &request) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind(), Kind::NotRunning | Kind::Unread) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a workload is about to be started again.
    pub(crate) fn is_restarting(&self, id: &Id) -> bool {
        self.workload(id).is_ok_and(|workload| workload.state.status == Status::Restarting)
    }

    /// What is held while a workload without keeper is buried and started again: nothing if it is not, `None` if somebody
    /// else is at it.
    pub(crate) fn leave_to_revive(&self, id: &Id) -> Option<Option<Lock>> {
        if self.config(id).map_or(RestartPolicy::No, |config| config.restart) == RestartPolicy::No {
            return Some(None);
        }
        Lock::try_acquire(&self.layout.workload(id).lock(), Mode::Exclusive).ok().flatten().map(Some)
    }

    /// Starts a workload again whose keeper was killed, if its policy says so; whether it did. The caller holds its lock.
    pub(crate) fn revive(&self, id: &Id) -> Result<bool> {
        let config = self.config(id)?;
        let State { exit_code, restarts, stopped, shutdown, .. } = self.state(&config)?;
        if !config.restart.restarts(exit_code, restarts, stopped || shutdown) {
            return Ok(false);
        }
        let beginning = Beginning { restarts: restarts.saturating_add(1), ..Beginning::default() };
        self.start_locked(id, &Ground::of(config), beginning).map(|_| true)
    }

    /// The workloads whose policy says that they are to be started after this boot of the host, the oldest first. Those that are
    /// in the network of another one follow it in its group; the groups have nothing to do with each other.
    ///
    /// # Errors
    /// The workloads cannot be listed.
    pub fn ended_by_boot(&self) -> Result<Vec<Vec<Config>>> {
        let boot = boot_id().map_err(|error| Error::io("read the boot id", error))?;
        let mut groups: Vec<Vec<Config>> = Vec::new();
        for workload in self.list()?.into_iter().rev() {
            let (config, state) = (workload.config, workload.state);
            let ran = state.status == Status::Exited && state.boot_id != boot;
            // What the host's end ended has not done well, whatever it said.
            let code = if state.shutdown { UNKNOWN_EXIT } else { state.exit_code };
            if ran && config.restart.restarts_at_boot(code, state.restarts, state.stopped) {
                let is_followed =
                    |other: &Config| config.settings.network == NetworkMode::Container(other.id);
                match groups.iter_mut().find(|group| group.iter().any(is_followed)) {
                    Some(group) => group.push(config),
                    None => groups.push(vec![config]),
                }
            }
        }
        Ok(groups)
    }

    /// Starts a workload after a boot, unless somebody else has.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn start_after_boot(&self, id: &Id) -> Result<()> {
        match self.start(id, Beginning::default()) {
            Err(error) if error.kind() == Kind::StillRunning => Ok(()),
            result => result.map(drop),
        }
    }
}
