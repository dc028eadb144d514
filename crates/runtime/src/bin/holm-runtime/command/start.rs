//! `holm-runtime start`: the program of a created container.

use std::os::fd::AsFd;

use holm_runtime::Result;

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
    let readiness = crate::start::start(&containers, &container)?;
    if let (Some(readiness), Some(process)) = (readiness, container.process()) {
        readiness.wait(process.as_fd(), container.record.pid)?;
    }
    Ok(0)
}
