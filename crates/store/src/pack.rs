//! Layers packed for a registry: the tar that a layer's files give back, compressed.
//!
//! The same tar and the same release of the compressor give the same bytes; another release may not, so what was packed
//! is written down in the layer's record and kept in `blobs`, as a cache (see `download`).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;

use flate2::{Compression as Level, GzBuilder};
use holm_spec::Digest;
use holm_sys::file::{Durability, replace};
use sha2::{Digest as _, Sha256};

use crate::compression::Compression;
use crate::error::{Error, Kind, Result};
use crate::ingest::Ingest;
use crate::layer::Received;
use crate::store::Store;

/// Docker's level.
const GZIP_LEVEL: u32 = 6;
/// The default of `zstd`.
const ZSTD_LEVEL: i32 = 3;
const BUFFER: usize = 256 << 10;
const NAME: &str = "packed";

impl Store {
    /// Packs the layer with the key `key`, keeps that as a blob and writes it down in the layer's record.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] where the layer is damaged, [`Kind::Invalid`] for a compression that registries do not know;
    /// [`Kind::NoSpace`], [`Kind::ReadOnly`], [`Kind::Locked`], [`Kind::Io`].
    pub fn pack_layer(&self, key: &Digest, compression: Compression) -> Result<Received> {
        let ingest = Ingest::begin(self)?;
        let path = ingest.path().join(NAME);
        let failed = |error| Error::io(format!("write `{}`", path.display()), error);
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        let mut out = Hashed::new(BufWriter::with_capacity(BUFFER, file));
        self.write_packed(key, compression, &mut out)?;
        out.flush().map_err(failed)?;
        let (_, digest, size) = out.finish();
        let packed = Received { digest, size, compression: compression.name().to_owned() };
        let in_use = self.in_use()?;
        self.put_packed(&ingest, NAME, &packed.digest, &in_use)?;
        self.write_down(key, &packed)?;
        Ok(packed)
    }

    fn write_packed(&self, key: &Digest, compression: Compression, out: &mut impl Write) -> Result<()> {
        let failed = |error| Error::io(format!("pack layer {key}"), error);
        match compression {
            Compression::Gzip => {
                // Without a time or a name.
                let mut encoder = GzBuilder::new().write(out, Level::new(GZIP_LEVEL));
                self.write_layer_tar(key, &mut encoder)?;
                encoder.finish().map_err(failed)?;
            }
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL).map_err(failed)?;
                self.write_layer_tar(key, &mut encoder)?;
                encoder.finish().map_err(failed)?;
            }
            Compression::None | Compression::Xz | Compression::Bzip2 => {
                let text = format!("pack layer {key}: registries do not take the compression {compression}");
                return Err(Error::new(Kind::Invalid, text));
            }
        }
        Ok(())
    }

    fn write_down(&self, key: &Digest, packed: &Received) -> Result<()> {
        let mut record = self.layer_record(key)?;
        if record.received.as_ref() == Some(packed) {
            return Ok(());
        }
        record.received = Some(packed.clone());
        let content = serde_json::to_vec(&record).expect("a record is plain data");
        replace(&self.paths().layer(key).record, &content, Durability::Durable)
            .map_err(|error| Error::io(format!("write the record of layer {key}"), error))
    }
}

/// Hashes and counts what it passes on.
pub(crate) struct Hashed<W> {
    out: W,
    hash: Sha256,
    size: u64,
}

impl<W> Hashed<W> {
    /// Passes on to `out`.
    pub(crate) fn new(out: W) -> Self {
        Self { out, hash: Sha256::new(), size: 0 }
    }

    /// Where it went, its digest, and its length in bytes.
    pub(crate) fn finish(self) -> (W, Digest, u64) {
        (self.out, Digest::from_sha256(self.hash.finalize().into()), self.size)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let length = self.out.write(buffer)?;
        self.hash.update(&buffer[..length]);
        self.size += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
