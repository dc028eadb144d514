//! `holm system prune`: what nobody uses goes.

use holm_engine::images::Limit;
use holm_engine::{Engine, Extent, PruneReport, PruneRequest};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::prune::{self, Selection};
use crate::size;

/// Remove what nobody uses
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "What goes: workloads that do not run, images without a name, with -a all images that no workload
uses, and compressed layers and steps of builds, which are a cache; with --volumes also volumes that nobody
named and no workload has. Kernels stay, and steps while anybody builds.

With --keep-storage workloads stay, too, and only as much goes as it takes to keep images, kernels and
compressed layers to a size, what was used longest ago first: compressed layers, then steps of builds, then
images without a name, then, with -a, images with names.

Filters: until=TIME (made before; compressed layers: used before), label=KEY[=VALUE], label!=KEY[=VALUE].

Examples:
  holm system prune
  holm system prune -af --filter until=24h
  holm system prune -af --keep-storage 10GB"
)]
pub struct Args {
    /// All images that no workload uses, not only those without a name
    #[arg(short, long)]
    all: bool,
    /// Only what fits a condition
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Keep images, kernels and compressed layers to this size
    #[arg(long, value_name = "SIZE", conflicts_with = "filter", value_parser = size::parse)]
    keep_storage: Option<u64>,
    /// Volumes that nobody named, too
    #[arg(long, conflicts_with = "keep_storage")]
    volumes: bool,
}

/// Asks, removes, and says what went.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let selection = Selection::parse(&args.filter, context.now())?;
    if !args.force {
        prune::confirm(context, &warning(&args))?;
    }
    let engine = context.or_nothing(Context::engine_with_repaired_images)?;
    let mut report = remove(&engine, &args, &selection, context)?;
    if args.volumes && context.place.layout.root.exists() {
        let volumes = engine.prune_volumes(false, &|labels| selection.fits(None, labels))?;
        report.bytes += volumes.bytes;
        context.printer.data(prune::report_volumes(&volumes.volumes))?;
    }
    context.printer.data(prune::report(&report))?;
    Ok(0)
}

fn remove(
    engine: &Engine,
    args: &Args,
    selection: &Selection,
    context: &Context,
) -> Result<PruneReport, CommandError> {
    if !context.place.layout.root.exists() {
        return Ok(PruneReport::default());
    }
    if let Some(size) = args.keep_storage {
        return Ok(engine.prune_to(&Limit { size, named: args.all, spared: &[] })?);
    }
    let images = Some(if args.all { Extent::Unused } else { Extent::Dangling });
    selection
        .prune(engine, PruneRequest { workloads: true, images, compressed: true, ..PruneRequest::default() })
}

fn warning(args: &Args) -> String {
    let images = match args.all {
        true => "all images without at least one container associated to them",
        false => "all dangling images",
    };
    if let Some(size) = args.keep_storage {
        let size = size::decimal(size);
        return format!(
            "This will remove, until the store is not larger than {size}:\n  - compressed layers and steps of builds\n  - {images}\n"
        );
    }
    let filters = args.filter.iter().map(|filter| format!("  - {filter}\n")).collect::<String>();
    let filters = match filters.is_empty() {
        true => filters,
        false => format!("\n  Items to be pruned will be filtered with:\n{filters}"),
    };
    let volumes =
        if args.volumes { "  - all anonymous volumes not used by at least one container\n" } else { "" };
    format!(
        "This will remove:\n  - all stopped containers\n{volumes}  - {images}\n  - compressed layers and steps of builds\n{filters}"
    )
}
