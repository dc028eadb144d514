//! The error of the registry client: a [`Kind`] that callers match, a context that people read, and a source.

use std::fmt;

/// Result of the client's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for callers that decide what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The registry has no such repository, tag, manifest or blob (404).
    NotFound,
    /// The registry wants credentials, or others (401, 403).
    Denied,
    /// The registry wants fewer requests, also after some patience (429).
    Busy,
    /// The registry failed, also after some patience (5xx), or answered with what it should not.
    Server,
    /// Nobody answers at the registry's address.
    Unreachable,
    /// Somebody answers whose certificate proves nothing, or who does not speak TLS.
    Untrusted,
    /// The registry is not to be asked, as `registries.toml` says.
    Blocked,
    /// The connection broke or stalled, also after some patience.
    Broken,
    /// What the registry sent is not what it should be: another digest or size, no manifest.
    Invalid,
    /// What an earlier pull left does not fit what came behind it. It is gone: another attempt begins anew.
    Stale,
    /// The image is not made for the platform that was asked for.
    Platform,
    /// Docker's configuration file cannot be used.
    Configuration,
    /// A failure of the image store.
    Store(holm_store::Kind),
    /// Any other answer of the operating system.
    Io,
}

/// A failed operation of the client.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    context: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error without a deeper cause. `context` says what was being done to what.
    pub(crate) fn new(kind: Kind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// An error with a cause.
    pub(crate) fn because(
        kind: Kind,
        context: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, context: context.into(), source: Some(source.into()) }
    }

    /// The store failed.
    pub(crate) fn store(context: impl Into<String>, source: holm_store::Error) -> Self {
        Self::because(Kind::Store(source.kind()), context, source)
    }

    /// The same failure as the cause of another: `context` says what was being done as a whole.
    pub(crate) fn about(self, context: impl Into<String>) -> Self {
        Self { kind: self.kind, context: context.into(), source: Some(Box::new(self)) }
    }

    /// What went wrong.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl From<holm_store::Error> for Error {
    fn from(error: holm_store::Error) -> Self {
        Self::store("use the image store", error)
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
