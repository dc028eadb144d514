//! Pausing: the processes of a workload stop where they are, and go on.
//!
//! The kernel's freezer is all the state there is. Of a virtual machine it holds the jail, so the guest's processors
//! stand still as well; its clock is set when it goes on. A signal lets a paused workload go on: its keeper sees to that.

use holm_runtime::cgroup::{Hierarchies, freeze, is_frozen};
use holm_spec::Id;
use holm_spec::layout::workload_cgroup;
use holm_spec::workload::{Config, Isolation};

use crate::{Engine, Error, Kind, Result};

impl Engine {
    /// Stops all processes of a running workload where they are.
    ///
    /// # Errors
    /// [`Kind::NotRunning`], [`Kind::Paused`] if it is paused already.
    pub fn pause(&self, id: &Id) -> Result<()> {
        let _lock = self.lock_workload(id)?;
        let workload = self.running(id)?;
        let name = &workload.config.name;
        if workload.paused {
            return Err(Error::new(Kind::Paused, format!("pause workload `{name}`: it is already paused")));
        }
        // It may end at this moment, and that says more than a group that is not there.
        set_frozen(&workload.config, true).or_else(|error| self.running(id).and(Err(error)))?;
        self.tell(&workload.config, "pause", []);
        Ok(())
    }

    /// Lets a paused workload go on.
    ///
    /// # Errors
    /// [`Kind::NotRunning`], [`Kind::InvalidRequest`] if it is not paused.
    pub fn unpause(&self, id: &Id) -> Result<()> {
        let _lock = self.lock_workload(id)?;
        let workload = self.running(id)?;
        let name = &workload.config.name;
        if !workload.paused {
            let message = format!("unpause workload `{name}`: it is not paused");
            return Err(Error::new(Kind::InvalidRequest, message));
        }
        set_frozen(&workload.config, false).or_else(|error| self.running(id).and(Err(error)))?;
        if workload.config.isolation == Isolation::Vm {
            self.set_guest_clock(&workload);
        }
        self.tell(&workload.config, "unpause", []);
        Ok(())
    }

    /// Refuses what a paused workload cannot take part in; `operation` goes before the word workload.
    ///
    /// # Errors
    /// [`Kind::Paused`].
    pub fn refuse_if_paused(&self, id: &Id, operation: &str) -> Result<()> {
        if !self.is_frozen(id) {
            return Ok(());
        }
        let name = self.config(id)?.name;
        Err(Error::new(Kind::Paused, format!("{operation} workload `{name}`: it is paused")))
    }

    /// Whether the kernel holds the processes of a workload, which is in a sandbox of its own.
    pub(crate) fn is_frozen(&self, id: &Id) -> bool {
        let group = workload_cgroup(self.cgroup_parent(), id, id);
        Hierarchies::detect().is_ok_and(|hierarchies| is_frozen(&hierarchies, &group))
    }
}

fn set_frozen(config: &Config, frozen: bool) -> Result<()> {
    let group = workload_cgroup(&config.cgroup_parent, &config.sandbox, &config.id);
    let operation = if frozen { "pause" } else { "unpause" };
    freeze(&Hierarchies::detect()?, &group, frozen).map_err(|error| {
        Error::caused(Kind::Failed, format!("{operation} workload `{}`", config.name), error)
    })
}
