//! The error of networks: a [`Kind`] that callers match, a context that people read, and a source.

use std::fmt;
use std::io;

use holm_sys::lock::LockError;

/// Result of the operations of networks.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is no network of that name.
    NotFound,
    /// There is a network of that name.
    Exists,
    /// A sandbox uses the network, the address or the port.
    InUse,
    /// No address or port is left.
    Exhausted,
    /// What was asked makes no sense.
    Invalid,
    /// A document of a network is damaged, or of a newer version.
    Corrupt,
    /// Rights are missing.
    Denied,
    /// A CNI plugin is not there.
    NoPlugin,
    /// A CNI plugin failed.
    Plugin,
    /// The kernel lacks what networks need.
    Unsupported,
    /// Another process held a lock for too long.
    Locked,
    /// Any other answer of the operating system.
    Io,
}

/// A failed operation.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    context: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error without a deeper cause.
    pub(crate) fn new(kind: Kind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// An answer of the operating system; its number decides the kind.
    pub(crate) fn io(context: impl Into<String>, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let kind = match source.kind() {
            io::ErrorKind::PermissionDenied => Kind::Denied,
            io::ErrorKind::Unsupported => Kind::Unsupported,
            _ => Kind::Io,
        };
        Self { kind, context: context.into(), source: Some(Box::new(source)) }
    }

    /// The same, with the network in front.
    pub(crate) fn of_network(self, name: &str) -> Self {
        Self { context: format!("network `{name}`: {}", self.context), ..self }
    }

    /// What went wrong.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl From<LockError> for Error {
    fn from(error: LockError) -> Self {
        let kind = if error.errno().is_some() { Kind::Io } else { Kind::Locked };
        Self { kind, context: "use the networks".into(), source: Some(Box::new(error)) }
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
