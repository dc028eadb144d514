//! `holm-runtime start`: the program of a created container.

use holm_runtime::state::Status;
use holm_runtime::{Error, Result};

use crate::arguments::Global;

/// Run the program of a created container
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the container
    #[arg(value_name = "ID")]
    id: String,
}

pub fn run(args: &Args, global: &Global) -> Result<u8> {
    let containers = global.containers()?;
    let container = containers.get(&args.id)?;
    match container.status() {
        Status::Created => {}
        Status::Running => return Err(Error::invalid("cannot start an already running container")),
        Status::Stopped => return Err(Error::invalid("cannot start a container that has stopped")),
        Status::Paused => return Err(Error::invalid("cannot start a container in the paused state")),
    }
    crate::start::start(&containers, &container, &container.spec()?).map(|()| 0)
}
