//! `holm pull`: an image from a registry.

use holm_engine::images::Store;
use holm_engine::registry::{self, Connections, PullRequest, Pulled, Repository, TakeAll};
use holm_spec::Reference;
use holm_spec::event::EventKind;
use holm_spec::platform::Platform;
use serde_json::json;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::resolve::{image, platform};
use crate::transfer::{self, Direction, Manner, Transfer};
use crate::transfer_arguments::TransferArguments;

/// Fetch an image from a registry
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm pull [OPTIONS] NAME[:TAG|@DIGEST]",
    after_help = "A name without a registry is one of docker.io. Credentials are those of `holm login`, Docker and Podman.
A registry on this machine may speak plain HTTP. What is there already is not fetched again, and what was
interrupted goes on from where it was. Kernels of virtual machines are pulled likewise.

Examples:
  holm pull debian:bookworm-slim
  holm pull --platform linux/arm64 registry.example/team/app:2
  holm pull -q localhost:5000/app
  holm pull --all-tags localhost:5000/app"
)]
pub struct Args {
    /// All tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    #[command(flatten)]
    transfer: TransferArguments,
    /// What the image is to be made for; this host if absent
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Name of the image
    #[arg(value_name = "NAME")]
    name: String,
}

/// Pulls, and prints what became of it as Docker does.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let manner = args.transfer.manner()?;
    let connections = Connections::read()?;
    let name = connections.expand(&args.name);
    let reference = image::reference(&name)?;
    let platform = args.platform.as_deref().map(platform::parse).transpose();
    let platform = platform.map_err(|reason| CommandError::flag("platform", reason))?;
    let engine = context.engine_with_repaired_images()?;
    let pull =
        Pull { store: engine.images(), connections: &connections, platform: platform.as_ref(), manner };
    let references = match args.all_tags {
        false => vec![reference],
        true if image::has_tag(&name) => {
            return Err(CommandError::usage("--all-tags contradicts a tag or a digest"));
        }
        true => pull.every_tag(&reference)?,
    };
    for reference in &references {
        pull.one(reference)?;
        engine.tell_of(EventKind::Image, "pull", reference.familiar(), [("name", reference.familiar())]);
        if let Ok(image) = engine.images().resolve(&reference.to_string()) {
            context.keep_to_size(&engine, &image.id);
        }
        if manner != Manner::Json {
            context.printer.line(reference)?;
        }
    }
    Ok(0)
}

/// A pull of one or more images.
pub struct Pull<'a> {
    /// Where they go.
    pub store: &'a Store,
    /// Where they come from.
    pub connections: &'a Connections,
    /// For which platform; this machine's if absent.
    pub platform: Option<&'a Platform>,
    /// How it is shown.
    pub manner: Manner,
}

impl Pull<'_> {
    /// Pulls an image.
    ///
    /// # Errors
    /// Those of [`registry::pull`]; the output cannot be written.
    pub fn one(&self, reference: &Reference) -> Result<Pulled, CommandError> {
        let transfer = Transfer::new(Direction::Pull, self.manner, transfer::pulling(reference));
        let request = PullRequest { reference, platform: self.platform, policy: &TakeAll };
        let pulled = registry::pull(self.store, self.connections, &request, &transfer)?;
        transfer.line(&format!("Digest: {}", pulled.digest))?;
        let familiar = reference.familiar();
        transfer.line(&match pulled.newer {
            true => format!("Status: Downloaded newer image for {familiar}"),
            false => format!("Status: Image is up to date for {familiar}"),
        })?;
        let event = json!({"name": reference, "digest": pulled.digest, "newer": pulled.newer});
        transfer.event(&event)?;
        Ok(pulled)
    }

    fn every_tag(&self, reference: &Reference) -> Result<Vec<Reference>, CommandError> {
        let client = self.connections.client(reference.domain())?;
        let mut tags = Repository::to_read(&client, reference.path()).tags()?;
        tags.sort();
        tags.iter().map(|tag| image::with_tag(reference, tag)).collect()
    }
}
