//! Names that come from the network: each is checked once, here, and is safe as a path below the storage from then on.

use std::fmt;

use holm_spec::reference::{is_component, is_tag};

use crate::digest::Digest;

/// Longest name of a repository in bytes.
const NAME_LIMIT: usize = 255;

/// The name of a repository: lower-case components between slashes, none of which begins with `_` or a dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository(Box<str>);

impl Repository {
    /// Takes a text that is such a name.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() <= NAME_LIMIT && text.split('/').all(is_component)).then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tag: up to 128 letters, digits, `_`, `.` and `-`, the first of which is neither a dot nor a hyphen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Box<str>);

impl Tag {
    /// Takes a text that is a tag.
    pub fn parse(text: &str) -> Option<Self> {
        is_tag(text).then(|| Self(text.into()))
    }

    /// The tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What stands behind `/manifests/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// Whatever this tag points to.
    Tag(Tag),
    /// Exactly this.
    Digest(Digest),
}

impl Reference {
    /// A text with a colon must be a digest, any other one a tag.
    pub fn parse(text: &str) -> Option<Self> {
        match text.contains(':') {
            true => text.parse().ok().map(Self::Digest),
            false => Tag::parse(text).map(Self::Tag),
        }
    }
}

/// The name of an upload, a random UUID.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UploadId(Box<str>);

impl UploadId {
    /// A new one (RFC 9562, version 4).
    pub fn random() -> Self {
        let mut bytes: [u8; 16] = holm_sys::file::random_bytes();
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex = holm_spec::digest::encode_hex(&bytes);
        let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        Self(parts.join("-").into())
    }

    /// Takes a text that has the form of one.
    pub fn parse(text: &str) -> Option<Self> {
        let hyphen = |at: usize| matches!(at, 8 | 13 | 18 | 23);
        let fits = |(at, byte): (usize, u8)| match hyphen(at) {
            true => byte == b'-',
            false => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        };
        (text.len() == 36 && text.bytes().enumerate().all(fits)).then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_lead_elsewhere_are_refused() {
        for text in ["", "/", "a/", "/a", "a//b", "..", "a/../b", "_uploads", "a/_blobs", "A", "a\0b", ".a"] {
            assert_eq!(Repository::parse(text), None, "{text}");
        }
        assert_eq!(Repository::parse(&"a".repeat(256)), None);
        for text in ["", ".", "..", "-a", "a/b", "a:b", &"a".repeat(129)] {
            assert_eq!(Tag::parse(text), None, "{text}");
        }
        for text in ["", "..", &"a".repeat(36), "0123456789abcdef0123456789abcdef0123"] {
            assert_eq!(UploadId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn names_of_uploads_come_back() {
        let id = UploadId::random();
        assert_eq!(UploadId::parse(id.as_str()), Some(id));
    }
}
