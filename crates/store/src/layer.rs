//! Layers: one EROFS image each, with what gives its tar back and a record of both.
//!
//! ```text
//! layers/<key>.v1.tarmeta.zst   headers, padding and order of the tar
//! layers/<key>.v1.json          LayerRecord
//! layers/<key>.v1.erofs         the image: what is mounted, and what the hot path looks for
//! ```
//! `key` is the diff-id of a layer that means the same on every parent, else the chain-id (OCI image
//! specification, "Layer ChainID"). For the lowest layer both are one and the same.
//!
//! A layer is written inside an ingest directory, every file synced, and only then moved here. It is
//! there when all three files are; a part of it, left by a crash between the renames, is replaced by
//! the next import of the same layer or removed by [`crate::Exclusive::repair`].

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use holm_spec::Digest;
use holm_sys::fail_point;
use holm_sys::file::{read_limited, sync_directory};
use serde::{Deserialize, Serialize};

use crate::blob::{DOCUMENT_LIMIT, remove_file};
use crate::compression::Compression;
use crate::convert::{self, Converted, LayerFiles};
use crate::erofs::Image;
use crate::error::{Error, Kind, Result};
use crate::ingest::Ingest;
use crate::paths::LAYER_VERSION;
use crate::store::{InUse, Store};
use crate::unpacked::remove_directory;

/// What is known of a layer, beside its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerRecord {
    /// Version of the layer files.
    pub version: u32,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The layer means the same on every parent.
    pub self_contained: bool,
    /// Size of the uncompressed tar in bytes.
    pub tar_size: u64,
    /// Entries of the tar.
    pub entries: u64,
    /// Seal of the EROFS image (see [`crate::erofs::Image::seal`]).
    pub erofs_seal: Digest,
    /// Size of the EROFS image in bytes.
    pub erofs_size: u64,
    /// How the layer came here, where it was compressed, or how it was packed for a registry last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<Received>,
}

/// A compressed form of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Received {
    /// Digest of the compressed bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// `gzip`, `zstd` or `xz`.
    pub compression: String,
}

/// A layer that lies complete and synced in an ingest directory, without its final name.
#[derive(Debug)]
pub(crate) struct Ingested {
    ingest: Ingest,
    pub(crate) record: LayerRecord,
    key: Digest,
}

impl Ingested {
    /// Converts a tar archive, compressed or not, into a layer above those with these diff-ids.
    pub(crate) fn convert(store: &Store, input: impl io::Read + Send, below: &[Digest]) -> Result<Self> {
        Self::convert_known(store, input, below, None)
    }

    /// The same for an archive whose digest as it is received is known.
    pub(crate) fn convert_known(
        store: &Store,
        input: impl io::Read + Send,
        below: &[Digest],
        received: Option<&Digest>,
    ) -> Result<Self> {
        let parents = store.open_layers(below)?;
        let ingest = Ingest::begin(store)?;
        let erofs = Draft::create(ingest.path().join("erofs"))?;
        let tarmeta = Draft::create(ingest.path().join("tarmeta"))?;
        let files = LayerFiles { erofs: &erofs.file, tarmeta: &tarmeta.file };
        let options = convert::Options {
            parents: &parents,
            limits: store.layer_limits(),
            spill: Some(ingest.path()),
            skip_received_digest: received.is_some(),
            ..convert::Options::default()
        };
        let converted = convert::convert(input, &files, &options)
            .map_err(|error| Error::layer("convert the archive into a layer", error))?;
        let mut record = record_of(&converted);
        if let Some((form, digest)) = record.received.as_mut().zip(received) {
            form.digest = *digest;
        }
        let draft = Draft::create(ingest.path().join("record"))?;
        draft.write(&serde_json::to_vec(&record).expect("a record is plain data"))?;
        fail_point::reached("import-layer-written");
        for draft in [&erofs, &tarmeta, &draft] {
            draft.sync()?;
        }
        fail_point::reached("import-layer-synced");
        let key = if record.self_contained || below.is_empty() {
            record.diff_id
        } else {
            let chain = chain_ids(&[below, &[record.diff_id]].concat());
            chain[chain.len() - 1]
        };
        Ok(Self { ingest, record, key })
    }

