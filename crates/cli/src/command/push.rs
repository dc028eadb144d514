//! `holm push`: an image to a registry.

use holm_engine::Engine;
use holm_engine::images::compression::Compression;
use holm_engine::registry::{self, Client, Connections, PushRequest, Pushed};
use holm_spec::Reference;
use holm_spec::event::EventKind;
use serde_json::json;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::printer::Printer;
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
    let compression = args.compression.as_deref().map(compression).transpose();
    let compression = compression.map_err(|why| CommandError::flag("compression", why))?;
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
    let push = Push { engine: &engine, compression, manner };
    for reference in &references {
        push.one(&client, reference)?;
        if manner == Manner::Quiet {
            context.printer.line(reference)?;
        }
    }
    Ok(0)
}

/// A push of one or more images.
pub struct Push<'a> {
    /// Where they are.
    pub engine: &'a Engine,
    /// How layers are to be packed, if that is said.
    pub compression: Option<Compression>,
    /// How it is shown.
    pub manner: Manner,
}

impl Push<'_> {
    /// Pushes an image to the registry that its name says.
    ///
    /// # Errors
    /// Those of [`registry::push`]; the output cannot be written.
    pub fn one(&self, client: &Client, reference: &Reference) -> Result<Pushed, CommandError> {
        let transfer = Transfer::new(Direction::Push, self.manner, transfer::pushing(reference));
        let request = PushRequest { reference, compression: self.compression };
        let pushed = registry::push(self.engine.images(), client, &request, &transfer)?;
        if pushed.partial {
            Printer.note("of an image for several platforms only the one for this machine was pushed");
        }
        let familiar = reference.familiar();
        self.engine.tell_of(EventKind::Image, "push", familiar.clone(), [("name", familiar)]);
        let tag = reference.tag().unwrap_or_default();
        transfer.line(&format!("{tag}: digest: {} size: {}", pushed.digest, pushed.size))?;
        transfer.event(&json!({"name": reference, "digest": pushed.digest, "size": pushed.size}))?;
        Ok(pushed)
    }
}

/// How layers are packed for registries, by its name.
///
/// # Errors
/// Another name, or one of what registries do not take.
pub fn compression(name: &str) -> Result<Compression, String> {
    match Compression::by_name(name) {
        Some(known @ (Compression::Gzip | Compression::Zstd)) => Ok(known),
        _ => Err(format!("`{name}` is neither gzip nor zstd")),
    }
}
