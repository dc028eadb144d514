//! Manifests and indexes of whatever kind: what they name. Pure.

use std::collections::HashMap;

use holm_spec::Digest;
use holm_spec::image::{Descriptor, DescriptorBuilder, MediaType};
use serde::Deserialize;

use crate::document::{self, INDEX, MANIFEST};
use crate::error::{Error, Kind, Result};

/// A manifest or an index.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its digest.
    pub digest: Digest,
    /// What it is.
    pub media_type: String,
    /// Its bytes.
    pub content: Vec<u8>,
    /// The manifests that an index lists.
    pub manifests: Vec<Descriptor>,
    /// The blobs that a manifest names: configuration, layers, or what an artifact has in their place.
    pub blobs: Vec<Descriptor>,
    /// What it is about, by that manifest's digest (OCI image specification, "Image Manifest", `subject`).
    pub subject: Option<Digest>,
    /// What kind of artifact it is; where it does not say, the type of its configuration.
    artifact_type: Option<String>,
    annotations: Option<HashMap<String, String>>,
}

/// The fields of all kinds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    blobs: Vec<Descriptor>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<HashMap<String, String>>,
}

impl Node {
    /// Reads one.
    ///
    /// # Errors
    /// [`Kind::Invalid`] where it is none, or one that names by another digest than sha256.
    pub fn parse(content: Vec<u8>) -> Result<Self> {
        let invalid = |error| Error::because(Kind::Invalid, "read a manifest", error);
        let shape: Shape = serde_json::from_slice(&content).map_err(invalid)?;
        if shape.schema_version.is_some_and(|version| version != 2) {
            return Err(Error::new(Kind::Invalid, "a manifest of version 1 cannot be copied"));
        }
        if shape.manifests.is_some() && (shape.config.is_some() || !shape.layers.is_empty()) {
            return Err(Error::new(Kind::Invalid, "it is a manifest and an index at once"));
        }
        let usual = if shape.manifests.is_some() { INDEX } else { MANIFEST };
        let config_type = shape.config.as_ref().map(|config| config.media_type().to_string());
        let blobs: Vec<_> = shape.config.into_iter().chain(shape.layers).chain(shape.blobs).collect();
        let manifests = shape.manifests.unwrap_or_default();
        for entry in blobs.iter().chain(&manifests) {
            document::digest_of(entry)?;
        }
        Ok(Self {
            digest: Digest::of(&content),
            media_type: shape.media_type.unwrap_or_else(|| usual.to_owned()),
            content,
            manifests,
            blobs,
            subject: shape.subject.as_ref().map(document::digest_of).transpose()?,
            artifact_type: shape.artifact_type.filter(|name| !name.is_empty()).or(config_type),
            annotations: shape.annotations,
        })
    }

    /// What an index says of it; of an artifact as a list of referrers does (OCI distribution specification, "Listing
    /// Referrers").
    pub fn descriptor(&self) -> Descriptor {
        let digest: holm_spec::image::Digest =
            self.digest.to_string().parse().expect("a digest is written as the specification says");
        let mut builder = DescriptorBuilder::default()
            .media_type(MediaType::from(self.media_type.as_str()))
            .digest(digest)
            .size(self.content.len() as u64);
        if self.subject.is_some() {
            if let Some(name) = &self.artifact_type {
                builder = builder.artifact_type(MediaType::from(name.as_str()));
            }
            if let Some(annotations) = &self.annotations {
                builder = builder.annotations(annotations.clone());
            }
        }
        builder.build().expect("every required field is set")
    }

    /// Whether it lists manifests.
    pub fn is_index(&self) -> bool {
        !self.manifests.is_empty()
    }
}

/// Whether registries keep no such blob: a layer that is to be had elsewhere, and says where.
pub fn is_foreign(blob: &Descriptor) -> bool {
    const PREFIXES: [&str; 2] =
        ["application/vnd.docker.image.rootfs.foreign.", "application/vnd.oci.image.layer.nondistributable."];
    let media_type = blob.media_type().to_string();
    let is_elsewhere = blob.urls().as_ref().is_some_and(|urls| !urls.is_empty());
    is_elsewhere && PREFIXES.iter().any(|prefix| media_type.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn descriptor(media_type: &str) -> serde_json::Value {
        json!({"mediaType": media_type, "digest": Digest::of(media_type.as_bytes()), "size": 3})
    }

    #[test]
    fn whatever_names_something_is_followed() {
        let node =
            |value: serde_json::Value| Node::parse(value.to_string().into_bytes()).expect("a manifest");
        let image = node(json!({"schemaVersion": 2, "config": descriptor("c"), "layers": [descriptor("l")]}));
        assert_eq!((image.blobs.len(), image.is_index(), image.media_type.as_str()), (2, false, MANIFEST));
        assert!(image.descriptor().artifact_type().is_none());
        let index = node(json!({"schemaVersion": 2, "manifests": [descriptor("m")]}));
        assert_eq!((index.manifests.len(), index.blobs.len(), index.media_type.as_str()), (1, 0, INDEX));
        let artifact = node(json!({"mediaType": "application/vnd.oci.artifact.manifest.v1+json",
            "artifactType": "a/b", "blobs": [descriptor("b")], "subject": descriptor("m"), "annotations": {"k": "v"}}));
        assert_eq!((artifact.blobs.len(), artifact.subject), (1, Some(Digest::of(b"m"))));
        let told = serde_json::to_value(artifact.descriptor()).expect("plain");
        assert_eq!(
            (told["artifactType"].as_str(), told["annotations"]["k"].as_str()),
            (Some("a/b"), Some("v"))
        );
        let signature = json!({"schemaVersion": 2, "config": descriptor("c/d"), "layers": [], "subject": descriptor("m")});
        let told = serde_json::to_value(node(signature).descriptor()).expect("plain");
        assert_eq!(told["artifactType"], "c/d");
    }

    #[test]
    fn only_layers_that_say_where_they_are_are_foreign() {
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        let of = |media_type: &str, urls: &[&str]| {
            let mut blob = descriptor(media_type);
            blob["urls"] = json!(urls);
            is_foreign(&serde_json::from_value(blob).expect("a descriptor"))
        };
        assert!(of(foreign, &["https://layers.example/1"]));
        assert!(!of(foreign, &[]));
        assert!(!of("application/x.foreign-keys", &["https://layers.example/1"]));
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let other = json!({"schemaVersion": 2, "layers": [{"mediaType": "l", "size": 1,
            "digest": format!("sha512:{}", "0".repeat(128))}]});
        let both = json!({"schemaVersion": 2, "config": descriptor("c"), "manifests": []});
        let documents = [other.to_string(), both.to_string()];
        let texts = ["", "[]", r#"{"schemaVersion":1}"#, r#"{"layers":1}"#];
        for text in texts.into_iter().chain(documents.iter().map(String::as_str)) {
            assert_eq!(Node::parse(text.into()).expect_err(text).kind(), Kind::Invalid);
        }
    }
}
