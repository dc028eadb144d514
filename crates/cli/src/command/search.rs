//! `holm search`: repositories of a registry, by its catalogue.

use holm_engine::registry::Connections;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::listing::{self, Field, Format, Row};
use crate::resolve::image;

const FIELDS: [Field; 1] = [Field { name: "Name", heading: "NAME" }];
const COLUMNS: [&str; 1] = ["Name"];
const LIMIT: usize = 25;

/// List repositories of a registry
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm search [OPTIONS] REGISTRY[/TEXT]",
    after_help = "What has TEXT in its name is listed. docker.io, and other registries of many users, keep their catalogues
to themselves.

Examples:
  holm search localhost:5000
  holm search registry.example/python"
)]
pub struct Args {
    /// table, json, a template, or table and a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// How many at most; 0 for all
    #[arg(long, value_name = "NUMBER", default_value_t = LIMIT)]
    limit: usize,
    /// Where to look, and for what
    #[arg(value_name = "TERM")]
    term: String,
}

/// Lists repositories.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let format = Format::parse(args.format.as_deref())?;
    let (registry, text) = args.term.split_once('/').unwrap_or((&args.term, ""));
    let domain = image::registry(registry)
        .map_err(|error| error.hint("the term begins with a registry: `holm search localhost:5000/text`"))?;
    let repositories = Connections::read()?.client(&domain)?.catalog()?;
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    let found = repositories.iter().filter(|name| name.contains(text)).take(limit);
    let rows: Vec<Row> = found.map(|name| Row::new([("Name", format!("{domain}/{name}"))])).collect();
    context.printer.data(listing::render(&format, &FIELDS, &COLUMNS, &rows)?)?;
    Ok(0)
}
