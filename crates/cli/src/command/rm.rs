//! `holm rm`: removes workloads.

use holm_engine::{Engine, Error, Kind};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::several;

/// Remove workloads with all that belongs to them
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  holm rm web                      one that has ended
  holm rm -f web                   also if it runs
  holm rm -v web                   with its volumes that nobody named
  holm rm $(holm ps -aq)           all that do not run")]
pub struct Args {
    /// Kill what runs; fine if it is not there
    #[arg(short, long)]
    force: bool,
    /// Remove its volumes that nobody named, too
    #[arg(short, long)]
    volumes: bool,
    /// Workloads, by name or id
    #[arg(required = true, value_name = "WORKLOAD")]
    workloads: Vec<String>,
}

/// Removes each.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let engine = context.repaired_engine()?;
    several::each(context, &args.workloads, |name| match remove(&engine, name, &args) {
        Ok(()) => context.printer.line(name),
        Err(error) if args.force && error.kind() == Kind::NoSuchWorkload => {
            context.printer.error(&context.command, &error.into());
            Ok(())
        }
        Err(error) => Err(error.into()),
    })
}

fn remove(engine: &Engine, name: &str, args: &Args) -> Result<(), Error> {
    engine.remove(&engine.find(name)?, args.force, args.volumes)
}
