//! Layers of the store as others take them: packed, and the documents that name them so.
//!
//! What came packed goes byte for byte. A layer that has no packed form gets one, and the manifest then names that: the
//! image's id stays, its digest changes.

use holm_spec::Digest;
use holm_spec::image::Descriptor;
use holm_store::compression::Compression;
use holm_store::{PublishedManifest, Store, StoredLayer};
use serde_json::Value;

use crate::document;
use crate::error::{Error, Kind, Result};
use crate::node::Node;

/// A packed layer: what a descriptor says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Digest of the packed bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// How they are packed.
    pub compression: Compression,
}

impl Form {
    /// The forms of a layer that are known, in the compression that is wanted; whether they are here is another question.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a digest that is none.
    pub fn known(told: &Descriptor, layer: &StoredLayer, wanted: Option<Compression>) -> Result<Vec<Self>> {
        let of_manifest = document::compression_of(told).map(|compression| {
            document::digest_of(told).map(|digest| Self { digest, size: told.size(), compression })
        });
        let of_record = layer.packed.as_ref().and_then(|packed| {
            let compression = Compression::by_name(&packed.compression)?;
            Some(Ok(Self { digest: packed.digest, size: packed.size, compression }))
        });
        let forms: Vec<Self> = of_manifest.into_iter().chain(of_record).collect::<Result<_>>()?;
        let is_wanted = |form: &Self| match wanted {
            Some(compression) => form.compression == compression,
            None => matches!(form.compression, Compression::Gzip | Compression::Zstd),
        };
        Ok(forms.into_iter().filter(is_wanted).collect())
    }

    /// Packs the layer with this key; by gzip where it is not said how.
    ///
    /// # Errors
    /// As [`Store::pack_layer`].
    pub fn made(store: &Store, key: &Digest, wanted: Option<Compression>) -> Result<Self> {
        let compression = wanted.unwrap_or(Compression::Gzip);
        let packed = store.pack_layer(key, compression);
        let packed = packed.map_err(|error| Error::store(format!("pack layer {key}"), error))?;
        Ok(Self { digest: packed.digest, size: packed.size, compression })
    }

    /// A form of a layer that is here, made if none is.
    ///
    /// # Errors
    /// As [`Form::made`].
    pub fn here(
        store: &Store,
        told: &Descriptor,
        layer: &StoredLayer,
        wanted: Option<Compression>,
    ) -> Result<Self> {
        for form in Self::known(told, layer, wanted)? {
            if store.packed(&form.digest)?.is_some() {
                return Ok(form);
            }
        }
        Self::made(store, &layer.key, wanted)
    }
}

/// The manifest with the forms that its layers have elsewhere; byte for byte the same where these are its own.
///
/// # Errors
/// Its content is damaged.
pub fn rewrite_manifest(manifest: &PublishedManifest, forms: &[Form]) -> Result<Node> {
    let mut document = read(&manifest.document.content)?;
    let media_type = document.get("mediaType").and_then(Value::as_str);
    let is_docker = media_type.is_some_and(|media_type| media_type.contains("docker"));
    let mut changed = false;
    let layers = document.get_mut("layers").and_then(Value::as_array_mut).into_iter().flatten();
    for (layer, form) in layers.zip(forms) {
        let digest = form.digest.to_string();
        if layer.get("digest").and_then(Value::as_str) != Some(&digest) {
            changed = true;
            layer["mediaType"] = document::layer_type(form.compression, is_docker).into();
            layer["digest"] = digest.into();
            layer["size"] = form.size.into();
        }
    }
    let content = if changed { write(&document) } else { manifest.document.content.clone() };
    Node::parse(content)
}

/// The index with the manifests as they were sent.
///
/// # Errors
/// Its content is damaged.
pub fn rewrite_index(content: &[u8], manifests: &[PublishedManifest], sent: &[Node]) -> Result<Node> {
    let mut document = read(content)?;
    let mut changed = false;
    let entries = document.get_mut("manifests").and_then(Value::as_array_mut).into_iter().flatten();
    for (entry, (old, new)) in entries.zip(manifests.iter().zip(sent)) {
        if old.document.content != new.content {
            changed = true;
            entry["digest"] = new.digest.to_string().into();
            entry["size"] = new.content.len().into();
        }
    }
    let content = if changed { write(&document) } else { content.to_vec() };
    Node::parse(content)
}

fn read(content: &[u8]) -> Result<Value> {
    serde_json::from_slice(content)
        .map_err(|error| Error::because(Kind::Store(holm_store::Kind::Corrupt), "read its manifest", error))
}

fn write(document: &Value) -> Vec<u8> {
    serde_json::to_vec(document).expect("a JSON value is plain data")
}
