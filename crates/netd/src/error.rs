//! Why a resolver cannot serve: what was being done to what, and the cause.

use std::fmt;
use std::io;

use holm_sys::lock::LockError;

/// Result of what a resolver does before it serves.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation.
#[derive(Debug)]
pub struct Error {
    context: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error without a deeper cause.
    pub(crate) fn new(context: impl Into<String>) -> Self {
        Self { context: context.into(), source: None }
    }

    /// An answer of the operating system.
    pub(crate) fn io(context: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { context: context.into(), source: Some(Box::new(source.into())) }
    }
}

impl From<LockError> for Error {
    fn from(error: LockError) -> Self {
        Self { context: "be the only resolver of the network".into(), source: Some(Box::new(error)) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
