//! `holm-runtime delete`: what is left of a container.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use holm_runtime::cgroup::{self, Hierarchies};
use holm_runtime::hooks::{self, Place, Point};
use holm_runtime::resctrl::Membership;
use holm_runtime::state::{Container, Status};
use holm_runtime::{Error, Kind, Result};
use holm_sys::process;

use super::state::document;
use crate::arguments::Global;

/// How long a killed process may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Delete a container that has stopped
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the container
    #[arg(value_name = "ID")]
    id: String,
    /// End it first if it runs; fine if there is none
    #[arg(short, long)]
    force: bool,
}

pub fn run(args: &Args, global: &Global) -> Result<u8> {
    let containers = global.containers()?;
    let Some(container) = containers.find(&args.id)? else {
        if args.force {
            containers.remove_remains(&args.id)?;
            return Ok(0);
        }
        return Err(Error::invalid("container does not exist"));
    };
    let status = container.status();
    match status {
        Status::Stopped => {}
        Status::Created => end(&container)?,
        Status::Running | Status::Paused if args.force => end(&container)?,
        Status::Running | Status::Paused => {
            let id = &args.id;
            let message = format!("cannot delete container {id} that is not stopped: {}", status.name());
            return Err(Error::invalid(message));
        }
    }
    destroy(&container).map(|()| 0)
}

/// Kills the first process, and all others where it does not take them along.
fn end(container: &Container) -> Result<()> {
    let hierarchies = Hierarchies::detect()?;
    let group = container.record.group.as_deref();
    if let Some(group) = group.filter(|_| !container.record.own_pids) {
        cgroup::signal_all(&hierarchies, group, 9);
    }
    if let Some(process) = container.process() {
        process::signal(process.as_fd(), 9).map_err(|errno| Error::system("unable to signal init", errno))?;
    }
    group.map_or(Ok(()), |group| cgroup::thaw(&hierarchies, group))?;
    let deadline = Instant::now() + PATIENCE;
    while container.process().is_some() {
        if Instant::now() > deadline {
            return Err(Error::new(Kind::System, "container init still running"));
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    Ok(())
}

/// Gives back everything of a container that does not run, then runs the last hooks.
pub fn destroy(container: &Container) -> Result<()> {
    let record = &container.record;
    // Read while it is there.
    let spec = container.spec_with_hooks(&[Point::Poststop]);
    remove_groups(container)
        .map_err(|error| Error::caused(Kind::System, "unable to remove container's cgroup", error))?;
    let remove = |groups: &Membership| groups.remove();
    record.resctrl.as_ref().map_or(Ok(()), remove).map_err(|error| {
        Error::caused(Kind::System, "unable to remove container's groups in resctrl", error)
    })?;
    if record.attached {
        // Nothing else is mounted there but what the container's root covers.
        let _ = holm_sys::mount::detach(&record.root);
    }
    container.forget()?;
    let Some(spec) = spec? else { return Ok(()) };
    let state = document(&record.id, Status::Stopped.name(), None, &record.bundle, Some(&record.annotations));
    // One that fails is an error, as other runtimes have it, though the specification asks for a warning.
    hooks::run(&spec, Point::Poststop, &state, Place::Runtime(None))
}

fn remove_groups(container: &Container) -> Result<()> {
    if let Some(group) = &container.record.group {
        cgroup::remove(&Hierarchies::detect()?, group)?;
    }
    container.unit().map_or(Ok(()), |unit| unit.stop())
}
