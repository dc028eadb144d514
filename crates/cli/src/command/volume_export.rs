//! `holm volume export`: what a volume holds as a tarball.

use std::path::PathBuf;

use crate::archive_output::Output;
use crate::command_error::CommandError;
use crate::context::Context;

/// Write what a volume holds as a tarball
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "With owners, permissions, extended attributes and hard links. Workloads that have the volume go on: what
they write meanwhile may be in it or not, a file that changes may be of two times.

Examples:
  holm volume export -o data.tar data
  holm volume export data | zstd > data.tar.zst
  holm volume export data | holm volume import copy"
)]
pub struct Args {
    /// Write to a file, which appears when it is complete
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Volume, by name
    #[arg(value_name = "VOLUME")]
    volume: String,
}

/// Writes.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let output = Output::of(args.output)?;
    let engine = context.or_nothing(Context::engine)?;
    output.write(|output| Ok(engine.export_volume(&args.volume, output)?))?;
    Ok(0)
}
