//! `holm service uninstall`: takes the unit of systemd away.

use std::fs;
use std::path::{Path, PathBuf};

use super::service_install::{DIRECTORY, UNIT, is_running, systemctl};
use crate::command_error::CommandError;
use crate::context::Context;

/// Take the unit of systemd away
#[derive(Debug, clap::Parser)]
#[command(after_help = "Workloads go on.

Examples:
  holm service uninstall")]
pub struct Args {
    /// Where the unit is
    #[arg(long, value_name = "DIR", default_value = DIRECTORY)]
    directory: PathBuf,
}

/// Stops the unit and removes it.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let path = args.directory.join(UNIT);
    let failed = |error| CommandError::system(&format!("remove `{}`", path.display()), error);
    let is_systemds = args.directory == Path::new(DIRECTORY) && is_running();
    fs::metadata(&path).map_err(failed)?;
    if is_systemds {
        systemctl(&["disable", "--now", UNIT])?;
    }
    fs::remove_file(&path).map_err(failed)?;
    if is_systemds {
        systemctl(&["daemon-reload"])?;
    }
    context.printer.data(format!("{}\n", path.display()))?;
    Ok(0)
}
