//! `holm volume rm`: removes volumes.

use holm_engine::Kind;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::several;

/// Remove volumes with all that they hold
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "A volume goes when no workload has it, whether it runs or not. A directory of the host that a volume
stands for stays.

Examples:
  holm volume rm data
  holm volume rm -f data cache     fine if one of them is not there"
)]
pub struct Args {
    /// Fine if it is not there
    #[arg(short, long)]
    force: bool,
    /// Volumes, by name
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
}

/// Removes each, and says its name.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let engine = context.repaired_engine()?;
    several::each(context, &args.volumes, |name| match engine.remove_volume(name) {
        Ok(()) => context.printer.data(format!("{name}\n")),
        Err(error) if args.force && error.kind() == Kind::NoSuchVolume => {
            context.printer.error(&context.command, &error.into());
            Ok(())
        }
        Err(error) => Err(error.into()),
    })
}
