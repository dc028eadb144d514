//! `holm network rm`: removes networks.

use holm_engine::Kind;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::several;

/// Remove networks
#[derive(Debug, clap::Parser)]
#[command(after_help = "A network goes when no workload has it, whether it runs or not.

Examples:
  holm network rm back
  holm network rm -f back front     fine if one of them is not there")]
pub struct Args {
    /// Fine if it is not there
    #[arg(short, long)]
    force: bool,
    /// Networks, by name or id
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

/// Removes each, and says its name.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let engine = context.repaired_engine()?;
    several::each(context, &args.networks, |name| match engine.remove_network(name) {
        Ok(_) => context.printer.data(format!("{name}\n")),
        Err(error) if args.force && error.kind() == Kind::NoSuchNetwork => {
            context.printer.error(&context.command, &error.into());
            Ok(())
        }
        Err(error) => Err(error.into()),
    })
}
