//! `holm export`: a workload's root as a tarball.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::terminal;

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
    if args.output.is_none() && terminal::is_output_terminal() {
        let error = CommandError::new("write a tarball to a terminal");
        return Err(error.hint("name a file with -o, or redirect it"));
    }
    let engine = context.repaired_engine()?;
    let files = engine.files(&engine.find(&args.workload)?)?;
    let Some(path) = args.output else {
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        files.export(stdout.map_err(|error| CommandError::system("copy a descriptor", error))?)?;
        return Ok(0);
    };
    let failed = |error| CommandError::system(&format!("write `{}`", path.display()), error);
    // A device or a pipe is written to as it is.
    if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
        files.export(File::options().write(true).open(&path).map_err(failed)?.into())?;
        return Ok(0);
    }
    let draft = draft_of(&path);
    let file = File::options().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed)?;
    let exported = files.export(file.into()).map_err(CommandError::from);
    let complete = exported.and_then(|()| fs::rename(&draft, &path).map_err(failed));
    complete.inspect_err(|_| drop(fs::remove_file(&draft)))?;
    Ok(0)
}

/// The file's name until it is complete.
fn draft_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", std::process::id()))
}
