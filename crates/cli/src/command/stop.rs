//! `holm stop`: asks workloads to end, and insists.

use std::time::Duration;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::several;
use crate::workload_arguments::{integer, stop_signal};

/// Ask workloads to end, and kill those that do not
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  holm stop web db            both at once
  holm stop -t 60 db          with more time before SIGKILL
  holm stop -s QUIT web       with another signal")]
pub struct Args {
    #[command(flatten)]
    manner: Manner,
    /// Workloads, by name or id
    #[arg(required = true, value_name = "WORKLOAD")]
    workloads: Vec<String>,
}

/// How workloads are asked to end, and how long.
#[derive(Debug, clap::Args)]
pub struct Manner {
    /// Signal to send instead of the workload's own
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Seconds before SIGKILL; -1 waits for ever
    #[arg(short, long, visible_alias = "time", value_name = "SECONDS", value_parser = integer)]
    timeout: Option<i64>,
}

impl Manner {
    /// The signal and the time, as the engine takes them.
    ///
    /// # Errors
    /// There is no such signal.
    pub fn resolve(&self) -> Result<(Option<i32>, Option<Option<Duration>>), CommandError> {
        let signal = self.signal.as_deref().map(stop_signal).transpose();
        let signal = signal.map_err(|reason| CommandError::flag("signal", reason))?;
        // A negative number of seconds has none.
        let timeout = self.timeout.map(|seconds| u64::try_from(seconds).ok().map(Duration::from_secs));
        Ok((signal, timeout))
    }
}

/// Stops workloads, all at once.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let (signal, timeout) = args.manner.resolve()?;
    let engine = context.engine()?;
    let stop = |name: &str| Ok(engine.stop(&engine.find(name)?, signal, timeout)?);
    several::together(context, &args.workloads, stop, |name, ()| context.printer.line(name))
}
