//! `--format` and `--quiet` of commands that move images.

use crate::command_error::CommandError;
use crate::transfer::Manner;

/// What such commands have in common.
#[derive(Debug, clap::Args)]
pub struct TransferArguments {
    /// How progress is shown: text, or json for programs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: String,
    /// Print nothing but what came of it
    #[arg(short, long)]
    pub quiet: bool,
}

impl TransferArguments {
    /// How progress is shown.
    ///
    /// # Errors
    /// A form that is not known.
    pub fn manner(&self) -> Result<Manner, CommandError> {
        match self.format.as_str() {
            "json" => Ok(Manner::Json),
            "text" if self.quiet => Ok(Manner::Quiet),
            "text" => Ok(Manner::Output),
            other => Err(CommandError::flag("format", format!("`{other}` is neither text nor json"))),
        }
    }
}
