//! `holm unpause`: lets paused workloads go on.

use crate::command_error::CommandError;
use crate::context::Context;
use crate::several;

/// Let paused workloads go on
#[derive(Debug, clap::Parser)]
#[command(after_help = "The clock of a virtual machine is set when it goes on.

Examples:
  holm unpause web
  holm unpause $(holm ps -q --filter status=paused)      all that are paused")]
pub struct Args {
    /// Workloads, by name or id
    #[arg(required = true, value_name = "WORKLOAD")]
    workloads: Vec<String>,
}

/// Lets each go on.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let engine = context.engine()?;
    several::each(context, &args.workloads, |name| {
        let id = engine.find(name)?;
        engine.unpause(&id).map_err(|error| CommandError::of_workload(error, name))?;
        context.printer.line(name)
    })
}
