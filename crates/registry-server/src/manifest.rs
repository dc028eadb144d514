//! What a registry must know of a manifest: its type, what it needs, what it refers to. Pure.
//!
//! The bytes are kept as they came. OCI's and Docker's types are understood; of any other type only `subject`,
//! `artifactType` and `annotations` are looked at.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::failure::{Code, Failure, Result};

/// Longest manifest in bytes.
pub const LIMIT: usize = 4 << 20;

/// The type of an OCI image index, which the list of referrers is, too.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's first format, signed or not: it has no content of its own, and nobody writes it any more.
const OLD: &str = "application/vnd.docker.distribution.manifest.v1+";

/// What a manifest says that matters here.
#[derive(Debug, PartialEq)]
pub struct Facts {
    /// What it is given back as.
    pub media_type: String,
    /// The manifest that it is about.
    pub subject: Option<Digest>,
    /// Blobs that must be there.
    pub blobs: Vec<Digest>,
    /// What kind of artifact it is: its own word, or else the type of its configuration.
    pub artifact_type: Option<String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// An entry in a list of referrers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Referrer {
    /// The referrer's type.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub digest: String,
    /// Its kind of artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Its annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: Option<String>,
    digest: String,
    #[serde(default)]
    urls: Option<Vec<String>>,
}

/// Reads a manifest that was sent as `content_type`.
///
/// # Errors
/// `MANIFEST_INVALID`: it is no document of its type, or two types at once, or says that it is another one.
pub fn read(bytes: &[u8], content_type: Option<&str>) -> Result<Facts> {
    let document: Document = serde_json::from_slice(bytes)
        .map_err(|error| invalid(format!("the manifest is not read: {error}")))?;
    let media_type = media_type(&document, content_type)?;
    let image = matches!(media_type.as_str(), IMAGE | DOCKER_IMAGE);
    let index = matches!(media_type.as_str(), INDEX | DOCKER_LIST);
    if media_type.starts_with(OLD) || document.schema_version == Some(1) {
        return Err(invalid("manifests of Docker's schema 1 are not taken"));
    }
    if (image || index) && document.schema_version != Some(2) {
        return Err(invalid("`schemaVersion` is not 2"));
    }
    if (image && document.manifests.is_some())
        || (index && (document.config.is_some() || document.layers.is_some()))
    {
        return Err(invalid("the manifest is an image and an index at once"));
    }
    if image && document.config.is_none() {
        return Err(invalid("the manifest has no `config`"));
    }
    let listed = document.manifests.iter().flatten().map(|descriptor| digest(&descriptor.digest));
    listed.collect::<Result<Vec<_>>>()?;
    let config_type = document.config.as_ref().filter(|_| image).and_then(|config| config.media_type.clone());
    Ok(Facts {
        blobs: blobs(&document, image)?,
        subject: document.subject.as_ref().map(|subject| digest(&subject.digest)).transpose()?,
        artifact_type: document.artifact_type.filter(|kind| !kind.is_empty()).or(config_type),
        annotations: document.annotations.unwrap_or_default(),
        media_type,
    })
}

/// Its own type must be the one that it was sent as; one of the two may be missing.
fn media_type(document: &Document, content_type: Option<&str>) -> Result<String> {
    let sent = content_type
        .map(|sent| sent.split(';').next().unwrap_or_default().trim())
        .filter(|sent| !sent.is_empty());
    let own = document.media_type.as_deref().filter(|own| !own.is_empty());
    match (sent, own) {
        (Some(sent), Some(own)) if !sent.eq_ignore_ascii_case(own) => {
            Err(invalid(format!("the manifest says that it is `{own}` and was sent as `{sent}`")))
        }
        (_, Some(own)) if !is_header(own) => Err(invalid("`mediaType` is not the name of a type")),
        (_, Some(own)) => Ok(own.to_owned()),
        (Some(sent), None) => Ok(sent.to_owned()),
        (None, None) => Ok(if document.manifests.is_some() { INDEX } else { IMAGE }.to_owned()),
    }
}

