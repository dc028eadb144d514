//! An image of a layout into the store, where it has no name.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use holm_spec::{Digest, Timestamp};
use holm_store::{BuiltLayer, Store};
use serde_json::Value;

use super::layout::Layout;
use super::place::{Blob, Source, Verified, configuration, manifest_for_host};
use super::tree::Tree;
use crate::document::{self, Layer};
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
    let manifest = manifest_for_host(layout)?;
    let document = configuration(layout, manifest.config())?;
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

/// Makes the layer, the last one of `diff_ids`, unless it is there.
fn receive(store: &Store, layout: &Layout, layer: &Layer, diff_ids: &[Digest]) -> Result<()> {
    let failed = |error| Error::store(format!("use layer {}", layer.digest), error);
    let _turn = store.begin_layer(&layer.digest, &|| true).map_err(failed)?;
    if store.holds_layers(diff_ids).map_err(failed)? {
        return Ok(());
    }
    let blob = Blob { digest: layer.digest, size: layer.size };
    // Once for its digest, and once to be converted, which looks at the digest of the tar in it.
    io::copy(&mut Verified::new(layout.blob(&blob)?, blob, &|_| {})?, &mut io::sink())
        .map_err(|error| Error::because(Kind::Io, format!("read blob {}", blob.digest), error))?;
    let (_, below) = diff_ids.split_last().expect("this layer is one of them");
    store.receive_layer(layout.open_blob(&layer.digest)?, &layer.expected(below)).map(drop).map_err(failed)
}
