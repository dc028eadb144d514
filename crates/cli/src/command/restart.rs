//! `holm restart`: stops workloads and starts them.

use std::time::Duration;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::several;
use crate::workload_arguments::{integer, stop_signal};

/// Stop workloads and start them
#[derive(Debug, clap::Parser)]
#[command(after_help = "One that does not run is started.

Examples:
  holm restart web db         both at once
  holm restart -t 60 db       with more time before SIGKILL")]
pub struct Args {
    /// Signal to send instead of the workload's own
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Seconds before SIGKILL; -1 waits for ever
    #[arg(short, long, visible_alias = "time", value_name = "SECONDS", value_parser = integer)]
    timeout: Option<i64>,
    /// Workloads, by name or id
    #[arg(required = true, value_name = "WORKLOAD")]
    workloads: Vec<String>,
}

/// Restarts workloads, all at once.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let signal = args.signal.as_deref().map(stop_signal).transpose();
    let signal = signal.map_err(|reason| CommandError::flag("signal", reason))?;
    // A negative number of seconds has none.
    let timeout = args.timeout.map(|seconds| u64::try_from(seconds).ok().map(Duration::from_secs));
    let engine = context.repaired_engine()?;
    let restart = |name: &str| Ok(engine.restart(&engine.find(name)?, signal, timeout)?);
    several::together(context, &args.workloads, restart, |name, ()| context.printer.line(name))
}
