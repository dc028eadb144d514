//! `holm volume ls`: the list of volumes.

use holm_engine::Engine;
use holm_spec::volume::Volume;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::duration;
use crate::listing::{self, Field, Format, Row};
use crate::resolve::filter::Filters;

const FIELDS: [Field; 7] = [
    Field { name: "CreatedAt", heading: "CREATED AT" },
    Field { name: "Driver", heading: "DRIVER" },
    Field { name: "Labels", heading: "LABELS" },
    Field { name: "Links", heading: "LINKS" },
    Field { name: "Mountpoint", heading: "MOUNTPOINT" },
    Field { name: "Name", heading: "VOLUME NAME" },
    Field { name: "Scope", heading: "SCOPE" },
];
const COLUMNS: [&str; 2] = ["Driver", "Name"];
const FILTERS: [&str; 4] = ["dangling", "driver", "label", "name"];

/// List volumes
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "Filters: dangling=true|false (no workload has it), driver=local, label=KEY[=VALUE], name=PART.

Examples:
  holm volume ls
  holm volume ls -q --filter dangling=true
  holm volume ls --format '{{.Name}} {{.Mountpoint}} {{.Links}}'"
)]
pub struct Args {
    /// Show what fits a condition
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// table, json, a template, or table and a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print names only
    #[arg(short, long)]
    quiet: bool,
}

/// Lists volumes.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let wrong = |reason| CommandError::flag("filter", reason);
    let filters = Filters::parse(&args.filter, &FILTERS, &[]).map_err(wrong)?;
    let dangling = filters.values("dangling").last().map(|word| boolean(word)).transpose().map_err(wrong)?;
    let format = match args.quiet {
        true => Format::parse(Some("{{.Name}}"))?,
        false => Format::parse(args.format.as_deref())?,
    };
    let engine = context.or_nothing(Context::engine)?;
    let volumes = engine.volumes();
    let in_use = volumes.in_use().map_err(holm_engine::Error::from)?;
    let mut rows = Vec::new();
    for volume in
        volumes.list().map_err(holm_engine::Error::from)?.iter().filter(|volume| fits(volume, &filters))
    {
        let users = in_use.of(&volume.name).count();
        if dangling.is_none_or(|dangling| dangling == (users == 0)) {
            rows.push(row(&engine, volume, users));
        }
    }
    context.printer.data(listing::render(&format, &FIELDS, &COLUMNS, &rows)?)?;
    Ok(0)
}

fn boolean(word: &str) -> Result<bool, String> {
    match word {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        other => Err(format!("dangling `{other}`: true or false expected")),
    }
}

fn fits(volume: &Volume, filters: &Filters) -> bool {
    filters.any("name", |part| volume.name.contains(part))
        && filters.any("driver", |driver| driver == "local")
        && filters.labels(&volume.labels)
}

fn row(engine: &Engine, volume: &Volume, users: usize) -> Row {
    let labels: Vec<String> = volume.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Row::new([
        ("CreatedAt", duration::date_and_time(volume.created)),
        ("Driver", "local".to_owned()),
        ("Labels", labels.join(",")),
        ("Links", users.to_string()),
        ("Mountpoint", engine.volumes().source(volume).display().to_string()),
        ("Name", volume.name.clone()),
        ("Scope", "local".to_owned()),
    ])
}
