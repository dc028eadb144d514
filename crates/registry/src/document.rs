//! Manifests and indexes as registries have them, OCI's and Docker's (image manifest version 2, schema 2). Pure.

use holm_spec::Digest;
use holm_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};
use holm_spec::platform::Platform;
use holm_store::ExpectedLayer;
use holm_store::compression::Compression;
use serde::Deserialize;

use crate::error::{Error, Kind, Result};

/// What we take for a manifest, in the order that we like it.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     */*";

/// Media type of a manifest that says none of itself.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an index that says none of itself.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Docker's media types of the same.
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// More layers than that no overlay can have.
const LAYERS: usize = 500;

/// What a name stands for in a registry.
#[derive(Debug)]
pub enum Document {
    /// One image.
    Manifest(Box<ImageManifest>),
    /// Images for several platforms.
    Index(Box<ImageIndex>),
}

/// A layer as a manifest and a configuration describe it.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// Digest of what the registry has.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// How it is packed.
    pub compression: Compression,
    /// Digest of the tar in it.
    pub diff_id: Digest,
}

impl Layer {
    /// What the store is to demand of it, above the layers with these diff-ids.
    pub fn expected<'a>(&self, below: &'a [Digest]) -> ExpectedLayer<'a> {
        let Self { digest, size, compression, diff_id } = *self;
        ExpectedLayer { digest, size, compression, diff_id, below }
    }
}

/// Reads a manifest or an index.
///
/// # Errors
/// [`Kind::Invalid`] where it is neither, or both: who takes it for one sees another image than who takes it for the other.
pub fn parse(content: &[u8]) -> Result<Document> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        schema_version: u64,
        #[serde(default)]
        media_type: String,
        config: Option<serde::de::IgnoredAny>,
        layers: Option<serde::de::IgnoredAny>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let invalid = |error| Error::because(Kind::Invalid, "read what the registry sent for a manifest", error);
    let shape: Shape = serde_json::from_slice(content).map_err(invalid)?;
    if shape.schema_version != 2 {
        let text = format!("it is a manifest of version {}, and 2 is needed", shape.schema_version);
        return Err(Error::new(Kind::Invalid, text));
    }
    let is_index = shape.manifests.is_some();
    let has_parts = shape.config.is_some() || shape.layers.is_some();
    let others = if is_index { [MANIFEST, DOCKER_MANIFEST] } else { [INDEX, DOCKER_LIST] };
    if is_index && has_parts || others.contains(&shape.media_type.as_str()) {
        return Err(Error::new(Kind::Invalid, "it is a manifest and an index at once"));
    }
    match shape.manifests {
        Some(_) => serde_json::from_slice(content).map(|index| Document::Index(Box::new(index))),
        None => serde_json::from_slice(content).map(|manifest| Document::Manifest(Box::new(manifest))),
    }
    .map_err(invalid)
}

/// What a manifest or index says it is, else what it looks like.
pub fn media_type_of(content: &[u8]) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let shape = serde_json::from_slice(content).unwrap_or(Shape { media_type: None, manifests: None });
    let usual = if shape.manifests.is_some() { INDEX } else { MANIFEST };
    shape.media_type.unwrap_or_else(|| usual.to_owned())
}

/// Reads a configuration.
///
/// # Errors
/// [`Kind::Invalid`] where it is none.
pub fn parse_configuration(content: &[u8]) -> Result<ImageConfiguration> {
    let invalid = |error| Error::because(Kind::Invalid, "read the image's configuration", error);
    serde_json::from_slice(content).map_err(invalid)
}

/// What an entry of an index is made for.
pub fn platform_of(entry: &Descriptor) -> Option<Platform> {
    let platform = entry.platform().as_ref()?;
    let (os, architecture) = (platform.os().to_string(), platform.architecture().to_string());
    Some(Platform { os, architecture })
}

/// Of the entries of an index the one that is made for `platform`.
///
/// # Errors
/// [`Kind::Platform`], naming those that there are.
pub fn choose<'a>(entries: &'a [Descriptor], platform: &Platform) -> Result<&'a Descriptor> {
    entries.iter().find(|entry| platform_of(entry).as_ref() == Some(platform)).ok_or_else(|| {
        // Attestations are made for `unknown`.
        let known = entries.iter().filter_map(platform_of).filter(|found| found.os != "unknown");
        let known: Vec<_> = known.map(|platform| platform.to_string()).collect();
        let text = format!("it is not made for {platform}; there are: {}", known.join(", "));
        Error::new(Kind::Platform, text)
    })
}

/// The tag under which a registry without an interface for that keeps the list of what is about a manifest (OCI
/// distribution specification, "Referrers Tag Schema").
pub fn referrers_tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

/// The digest in a descriptor.
///
/// # Errors
/// [`Kind::Invalid`] for another algorithm than sha256.
pub fn digest_of(descriptor: &Descriptor) -> Result<Digest> {
    let text: &str = descriptor.digest().as_ref();
    text.parse().map_err(|error| Error::because(Kind::Invalid, format!("read the digest `{text}`"), error))
}

