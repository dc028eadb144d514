//! `holm tag`: another name for an image.
use holm_spec::event::EventKind;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::resolve::image;

/// Give an image another name
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  holm tag debian:latest debian:bookworm
  holm tag 3f1e9d2c0b4a my/app:1.0")]
pub struct Args {
    /// Image, by name, id or digest
    #[arg(value_name = "SOURCE")]
    source: String,
    /// New name
    #[arg(value_name = "TARGET")]
    target: String,
}

/// Names an image.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let target = image::reference(&args.target)?;
    let engine = context.engine()?;
    engine.images().tag(&args.source, &target)?;
    engine.tell_of(EventKind::Image, "tag", args.source, [("name", target.familiar())]);
    Ok(0)
}
