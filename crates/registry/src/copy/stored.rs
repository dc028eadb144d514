//! Images of the store as where something comes from.
//!
//! Layers are packed before anything is read, since the manifest names them so; what is packed stays in the store as if it
//! had been pushed.

use std::io::Read;

use holm_spec::Digest;
use holm_spec::image::Descriptor;
use holm_store::compression::Compression;
use holm_store::{Image, Publication, Store};

use super::place::{Blob, Source};
use crate::error::{Error, Kind, Result};
use crate::packed::{Form, rewrite_manifest};
use crate::parallel::{AT_A_TIME, in_parallel};

/// An image of the store.
pub struct StoredImage<'a> {
    store: &'a Store,
    manifest: Vec<u8>,
}

impl<'a> StoredImage<'a> {
    /// The image as it is made for one platform, its layers packed as is wanted: those that are packed go as they are where
    /// it is not said, and the others by gzip.
    ///
    /// # Errors
    /// As [`Store::publication_of`] and [`Store::pack_layer`].
    pub fn open(store: &'a Store, image: &Image, wanted: Option<Compression>) -> Result<Self> {
        let Publication { mut manifests, .. } = store.publication_of(image)?;
        let manifest = manifests.swap_remove(0);
        let layers: Vec<_> =
            manifest.manifest.layers().iter().zip(manifest.layers.iter().flatten()).collect();
        let forms = in_parallel(&layers, AT_A_TIME, |(told, layer)| Form::here(store, told, layer, wanted))?;
        let manifest = rewrite_manifest(&manifest, &forms)?.content;
        Ok(Self { store, manifest })
    }
}

impl Source for StoredImage<'_> {
    fn top(&self) -> Result<Vec<u8>> {
        Ok(self.manifest.clone())
    }

    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>> {
        Err(Error::new(Kind::NotFound, format!("there is no manifest {digest} in the image")))
    }

    fn blob(&self, blob: &Blob) -> Result<Box<dyn Read + '_>> {
        packed_blob(self.store, blob)
    }

    fn referrers(&self, _: &Digest) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }
}

/// A layer as it lies packed in the store.
pub(super) fn packed_blob(store: &Store, blob: &Blob) -> Result<Box<dyn Read>> {
    let gone = || Error::new(Kind::NotFound, format!("blob {}: somebody removed it just now", blob.digest));
    let file = store.packed_unchecked(&blob.digest, blob.size)?.ok_or_else(gone)?;
    Ok(Box::new(file))
}
