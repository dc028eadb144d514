//! What comes from a registry: layers checked against what their image says of them, and documents kept byte for byte,
//! since their digests are what names stand for there. And the way back: a layer's tar for who sends it on.
//!
//! A layer gets its final name before the image has one, since the next layer may need it below. Until then nothing
//! reaches it, and a removal or repair of another process may take it away. So [`Store::publish_received`] looks for
//! every layer again under the store's lock, and who asked for it fetches again what is missing.

use std::fs::File;
use std::io::{Read, Write};

use holm_spec::{Digest, Reference};

use crate::compression::Compression;
use crate::erofs;
use crate::error::{Error, Kind, Result};
use crate::layer::{Ingested, LayerRecord};
use crate::store::Store;
use crate::tarmeta::{Expected, restore_tar};

/// What a layer must be to be taken.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedLayer<'a> {
    /// Digest of the bytes as they are received.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// How they are packed.
    pub compression: Compression,
    /// Digest of the tar in them.
    pub diff_id: Digest,
    /// Diff-ids of the layers below, lowest first; all of them are there.
    pub below: &'a [Digest],
}

/// An image all of whose layers were received.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedImage<'a> {
    /// Its documents, each in front of those that name it: configuration, manifest, perhaps an index.
    pub documents: &'a [&'a [u8]],
    /// Digests of the tars of its layers, lowest first.
    pub diff_ids: &'a [Digest],
    /// Its name.
    pub reference: &'a Reference,
    /// What the name is to stand for.
    pub digest: Digest,
    /// Blobs that it needs beside documents and layers: those of an artifact.
    pub blobs: &'a [Digest],
}

impl Store {
    /// What a name stands for; `None` where there is no such name.
    ///
    /// # Errors
    /// [`Kind::Corrupt`], [`Kind::Io`], [`Kind::Denied`].
    pub fn digest_of_name(&self, reference: &Reference) -> Result<Option<Digest>> {
        Ok(self.reference(reference)?.map(|record| record.digest))
    }

    /// Whether the layers with these diff-ids, lowest first, are there, each for those below it.
    ///
    /// # Errors
    /// [`Kind::Io`], [`Kind::Denied`].
    pub fn holds_layers(&self, diff_ids: &[Digest]) -> Result<bool> {
        match self.layer_keys(diff_ids) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == Kind::Corrupt => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Converts a layer as it comes in and gives it its final name, if it is what was expected. `input` ends with an
    /// error unless the digest of all that it gave is the expected one: it is not hashed here again.
    ///
    /// # Errors
    /// [`Kind::Invalid`] where it is something else or no layer; [`Kind::Corrupt`] where a layer below is missing;
    /// otherwise as [`Store::import`]. Nothing is left then.
    pub fn receive_layer(
        &self,
        input: impl Read + Send,
        expected: &ExpectedLayer<'_>,
    ) -> Result<LayerRecord> {
        let ingested = Ingested::convert_known(self, input, expected.below, Some(&expected.digest))?;
        check(&ingested.record, expected)?;
        let in_use = self.in_use()?;
        ingested.publish(self, &in_use)
    }

    /// Writes the documents of an image as they were received, then the name that makes it reachable.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] where a layer or a blob is missing (again); [`Kind::NoSpace`], [`Kind::ReadOnly`], [`Kind::Locked`],
    /// [`Kind::Io`].
    pub fn publish_received(&self, image: &ReceivedImage<'_>) -> Result<()> {
        let in_use = self.in_use()?;
        self.layer_keys(image.diff_ids)?;
        self.sync_blobs(image.blobs)?;
        for document in image.documents {
            self.put_blob(&in_use, document)?;
        }
        self.set_reference(&in_use, image.reference, &image.digest)
    }

    fn sync_blobs(&self, digests: &[Digest]) -> Result<()> {
        for digest in digests {
            let synced = File::open(self.paths().blob(digest)).and_then(|file| file.sync_data());
            synced.map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => {
                    Error::new(Kind::Corrupt, format!("blob {digest} is missing"))
                }
                _ => Error::io(format!("write blob {digest}"), error),
            })?;
        }
        Ok(())
    }

    /// Writes the tar of the layer with the key `key` to `out`, bit for bit as it came.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] where its files are damaged: what was written must be thrown away then. What `out` answers.
    pub fn write_layer_tar(&self, key: &Digest, out: impl Write) -> Result<()> {
        let record = self.layer_record(key)?;
        let paths = self.paths().layer(key);
        let open = |path: &std::path::Path| {
            File::open(path).map_err(|error| Error::io(format!("open `{}`", path.display()), error))
        };
        let context = || format!("read layer {key}");
        let image =
            erofs::Image::open(open(&paths.erofs)?).map_err(|error| Error::layer(context(), error))?;
        let expected = Expected { diff_id: *record.diff_id.as_bytes(), size: record.tar_size };
        restore_tar(&image, open(&paths.tarmeta)?, out, &expected).map_err(|error| {
            let error = Error::layer(context(), error);
            // Nothing but our own files was read: what is invalid in them is damaged.
            if error.kind() == Kind::Invalid {
                Error::because(Kind::Corrupt, context(), error)
            } else {
                error
            }
        })
    }
}

/// Looks whether a layer is what was expected.
pub(crate) fn check(record: &LayerRecord, expected: &ExpectedLayer<'_>) -> Result<()> {
    let wrong = |text: String| Err(Error::new(Kind::Invalid, text));
    let (digest, size, compression) = match &record.received {
        Some(received) => (received.digest, received.size, received.compression.as_str()),
        None => (record.diff_id, record.tar_size, Compression::None.name()),
    };
    if digest != expected.digest {
        return wrong(format!("its digest is {digest}"));
    }
    if size != expected.size {
        return wrong(format!("it has {size} bytes, not {}", expected.size));
    }
    if compression != expected.compression.name() {
        let told = expected.compression;
        return wrong(format!("its compression is {compression}, and its media type says {told}"));
    }
    if record.diff_id != expected.diff_id {
        let (is, told) = (record.diff_id, expected.diff_id);
        return wrong(format!(
            "the tar in it has the digest {is}, and the image's configuration says {told}"
        ));
    }
    Ok(())
}
