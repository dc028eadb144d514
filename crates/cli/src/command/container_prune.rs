//! `holm container prune`: workloads that do not run go.

use holm_engine::PruneRequest;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::prune::{self, Selection};

/// Remove all workloads that do not run
#[derive(Debug, clap::Parser)]
#[command(after_help = "Filters: until=TIME (made before), label=KEY[=VALUE], label!=KEY[=VALUE].

Examples:
  holm container prune
  holm container prune -f --filter label=ci")]
pub struct Args {
    /// Only what fits a condition
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Asks, removes, and says what went.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let selection = Selection::parse(&args.filter, context.now())?;
    if !args.force {
        prune::confirm(context, "This will remove all stopped containers.")?;
    }
    let engine = context.repaired_engine()?;
    let report = selection.prune(&engine, PruneRequest { workloads: true, ..PruneRequest::default() })?;
    context.printer.data(prune::report(&report))?;
    Ok(0)
}
