//! An image of a layout into the store, where it has no name.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use holm_spec::image::{Descriptor, ImageManifest};
use holm_spec::platform::Platform;
use holm_spec::{Digest, Timestamp};
use holm_store::{BuiltLayer, DOCUMENT_LIMIT, ExpectedLayer, Store};
use serde_json::Value;

use super::layout::Layout;
use super::place::{Blob, Source, Verified, check_manifest};
use super::tree::Tree;
use crate::document::{self, Document, Layer};
use crate::error::{Error, Kind, Result};

/// Takes the image that `name` means in the layout `directory`, a name or a digest; without one there must be one image.
/// Of several platforms this machine's is taken. Gives the image's id in the store.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::Invalid`], [`Kind::Platform`]; [`Kind::Store`]; [`Kind::Io`].
pub fn import(store: &Store, directory: &Path, name: Option<&str>) -> Result<Digest> {
    let layout = Layout::open(Tree::Directory(directory.to_owned()), name);
    let imported = layout.and_then(|layout| import_from(store, &layout));
    imported.map_err(|error| error.about(format!("take an image of the layout `{}`", directory.display())))
}

fn import_from(store: &Store, layout: &Layout) -> Result<Digest> {
    let manifest = manifest(layout)?;
    let document = read_document(layout, manifest.config())?;
    let layers = document::layers(&manifest, &document::parse_configuration(&document)?)?;
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
    for (place, layer) in layers.iter().enumerate() {
        receive(store, layout, layer, &diff_ids[..=place])?;
    }
    let descriptors = manifest.layers().iter().cloned();
    let built = diff_ids.iter().zip(descriptors).map(|(diff_id, descriptor)| BuiltLayer {
        diff_id: *diff_id,
        descriptor,
        created: Timestamp::NEVER,
    });
    let config: Value = serde_json::from_slice(&document)
        .map_err(|error| Error::because(Kind::Invalid, "read the image's configuration", error))?;
    let built: Vec<BuiltLayer> = built.collect();
    store
        .assemble(&built, &config, &[], &BTreeMap::new())
        .map_err(|error| Error::store("write the image", error))
}

fn manifest(layout: &Layout) -> Result<Box<ImageManifest>> {
    let index = match document::parse(&layout.top()?)? {
        Document::Manifest(manifest) => return Ok(manifest),
        Document::Index(index) => index,
    };
    let chosen = document::digest_of(document::choose(index.manifests(), &Platform::host())?)?;
    let content = layout.manifest(&chosen)?;
    check_manifest(&chosen, &content)?;
    match document::parse(&content)? {
        Document::Manifest(manifest) => Ok(manifest),
        Document::Index(_) => Err(Error::new(Kind::Invalid, "an image index of it lists another index")),
    }
}

fn read_document(layout: &Layout, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let blob = Blob { digest: document::digest_of(descriptor)?, size: descriptor.size() };
    if blob.size > DOCUMENT_LIMIT {
        let text = format!("the configuration {} is larger than {DOCUMENT_LIMIT} bytes", blob.digest);
        return Err(Error::new(Kind::Invalid, text));
    }
    let mut content = Vec::new();
    verified(layout, blob)?.read_to_end(&mut content).map_err(|error| unread(&blob, error))?;
    Ok(content)
}

/// Makes the layer, the last one of `diff_ids`, unless it is there.
fn receive(store: &Store, layout: &Layout, layer: &Layer, diff_ids: &[Digest]) -> Result<()> {
    let failed = |error| Error::store(format!("use layer {}", layer.digest), error);
    let _turn = store.begin_layer(&layer.digest, &|| true).map_err(failed)?;
    if store.holds_layers(diff_ids).map_err(failed)? {
        return Ok(());
    }
    let blob = Blob { digest: layer.digest, size: layer.size };
    // Once for its digest, and once to be converted, which looks at the digest of the tar in it.
    io::copy(&mut verified(layout, blob)?, &mut io::sink()).map_err(|error| unread(&blob, error))?;
    let (_, below) = diff_ids.split_last().expect("this layer is one of them");
    let expected = ExpectedLayer {
        digest: layer.digest,
        size: layer.size,
        compression: layer.compression,
        diff_id: layer.diff_id,
        below,
    };
    store.receive_layer(layout.open_blob(&layer.digest)?, &expected).map(drop).map_err(failed)
}

fn verified(layout: &Layout, blob: Blob) -> Result<Verified<'_>> {
    Verified::new(layout.blob(&blob)?, blob, &|_| {})
}

fn unread(blob: &Blob, error: io::Error) -> Error {
    Error::because(Kind::Io, format!("read blob {}", blob.digest), error)
}
