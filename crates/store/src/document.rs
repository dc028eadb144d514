//! OCI documents as the store reads and writes them (OCI image specification 1.1: manifest, index,
//! configuration). Pure.
//!
//! Documents of our own are written in one canonical form, every object sorted by key: the same image
//! has the same digest, whenever and wherever it is made.

use holm_spec::Digest;
use holm_spec::image::{self, Descriptor, ImageConfiguration, ImageIndex, ImageManifest};
use holm_spec::platform::Platform;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// What a name can stand for.
pub(crate) enum Document {
    Manifest(Box<ImageManifest>),
    Index(Box<ImageIndex>),
}

/// Parses the manifest or index with the digest `digest`; a manifest has `config`, an index has not.
pub(crate) fn parse(digest: &Digest, content: &[u8]) -> Result<Document> {
    #[derive(Deserialize)]
    struct Shape {
        manifests: Option<serde::de::IgnoredAny>,
    }
    let shape: Shape = read(digest, content, "a manifest")?;
    match shape.manifests {
        Some(_) => read(digest, content, "an image index").map(|index| Document::Index(Box::new(index))),
        None => {
            read(digest, content, "an image manifest").map(|manifest| Document::Manifest(Box::new(manifest)))
        }
    }
}

/// Parses a configuration.
pub(crate) fn parse_config(digest: &Digest, content: &[u8]) -> Result<ImageConfiguration> {
    read(digest, content, "an image configuration")
}

/// What a configuration of Docker's says of the image's health. Times are in nanoseconds, and 0 is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageHealth {
    /// `NONE`; `CMD` and a program with its arguments; `CMD-SHELL` and a line for a shell.
    pub test: Vec<String>,
    /// Between two checks.
    pub interval: u64,
    /// How long one may take.
    pub timeout: u64,
    /// How long the start may take.
    pub start_period: u64,
    /// Between two checks while it lasts.
    pub start_interval: u64,
    /// Failures in a row that count.
    pub retries: u32,
}

/// Parses what a configuration says of the image's health.
pub(crate) fn health(digest: &Digest, content: &[u8]) -> Result<Option<ImageHealth>> {
    #[derive(Deserialize)]
    struct Outer {
        #[serde(default)]
        config: Option<Inner>,
    }
    #[derive(Deserialize)]
    struct Inner {
        #[serde(rename = "Healthcheck", default)]
        health: Option<ImageHealth>,
    }
    let outer: Outer = read(digest, content, "an image configuration")?;
    Ok(outer.config.and_then(|inner| inner.health))
}

fn read<'a, T: Deserialize<'a>>(digest: &Digest, content: &'a [u8], what: &str) -> Result<T> {
    serde_json::from_slice(content)
        .map_err(|error| Error::because(Kind::Corrupt, format!("blob {digest} is not {what}"), error))
}

/// The digest in a descriptor.
pub(crate) fn digest_of(descriptor: &Descriptor) -> Result<Digest> {
    parse_digest(descriptor.digest().as_ref())
}

/// The diff-ids of a configuration, lowest layer first.
pub(crate) fn diff_ids(config: &ImageConfiguration) -> Result<Vec<Digest>> {
    config.rootfs().diff_ids().iter().map(|text| parse_digest(text)).collect()
}

fn parse_digest(text: &str) -> Result<Digest> {
    // Where no digest of ours can stand, the image is of no use, as one that is damaged.
    text.parse().map_err(|error| Error::because(Kind::Corrupt, format!("digest `{text}` in an image"), error))
}

/// Whether an index's entry is made for `platform`; attestations, of `unknown`, are for none.
pub(crate) fn is_for(descriptor: &Descriptor, platform: &Platform) -> bool {
    descriptor.platform().as_ref().is_some_and(|made_for| {
        made_for.os().to_string() == platform.os
            && made_for.architecture().to_string() == platform.architecture
    })
}

/// The canonical bytes of a document.
pub(crate) fn canonical(document: &impl Serialize) -> Vec<u8> {
    let mut value = serde_json::to_value(document).expect("an OCI document is plain data");
    value.sort_all_objects();
    serde_json::to_vec(&value).expect("a JSON value is plain data")
}

/// A descriptor of `content`.
pub(crate) fn descriptor(media_type: image::MediaType, size: u64, digest: &Digest) -> Descriptor {
    let digest: image::Sha256Digest = digest.hex().parse().expect("64 hexadecimal digits");
    Descriptor::new(media_type, size, digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_shapes_are_told_apart() {
        let digest = Digest::of(b"");
        let descriptor = format!(r#"{{"mediaType":"x","digest":"{digest}","size":0}}"#);
        let manifest = format!(r#"{{"schemaVersion":2,"config":{descriptor},"layers":[],"extra":1}}"#);
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{descriptor}]}}"#);
        assert!(matches!(parse(&digest, manifest.as_bytes()), Ok(Document::Manifest(_))));
        assert!(matches!(parse(&digest, index.as_bytes()), Ok(Document::Index(_))));
        for broken in ["", "[]", "{}", "null", r#"{"manifests":1}"#] {
            let error = parse(&digest, broken.as_bytes()).map(|_| ()).expect_err(broken);
            assert_eq!(error.kind(), Kind::Corrupt);
        }
    }

    #[test]
    fn objects_are_sorted() {
        let labels = std::collections::HashMap::from([("b", 1), ("a", 2), ("c", 3)]);
        assert_eq!(canonical(&labels), br#"{"a":2,"b":1,"c":3}"#);
    }
}
