//! Where a command writes an archive: standard output, or a file that appears when it is complete.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::command_error::CommandError;
use crate::terminal;

/// Where to.
#[derive(Debug)]
pub struct Output(Option<PathBuf>);

impl Output {
    /// A file, or standard output.
    ///
    /// # Errors
    /// Standard output is a terminal.
    pub fn of(path: Option<PathBuf>) -> Result<Self, CommandError> {
        if path.is_none() && terminal::is_output_terminal() {
            let error = CommandError::new("write a tarball to a terminal");
            return Err(error.hint("name a file with -o, or redirect it"));
        }
        Ok(Self(path))
    }

    /// Whether it is standard output.
    pub fn is_stdout(&self) -> bool {
        self.0.is_none()
    }

    /// Lets `write` write.
    ///
    /// # Errors
    /// What `write` reports; the file cannot be made. Then it is not there, or is as it was.
    pub fn write(&self, write: impl FnOnce(OwnedFd) -> Result<(), CommandError>) -> Result<(), CommandError> {
        let Some(path) = &self.0 else {
            let stdout = io::stdout().as_fd().try_clone_to_owned();
            return write(stdout.map_err(|error| CommandError::system("copy a descriptor", error))?);
        };
        let failed = |error| CommandError::system(&format!("write `{}`", path.display()), error);
        // A device or a pipe is written to as it is.
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return write(File::options().write(true).open(path).map_err(failed)?.into());
        }
        let draft = draft_of(path);
        let file = File::options().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed)?;
        let complete = write(file.into()).and_then(|()| fs::rename(&draft, path).map_err(failed));
        complete.inspect_err(|_| drop(fs::remove_file(&draft)))
    }
}

/// Replaces a file that everybody may read, in one step.
///
/// # Errors
/// It cannot be written, and is as it was.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), CommandError> {
    let failed = |error| CommandError::system(&format!("write `{}`", path.display()), error);
    // A device or a pipe is written to as it is.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return fs::write(path, content).map_err(failed);
    }
    // Never through a link that somebody else has put there.
    let draft = draft_of(path);
    let mut file = File::options().write(true).create_new(true).open(&draft).map_err(failed)?;
    let replaced = file.write_all(content).and_then(|()| fs::rename(&draft, path));
    replaced.inspect_err(|_| drop(fs::remove_file(&draft))).map_err(failed)
}

/// The file's name until it is complete.
fn draft_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", std::process::id()))
}
