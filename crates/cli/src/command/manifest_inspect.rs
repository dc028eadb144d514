//! `holm manifest inspect`: what a name stands for, as it is written.

use holm_engine::registry::{Connections, Repository};
use holm_spec::Reference;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::resolve::image;

/// Show the manifest or index that a name stands for
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm manifest inspect [OPTIONS] NAME[:TAG|@DIGEST]",
    after_help = "What is here is shown, else what the registry has.

Examples:
  holm manifest inspect registry.example/app:1
  holm manifest inspect --remote debian:bookworm"
)]
pub struct Args {
    /// Ask the registry, also for what is here
    #[arg(long)]
    remote: bool,
    /// Name of the image
    #[arg(value_name = "NAME")]
    name: String,
}

/// Prints the document with indents; its digest is that of the bytes without them.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let connections = Connections::read()?;
    let reference = image::reference(&connections.expand(&args.name))?;
    let engine = context.engine()?;
    let here = match args.remote {
        true => None,
        false => engine.images().document_of_name(&reference)?,
    };
    let content = match here {
        Some(content) => content,
        None => ask(&connections, &reference)?,
    };
    let document: serde_json::Value = serde_json::from_slice(&content)
        .map_err(|error| CommandError::new(format!("read the manifest of `{}`: {error}", args.name)))?;
    context.printer.line(format!("{document:#}"))?;
    Ok(0)
}

fn ask(connections: &Connections, reference: &Reference) -> Result<Vec<u8>, CommandError> {
    let client = connections.client(reference.domain())?;
    let digest = reference.digest();
    let wanted = digest.map(|digest| digest.to_string());
    let wanted = wanted.as_deref().or(reference.tag()).unwrap_or_default();
    Ok(Repository::to_read(&client, reference.path()).manifest(wanted, digest)?.1)
}
