//! Why a task was not carried out.

use std::fmt;
use std::io;

use holm_spec::files::{Failure, FailureKind};

/// Result of a task.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was being done to what, and why it failed.
#[derive(Debug)]
pub struct Error {
    kind: FailureKind,
    message: String,
    source: Option<io::Error>,
}

impl Error {
    /// Something that makes no sense or is not allowed.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Invalid, message: message.into(), source: None }
    }

    /// Anything else that failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Failed, message: message.into(), source: None }
    }

    /// A failed system operation; its number gives the kind.
    pub fn io(message: impl Into<String>, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let kind = match source.kind() {
            io::ErrorKind::NotFound => FailureKind::NotFound,
            io::ErrorKind::ReadOnlyFilesystem => FailureKind::ReadOnly,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureKind::NoSpace,
            io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => FailureKind::Invalid,
            _ => FailureKind::Failed,
        };
        Self { kind, message: message.into(), source: Some(source) }
    }

    /// What kind of failure.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// The same failure; `context` says what it is about.
    pub(crate) fn about(self, context: &str) -> Self {
        Self { message: format!("{context}: {}", self.message), ..self }
    }

    /// For somebody in another process.
    pub fn to_failure(&self) -> Failure {
        let message = match &self.source {
            Some(source) => format!("{}: {source}", self.message),
            None => self.message.clone(),
        };
        Failure { kind: self.kind, message }
    }
}

impl From<holm_tar::Error> for Error {
    fn from(error: holm_tar::Error) -> Self {
        let kind = match error.kind() {
            holm_tar::Kind::NoSpace => FailureKind::NoSpace,
            holm_tar::Kind::Io => FailureKind::Failed,
            _ => FailureKind::Invalid,
        };
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        Self { kind, message: format!("{error}{cause}"), source: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
