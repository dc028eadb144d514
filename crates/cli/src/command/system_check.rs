//! `holm system check`: whether everything is as it was written.

mod repair;

use holm_engine::images::{CheckObserver, Finding};
use holm_engine::{CheckReport, Engine};
use indicatif::ProgressBar;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::progress;

/// Exit code if anything is broken.
const BROKEN: u8 = 1;

/// Find out whether images, kernels and workloads are as they were written
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "Documents and compressed layers are hashed again; each layer's image is compared with its seal, and
its tar is given back. A line tells what is broken, and which images and workloads that hurts; the exit code is 1
then. Other commands go on meanwhile.

--repair removes what nobody needs and compressed layers, which are a cache, and fetches again what came from a
registry. What remains broken is removed with -f only, or if you say so, and never if a workload uses it.

Examples:
  holm system check
  holm system check --repair
  holm system check --repair -f      also remove images that cannot be fetched again"
)]
pub struct Args {
    /// With --repair: remove images that cannot be put right without asking
    #[arg(short, long)]
    force: bool,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Put right what can be
    #[arg(long)]
    repair: bool,
}

/// Looks at everything, and puts right what was found if asked to.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    if args.force && !args.repair {
        return Err(CommandError::usage("-f removes nothing without --repair"));
    }
    let engine = context.or_nothing(Context::repaired_engine)?;
    let report = look(&engine, args.quiet)?;
    for finding in &report.store.findings {
        context.printer.line(line(&report, finding))?;
    }
    for workload in &report.workloads {
        context.printer.line(format_args!("workload {}: {}", workload.name, workload.reason))?;
    }
    context.printer.line(summary(&report))?;
    if !args.repair || broken(&report) == 0 {
        return Ok(if broken(&report) > 0 { BROKEN } else { 0 });
    }
    repair::run(&engine, &report, &args, context)?;
    let report = look(&engine, args.quiet)?;
    context.printer.line(summary(&report))?;
    Ok(if broken(&report) > 0 { BROKEN } else { 0 })
}

fn look(engine: &Engine, quiet: bool) -> Result<CheckReport, CommandError> {
    let bar = Bar(progress::bytes(Some(0), quiet));
    let report = engine.check(&bar);
    bar.0.finish_and_clear();
    Ok(report?)
}

/// What is broken, why, and whom it hurts.
fn line(report: &CheckReport, finding: &Finding) -> String {
    let owners: Vec<String> = finding.owners.iter().map(ToString::to_string).collect();
    let workloads = report.workloads_of(finding);
    let mut text = format!("{}: {}", finding.object, finding.reason);
    if owners.is_empty() {
        text.push_str("; nobody needs it");
    } else {
        text.push_str(&format!("; needed by {}", owners.join(", ")));
    }
    if !workloads.is_empty() {
        text.push_str(&format!("; workloads {}", workloads.join(", ")));
    }
    text
}

fn broken(report: &CheckReport) -> usize {
    report.store.findings.len() + report.workloads.len()
}

fn summary(report: &CheckReport) -> String {
    let changed = match report.store.changed {
        0 => String::new(),
        changed => format!(", {changed} changed meanwhile"),
    };
    format!("{} objects, {} broken{changed}", report.store.objects, broken(report))
}

/// Shows how far the check is.
struct Bar(ProgressBar);

impl CheckObserver for Bar {
    fn total(&self, bytes: u64) {
        self.0.set_length(bytes);
    }

    fn read(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}
