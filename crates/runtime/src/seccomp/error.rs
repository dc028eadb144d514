//! What can go wrong on the way from a profile to a program.

use std::error::Error as StdError;
use std::fmt;

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The document is not what its format allows.
    Invalid,
    /// The document asks for something that cannot work.
    Unsupported,
    /// The program would be longer than the kernel takes.
    TooLarge,
    /// The kernel could not be asked for its version.
    Kernel,
    /// The cache could not be written.
    Cache,
}

/// A failure to make or to keep a seccomp program.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    context: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(super) fn new(kind: Kind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    pub(super) fn caused(
        kind: Kind,
        context: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { kind, context: context.into(), source: Some(source.into()) }
    }

    /// What kind of failure it was.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Invalid => write!(f, "seccomp profile is invalid: {}", self.context),
            Kind::Unsupported => write!(f, "seccomp profile cannot be applied: {}", self.context),
            Kind::TooLarge => write!(f, "seccomp profile is too large: {}", self.context),
            Kind::Kernel | Kind::Cache => f.write_str(&self.context),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
