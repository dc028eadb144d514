//! `holm manifest create`: images for several platforms under one name.

use holm_engine::images::{Image, Kind, Store};
use holm_engine::registry::Connections;

use crate::command::pull::Pull;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::resolve::image;
use crate::transfer::Manner;

/// Put images for several platforms under one name
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm manifest create NAME IMAGE...",
    after_help = "Images that are not here are pulled. `holm manifest push NAME` sends the name with all its images; who pulls it
gets the one for its platform.

Examples:
  holm manifest create registry.example/app:1 registry.example/app:1-amd64 registry.example/app:1-arm64
  holm manifest push registry.example/app:1"
)]
pub struct Args {
    /// For Docker's users: a name that is there moves in any case
    #[arg(short, long, hide = true)]
    amend: bool,
    /// The name
    #[arg(value_name = "NAME")]
    name: String,
    /// Images, by name, id or digest
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Makes an index and prints its digest.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let reference = image::reference(&args.name)?;
    let engine = context.engine_with_repaired_images()?;
    let store = engine.images();
    let images = args.images.iter().map(|name| find(store, name)).collect::<Result<Vec<_>, _>>()?;
    context.printer.line(store.create_index(&reference, &images)?)?;
    Ok(0)
}

/// An image that is here, or is pulled, whatever it is made for.
fn find(store: &Store, name: &str) -> Result<Image, CommandError> {
    match store.resolve(name) {
        Err(error) if error.kind() == Kind::NotFound => {
            let connections = Connections::read()?;
            let reference = image::reference(&connections.expand(name))?;
            let pull = Pull { store, connections: &connections, platform: None, manner: Manner::Talk };
            pull.one(&reference).map_err(|failure| failure.during(&error.to_string()))?;
            Ok(store.resolve(&reference.to_string())?)
        }
        found => Ok(found?),
    }
}
