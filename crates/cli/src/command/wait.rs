//! `holm wait`: until workloads do not run.

use crate::command_error::CommandError;
use crate::context::Context;
use crate::several;

/// Wait until workloads end, and print their exit codes
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  holm wait job                    prints 0 if it did well
  holm wait one two                one exit code a line, in this order")]
pub struct Args {
    /// Workloads, by name or id
    #[arg(required = true, value_name = "WORKLOAD")]
    workloads: Vec<String>,
}

/// Waits for all.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let engine = context.engine()?;
    let wait = |name: &str| Ok(engine.wait(&engine.find(name)?)?);
    several::together(context, &args.workloads, wait, |_, code| context.printer.line(code))
}
