//! `holm artifact rm`: removes names of artifacts, and artifacts without one.

use holm_engine::images::Kind;

use super::rmi::{Failure, each};
use crate::command_error::CommandError;
use crate::context::Context;

/// Remove artifacts
#[derive(Debug, clap::Parser)]
#[command(after_help = "The last name of an artifact takes the artifact with it.

Examples:
  holm artifact rm localhost:5000/model:1
  holm artifact rm -f 3f1e9d2c0b4a     with all its names")]
pub struct Args {
    /// Remove all names of an artifact; fine if it is not there
    #[arg(short, long)]
    force: bool,
    /// Artifacts, by name, id or digest
    #[arg(required = true, value_name = "ARTIFACT")]
    artifacts: Vec<String>,
}

/// Removes each, and says what went.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let engine = context.engine_with_repaired_images()?;
    let remove = |name: &str| {
        let exclusive = engine.images().exclusive().map_err(Failure::Images)?;
        let users = engine.image_users().map_err(Failure::Workloads)?;
        exclusive.remove_artifact(name, args.force, &users).map_err(Failure::Images)
    };
    each(context, &args.artifacts, args.force.then_some(Kind::NoArtifact), remove)
}
