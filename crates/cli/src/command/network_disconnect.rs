//! `holm network disconnect`: takes a network from a workload.

use crate::command_error::CommandError;
use crate::context::Context;

/// Take a network from a workload
#[derive(Debug, clap::Parser)]
#[command(after_help = "At once if it runs. Ports of the host that led there lead nowhere then.

Examples:
  holm network disconnect back web")]
pub struct Args {
    /// Accepted for Docker's sake: a network that is gone can be left anyway
    #[arg(short, long)]
    force: bool,
    /// Network, by name or id
    #[arg(value_name = "NETWORK")]
    network: String,
    /// Workload, by name or id
    #[arg(value_name = "WORKLOAD")]
    workload: String,
}

/// Disconnects it.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let engine = context.repaired_engine()?;
    engine.disconnect_network(&engine.find(&args.workload)?, &args.network)?;
    Ok(0)
}
