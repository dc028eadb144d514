//! `holm network ls`: the list of networks.

use holm_spec::network::Network;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::duration;
use crate::listing::{self, Field, Format, Row};
use crate::resolve::filter::Filters;

const FIELDS: [Field; 10] = [
    Field { name: "CreatedAt", heading: "CREATED AT" },
    Field { name: "Driver", heading: "DRIVER" },
    Field { name: "ID", heading: "NETWORK ID" },
    Field { name: "IPv6", heading: "IPV6" },
    Field { name: "Interface", heading: "INTERFACE" },
    Field { name: "Internal", heading: "INTERNAL" },
    Field { name: "Labels", heading: "LABELS" },
    Field { name: "Name", heading: "NAME" },
    Field { name: "Scope", heading: "SCOPE" },
    Field { name: "Subnets", heading: "SUBNETS" },
];
const COLUMNS: [&str; 5] = ["ID", "Name", "Driver", "Interface", "Subnets"];
const FILTERS: [&str; 4] = ["driver", "id", "label", "name"];

/// List networks
#[derive(Debug, clap::Parser)]
#[command(after_help = "Filters: driver=bridge, driver=cni, id=START, label=KEY[=VALUE], name=PART.

Examples:
  holm network ls
  holm network ls -q --filter label=test
  holm network ls --format '{{.Name}} {{.Subnets}}'")]
pub struct Args {
    /// Show what fits a condition
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
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

/// Lists networks.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let filters =
        Filters::parse(&args.filter, &FILTERS, &[]).map_err(|reason| CommandError::flag("filter", reason))?;
    let format = match args.quiet {
        true => Format::parse(Some("{{.ID}}"))?,
        false => Format::parse(args.format.as_deref())?,
    };
    let engine = context.or_nothing(Context::engine)?;
    let networks = engine.networks().list().map_err(holm_engine::Error::from)?;
    let chosen = networks.iter().filter(|network| fits(network, &filters));
    let rows: Vec<Row> = chosen.map(|network| row(network, !args.no_trunc)).collect();
    context.printer.data(listing::render(&format, &FIELDS, &COLUMNS, &rows)?)?;
    Ok(0)
}

/// Whether a network fits all conditions.
pub fn fits(network: &Network, filters: &Filters) -> bool {
    filters.any("name", |part| network.name.contains(part))
        && filters.any("id", |start| network.id.to_string().starts_with(start))
        && filters.any("driver", |driver| network.driver.to_string() == driver)
        && filters.labels(&network.labels)
}

fn row(network: &Network, shorten: bool) -> Row {
    let subnets: Vec<String> = network.pools.iter().map(|pool| pool.subnet.to_string()).collect();
    let labels: Vec<String> = network.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Row::new([
        ("CreatedAt", duration::date_and_time(network.created)),
        ("Driver", network.driver.to_string()),
        ("ID", if shorten { network.id.short() } else { network.id.to_string() }),
        ("IPv6", network.pool(false).is_some().to_string()),
        ("Interface", network.interface.clone()),
        ("Internal", network.internal.to_string()),
        ("Labels", labels.join(",")),
        ("Name", network.name.clone()),
        ("Scope", "local".to_owned()),
        ("Subnets", subnets.join(", ")),
    ])
}
