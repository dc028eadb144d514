//! `holm rmi`: removes names of images, and images without one.

use holm_engine::images::{Kind, Removed};
use holm_engine::{Engine, images};
use holm_spec::event::EventKind;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::several;

/// Remove images
#[derive(Debug, clap::Parser)]
#[command(after_help = "The last name of an image takes the image with it.

Examples:
  holm rmi debian:bookworm
  holm rmi -f 3f1e9d2c0b4a     with all its names; if workloads use it, it stays without one")]
pub struct Args {
    /// Remove all names of an image, also if workloads use it; fine if it is not there
    #[arg(short, long)]
    force: bool,
    /// Keep parents without a name; they are never removed
    #[arg(long)]
    no_prune: bool,
    /// Images, by name, id or digest
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Removes each, and says what went.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let engine = context.engine_with_repaired_images()?;
    let remove = |name: &str| remove(&engine, name, args.force);
    let code = each(context, &args.images, args.force.then_some(Kind::NotFound), remove);
    engine.forget_layers();
    code
}

/// Removes each by `remove`, and says what went. What fails with `fine` is told, and no failure.
///
/// # Errors
/// As [`several::each`].
pub fn each(
    context: &Context,
    names: &[String],
    fine: Option<Kind>,
    remove: impl Fn(&str) -> Result<Vec<Removed>, Failure>,
) -> Result<u8, CommandError> {
    several::each(context, names, |name| match remove(name) {
        Ok(removed) => context.printer.data(removed.iter().map(line).collect::<String>()),
        Err(Failure::Images(error)) if Some(error.kind()) == fine => {
            context.printer.error(&context.command, &error.into());
            Ok(())
        }
        Err(Failure::Images(error)) => Err(error.into()),
        Err(Failure::Workloads(error)) => Err(error.into()),
    })
}

/// Why something could not be removed.
pub enum Failure {
    /// The store says no.
    Images(images::Error),
    /// It is not known who uses it.
    Workloads(holm_engine::Error),
}

fn remove(engine: &Engine, name: &str, force: bool) -> Result<Vec<Removed>, Failure> {
    // Workloads are listed under the lock, so that none is made of the image meanwhile.
    let exclusive = engine.images().exclusive().map_err(Failure::Images)?;
    let users = engine.image_users().map_err(Failure::Workloads)?;
    let removed = exclusive.remove(name, force, &users).map_err(Failure::Images)?;
    for one in &removed {
        match one {
            Removed::Untagged(name) => {
                engine.tell_of(EventKind::Image, "untag", name.familiar(), [("name", name.familiar())]);
            }
            Removed::Deleted(digest) => engine.tell_of(EventKind::Image, "delete", digest.to_string(), []),
        }
    }
    Ok(removed)
}

/// A line that says what went.
fn line(removed: &Removed) -> String {
    match removed {
        Removed::Untagged(reference) => format!("Untagged: {}\n", reference.familiar()),
        Removed::Deleted(digest) => format!("Deleted: {digest}\n"),
    }
}
