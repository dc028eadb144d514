//! `holm logout`: forgets who we are at a registry.

use holm_engine::registry::Configuration;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::resolve::image;

/// Log out from a registry
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm logout [REGISTRY]",
    after_help = "Without REGISTRY it is docker.io.

Examples:
  holm logout registry.example"
)]
pub struct Args {
    /// The registry
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

/// Logs out; fine if nobody was logged in.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let domain = image::registry(args.registry.as_deref().unwrap_or_default())?;
    match Configuration::read()?.log_out(&domain)? {
        true => context.printer.line(format!("Removing login credentials for {domain}"))?,
        false => context.printer.line(format!("Not logged in to {domain}"))?,
    }
    Ok(0)
}
