//! `holm artifact referrers`: what a registry has about an image.

use holm_engine::registry::{Connections, Repository};
use holm_spec::Digest;
use holm_spec::image::Descriptor;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::listing::{self, Field, Format, Row};
use crate::resolve::image;
use crate::size;

const FIELDS: [Field; 5] = [
    Field { name: "Annotations", heading: "ANNOTATIONS" },
    Field { name: "Digest", heading: "DIGEST" },
    Field { name: "MediaType", heading: "MEDIA TYPE" },
    Field { name: "Size", heading: "SIZE" },
    Field { name: "Type", heading: "TYPE" },
];
const COLUMNS: [&str; 3] = ["Digest", "Type", "Annotations"];

/// List what a registry has about an image
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm artifact referrers [OPTIONS] NAME[:TAG|@DIGEST]",
    after_help = "Signatures, lists of contents and the like name the image that they are about. One of them is pulled by its digest, and
`holm copy --referrers` takes them along.

Examples:
  holm artifact referrers registry.example/app:1
  holm artifact referrers --type application/spdx+json -q registry.example/app:1"
)]
pub struct Args {
    /// table, json, a template, or table and a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print digests only
    #[arg(short, long)]
    quiet: bool,
    /// Only those of this kind
    #[arg(long = "type", value_name = "MEDIA_TYPE")]
    artifact_type: Option<String>,
    /// The image, in its registry
    #[arg(value_name = "NAME")]
    name: String,
}

/// Lists referrers.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let format = Format::parse(args.format.as_deref())?;
    let connections = Connections::read()?;
    let reference = image::reference(&connections.expand(&args.name))?;
    let client = connections.client(reference.domain())?;
    let repository = Repository::to_read(&client, reference.path());
    let subject: Digest = match reference.digest() {
        Some(digest) => digest,
        None => repository.manifest_of(&reference)?.0,
    };
    let is_wanted = |entry: &Descriptor| match &args.artifact_type {
        Some(wanted) => type_of(entry) == *wanted,
        None => true,
    };
    let found: Vec<Descriptor> = repository.referrers(&subject)?.into_iter().filter(is_wanted).collect();
    let text = match args.quiet && matches!(format, Format::Table) {
        true => found.iter().map(|entry| format!("{}\n", entry.digest())).collect(),
        false => listing::render(&format, &FIELDS, &COLUMNS, &found.iter().map(row).collect::<Vec<_>>())?,
    };
    context.printer.data(text)?;
    Ok(0)
}

fn type_of(entry: &Descriptor) -> String {
    entry.artifact_type().as_ref().map(ToString::to_string).unwrap_or_default()
}

fn row(entry: &Descriptor) -> Row {
    let mut annotations: Vec<String> =
        entry.annotations().iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    annotations.sort();
    Row::new([
        ("Annotations", annotations.join(",")),
        ("Digest", entry.digest().to_string()),
        ("MediaType", entry.media_type().to_string()),
        ("Size", size::decimal(entry.size())),
        ("Type", type_of(entry)),
    ])
}
