//! `holm artifact ls`: the list of artifacts.

use holm_engine::images::{ArtifactSummary, Name};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::duration;
use crate::listing::{self, Field, Format, Row};
use crate::size;

const FIELDS: [Field; 7] = [
    Field { name: "Digest", heading: "DIGEST" },
    Field { name: "Files", heading: "FILES" },
    Field { name: "ID", heading: "ARTIFACT ID" },
    Field { name: "Name", heading: "NAME" },
    Field { name: "NamedSince", heading: "NAMED" },
    Field { name: "Size", heading: "SIZE" },
    Field { name: "Type", heading: "TYPE" },
];
const COLUMNS: [&str; 6] = ["Name", "ID", "Type", "Files", "NamedSince", "Size"];
const NONE: &str = "<none>";

/// List artifacts
#[derive(Debug, clap::Parser)]
#[command(after_help = "Kernels of virtual machines have a list of their own: `holm kernel ls`.

Examples:
  holm artifact ls
  holm artifact ls -q
  holm artifact ls --format '{{.Name}} {{.Type}}'")]
pub struct Args {
    /// table, json, a template, or table and a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not shorten anything
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
}

/// Lists artifacts.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let format = Format::parse(args.format.as_deref())?;
    let engine = context.or_nothing(Context::engine_with_repaired_images)?;
    let artifacts = engine.images().artifacts()?;
    let id = |artifact: &ArtifactSummary| match args.no_trunc {
        true => artifact.artifact.id.to_string(),
        false => artifact.artifact.id.short(),
    };
    if args.quiet && matches!(format, Format::Table) {
        context.printer.data(artifacts.iter().map(|artifact| id(artifact) + "\n").collect::<String>())?;
        return Ok(0);
    }
    let mut rows = Vec::new();
    for summary in &artifacts {
        let files = summary.artifact.files()?.len();
        let row = |name: String| {
            Row::new([
                ("Digest", summary.artifact.digest.to_string()),
                ("Files", files.to_string()),
                ("ID", id(summary)),
                ("Name", name),
                ("NamedSince", duration::ago(context.now(), summary.named)),
                ("Size", size::decimal(summary.artifact.size())),
                ("Type", summary.artifact.artifact_type()),
            ])
        };
        rows.extend(names(summary).into_iter().map(row));
    }
    context.printer.data(listing::render(&format, &FIELDS, &COLUMNS, &rows)?)?;
    Ok(0)
}

fn names(summary: &ArtifactSummary) -> Vec<String> {
    match summary.names.as_slice() {
        [] => vec![NONE.to_owned()],
        names => names.iter().map(|Name { reference, .. }| reference.familiar()).collect(),
    }
}
