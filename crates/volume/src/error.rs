//! The error of volumes: a [`Kind`] that callers match, a context that people read, and a source.

use std::fmt;
use std::io;

use holm_sys::lock::LockError;
use holm_sys::shared_mount::SharedMountError;

/// Result of the operations of volumes.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is no volume of that name.
    NotFound,
    /// There is another volume of that name.
    Exists,
    /// A workload has the volume.
    InUse,
    /// What was asked makes no sense.
    Invalid,
    /// The document of a volume, or of a workload that may have it, is damaged or of a newer version.
    Corrupt,
    /// The file system keeps no limits of directories.
    NoQuota,
    /// Rights are missing.
    Denied,
    /// No room on the disk.
    NoSpace,
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

    /// A document that makes no sense.
    pub(crate) fn corrupt(context: impl Into<String>, source: serde_json::Error) -> Self {
        Self { kind: Kind::Corrupt, context: context.into(), source: Some(Box::new(source)) }
    }

    /// An answer of the operating system; its number decides the kind.
    pub(crate) fn io(context: impl Into<String>, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let kind = match source.kind() {
            io::ErrorKind::PermissionDenied => Kind::Denied,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::NoSpace,
            _ => Kind::Io,
        };
        Self { kind, context: context.into(), source: Some(Box::new(source)) }
    }

    /// A mount that many use could not be used.
    pub(crate) fn of_mount(error: SharedMountError) -> Self {
        Self { kind: Kind::Io, context: error.to_string(), source: error.into_cause() }
    }

    /// What went wrong.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl From<LockError> for Error {
    fn from(error: LockError) -> Self {
        let kind = if error.errno().is_some() { Kind::Io } else { Kind::Locked };
        Self { kind, context: "use the volumes".into(), source: Some(Box::new(error)) }
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
