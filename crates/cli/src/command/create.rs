//! `holm create`: a workload that does not run yet.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use holm_engine::{CreateRequest, Created, Engine};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::resolve::streams;
use crate::supply::Supply;
use crate::workload_arguments::WorkloadArguments;

/// Create a workload from an image without starting it
#[derive(Debug, clap::Parser)]
#[command(
    disable_help_flag = true,
    override_usage = "holm create [OPTIONS] IMAGE [COMMAND] [ARG...]",
    after_help = "Examples:
  holm create --name web --memory 256m debian nginx   to be started with `holm start web`
  holm create -it --name shell debian bash            to be started with `holm start -ai shell`"
)]
pub struct Args {
    #[command(flatten)]
    workload: WorkloadArguments,
    /// Image, and the command to run in it with its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE", hide = true)]
    image_and_command: Vec<String>,
}

/// Creates a workload and prints its id.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    streams::parse(&args.workload.attach).map_err(|reason| CommandError::flag("attach", reason))?;
    let (cidfile, supply) = (args.workload.cidfile.clone(), args.workload.supply()?);
    let mut request = args.workload.resolve(args.image_and_command, &context.place)?;
    // Whoever starts it later is the one client whose end closes its input.
    request.stdin_once = request.open_stdin;
    let created = create(&context.repaired_engine()?, &request, supply, cidfile.as_deref(), context)?;
    context.printer.line(created.id)?;
    Ok(0)
}

/// Creates a workload and writes its id to `cidfile`.
///
/// # Errors
/// Nothing was created, and the file is not there.
pub fn create(
    engine: &Engine,
    request: &CreateRequest,
    supply: Supply,
    cidfile: Option<&Path>,
    context: &Context,
) -> Result<Created, CommandError> {
    let cidfile = cidfile.map(IdFile::reserve).transpose()?;
    let created = supply.create(context, engine, request)?;
    if let Some(cidfile) = cidfile
        && let Err(error) = cidfile.fill(&created.id.to_string())
    {
        let id = created.id;
        drop(created);
        engine.remove(&id, true, true)?;
        return Err(error);
    }
    Ok(created)
}

/// A new file for an id; it goes again unless it is filled.
struct IdFile {
    path: PathBuf,
    file: File,
    filled: bool,
}

impl IdFile {
    fn reserve(path: &Path) -> Result<Self, CommandError> {
        match OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(file) => Ok(Self { path: path.to_owned(), file, filled: false }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let text = format!("--cidfile: `{}` is there already", path.display());
                Err(CommandError::new(text)
                    .hint("make sure that its workload does not run, and remove the file"))
            }
            Err(error) => Err(CommandError::system(&format!("create `{}`", path.display()), error)),
        }
    }

    fn fill(mut self, id: &str) -> Result<(), CommandError> {
        self.file
            .write_all(id.as_bytes())
            .map_err(|error| CommandError::system(&format!("write `{}`", self.path.display()), error))?;
        self.filled = true;
        Ok(())
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if !self.filled {
            // It was made by this process; a failure leaves an empty file and changes nothing else.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_file_is_new_and_goes_unless_filled() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("id");
        drop(IdFile::reserve(&path).expect("new"));
        assert!(!path.exists());
        IdFile::reserve(&path).expect("new").fill("abc").expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "abc");
        let error = IdFile::reserve(&path).err().expect("there already");
        assert!(error.message().is_some_and(|message| message.contains("is there already")));
        assert!(path.exists());
    }
}
