//! `holm export`: a workload's root as a tarball.

use std::path::PathBuf;

use crate::archive_output::Output;
use crate::command_error::CommandError;
use crate::context::Context;

/// Write the root of a workload as a tarball
#[derive(Debug, clap::Parser)]
#[command(after_help = "What is mounted in the workload is left out. `holm import` makes an image of it.

Examples:
  holm export -o web.tar web
  holm export web | holm import - web:flat")]
pub struct Args {
    /// Write to a file, which appears when it is complete
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Workload, by name or id
    #[arg(value_name = "WORKLOAD")]
    workload: String,
}

/// Writes.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let output = Output::of(args.output)?;
    let engine = context.repaired_engine()?;
    let files = engine.files(&engine.find(&args.workload)?)?;
    output.write(|output| Ok(files.export(output)?))?;
    Ok(0)
}