/// Whether it can be given back as a header.
fn is_header(text: &str) -> bool {
    text.len() <= 255 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn blobs(document: &Document, image: bool) -> Result<Vec<Digest>> {
    if !image {
        return Ok(Vec::new());
    }
    let here = document.layers.iter().flatten().filter(|layer| !is_elsewhere(layer));
    let mut blobs: Vec<_> = document
        .config
        .iter()
        .chain(here)
        .map(|descriptor| digest(&descriptor.digest))
        .collect::<Result<_>>()?;
    blobs.sort();
    blobs.dedup();
    Ok(blobs)
}

/// Layers that may not be distributed, or that come from somewhere else.
fn is_elsewhere(layer: &Descriptor) -> bool {
    let kind = layer.media_type.as_deref().unwrap_or_default();
    kind.contains(".nondistributable.") || (kind.contains(".foreign.") && layer.urls.is_some())
}

fn digest(text: &str) -> Result<Digest> {
    text.parse().map_err(|_| {
        invalid(format!("`{}` in the manifest is no digest", text.chars().take(150).collect::<String>()))
    })
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(Code::ManifestInvalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(document: &serde_json::Value, content_type: Option<&str>) -> String {
        let read = read(document.to_string().as_bytes(), content_type);
        read.map_or_else(|failure| failure.message().to_owned(), |facts| panic!("taken: {facts:?}"))
    }

    fn hash(text: &str) -> String {
        crate::digest::Algorithm::Sha256.digest(text.as_bytes()).to_string()
    }

    #[test]
    fn an_image_needs_its_blobs_and_no_foreign_layers() {
        let document = json!({"schemaVersion": 2, "mediaType": IMAGE,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": hash("c"), "size": 1},
            "layers": [{"mediaType": "a", "digest": hash("l"), "size": 1}, {"mediaType": "a", "digest": hash("l"), "size": 1},
                {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar", "digest": hash("f"), "size": 1}],
            "subject": {"mediaType": IMAGE, "digest": hash("s"), "size": 1}, "annotations": {"a": "b"}});
        let facts =
            read(document.to_string().as_bytes(), Some("application/vnd.oci.image.manifest.v1+json; x=y"))
                .expect("read");
        assert_eq!((facts.blobs.len(), facts.media_type.as_str()), (2, IMAGE));
        assert_eq!(facts.subject.map(|subject| subject.to_string()), Some(hash("s")));
        assert_eq!(facts.artifact_type.as_deref(), Some("application/vnd.oci.image.config.v1+json"));
        assert_eq!(facts.annotations["a"], "b");
    }

    #[test]
    fn an_index_may_be_sparse_and_any_type_is_kept() {
        let document = json!({"schemaVersion": 2, "manifests": [{"mediaType": IMAGE, "digest": hash("m"), "size": 1}],
            "artifactType": "x/y"});
        let facts = read(document.to_string().as_bytes(), None).expect("read");
        assert_eq!((facts.media_type.as_str(), facts.blobs.len()), (INDEX, 0));
        assert_eq!(facts.artifact_type.as_deref(), Some("x/y"));
        let facts = read(b"{\"blobs\": []}", Some("application/vnd.example+json")).expect("read");
        assert_eq!(facts.media_type, "application/vnd.example+json");
    }

    /// The rules of the image specification ("schema"): what a registry must understand to keep a manifest's blobs is
    /// refused where it has not its form, and what else stands in it is kept as it came.
    #[test]
    fn what_descriptors_need_is_there() {
        let image = || {
            json!({"schemaVersion": 2, "mediaType": IMAGE,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": hash("c"), "size": 1},
                "layers": [{"mediaType": "a/b", "digest": hash("l"), "size": 1}]})
        };
        for (pointer, value) in [
            ("/schemaVersion", json!(3)),
            ("/schemaVersion", json!("2")),
            ("/config", json!("text")),
            ("/config/digest", json!(5)),
            ("/config/digest", json!("sha256")),
            ("/config/digest", json!("sha256:")),
            ("/config/digest", json!(":1")),
            ("/config/digest", json!(hash("c").to_uppercase())),
            ("/config/digest", json!(format!("sha256:{}", "g".repeat(64)))),
            ("/config/digest", json!(format!("sha512:{}", "0".repeat(64)))),
            ("/layers", json!({})),
            ("/layers/0", json!(1)),
            ("/layers/0/digest", json!("sha256:../../etc")),
            ("/subject", json!("text")),
            ("/subject", json!({"digest": "sha256:1"})),
            ("/annotations", json!(["a"])),
            ("/annotations", json!({"a": 1})),
            ("/mediaType", json!(7)),
        ] {
            let mut document = image();
            match document.pointer_mut(pointer) {
                Some(place) => *place = value.clone(),
                None => document[&pointer[1..]] = value.clone(),
            }
            assert!(!refused(&document, Some(IMAGE)).is_empty(), "{pointer} {value}");
        }
        for (key, value) in [
            ("annotations", json!({"": "\n"})),
            ("artifactType", json!("application/vnd.example")),
            ("subject", json!({"mediaType": IMAGE, "digest": hash("s"), "size": 1})),
            ("layers", json!([])),
            ("com.example.extension", json!([null])),
            (
                "config",
                json!({"mediaType": "x/y", "digest": format!("sha512:{}", "0".repeat(128)), "size": 1}),
            ),
        ] {
            let mut document = image();
            document[key] = value.clone();
            read(document.to_string().as_bytes(), Some(IMAGE)).expect(key);
        }
    }

    #[test]
    fn what_is_not_one_thing_is_refused() {
        assert!(refused(&json!({"mediaType": IMAGE}), Some(INDEX)).contains("was sent as"));
        assert!(refused(&json!({"schemaVersion": 2, "mediaType": IMAGE}), None).contains("config"));
        assert!(refused(&json!({"schemaVersion": 1, "mediaType": "x"}), None).contains("schema 1"));
        assert!(refused(&json!({"mediaType": IMAGE}), None).contains("schemaVersion"));
        assert!(refused(&json!({"mediaType": "a\r\nb"}), None).contains("mediaType"));
        let both = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "layers": []});
        assert!(refused(&both, None).contains("at once"));
        let bad = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"digest": "../x"}]});
        assert!(refused(&bad, None).contains("no digest"));
        for text in ["", "[]", "1", "{", "{\"mediaType\": 1}", "{\"mediaType\":\"a\",\"mediaType\":\"b\"}"] {
            assert!(read(text.as_bytes(), None).is_err(), "{text}");
        }
    }
}
