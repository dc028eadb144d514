//! `holm kill`: a signal for workloads.

use holm_spec::signal::KILL;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::several;
use crate::workload_arguments::stop_signal;

/// Send a signal to running workloads
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  holm kill web               end it at once
  holm kill -s HUP web        let it read its configuration again")]
pub struct Args {
    /// Signal, by name or number [default: KILL]
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Workloads, by name or id
    #[arg(required = true, value_name = "WORKLOAD")]
    workloads: Vec<String>,
}

/// Sends the signal to each.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let signal = args.signal.as_deref().map_or(Ok(KILL), stop_signal);
    let signal = signal.map_err(|reason| CommandError::flag("signal", reason))?;
    let engine = context.engine()?;
    several::each(context, &args.workloads, |name| {
        let id = engine.find(name)?;
        engine.kill(&id, signal).map_err(|error| CommandError::of_workload(error, name))?;
        context.printer.line(name)
    })
}
