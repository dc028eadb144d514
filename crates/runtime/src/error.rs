//! The runtime's error: what was being done to what, and the error number that stopped it.

use std::fmt;

use holm_sys::Errno;

/// Result of a runtime operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure, for callers that act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The configuration asks for something that is wrong or unknown.
    Invalid,
    /// The kernel or this runtime cannot do what the configuration asks for.
    Unsupported,
    /// The program to run is not there.
    CommandNotFound,
    /// The program to run is there and cannot be executed.
    CommandNotExecutable,
    /// The kernel refused an operation.
    System,
}

/// An operation on an object that failed.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A failure without a deeper cause.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// A value of the configuration that is wrong: `message` names the field and says why.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// A system call that failed; `message` says what was done to which object.
    pub fn system(message: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self { kind: Kind::System, message: message.into(), source: Some(Box::new(source.into())) }
    }

    /// A failure of `kind` with an error number.
    pub(crate) fn errno(kind: Kind, message: impl Into<String>, errno: Errno) -> Self {
        Self { kind, message: message.into(), source: Some(Box::new(std::io::Error::from(errno))) }
    }

    /// A failure caused by another library's error.
    pub fn caused(
        kind: Kind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    /// Says which field of the configuration it is about, by its JSON path.
    #[must_use]
    pub fn at_field(mut self, path: impl fmt::Display) -> Self {
        self.message = format!("`{path}`: {}", self.message);
        self
    }

    /// What kind of failure.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The kernel does not know a system call that Holm builds on: it is older than Linux 6.1, or
    /// something filters it.
    pub fn is_kernel_too_old(&self) -> bool {
        self.os_error() == Some(Errno::NOSYS.raw_os_error())
    }

    /// The error with its causes, for a client that shows one line.
    pub fn in_one_line(&self) -> String {
        let mut line = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            line.push_str(": ");
            line.push_str(&cause.to_string());
            source = cause.source();
        }
        if self.is_kernel_too_old() {
            line.push_str(" (Holm needs Linux 6.1 or later, with nothing that filters its system calls)");
        }
        line
    }

    /// The error number that the kernel gave, if it was the kernel.
    pub(crate) fn os_error(&self) -> Option<i32> {
        self.source.as_deref()?.downcast_ref::<std::io::Error>()?.raw_os_error()
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

/// Adds to a system call's error what was being done.
pub(crate) trait Context<T> {
    /// `message` is only built on failure.
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> Context<T> for std::result::Result<T, E> {
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| Error::system(message(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernel_is_told_from_other_failures() {
        assert!(Error::system("make a mount", Errno::NOSYS).is_kernel_too_old());
        assert!(!Error::system("make a mount", Errno::PERM).is_kernel_too_old());
        assert!(!Error::invalid("nothing").is_kernel_too_old());
    }
}