/// The layers of an image, lowest first.
///
/// # Errors
/// [`Kind::Invalid`] where manifest and configuration do not fit, or a layer is of a kind that is not known.
pub fn layers(manifest: &ImageManifest, config: &ImageConfiguration) -> Result<Vec<Layer>> {
    let (layers, diff_ids) = (manifest.layers(), config.rootfs().diff_ids());
    if layers.len() != diff_ids.len() {
        let text = format!(
            "the image's manifest has {} layers, and its configuration {}",
            layers.len(),
            diff_ids.len()
        );
        return Err(Error::new(Kind::Invalid, text));
    }
    if layers.len() > LAYERS {
        return Err(Error::new(
            Kind::Invalid,
            format!("the image has {} layers, more than {LAYERS}", layers.len()),
        ));
    }
    layers.iter().zip(diff_ids).map(|(layer, diff_id)| read_layer(layer, diff_id)).collect()
}

fn read_layer(layer: &Descriptor, diff_id: &str) -> Result<Layer> {
    let digest = digest_of(layer)?;
    let media_type = layer.media_type().to_string();
    let compression = compression(&media_type)
        .map_err(|reason| Error::new(Kind::Invalid, format!("layer {digest} {reason}: `{media_type}`")))?;
    let diff_id = diff_id
        .parse()
        .map_err(|error| Error::because(Kind::Invalid, format!("read the digest `{diff_id}`"), error))?;
    Ok(Layer { digest, size: layer.size(), compression, diff_id })
}

/// How a layer is packed, if its media type is known.
pub fn compression_of(layer: &Descriptor) -> Option<Compression> {
    compression(layer.media_type().as_ref()).ok()
}

/// The media type of a layer, in a manifest of Docker's family or of OCI's.
pub fn layer_type(compression: Compression, is_docker: bool) -> String {
    let base = match is_docker {
        true => "application/vnd.docker.image.rootfs.diff.tar",
        false => "application/vnd.oci.image.layer.v1.tar",
    };
    match compression {
        Compression::None => base.to_owned(),
        packed if is_docker => format!("{base}.{packed}"),
        packed => format!("{base}+{packed}"),
    }
}

/// How a media type says that a layer is packed.
fn compression(media_type: &str) -> Result<Compression, &'static str> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => {
            Ok(Compression::None)
        }
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(Compression::Gzip),
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(Compression::Zstd),
        foreign if foreign.contains("foreign") || foreign.contains("nondistributable") => {
            Err("is not kept by registries")
        }
        _ => Err("is of a type that is not known"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn descriptor(media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": Digest::of(media_type.as_bytes()), "size": 3})
    }

    fn image(media_types: &[&str], diff_ids: usize) -> Result<Vec<Layer>> {
        let layers: Vec<_> = media_types.iter().map(|media_type| descriptor(media_type)).collect();
        let manifest = json!({"schemaVersion": 2, "config": descriptor("c"), "layers": layers}).to_string();
        let diff_ids = vec![Digest::of(b"tar"); diff_ids];
        let config = json!({"os": "linux", "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let Document::Manifest(manifest) = parse(manifest.as_bytes())? else { panic!("a manifest") };
        super::layers(&manifest, &parse_configuration(config.to_string().as_bytes())?)
    }

    #[test]
    fn layers_of_both_families_are_known() {
        let layers = image(
            &[
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "application/vnd.oci.image.layer.v1.tar+zstd",
                "application/vnd.oci.image.layer.v1.tar",
            ],
            3,
        );
        let packed: Vec<_> = layers.expect("known").iter().map(|layer| layer.compression.name()).collect();
        assert_eq!(packed, ["gzip", "zstd", "none"]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (types, diff_ids, word) in [
            (&["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"][..], 1, "not kept"),
            (&["text/plain"], 1, "not known"),
            (&["application/vnd.oci.image.layer.v1.tar"], 2, "1 layers"),
        ] {
            let error = image(types, diff_ids).expect_err(word);
            assert!(error.kind() == Kind::Invalid && error.to_string().contains(word), "{error}");
        }
        for text in ["", "{}", "[]", r#"{"schemaVersion":1}"#, r#"{"schemaVersion":2,"manifests":1}"#] {
            assert_eq!(parse(text.as_bytes()).expect_err(text).kind(), Kind::Invalid);
        }
    }

    #[test]
    fn of_an_index_the_platform_is_taken() {
        let entry = |os: &str, architecture: &str| {
            let mut entry = descriptor(&format!("{os}-{architecture}"));
            entry["platform"] = json!({"os": os, "architecture": architecture});
            entry
        };
        let entries = [entry("linux", "arm64"), entry("linux", "amd64"), entry("unknown", "unknown")];
        let index = json!({"schemaVersion": 2, "manifests": entries}).to_string();
        let Document::Index(index) = parse(index.as_bytes()).expect("an index") else { panic!("an index") };
        let platform =
            |architecture: &str| Platform { os: "linux".into(), architecture: architecture.into() };
        let chosen = choose(index.manifests(), &platform("amd64")).expect("there");
        assert_eq!(digest_of(chosen).expect("sha256"), Digest::of(b"linux-amd64"));
        let error = choose(index.manifests(), &platform("s390x")).expect_err("not there");
        assert_eq!(error.kind(), Kind::Platform);
        assert!(error.to_string().ends_with("linux/s390x; there are: linux/arm64, linux/amd64"), "{error}");
    }
}
