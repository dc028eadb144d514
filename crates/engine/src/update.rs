//! Changing the limits and the restart policy of a workload that is there.

use holm_runtime::cgroup::{self, Hierarchies};
use holm_spec::Id;
use holm_spec::changes::{Changes, Limits};
use holm_spec::layout::workload_cgroup;
use holm_spec::life::RestartPolicy;
use holm_spec::runtime::LinuxResources;
use holm_spec::workload::{Config, Isolation, Status};
use holm_sys::file::{Durability, replace};

use crate::create::check_limits;
use crate::find::read_document;
use crate::{Engine, Error, Kind, Result};

impl Engine {
    /// Changes a workload, at once if it runs, and for its next starts. Nothing is changed if something cannot be.
    ///
    /// # Errors
    /// [`Kind::InvalidRequest`]; [`Kind::Unsupported`] for limits of a virtual machine that runs; what the kernel says.
    pub fn update(&self, id: &Id, changes: &Changes) -> Result<()> {
        let _lock = self.lock_workload(id)?;
        let workload = self.workload(id)?;
        let config = &workload.config;
        check_limits(changes.limits.memory, changes.limits.nano_cpus)?;
        if config.auto_remove && changes.restart.is_some_and(|policy| policy != RestartPolicy::No) {
            let text = format!("update workload `{}`: it is removed when it ends (--rm)", config.name);
            return Err(Error::new(Kind::InvalidRequest, text));
        }
        if workload.state.status == Status::Running && !changes.limits.is_empty() {
            limit_running(config, &changes.limits)?;
        }
        self.write_changes(config, changes)?;
        self.tell(config, "update", []);
        Ok(())
    }

    fn write_changes(&self, config: &Config, changes: &Changes) -> Result<()> {
        let path = self.layout.workload(&config.id).changes();
        let before: Changes = read_document(&path)?.unwrap_or_default();
        let text = serde_json::to_vec(&before.then(*changes)).expect("changes are plain data");
        let durability = if config.auto_remove { Durability::Volatile } else { Durability::Durable };
        replace(&path, &text, durability)
            .map_err(|error| Error::io(format!("write `{}`", path.display()), error))
    }
}

fn limit_running(config: &Config, limits: &Limits) -> Result<()> {
    if config.isolation == Isolation::Vm {
        let text = format!("change the limits of workload `{}`: its virtual machine runs", config.name);
        return Err(Error::new(Kind::Unsupported, text)
            .with_hint(Some("stop it, and they count from its next start")));
    }
    let mut resources = LinuxResources::default();
    limits.set(&mut resources);
    let group = workload_cgroup(&config.cgroup_parent, &config.sandbox, &config.id);
    let changed = cgroup::update(&Hierarchies::detect()?, &group, &resources);
    changed
        .map_err(|error| Error::from(error).about(format!("change the limits of workload `{}`", config.name)))
}
