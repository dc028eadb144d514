//! `holm image prune`: images that nobody uses go.

use holm_engine::{Extent, PruneRequest};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::prune::{self, Selection};

/// Remove images that nobody uses
#[derive(Debug, clap::Parser)]
#[command(after_help = "Images without a name go, with -a all images that no workload uses.

Filters: until=TIME (made before), label=KEY[=VALUE], label!=KEY[=VALUE].

Examples:
  holm image prune
  holm image prune -af --filter until=168h")]
pub struct Args {
    /// All images that no workload uses, not only those without a name
    #[arg(short, long)]
    all: bool,
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
    let (extent, warning) = match args.all {
        true => {
            (Extent::Unused, "This will remove all images without at least one container associated to them.")
        }
        false => (Extent::Dangling, "This will remove all dangling images."),
    };
    if !args.force {
        prune::confirm(context, warning)?;
    }
    let engine = context.engine_with_repaired_images()?;
    let report =
        selection.prune(&engine, PruneRequest { images: Some(extent), ..PruneRequest::default() })?;
    context.printer.data(prune::report(&report))?;
    Ok(0)
}
