//! The error of the store: a [`Kind`] that callers match, a context that people read, and a source.

use std::fmt;
use std::io;

use holm_sys::lock::LockError;

/// Result of the store's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for callers that decide what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No image, reference or blob is known by that name.
    NotFound,
    /// The prefix of an id fits several images.
    Ambiguous,
    /// The image is used by a workload, or has several names.
    InUse,
    /// The name is that of an image, a kernel or an artifact where another of these was asked for.
    WrongSort,
    /// No kernel is known, or none by that name.
    NoKernel,
    /// No artifact is known by that name.
    NoArtifact,
    /// The kernel lacks drivers that guests need.
    UnfitKernel,
    /// Something of that name is there already.
    Exists,
    /// What the caller gave is no reference, change, tar archive or the like.
    Invalid,
    /// A file of the store is missing or is not what its digest says.
    Corrupt,
    /// No space is left, or a quota is used up; what was half written is gone.
    NoSpace,
    /// The store lies on a read-only file system.
    ReadOnly,
    /// The caller may not read or write the store.
    Denied,
    /// Another process held a lock for too long.
    Locked,
    /// Any other answer of the operating system.
    Io,
}

/// A failed operation of the store.
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

    /// An answer of the operating system; its number decides the kind.
    pub(crate) fn io(context: impl Into<String>, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        Self { kind: kind_of(&source), context: context.into(), source: Some(Box::new(source)) }
    }

    /// An error with a cause of another type.
    pub(crate) fn because(
        kind: Kind,
        context: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, context: context.into(), source: Some(source.into()) }
    }

    /// The layer that `context` names could not be read or written.
    pub(crate) fn layer(context: impl Into<String>, source: holm_tar::Error) -> Self {
        let kind = match source.kind() {
            holm_tar::Kind::NoSpace => Kind::NoSpace,
            holm_tar::Kind::Io => io_cause(&source).map_or(Kind::Io, kind_of),
            _ => Kind::Invalid,
        };
        Self { kind, context: context.into(), source: Some(Box::new(source)) }
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

fn io_cause(error: &dyn std::error::Error) -> Option<&io::Error> {
    error.source()?.downcast_ref()
}

fn kind_of(error: &io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::NoSpace,
        io::ErrorKind::ReadOnlyFilesystem => Kind::ReadOnly,
        io::ErrorKind::PermissionDenied => Kind::Denied,
        io::ErrorKind::AlreadyExists => Kind::Exists,
        _ => Kind::Io,
    }
}

impl From<LockError> for Error {
    fn from(error: LockError) -> Self {
        // Only a lock that another process holds has no deeper cause.
        let cause = io_cause(&error).map(kind_of);
        match cause {
            Some(kind) => Self::because(kind, "use the image store", error),
            None => Self::because(Kind::Locked, "wait for another use of the image store", error),
        }
    }
}

/// An error with its causes, in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(&format!(": {source}"));
        next = source.source();
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_kinds() {
        for (number, kind) in [
            (rustix::io::Errno::NOSPC, Kind::NoSpace),
            (rustix::io::Errno::DQUOT, Kind::NoSpace),
            (rustix::io::Errno::ROFS, Kind::ReadOnly),
            (rustix::io::Errno::ACCESS, Kind::Denied),
            (rustix::io::Errno::IO, Kind::Io),
        ] {
            let error = Error::io("write blob", number);
            assert_eq!(error.kind(), kind);
            assert_eq!(error.to_string(), "write blob");
        }
    }

    #[test]
    fn a_held_lock_is_told_from_a_broken_one() {
        use holm_sys::lock::{Lock, Mode};
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("lock");
        let _held = Lock::acquire(&path, Mode::Exclusive).expect("free");
        let error = Lock::acquire_within(&path, Mode::Shared, std::time::Duration::ZERO).expect_err("held");
        assert_eq!(Error::from(error).kind(), Kind::Locked);
        let error = Lock::acquire(&dir.path().join("none/lock"), Mode::Shared).expect_err("no directory");
        assert_eq!(Error::from(error).kind(), Kind::Io);
    }
}
