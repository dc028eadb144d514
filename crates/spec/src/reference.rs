//! Image references as Docker users write them: `[domain/]path[:tag][@digest]`.
//!
//! The grammar is that of the distribution project's reference package; the defaults are Docker's:
//! domain `docker.io`, folder `library/` for its single-component names, tag `latest`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Digest;

const DEFAULT_DOMAIN: &str = "docker.io";
const LIBRARY: &str = "library/";
const DEFAULT_TAG: &str = "latest";
/// Longest repository name in bytes.
const NAME_LIMIT: usize = 255;
/// Longest tag in bytes.
const TAG_LIMIT: usize = 128;

/// A normalised image reference: repository with its domain, and a tag, a digest, or both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Registry host with optional port, for example `docker.io` or `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Repository path inside the registry, for example `library/debian`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag; `latest` where neither tag nor digest was written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that the reference pins.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The repository in the short form that people see: `debian` for `docker.io/library/debian`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return format!("{}/{}", self.domain, self.path);
        }
        self.path.strip_prefix(LIBRARY).filter(|rest| !rest.contains('/')).unwrap_or(&self.path).to_owned()
    }

    /// The whole reference in the short form that people see, with its tag.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_name())
    }

    fn with_suffix(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

impl fmt::Display for Reference {
    /// The whole normalised form: `docker.io/library/debian:latest`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffix(format!("{}/{}", self.domain, self.path)))
    }
}

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseReferenceError {
    text: String,
    reason: &'static str,
}

impl fmt::Display for ParseReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid image reference `{}`: {}", self.text, self.reason)
    }
}

impl std::error::Error for ParseReferenceError {}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, ParseReferenceError> {
        parse(text).map_err(|reason| ParseReferenceError { text: text.chars().take(300).collect(), reason })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    // As Docker: it would hide an image, or be hidden by one, whose id this is.
    if text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err("64 hexadecimal digits are the id of an image");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (
            rest,
            Some(digest.parse::<Digest>().map_err(|_| "the digest is not sha256:<64 hexadecimal digits>")?),
        ),
        None => (text, None),
    };
    let (name, tag) = split_tag(rest);
    let tag = tag.map(check_tag).transpose()?;
    let (domain, path) = split_domain(name);
    check_name(&domain, &path)?;
    let tag = tag.or_else(|| digest.is_none().then(|| DEFAULT_TAG.to_owned()));
    Ok(Reference { domain, path, tag, digest })
}

/// A colon behind the last slash separates the tag; an earlier one belongs to the port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

/// Whether a text is a tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
pub fn is_tag(tag: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let first = tag.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    first && tag.len() <= TAG_LIMIT && tag.bytes().all(valid)
}

fn check_tag(tag: &str) -> Result<String, &'static str> {
    if !is_tag(tag) {
        return Err("a tag has 1 to 128 letters, digits, `_`, `.`, `-` and starts with none of the last two");
    }
    Ok(tag.to_owned())
}

/// The first component is a domain when it looks like a host: with a dot, a port, an upper-case
/// letter, or `localhost`.
fn split_domain(name: &str) -> (String, String) {
    let host = |part: &str| {
        part == "localhost"
            || part.contains(['.', ':', '['])
            || part.bytes().any(|byte| byte.is_ascii_uppercase())
    };
    let (domain, path) = match name.split_once('/') {
        Some((first, rest)) if host(first) => (first, rest),
        _ => (DEFAULT_DOMAIN, name),
    };
    let domain = if domain == "index.docker.io" { DEFAULT_DOMAIN } else { domain };
    if domain == DEFAULT_DOMAIN && !path.contains('/') {
        return (domain.to_owned(), format!("{LIBRARY}{path}"));
    }
    (domain.to_owned(), path.to_owned())
}

fn check_name(domain: &str, path: &str) -> Result<(), &'static str> {
    if domain.len() + 1 + path.len() > NAME_LIMIT {
        return Err("a repository name has at most 255 bytes");
    }
    if !is_domain(domain) {
        return Err("the registry is not a host name with an optional port");
    }
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("a repository name must be lower-case");
    }
    if !path.split('/').all(is_component) {
        return Err(
            "a repository name is made of lower-case letters and digits, separated by `.`, `_`, `__`, `-` or `/`",
        );
    }
    Ok(())
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (domain, None),
    };
    let port_ok =
        port.is_none_or(|port| port.parse::<u16>().is_ok() && port.bytes().all(|b| b.is_ascii_digit()));
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return port_ok && address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    port_ok && host.split('.').all(label)
}

/// Whether a text may stand between the slashes of a repository's name: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
pub fn is_component(component: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    if !bytes.first().copied().is_some_and(alphanumeric) || !bytes.last().copied().is_some_and(alphanumeric) {
        return false;
    }
    bytes.split(|&byte| alphanumeric(byte)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|&byte| byte == b'-')
    })
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(text: &str) -> String {
        text.parse::<Reference>()
            .map_or_else(|error| format!("error: {error}"), |reference| reference.to_string())
    }

    #[test]
    fn defaults_are_dockers() {
        assert_eq!(normalised("debian"), "docker.io/library/debian:latest");
        assert_eq!(normalised("debian:12"), "docker.io/library/debian:12");
        assert_eq!(normalised("me/app"), "docker.io/me/app:latest");
        assert_eq!(normalised("localhost/app"), "localhost/app:latest");
        assert_eq!(normalised("localhost:5000/app:v1"), "localhost:5000/app:v1");
        assert_eq!(normalised("index.docker.io/debian"), "docker.io/library/debian:latest");
        assert_eq!(normalised("[::1]:5000/a/b__c"), "[::1]:5000/a/b__c:latest");
    }

    #[test]
    fn familiar_forms() {
        for (text, name) in [
            ("debian", "debian:latest"),
            ("docker.io/me/app:1", "me/app:1"),
            ("registry.example/a/b", "registry.example/a/b:latest"),
        ] {
            assert_eq!(text.parse::<Reference>().expect("valid").familiar(), name);
        }
    }

    #[test]
    fn digests_pin() {
        let digest = Digest::of(b"x");
        assert_eq!(normalised(&format!("debian@{digest}")), format!("docker.io/library/debian@{digest}"));
        assert_eq!(
            normalised(&format!("debian:12@{digest}")),
            format!("docker.io/library/debian:12@{digest}")
        );
    }

    #[test]
    fn the_digits_of_an_id_are_a_name_only_with_more_to_it() {
        let digits = "0a".repeat(32);
        assert_eq!(normalised(&format!("{digits}:1")), format!("docker.io/library/{digits}:1"));
        assert_eq!(
            normalised(&format!("docker.io/library/{digits}:1")),
            format!("docker.io/library/{digits}:1")
        );
        assert!(digits[1..].parse::<Reference>().is_ok());
    }

    #[test]
    fn bad_forms_are_refused() {
        for text in [
            "",
            ":tag",
            "a:",
            "Debian",
            "a//b",
            "a/../b",
            "/a",
            "a/",
            "a b",
            "a:-x",
            "a@sha256:12",
            "-a",
            "a_-b",
            "a..b",
            "host:99999/a",
            "h_st.io/a",
            &"a".repeat(300),
            &"0a".repeat(32),
            &format!("a:{}", "t".repeat(129)),
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
