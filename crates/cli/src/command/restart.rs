//! `holm restart`: stops workloads and starts them.

use crate::command::stop::Manner;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::several;

/// Stop workloads and start them
#[derive(Debug, clap::Parser)]
#[command(after_help = "One that does not run is started.

Examples:
  holm restart web db         both at once
  holm restart -t 60 db       with more time before SIGKILL")]
pub struct Args {
    #[command(flatten)]
    manner: Manner,
    /// Workloads, by name or id
    #[arg(required = true, value_name = "WORKLOAD")]
    workloads: Vec<String>,
}

/// Restarts workloads, all at once.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let (signal, timeout) = args.manner.resolve()?;
    let engine = context.repaired_engine()?;
    let restart = |name: &str| Ok(engine.restart(&engine.find(name)?, signal, timeout)?);
    several::together(context, &args.workloads, restart, |name, ()| context.printer.line(name))
}
