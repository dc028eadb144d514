//! `holm pause`: stops workloads where they are.

use crate::command_error::CommandError;
use crate::context::Context;
use crate::several;

/// Stop all processes of workloads where they are
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "A virtual machine stands still as a whole. Signals of `holm kill`, `stop` and `rm -f` let a workload go on.

Examples:
  holm pause web db           both stand still; `holm ps` says so
  holm unpause web db         both go on where they were"
)]
pub struct Args {
    /// Workloads, by name or id
    #[arg(required = true, value_name = "WORKLOAD")]
    workloads: Vec<String>,
}

/// Pauses each.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let engine = context.engine()?;
    several::each(context, &args.workloads, |name| {
        let id = engine.find(name)?;
        engine.pause(&id).map_err(|error| CommandError::of_workload(error, name))?;
        context.printer.line(name)
    })
}