    /// Gives the layer its final name, in place of what has it: that may be damaged where no seal tells, and
    /// what was just made is right. Whoever has the old files open or mounted keeps them.
    pub(crate) fn publish(self, store: &Store, _in_use: &InUse) -> Result<LayerRecord> {
        let key = self.key;
        let paths = store.paths().layer(&key);
        let from = |name: &str| self.ingest.path().join(name);
        rename(&from("tarmeta"), &paths.tarmeta)?;
        rename(&from("record"), &paths.record)?;
        rename(&from("erofs"), &paths.erofs)?;
        sync_directory(&store.paths().layers())
            .map_err(|error| Error::io(format!("write layer {key}"), error))?;
        fail_point::reached("import-layer-renamed");
        Ok(self.record)
    }
}

fn record_of(converted: &Converted) -> LayerRecord {
    LayerRecord {
        version: LAYER_VERSION,
        diff_id: Digest::from_sha256(converted.diff_id),
        self_contained: converted.self_contained,
        tar_size: converted.tar_size,
        entries: converted.entries,
        erofs_seal: Digest::from_sha256(converted.erofs_seal),
        erofs_size: converted.erofs_size,
        received: (converted.compression != Compression::None).then(|| Received {
            digest: Digest::from_sha256(converted.received_digest),
            size: converted.received_size,
            compression: converted.compression.name().to_owned(),
        }),
    }
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    rustix::fs::rename(from, to).map_err(|errno| Error::io(format!("write `{}`", to.display()), errno))
}

/// A file that is being written.
struct Draft {
    path: PathBuf,
    file: File,
}

impl Draft {
    fn create(path: PathBuf) -> Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path);
        match file {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(Error::io(format!("write `{}`", path.display()), error)),
        }
    }

    fn write(&self, content: &[u8]) -> Result<()> {
        (&self.file).write_all(content).map_err(|error| self.failed(error))
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::io(format!("write `{}`", self.path.display()), error)
    }
}

fn read_record(path: &Path) -> io::Result<LayerRecord> {
    let content = read_limited(path, DOCUMENT_LIMIT)?;
    Ok(serde_json::from_slice(&content)?)
}

/// The chain-ids of layers, lowest first, from their diff-ids.
pub(crate) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let id = chain.last().map_or(*diff_id, |parent| Digest::of(format!("{parent} {diff_id}").as_bytes()));
        chain.push(id);
    }
    chain
}

