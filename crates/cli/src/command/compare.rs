//! `holm compare`: the same image as a container and as a virtual machine.

mod report;

use std::os::fd::AsFd;

use holm_engine::compare::{Comparison, Question};
use holm_engine::signals;
use serde_json::Value;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::drawing::Pen;
use crate::listing;
use crate::progress;
use crate::template::Template;

/// Exit code where one of the two could not be run.
const HALF: u8 = 1;
/// HUP, INT, QUIT and TERM: each ends the comparison.
const GIVING_UP: [i32; 4] = [1, 2, 3, 15];

/// Run an image both ways, and show what container and virtual machine cost and give
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm compare [OPTIONS] IMAGE [COMMAND] [ARG...]",
    after_help = "The command must end by itself; without one it is `true`, and what it prints is thrown away. Times count
from the request; memory is each process's share of the pages that it maps. A shell of the image waits
while memory, disk and processes are looked at; an image without `sh` leaves these unknown.

Exit code: 0 if both were run; 1 if only one could be run, which is shown all the same, with what the
other lacks and what helps.

Examples:
  holm compare debian:12
  holm compare debian:12 python3 -c 'print(6 * 7)'
  holm compare --runs 1 --hypervisor qemu debian:12
  holm compare --format json debian:12
  holm compare --format '{{.Container.StartSeconds}} {{.Machine.StartSeconds}}' debian:12"
)]
pub struct Args {
    /// table, json, or a template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// How often each is run; the median counts
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Kernel of the virtual machine; the default one if absent
    #[arg(long, value_name = "KERNEL")]
    kernel: Option<String>,
    /// What runs the virtual machine: auto, kvm or qemu
    #[arg(long, value_name = "HYPERVISOR")]
    hypervisor: Option<String>,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Image, and the command to run in it with its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE", hide = true)]
    image_and_command: Vec<String>,
}

/// Runs both and shows them beside each other.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let form = match args.format.as_deref() {
        None | Some("" | "table" | "json") => None,
        Some(text) => Some(Template::parse(text).map_err(listing::unusable)?),
    };
    let comparison = compare(&args, context)?;
    let text = match (form, args.format.as_deref()) {
        (Some(template), _) => {
            template.render(&document(&args, &comparison)).map_err(listing::unusable)? + "\n"
        }
        (None, Some("json")) => document(&args, &comparison).to_string() + "\n",
        (None, _) => report::text(&comparison, Pen::of_locale(|name| std::env::var(name).ok())),
    };
    context.printer.data(text)?;
    Ok(if comparison.container.is_ok() && comparison.machine.is_ok() { 0 } else { HALF })
}

fn compare(args: &Args, context: &Context) -> Result<Comparison, CommandError> {
    let hypervisor = args.hypervisor.as_deref().map(str::parse).transpose();
    let hypervisor = hypervisor.map_err(|reason| CommandError::flag("hypervisor", reason))?;
    let Some((image, command)) = args.image_and_command.split_first() else {
        return Err(CommandError::usage("an image is missing"));
    };
    let engine = context.repaired_engine()?;
    let signals =
        signals::descriptor(&GIVING_UP).map_err(|errno| CommandError::system("watch signals", errno))?;
    let progress = progress::busy("running it both ways", args.quiet);
    let comparison = engine.compare(&Question {
        image,
        command,
        kernel: args.kernel.as_deref(),
        hypervisor: hypervisor.unwrap_or_default(),
        runs: args.runs.into(),
        signals: Some(signals.as_fd()),
    });
    progress.finish_and_clear();
    comparison.map_err(|error| CommandError::from(error).plain())
}

fn document(args: &Args, comparison: &Comparison) -> Value {
    let image = args.image_and_command.first().map(String::as_str).unwrap_or_default();
    report::document(image, args.runs, comparison)
}
