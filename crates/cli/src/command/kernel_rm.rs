//! `holm kernel rm`: removes names of kernels, and kernels without one.

use holm_engine::Engine;
use holm_engine::images::{Kind, Removed};

use super::rmi::{Failure, each};
use crate::command_error::CommandError;
use crate::context::Context;

/// Remove kernels
#[derive(Debug, clap::Parser)]
#[command(after_help = "The last name of a kernel takes the kernel with it.

Examples:
  holm kernel rm localhost/kernel:6.1.0-37-cloud-amd64
  holm kernel rm -f 3f1e9d2c0b4a     with all its names")]
pub struct Args {
    /// Remove all names of a kernel; fine if it is not there
    #[arg(short, long)]
    force: bool,
    /// Kernels, by name, id or digest
    #[arg(required = true, value_name = "KERNEL")]
    kernels: Vec<String>,
}

/// Removes each, and says what went.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let engine = context.engine_with_repaired_images()?;
    let remove = |name: &str| remove(&engine, name, args.force);
    each(context, &args.kernels, args.force.then_some(Kind::NoKernel), remove)
}

fn remove(engine: &Engine, name: &str, force: bool) -> Result<Vec<Removed>, Failure> {
    // Workloads are listed under the lock, so that none begins to use it meanwhile.
    let exclusive = engine.images().exclusive().map_err(Failure::Images)?;
    let machines = engine.kernel_users().map_err(Failure::Workloads)?;
    let users = engine.image_users().map_err(Failure::Workloads)?;
    exclusive.remove_kernel(name, force, &machines, &users).map_err(Failure::Images)
}