impl Store {
    /// Reads the record of the layer with the key `key`.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] where it is missing or unreadable.
    pub fn layer_record(&self, key: &Digest) -> Result<LayerRecord> {
        let broken = |what: &str| Error::new(Kind::Corrupt, format!("layer {key}: its record {what}"));
        let record = read_record(&self.paths().layer(key).record).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => broken("is missing"),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => broken("is damaged"),
            _ => Error::io(format!("read the record of layer {key}"), error),
        })?;
        if record.version != LAYER_VERSION {
            return Err(broken(&format!("has the unknown version {}", record.version)));
        }
        Ok(record)
    }

    /// The keys of an image's layers, lowest first, after a look whether their images are there.
    ///
    /// # Errors
    /// [`Kind::Corrupt`], naming the layer that is missing.
    pub fn layer_keys(&self, diff_ids: &[Digest]) -> Result<Vec<Digest>> {
        let chain = chain_ids(diff_ids);
        diff_ids.iter().zip(&chain).map(|(diff_id, chain_id)| self.layer_key(diff_id, chain_id)).collect()
    }

    /// A layer converted against its parents has the chain-id for a key. Only the lowest layer and
    /// one that means the same on every parent may be used by its diff-id alone.
    fn layer_key(&self, diff_id: &Digest, chain_id: &Digest) -> Result<Digest> {
        if self.has_layer(chain_id)? {
            return Ok(*chain_id);
        }
        if diff_id != chain_id && self.has_layer(diff_id)? && self.layer_record(diff_id)?.self_contained {
            return Ok(*diff_id);
        }
        Err(Error::new(Kind::Corrupt, format!("layer {diff_id} is missing")))
    }

    /// Opens the images of layers, lowest first.
    fn open_layers(&self, diff_ids: &[Digest]) -> Result<Vec<Image>> {
        let open = |key: Digest| {
            let path = self.paths().layer(&key).erofs;
            let file =
                File::open(&path).map_err(|error| Error::io(format!("open `{}`", path.display()), error))?;
            Image::open(file).map_err(|error| Error::layer(format!("open layer {key}"), error))
        };
        self.layer_keys(diff_ids)?.into_iter().map(open).collect()
    }

    pub(crate) fn has_layer(&self, key: &Digest) -> Result<bool> {
        match rustix::fs::access(self.paths().layer(key).erofs, rustix::fs::Access::EXISTS) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(errno) => Err(Error::io(format!("look for layer {key}"), errno)),
        }
    }

    /// Removes the files of a layer; says whether any was there.
    pub(crate) fn remove_layer(&self, key: &Digest) -> Result<bool> {
        let paths = self.paths().layer(key);
        let mut removed = false;
        removed |= remove_directory(&self.layer_mount(key).unpacked())?;
        for path in [paths.erofs, paths.record, paths.tarmeta] {
            removed |= remove_file(&path, || format!("remove layer {key}"))?;
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch;

    fn record(diff_id: Digest, self_contained: bool) -> LayerRecord {
        LayerRecord {
            version: LAYER_VERSION,
            diff_id,
            self_contained,
            tar_size: 10240,
            entries: 1,
            erofs_seal: Digest::of(b"image"),
            erofs_size: 5,
            received: None,
        }
    }

    fn write(store: &Store, key: &Digest, record: &LayerRecord) {
        let paths = store.paths().layer(key);
        std::fs::write(paths.erofs, b"image").expect("write");
        std::fs::write(paths.tarmeta, b"meta").expect("write");
        std::fs::write(paths.record, serde_json::to_vec(record).expect("plain data")).expect("write");
    }

    #[test]
    fn chain_ids_follow_the_specification() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let chain = chain_ids(&[a, b]);
        assert_eq!(chain, [a, Digest::of(format!("{a} {b}").as_bytes())]);
    }

    #[test]
    fn a_layer_made_for_another_parent_is_not_used() {
        let (_dir, store) = scratch();
        let (base, upper) = (Digest::of(b"base"), Digest::of(b"upper"));
        write(&store, &base, &record(base, true));
        write(&store, &upper, &record(upper, false));
        assert_eq!(store.layer_keys(&[base]).expect("there"), [base]);
        assert_eq!(store.layer_keys(&[upper]).expect("there, as the lowest"), [upper]);

        let error = store.layer_keys(&[base, upper]).expect_err("not for this parent");
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.to_string().contains(&upper.to_string()), "{error}");

        let chain = chain_ids(&[base, upper])[1];
        write(&store, &chain, &record(upper, false));
        assert_eq!(store.layer_keys(&[base, upper]).expect("there"), [base, chain]);
        assert!(store.remove_layer(&chain).expect("remove"));
        write(&store, &upper, &record(upper, true));
        assert_eq!(store.layer_keys(&[base, upper]).expect("there"), [base, upper]);
    }

    #[test]
    fn a_record_that_cannot_be_read_is_damage() {
        let (_dir, store) = scratch();
        let key = Digest::of(b"layer");
        assert_eq!(store.layer_record(&key).expect_err("missing").kind(), Kind::Corrupt);
        write(&store, &key, &LayerRecord { version: 7, ..record(key, true) });
        assert!(store.layer_record(&key).expect_err("unknown").to_string().contains("version 7"));
        std::fs::write(store.paths().layer(&key).record, b"{").expect("write");
        assert_eq!(store.layer_record(&key).expect_err("torn").kind(), Kind::Corrupt);
    }
}
