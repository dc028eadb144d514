//! `holm volume prune`: removes volumes that no workload has.

use crate::command_error::CommandError;
use crate::context::Context;
use crate::prune;
use crate::resolve::filter::Filters;
use crate::size;

/// Remove volumes that no workload has
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "Without -a only those that nobody named. Filters: all=true (as -a), label=KEY[=VALUE], label!=KEY[=VALUE].

Examples:
  holm volume prune
  holm volume prune -af --filter label=test"
)]
pub struct Args {
    /// Those with a name, too
    #[arg(short, long)]
    all: bool,
    /// Remove what fits a condition
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Asks, removes, and says what went.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let wrong = |reason| CommandError::flag("filter", reason);
    let filters = Filters::parse(&args.filter, &["all", "label", "label!"], &[]).map_err(wrong)?;
    let all = args.all || filters.values("all").iter().any(|word| matches!(word.as_str(), "true" | "1"));
    let labels: Vec<String> = args.filter.into_iter().filter(|word| word.starts_with("label")).collect();
    let selection = prune::Selection::parse(&labels, context.now())?;
    if !args.force {
        let which = if all { "all" } else { "anonymous" };
        let warning = format!("This will remove {which} local volumes not used by at least one container.");
        prune::confirm(context, &warning)?;
    }
    let engine = context.repaired_engine()?;
    let report = engine.prune_volumes(all, &|labels| selection.fits(None, labels))?;
    context.printer.data(prune::report_volumes(&report.volumes) + &total(report.bytes))?;
    Ok(0)
}

fn total(bytes: u64) -> String {
    format!("Total reclaimed space: {}\n", size::decimal(bytes))
}
