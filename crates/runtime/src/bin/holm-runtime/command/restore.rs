//! `holm-runtime restore`: not there yet; it says so.

use holm_runtime::{Error, Kind, Result};

use crate::arguments::Global;

/// Make a container from the files of a checkpoint (not supported yet)
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the container, and options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ID")]
    _words: Vec<String>,
}

pub fn run(_: &Args, _: &Global) -> Result<u8> {
    Err(Error::new(Kind::Unsupported, "restore: checkpoints are not supported yet"))
}
