//! `holm push`: an image to a registry.

use holm_engine::images::compression::Compression;
use holm_engine::registry::{self, Connections, PushRequest};
use holm_spec::event::EventKind;
use serde_json::json;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::resolve::image;
use crate::transfer::{self, Direction, Manner, Transfer};
use crate::transfer_arguments::TransferArguments;

/// Send an image to a registry
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm push [OPTIONS] NAME[:TAG]",
    after_help = "The name says where the image goes: `holm tag` gives it one that begins with a registry. What was pulled
goes byte for byte, with the same digest. Layers that the registry has are not sent. Kernels of virtual
machines are pushed likewise.

Examples:
  holm tag app registry.example/team/app:2
  holm push registry.example/team/app:2
  holm push --all-tags localhost:5000/app
  holm push --compression zstd localhost:5000/app"
)]
pub struct Args {
    /// All tags of the repository that are here
    #[arg(short, long)]
    all_tags: bool,
    /// Pack layers so: gzip or zstd; those that are packed go as they are if absent
    #[arg(long, value_name = "NAME")]
    compression: Option<String>,
    #[command(flatten)]
    transfer: TransferArguments,
    /// Name of the image
    #[arg(value_name = "NAME")]
    name: String,
}

/// Pushes, and prints what became of it as Docker does.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let manner = args.transfer.manner()?;
    let compression = args.compression.as_deref().map(compression).transpose()?;
    let connections = Connections::read()?;
    let name = connections.expand(&args.name);
    let reference = image::reference(&name)?;
    let engine = context.repaired_engine()?;
    let references = match args.all_tags {
        false => vec![reference.clone()],
        true if image::has_tag(&name) => return Err(CommandError::usage("--all-tags contradicts a tag")),
        true => engine.images().tags_of(&reference)?,
    };
    if references.is_empty() {
        return Err(CommandError::new(format!("there is no image `{name}`, whatever its tag")));
    }
    let client = connections.client(reference.domain())?;
    for reference in &references {
        let transfer = Transfer::new(Direction::Push, manner, transfer::pushing(reference));
        let request = PushRequest { reference, compression };
        let pushed = registry::push(engine.images(), &client, &request, &transfer)?;
        if pushed.partial {
            context
                .printer
                .note("of an image for several platforms only the one for this machine was pushed");
        }
        engine.tell_of(EventKind::Image, "push", reference.familiar(), [("name", reference.familiar())]);
        let tag = reference.tag().unwrap_or_default();
        transfer.line(&format!("{tag}: digest: {} size: {}", pushed.digest, pushed.size))?;
        transfer.event(&json!({"name": reference, "digest": pushed.digest, "size": pushed.size}))?;
        if manner == Manner::Quiet {
            context.printer.line(reference)?;
        }
    }
    Ok(0)
}

fn compression(name: &str) -> Result<Compression, CommandError> {
    match Compression::by_name(name) {
        Some(known @ (Compression::Gzip | Compression::Zstd)) => Ok(known),
        _ => Err(CommandError::flag("compression", format!("`{name}` is neither gzip nor zstd"))),
    }
}
