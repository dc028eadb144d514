//! `holm artifact extract`: the files of an artifact.

use std::path::{Path, PathBuf};

use crate::command_error::CommandError;
use crate::context::Context;

/// Write the files of an artifact
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm artifact extract NAME DIRECTORY",
    after_help = "The directory is made if it is not there; files of the same names are replaced. A file without a name gets its digest.

Examples:
  holm artifact extract localhost:5000/model:1 model/"
)]
pub struct Args {
    /// The artifact, by name, id or digest
    #[arg(value_name = "NAME")]
    name: String,
    /// Where the files go
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

/// Writes the files, and prints their names.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let engine = context.engine()?;
    let store = engine.images();
    let files = store.artifact(&args.name)?.files()?;
    let failed = |path: &Path, error| CommandError::new(format!("write `{}`: {error}", path.display()));
    std::fs::create_dir_all(&args.directory).map_err(|error| failed(&args.directory, error))?;
    for file in &files {
        let path = args.directory.join(file.name.clone().unwrap_or_else(|| file.digest.hex()));
        store.extract_artifact_file(file, &path)?;
        context.printer.line(path.display())?;
    }
    Ok(0)
}
