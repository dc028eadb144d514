//! `holm network prune`: removes networks that no workload has.

use holm_engine::Kind;
use holm_spec::network::Network;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::prune::{self, Selection};

/// Remove networks that no workload has
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "Filters: label=KEY[=VALUE], label!=KEY[=VALUE], until=TIME. The default network stays.

Examples:
  holm network prune
  holm network prune -f --filter label=test"
)]
pub struct Args {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Remove what fits a condition
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

/// Removes them, and says their names.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let selection = Selection::parse(&args.filter, context.now())?;
    if !args.force {
        prune::confirm(context, "This will remove all networks not used by at least one container.")?;
    }
    let engine = context.repaired_engine()?;
    let networks = engine.networks().list().map_err(holm_engine::Error::from)?;
    let mut names = String::new();
    let goes =
        |network: &&Network| !network.is_default() && selection.fits(Some(network.created), &network.labels);
    for network in networks.iter().filter(goes) {
        match engine.remove_network(&network.name) {
            Ok(_) => names.push_str(&format!("{}\n", network.name)),
            // Somebody has it, or was faster.
            Err(error) if matches!(error.kind(), Kind::InUse | Kind::NoSuchNetwork) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if !names.is_empty() {
        context.printer.data(format!("Deleted Networks:\n{names}"))?;
    }
    Ok(0)
}
