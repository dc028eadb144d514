//! Names of images, and changes to what is run in them.

use holm_engine::images::Change;
use holm_spec::Reference;

use crate::command_error::CommandError;

/// The name of an image.
pub fn reference(text: &str) -> Result<Reference, CommandError> {
    text.parse().map_err(|error| CommandError::new(format!("{error}")))
}

/// The values of `--change`.
pub fn changes(texts: &[String]) -> Result<Vec<Change>, CommandError> {
    texts.iter().map(|text| text.parse().map_err(|reason| CommandError::flag("change", reason))).collect()
}
