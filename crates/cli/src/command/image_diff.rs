//! `holm image diff`: what one image has otherwise than another.

use crate::command::diff;
use crate::command_error::CommandError;
use crate::context::Context;

/// Show what an image has otherwise than another
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "A line for each path: A added, C changed, D deleted. Type, permissions, owner, time and content count;
what lay below a deleted directory is not told.

Examples:
  holm image diff debian:12.1 debian:12.2"
)]
pub struct Args {
    /// Image that the changes are told of, by name, id or digest
    #[arg(value_name = "BEFORE")]
    before: String,
    /// Image with the changes
    #[arg(value_name = "AFTER")]
    after: String,
}

/// Lists the changes.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let engine = context.or_nothing(Context::engine)?;
    let changes = engine.compare_images(&args.before, &args.after)?;
    context.printer.data(changes.iter().map(diff::line).collect::<String>())?;
    Ok(0)
}
