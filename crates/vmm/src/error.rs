//! What went wrong with a machine.

use std::fmt;

/// An operation on an object, its cause, and what to do about it.
#[derive(Debug)]
pub struct Error {
    operation: String,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    hint: Option<String>,
}

/// The result of an operation on a machine.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Says what failed; the text is complete.
    pub fn new(message: impl Into<String>) -> Self {
        Self { operation: message.into(), cause: None, hint: None }
    }

    /// Says what was being done when something else failed.
    pub fn caused(
        operation: impl Into<String>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { operation: operation.into(), cause: Some(cause.into()), hint: None }
    }

    /// Says what it was part of.
    #[must_use]
    pub fn within(mut self, operation: &str) -> Self {
        self.operation = format!("{operation}: {}", self.operation);
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What to do.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.operation)?;
        self.cause.as_ref().map_or(Ok(()), |cause| write!(f, ": {cause}"))
    }
}

// The text tells the cause already.
impl std::error::Error for Error {}
