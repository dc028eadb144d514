//! The documents of networks and endpoints, which are JSON with a version: finding, reading and removing them.

use std::io::ErrorKind;
use std::path::Path;

use holm_spec::network::VERSION;
use holm_sys::file::read_limited;
use serde::de::DeserializeOwned;

use crate::error::{Error, Kind, Result};

/// Longest document, in bytes.
pub(crate) const LIMIT: u64 = 1 << 20;

/// The names in a directory; none if that is not there.
///
/// # Errors
/// [`Kind::Io`].
pub(crate) fn names_in(directory: &Path) -> Result<Vec<String>> {
    let failed = |error| Error::io(format!("list `{}`", directory.display()), error);
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    names.collect::<std::io::Result<_>>().map_err(failed)
}

/// Removes a file; fine if it is not there.
///
/// # Errors
/// [`Kind::Io`], [`Kind::Denied`].
pub(crate) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::io(format!("remove `{}`", path.display()), error))
        }
        _ => Ok(()),
    }
}

/// A document; `None` if there is none. `noun` is what it describes, and `version` where it says its version.
///
/// # Errors
/// [`Kind::Corrupt`] for one that cannot be understood; [`Kind::Io`].
pub(crate) fn read<T: DeserializeOwned>(
    noun: &str,
    path: &Path,
    version: impl Fn(&T) -> u32,
) -> Result<Option<T>> {
    let corrupt = |why: String| Error::new(Kind::Corrupt, format!("{noun} `{}`: {why}", path.display()));
    let text = match read_limited(path, LIMIT) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| Error::io(format!("read `{}`", path.display()), error))?,
    };
    let document: T = serde_json::from_slice(&text).map_err(|error| corrupt(error.to_string()))?;
    match version(&document) {
        VERSION => Ok(Some(document)),
        other => Err(corrupt(format!("unknown version {other}"))),
    }
}
