//! `holm-runtime pause`: a container's processes stop where they are.

use holm_runtime::cgroup::{self, Hierarchies};
use holm_runtime::state::Status;
use holm_runtime::{Error, Result};

use crate::arguments::Global;

/// Freeze all processes of a container
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the container
    #[arg(value_name = "ID")]
    id: String,
}

pub fn run(args: &Args, global: &Global) -> Result<u8> {
    let container = global.containers()?.get(&args.id)?;
    if !matches!(container.status(), Status::Running | Status::Created) {
        return Err(Error::invalid("container not running"));
    }
    cgroup::freeze(&Hierarchies::detect()?, container.group()?, true).map(|()| 0)
}
