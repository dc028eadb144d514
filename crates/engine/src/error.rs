//! The engine's error: a kind to match, what was being done to what, and the cause.

use std::fmt;

/// Result of an engine operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure, for callers that act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No such workload.
    NoSuchWorkload,
    /// No such image.
    NoSuchImage,
    /// No such kernel, or none at all.
    NoSuchKernel,
    /// No such artifact.
    NoSuchArtifact,
    /// No such network.
    NoSuchNetwork,
    /// A CNI plugin is not there.
    NoSuchPlugin,
    /// No such volume.
    NoSuchVolume,
    /// The package manager has no such package, or is not there.
    NoSuchPackage,
    /// A kernel that lacks drivers which guests need.
    UnfitKernel,
    /// The name is that of an image, a kernel or an artifact where another of these was asked for.
    WrongSort,
    /// An id prefix names several objects.
    Ambiguous,
    /// The name is taken.
    NameTaken,
    /// A value of the request is wrong.
    InvalidRequest,
    /// The image cannot run on this host: other operating system or architecture.
    ForeignImage,
    /// The operation needs a running workload.
    NotRunning,
    /// The operation needs a workload that does not run.
    StillRunning,
    /// There is nothing at a path of a workload or of the host.
    NoSuchPath,
    /// The workload is paused.
    Paused,
    /// The object is in use.
    InUse,
    /// Something that Holm does not do, or not yet.
    Unsupported,
    /// The file system keeps no limits of directories.
    NoQuota,
    /// The caller or the kernel lacks a right.
    NotPermitted,
    /// The file system is mounted read-only.
    ReadOnly,
    /// No room on the disk.
    NoSpace,
    /// A stored object is broken.
    Corrupt,
    /// The program is not in the workload: exit code 127.
    CommandNotFound,
    /// The program cannot be executed: exit code 126.
    CommandNotExecutable,
    /// The keeper of a workload ended without an answer.
    KeeperEnded,
    /// The keeper of a workload ended before it read the request, which may be made again.
    Unread,
    /// Somebody else holds a lock.
    Locked,
    /// The caller was told by a signal to give up.
    Interrupted,
    /// Anything else.
    Failed,
}

/// An operation on an object that failed.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A failure without a deeper cause; `message` says what was being done to what, and why it failed.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// A failure caused by `source`; `message` says what was being done to what.
    pub fn caused(
        kind: Kind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, message: message.into(), hint: None, source: Some(source.into()) }
    }

    /// A failed system operation: `message` says what on which object, the error number gives the kind.
    pub fn io(message: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        let source = source.into();
        let kind = match source.kind() {
            std::io::ErrorKind::PermissionDenied => Kind::NotPermitted,
            std::io::ErrorKind::ReadOnlyFilesystem => Kind::ReadOnly,
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Kind::NoSpace,
            _ => Kind::Failed,
        };
        Self::caused(kind, message, source)
    }

    /// The same failure; `context` says what it is about.
    pub(crate) fn about(self, context: impl fmt::Display) -> Self {
        Self { message: format!("{context}: {}", self.message), ..self }
    }

    /// Adds what only this host knows to be of help; what helps against its kind is for whoever shows it to say.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: Option<&str>) -> Self {
        self.hint = hint.map(str::to_owned);
        self
    }

    /// What to do about it on this host.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// What kind of failure.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<holm_sys::lock::LockError> for Error {
    fn from(error: holm_sys::lock::LockError) -> Self {
        match error.errno() {
            Some(errno) => Self::io(error.to_string(), std::io::Error::from_raw_os_error(errno)),
            None => Self::new(Kind::Locked, error.to_string()),
        }
    }
}

impl From<holm_runtime::Error> for Error {
    fn from(error: holm_runtime::Error) -> Self {
        let kind = match error.kind() {
            holm_runtime::Kind::Invalid => Kind::InvalidRequest,
            holm_runtime::Kind::Unsupported => Kind::Unsupported,
            holm_runtime::Kind::CommandNotFound => Kind::CommandNotFound,
            holm_runtime::Kind::CommandNotExecutable => Kind::CommandNotExecutable,
            holm_runtime::Kind::System => Kind::Failed,
        };
        Self::wrapping(kind, error)
    }
}

