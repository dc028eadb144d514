//! The error of whoever reads and writes archives and what becomes of them.
//!
//! Callers match [`Kind`]; people read the context, which names the object (an entry of the archive with its position,
//! an inode of an image) and what is wrong with it, on one line.

use std::fmt;
use std::io;

/// What went wrong, for callers that decide what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The input is no tar archive, or is empty.
    NotATar,
    /// The input ends too early.
    Truncated,
    /// The input uses something that is not supported here.
    Unsupported,
    /// A name leads out of the layer's root.
    Escape,
    /// A name, a header or an attribute is longer than the limit.
    TooLong,
    /// The input holds more entries, or more data, than the limit.
    TooMany,
    /// The input contradicts itself or its format.
    Corrupt,
    /// Something that the input refers to does not exist.
    NotFound,
    /// No space is left where the output goes.
    NoSpace,
    /// The operating system, or the source of the input, reported an error.
    Io,
}

/// A failure to read or write an archive, or a layer made of one.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    context: String,
    source: Option<io::Error>,
}

impl Error {
    /// An error without a cause in the operating system.
    pub fn new(kind: Kind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// An error from reading the input, where a decoder's complaints mean that the input is bad.
    pub fn read(context: impl Into<String>, source: io::Error) -> Self {
        let kind = match source.kind() {
            _ if source.raw_os_error().is_some() => Kind::Io,
            io::ErrorKind::UnexpectedEof => Kind::Truncated,
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other => Kind::Corrupt,
            _ => Kind::Io,
        };
        Self { kind, context: context.into(), source: Some(source) }
    }

    /// An error from writing the output.
    pub fn write(context: impl Into<String>, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Kind::NoSpace
            }
            _ => Kind::Io,
        };
        Self { kind, context: context.into(), source: Some(source) }
    }

    /// What went wrong.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same error under another kind: for a caller that knows the cause better.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// The longest part of a name that a message repeats, in bytes.
const SHOWN: usize = 72;

/// A name from the input as messages show it: printable, on one line, shortened in the middle.
pub fn shown(name: &[u8]) -> String {
    let text = |part: &[u8]| match std::str::from_utf8(part) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => part.escape_ascii().to_string(),
    };
    match (name.get(..SHOWN / 2), name.get(name.len().saturating_sub(SHOWN / 2)..)) {
        (Some(head), Some(tail)) if name.len() > SHOWN => {
            format!("{}...{} ({} bytes)", text(head), text(tail), name.len())
        }
        _ => text(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_short_and_on_one_line() {
        assert_eq!(shown(b"usr/bin/env"), "usr/bin/env");
        assert_eq!(shown("käse".as_bytes()), "käse");
        assert_eq!(shown(b"a\nb"), "a\\nb");
        let long = shown(&[b'd'; 5000]);
        assert!(long.len() < 120 && long.ends_with("(5000 bytes)"), "{long}");
    }

    #[test]
    fn full_disks_have_a_kind_of_their_own() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Error::write("writing", full).kind(), Kind::NoSpace);
        let odd = io::Error::from_raw_os_error(5);
        assert_eq!(Error::read("reading", odd).kind(), Kind::Io);
    }
}
