//! `holm-runtime resume`: a paused container goes on.

use holm_runtime::cgroup::{self, Hierarchies};
use holm_runtime::state::Status;
use holm_runtime::{Error, Result};

use crate::arguments::Global;

/// Let a paused container go on
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the container
    #[arg(value_name = "ID")]
    id: String,
}

pub fn run(args: &Args, global: &Global) -> Result<u8> {
    let container = global.containers()?.get(&args.id)?;
    if container.status() != Status::Paused {
        return Err(Error::invalid("container not paused"));
    }
    cgroup::freeze(&Hierarchies::detect()?, container.group()?, false).map(|()| 0)
}
