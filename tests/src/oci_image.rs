//! Images of several layers, made of tars by the test: their documents and blobs, as an OCI layout too.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use holm_spec::Digest;
use serde_json::{Value, json};

/// Media type of manifests.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image whose blobs a test may change before it is served.
#[derive(Clone, Default)]
pub struct OciImage {
    /// Configuration and layers by digest.
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// Digests of the layers, lowest first.
    pub layers: Vec<String>,
    /// Digest of the configuration.
    pub config: String,
    /// The manifest.
    pub manifest: Vec<u8>,
}

impl OciImage {
    /// Of these tars, lowest first, as they are.
    #[must_use]
    pub fn plain(tars: &[Vec<u8>]) -> Self {
        Self::of(tars, LAYER, Vec::clone)
    }

    /// Of these tars, lowest first, packed with gzip.
    #[must_use]
    pub fn packed(tars: &[Vec<u8>]) -> Self {
        Self::of(tars, &format!("{LAYER}+gzip"), |tar| gzip(tar))
    }

    fn of(tars: &[Vec<u8>], media_type: &str, pack: impl Fn(&Vec<u8>) -> Vec<u8>) -> Self {
        let mut image = Self::default();
        let diff_ids: Vec<_> = tars.iter().map(|tar| Digest::of(tar).to_string()).collect();
        let layers: Vec<_> = tars.iter().map(|tar| image.add(media_type, pack(tar))).collect();
        image.layers = layers.iter().map(|layer| text(&layer["digest"])).collect();
        image.describe(&configuration(&diff_ids), &layers);
        image
    }

    /// Gives it another configuration and list of layers.
    pub fn describe(&mut self, config: &Value, layers: &[Value]) {
        let config = self.add(CONFIG, config.to_string().into_bytes());
        self.config = text(&config["digest"]);
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        self.manifest = manifest.to_string().into_bytes();
    }

    /// Adds a blob and returns its descriptor.
    pub fn add(&mut self, media_type: &str, content: Vec<u8>) -> Value {
        let descriptor =
            json!({"mediaType": media_type, "digest": Digest::of(&content), "size": content.len()});
        self.blobs.insert(text(&descriptor["digest"]), content);
        descriptor
    }

    /// Its manifest as a value.
    ///
    /// # Panics
    /// The test made it something that is none.
    #[must_use]
    pub fn document(&self) -> Value {
        serde_json::from_slice(&self.manifest).expect("a manifest is JSON")
    }

    /// Its configuration as a value.
    ///
    /// # Panics
    /// The test made it something that is none.
    #[must_use]
    pub fn configuration(&self) -> Value {
        serde_json::from_slice(&self.blobs[&self.config]).expect("a configuration is JSON")
    }

    /// The digest of its manifest.
    #[must_use]
    pub fn digest(&self) -> String {
        Digest::of(&self.manifest).to_string()
    }

    /// Writes it as an OCI layout (OCI image specification, "Image Layout") with one tag.
    ///
    /// # Panics
    /// The directory cannot be written.
    pub fn write_layout(&self, directory: &Path, tag: &str) {
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs).expect("a directory of the test's");
        let digest = self.digest();
        for (digest, content) in self.blobs.iter().chain([(&digest, &self.manifest)]) {
            fs::write(blobs.join(digest.trim_start_matches("sha256:")), content).expect("a file");
        }
        let index = json!({"schemaVersion": 2, "manifests": [{"mediaType": MANIFEST, "digest": digest,
            "size": self.manifest.len(), "annotations": {"org.opencontainers.image.ref.name": tag}}]});
        fs::write(directory.join("index.json"), index.to_string()).expect("a file");
        fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a file");
    }
}

/// A configuration for this machine with these digests of tars.
#[must_use]
pub fn configuration(diff_ids: &[String]) -> Value {
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    json!({"architecture": architecture, "os": "linux", "config": {"Cmd": ["ls", "/srv"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}})
}

/// Packs with gzip.
///
/// # Panics
/// Memory takes all.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).expect("memory takes all");
    writer.finish().expect("memory takes all")
}

fn text(value: &Value) -> String {
    value.as_str().expect("a digest is text").to_owned()
}
