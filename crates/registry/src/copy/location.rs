//! Where images and artifacts are copied from and to, as people write it.
//!
//! ```text
//! [docker://]REGISTRY/NAME[:TAG|@DIGEST]     a registry
//! oci:DIRECTORY[:NAME]                       a directory laid out by the OCI image specification ("Image Layout")
//! oci-archive:FILE[:NAME]                    that as a tar archive
//! docker-archive:FILE[:NAME[:TAG]]           what `docker save` writes
//! dir:DIRECTORY                              skopeo's directory: a manifest, and files named by their digests
//! ```
//! A path ends at its first colon.

use std::fmt;
use std::path::PathBuf;

use holm_spec::Reference;

use crate::error::{Error, Kind, Result};

/// A place that holds images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A registry.
    Registry(Reference),
    /// An image layout, and a name in it.
    Layout(PathBuf, Option<String>),
    /// An image layout as an archive, and a name in it.
    OciArchive(PathBuf, Option<String>),
    /// What `docker save` writes, and a name in it.
    DockerArchive(PathBuf, Option<String>),
    /// A manifest and blobs.
    Directory(PathBuf),
}

impl Location {
    /// Reads what a user wrote; `expand` makes a whole name of a short one.
    ///
    /// # Errors
    /// [`Kind::Invalid`] where it names no place.
    pub fn parse(text: &str, expand: impl Fn(&str) -> String) -> Result<Self> {
        let (prefix, rest) = text.split_once(':').unwrap_or((text, ""));
        let (path, name) = rest.split_once(':').unwrap_or((rest, ""));
        let name = Some(name.to_owned()).filter(|name| !name.is_empty());
        let place = match prefix {
            "oci" => Self::Layout(path.into(), name),
            "oci-archive" => Self::OciArchive(path.into(), name),
            "docker-archive" => Self::DockerArchive(path.into(), name),
            "dir" => Self::Directory(rest.into()),
            _ => return Self::of_registry(text, expand),
        };
        match path.is_empty() {
            true => Err(Error::new(Kind::Invalid, format!("`{text}` names no file or directory"))),
            false => Ok(place),
        }
    }

    fn of_registry(text: &str, expand: impl Fn(&str) -> String) -> Result<Self> {
        let name = expand(text.strip_prefix("docker://").unwrap_or(text));
        let invalid = |error| Error::because(Kind::Invalid, format!("read the name `{name}`"), error);
        name.parse().map(Self::Registry).map_err(invalid)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, path, name) = match self {
            Self::Registry(reference) => return f.write_str(&reference.familiar()),
            Self::Layout(path, name) => ("oci", path, name.as_deref()),
            Self::OciArchive(path, name) => ("oci-archive", path, name.as_deref()),
            Self::DockerArchive(path, name) => ("docker-archive", path, name.as_deref()),
            Self::Directory(path) => ("dir", path, None),
        };
        write!(f, "{prefix}:{}", path.display())?;
        name.map_or(Ok(()), |name| write!(f, ":{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_by_their_prefixes() {
        let parse = |text: &str| Location::parse(text, str::to_owned);
        for (text, expected) in [
            ("debian", Location::Registry("docker.io/library/debian:latest".parse().expect("a name"))),
            ("docker://r.example:5/a:1", Location::Registry("r.example:5/a:1".parse().expect("a name"))),
            ("oci:a/b", Location::Layout("a/b".into(), None)),
            ("oci:/a:1.0", Location::Layout("/a".into(), Some("1.0".into()))),
            ("oci-archive:a.tar:", Location::OciArchive("a.tar".into(), None)),
            ("docker-archive:a.tar:b:1", Location::DockerArchive("a.tar".into(), Some("b:1".into()))),
            ("dir:a:b", Location::Directory("a:b".into())),
        ] {
            assert_eq!(parse(text).expect(text), expected);
        }
        for text in ["", "oci:", "oci::a", "dir:", "Upper", "docker://"] {
            assert_eq!(parse(text).expect_err(text).kind(), Kind::Invalid);
        }
    }
}
