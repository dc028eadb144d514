//! `holm volume import`: a tarball's content into a volume.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::resolve::volume;
use crate::terminal;

/// Put the content of a tarball into a volume
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "The volume is made if it is not there. One that is empty then holds all of the tarball, or, if something
fails, nothing.

Examples:
  holm volume import data data.tar
  zstd -dc data.tar.zst | holm volume import data
  holm volume import --merge data more.tar"
)]
pub struct Args {
    /// Add to what the volume holds; files of the same name are replaced
    #[arg(long)]
    merge: bool,
    /// Volume, by name
    #[arg(value_name = "VOLUME")]
    volume: String,
    /// Tarball; standard input if absent, or -
    #[arg(value_name = "TARBALL")]
    tarball: Option<String>,
}

/// Unpacks.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let name = volume::volume_name(&args.volume).map_err(CommandError::usage)?;
    let input = open(args.tarball.as_deref().unwrap_or("-"))?;
    context.repaired_engine()?.import_volume(&name, input, args.merge)?;
    Ok(0)
}

fn open(tarball: &str) -> Result<OwnedFd, CommandError> {
    if tarball != "-" {
        let failed = |error| CommandError::system(&format!("open `{tarball}`"), error);
        return File::open(tarball).map(Into::into).map_err(failed);
    }
    if terminal::is_input_terminal() {
        let error = CommandError::new("standard input is a terminal, not a tarball");
        return Err(error.hint("write the tarball's name, or pipe it in"));
    }
    io::stdin().as_fd().try_clone_to_owned().map_err(|error| CommandError::system("copy a descriptor", error))
}