impl From<holm_store::Error> for Error {
    fn from(error: holm_store::Error) -> Self {
        let kind = match error.kind() {
            holm_store::Kind::NotFound => Kind::NoSuchImage,
            holm_store::Kind::NoKernel => Kind::NoSuchKernel,
            holm_store::Kind::NoArtifact => Kind::NoSuchArtifact,
            holm_store::Kind::UnfitKernel => Kind::UnfitKernel,
            holm_store::Kind::WrongSort => Kind::WrongSort,
            holm_store::Kind::Ambiguous => Kind::Ambiguous,
            holm_store::Kind::InUse => Kind::InUse,
            holm_store::Kind::Exists | holm_store::Kind::Invalid => Kind::InvalidRequest,
            holm_store::Kind::Corrupt => Kind::Corrupt,
            holm_store::Kind::NoSpace => Kind::NoSpace,
            holm_store::Kind::ReadOnly => Kind::ReadOnly,
            holm_store::Kind::Denied => Kind::NotPermitted,
            holm_store::Kind::Locked => Kind::Locked,
            holm_store::Kind::Io => Kind::Failed,
        };
        Self::wrapping(kind, error)
    }
}

impl From<holm_network::Error> for Error {
    fn from(error: holm_network::Error) -> Self {
        let kind = match error.kind() {
            holm_network::Kind::NotFound => Kind::NoSuchNetwork,
            holm_network::Kind::Exists => Kind::NameTaken,
            holm_network::Kind::InUse => Kind::InUse,
            holm_network::Kind::NoPlugin => Kind::NoSuchPlugin,
            holm_network::Kind::Exhausted | holm_network::Kind::Plugin | holm_network::Kind::Io => {
                Kind::Failed
            }
            holm_network::Kind::Invalid => Kind::InvalidRequest,
            holm_network::Kind::Corrupt => Kind::Corrupt,
            holm_network::Kind::Denied => Kind::NotPermitted,
            holm_network::Kind::Unsupported => Kind::Unsupported,
            holm_network::Kind::Locked => Kind::Locked,
        };
        Self::wrapping(kind, error)
    }
}

impl From<holm_volume::Error> for Error {
    fn from(error: holm_volume::Error) -> Self {
        let kind = match error.kind() {
            holm_volume::Kind::NotFound => Kind::NoSuchVolume,
            holm_volume::Kind::Exists => Kind::NameTaken,
            holm_volume::Kind::InUse => Kind::InUse,
            holm_volume::Kind::Invalid => Kind::InvalidRequest,
            holm_volume::Kind::NoQuota => Kind::NoQuota,
            holm_volume::Kind::Corrupt => Kind::Corrupt,
            holm_volume::Kind::Denied => Kind::NotPermitted,
            holm_volume::Kind::NoSpace => Kind::NoSpace,
            holm_volume::Kind::Locked => Kind::Locked,
            holm_volume::Kind::Io => Kind::Failed,
        };
        Self::wrapping(kind, error)
    }
}

impl Error {
    /// Another library's error as one of ours: its words stay, its causes stay.
    pub(crate) fn wrapping(kind: Kind, error: impl std::error::Error + Send + Sync + 'static) -> Self {
        let source = error.source().map(|source| {
            let mut line = source.to_string();
            let mut next = source.source();
            while let Some(cause) = next {
                line = format!("{line}: {cause}");
                next = cause.source();
            }
            line.into()
        });
        Self { kind, message: error.to_string(), hint: None, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_stays_beside_the_message() {
        let error: Error = holm_vmm::Error::new("no emulator").with_hint("install one").into();
        assert_eq!((error.to_string().as_str(), error.hint()), ("no emulator", Some("install one")));
    }
}
