//! `holm image inspect`: images as documents.

use crate::command::inspect::{self, Wanted};
use crate::command_error::CommandError;
use crate::context::Context;

/// Show images as JSON documents
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  holm image inspect debian
  holm image inspect -f '{{join .RootFS.Layers \" \"}}' debian")]
pub struct Args {
    /// A template for each document, or json for one line a document
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Images, by name, id or digest
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Shows images.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    inspect::show(context, &args.images, args.format.as_deref(), Wanted::Image)
}
