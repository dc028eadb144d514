//! A layer's tar archive, compressed or not, becomes an EROFS image and a tar metadata file, in one
//! pass with bounded memory for data.
//!
//! | file | holds |
//! |---|---|
//! | `path` | names of entries as lists of components; whiteout names |
//! | `lower` | the parents as one merged tree, as overlayfs would show them |
//! | `layer` | the tree that entries are applied to |
//! | `chunks` | sparse files as chunks |
//! | `copy` | data of files of the parents |
//! | `stream` | counting and hashing of what is read |
//! | `ahead` | a thread that reads, decompresses and hashes ahead |
//!
//! ```text
//! one thread                                      the caller's
//! input -> received digest -> decoder -> diff digest -> tar reader -> layer tree ----> image metadata
//!                                                         |  file data --------------> image data
//!                                                         '- everything else --------> tar metadata
//! ```
//! # Meaning of an archive
//! Names are taken from the layer's root: leading `/` and `./` are dropped, `..` is refused, and links in
//! the way are followed within the root, as an extraction in a chroot would. A later entry replaces an
//! earlier one of the same name; directories keep what is in them. Missing directories are made, with
//! the metadata that the parents have for them, else 0755 of root. A hard link into the parents copies
//! the file, and all its names that are still seen are names of the copy then. Whatever takes something from the
//! parents makes the layer not self-contained.
//!
//! Whiteouts (OCI image specification, "Layer", "Whiteouts") take overlayfs's form: `.wh.name` a
//! character device 0:0, `.wh..wh..opq` the attribute `trusted.overlay.opaque` (in the root, where overlayfs looks for
//! none, a whiteout of each name of the parents); they speak of the parents only, wherever they stand in the archive. A character device 0:0 in the archive is what
//! overlayfs makes of a removed file, and is taken as the same; so do Docker, containerd and Podman,
//! which create it. `.wh..wh.` names of aufs are skipped. A layer without parents has nothing to hide:
//! whiteouts are dropped, and the layer is then not self-contained, since above a parent it means more.
//! `trusted.overlay.` and `user.overlay.` attributes are dropped: they would redirect lookups of overlayfs.

mod ahead;
mod chunks;
mod copy;
mod layer;
mod lower;
mod path;
mod stream;

use std::fs::File;
use std::io::{BufWriter, Read};
use std::path::Path;

use crate::compression::{self, Compression, Decoder};
use crate::erofs::{DataWriter, Finished, Image};
use crate::tarmeta::Recorder;
use holm_tar::{Entry, EntryKind, Reader};

pub use holm_tar::{Error, Kind};

use ahead::{Ahead, Feeder};
use chunks::{Chunks, FILL_ALLOWANCE, Plan};
use layer::Layer;
use stream::Tap;

/// What a conversion takes at most.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Files and directories, counting directories that no entry names; and entries, each of which counts
    /// also if it replaces another. Default 4,000,000.
    pub entries: usize,
    /// Bytes of names, link targets, attributes and chunk lists. Default 512 MiB.
    pub metadata: u64,
    /// Bytes of these, and of what else is known of files, in memory; beside it the names of one directory, the largest,
    /// are. Default 24 MiB.
    pub memory: usize,
    /// Bytes of a path, at most 4095 as in Linux, which is the default.
    pub path: usize,
    /// Bytes of headers of one entry. Default 1 MiB.
    pub header: usize,
    /// Bytes of the image. Default 1 TiB.
    pub image: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 4_000_000,
            metadata: 512 << 20,
            memory: 24 << 20,
            path: 4095,
            header: 1 << 20,
            image: 1 << 40,
        }
    }
}

/// How a layer is converted.
#[derive(Debug, Clone, Default)]
pub struct Options<'a> {
    /// The images of the layers below, lowest first.
    pub parents: &'a [Image],
    /// What is taken at most.
    pub limits: Limits,
    /// A directory for files without names, into which goes what memory may not hold; without one all stays in memory.
    pub spill: Option<&'a Path>,
    /// Takes an archive that stops after an entry, without the blocks of zeros that mark its end: right
    /// where a digest tells that it is whole.
    pub allow_missing_end: bool,
    /// Leaves out the digest of what is received, where the caller knows it already.
    pub skip_received_digest: bool,
}

/// Where a layer goes: two empty files, open for writing.
#[derive(Debug)]
pub struct LayerFiles<'a> {
    /// The image.
    pub erofs: &'a File,
    /// The tar metadata.
    pub tarmeta: &'a File,
}

/// What a conversion made, and of what. Digests are sha256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// Digest of the uncompressed archive, with everything up to the end of the input.
    pub diff_id: [u8; 32],
    /// Length of the uncompressed archive in bytes.
    pub tar_size: u64,
    /// Digest of the input as received; of nothing, where it was left out and the input was compressed.
    pub received_digest: [u8; 32],
    /// Length of the input as received in bytes.
    pub received_size: u64,
    /// How the input was compressed.
    pub compression: Compression,
    /// Length of the image in bytes.
    pub erofs_size: u64,
    /// The image's seal, see [`Image::seal`]; its identity is the diff-id.
    pub erofs_seal: [u8; 32],
    /// Entries of the archive.
    pub entries: u64,
    /// Whether the image means the same over any parents. If not, its key is the chain-id; for a lowest
    /// layer that is the diff-id, so an image found under a diff-id may be put over parents only if it
    /// was recorded as self-contained.
    pub self_contained: bool,
}

/// Converts the archive in `input`. Nothing is synced; on an error the files hold rubbish.
///
/// # Errors
/// A [`Kind`] for bad input, naming the entry; [`Kind::NoSpace`] and [`Kind::Io`] from the files,
/// [`Kind::Io`] from `input`.
pub fn convert(
    input: impl Read + Send,
    files: &LayerFiles<'_>,
    options: &Options<'_>,
) -> Result<Converted, Error> {
    let (compression, input) = compression::detect(input)?;
    let plain = compression == Compression::None;
    let mut received = Tap::new(input, !plain && !options.skip_received_digest);
    let (feeder, ahead) = ahead::pair();
    let result = std::thread::scope(|scope| {
        let reading = std::thread::Builder::new()
            .spawn_scoped(scope, || unpack(&mut received, compression, feeder))
            .map_err(|error| Error::read("starting a thread", error).with_kind(Kind::Io))?;
        let written = write(ahead, files, options);
        let unpacked = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // What could not be read comes before what that made of the rest.
        Ok(match unpacked {
            Err(error) => Err(error),
            Ok(archive) => written.and_then(|written| written.finish(compression, archive)),
        })
    })?;
    // A decoder takes a failure of its source for damage.
    let mut converted =
        result.map_err(|error| if received.failed() { error.with_kind(Kind::Io) } else { error })?;
    (converted.received_digest, converted.received_size) =
        if plain { (converted.diff_id, converted.tar_size) } else { received.finish() };
    Ok(converted)
}

/// Digest and length of an uncompressed archive.
type Archive = ([u8; 32], u64);

/// Decompresses and hashes, and hands on what comes of it until nobody reads any more.
fn unpack(received: &mut Tap<impl Read>, compression: Compression, feeder: Feeder) -> Result<Archive, Error> {
    let mut tar = Tap::new(Decoder::new(compression, &mut *received)?, true);
    let whole = feeder.feed(&mut tar);
    let archive = tar.finish();
    if whole {
        drain(received)?;
    }
    Ok(archive)
}

/// Writes the image's data and the tar metadata.
fn write<'a>(ahead: Ahead, files: &LayerFiles<'a>, options: &'a Options<'a>) -> Result<Written<'a>, Error> {
    let mut conversion = Conversion {
        reader: Reader::new(ahead, options.limits.header),
        recorder: Recorder::new(BufWriter::new(files.tarmeta))?,
        data: DataWriter::new(files.erofs, options.limits.image),
        layer: Layer::new(options, &options.limits)?,
        entries: 0,
        fill_left: FILL_ALLOWANCE,
    };
    conversion.entries()?;
    conversion.rest(options.allow_missing_end)?;
    conversion.layer.name_copies()?;
    let Conversion { recorder, data, layer, entries, .. } = conversion;
    recorder.finish()?;
    Ok(Written { data, layer, entries })
}

/// What is written when the archive has ended.
struct Written<'a> {
    data: DataWriter<'a>,
    layer: Layer<'a>,
    entries: u64,
}

impl Written<'_> {
    /// Writes the image's metadata.
    fn finish(self, compression: Compression, (diff_id, tar_size): Archive) -> Result<Converted, Error> {
        let self_contained = self.layer.is_self_contained();
        let Finished { size, seal } = self.data.finish(self.layer.into_tree(), &diff_id)?;
        Ok(Converted {
            diff_id,
            tar_size,
            received_digest: diff_id,
            received_size: tar_size,
            compression,
            erofs_size: size,
            erofs_seal: seal,
            entries: self.entries,
            self_contained,
        })
    }
}

/// Reads what a decoder left behind the end of its stream, so that the digest is of everything.
fn drain(received: &mut Tap<impl Read>) -> Result<(), Error> {
    std::io::copy(received, &mut std::io::sink())
        .map(drop)
        .map_err(|source| Error::read("reading the end of the layer", source))
}

/// A conversion under way.
struct Conversion<'a, R> {
    reader: Reader<R>,
    recorder: Recorder<BufWriter<&'a File>>,
    data: DataWriter<'a>,
    layer: Layer<'a>,
    entries: u64,
    /// Zeros that sparse files may still be filled up with.
    fill_left: u64,
}

impl<R: Read> Conversion<'_, R> {
    fn entries(&mut self) -> Result<(), Error> {
        while let Some(entry) = self.reader.next()? {
            self.recorder.bytes(self.reader.raw())?;
            self.entries += 1;
            if self.entries > self.layer.limits().entries as u64 {
                return Err(self.layer.too_many(&entry));
            }
            match self.layer.destination(&entry)? {
                Some(at) if entry.kind == EntryKind::File => {
                    let content = self.file(&entry)?;
                    self.layer.place_file(&at, &entry, content)?;
                }
                Some(at) => self.layer.place(&at, &entry, &mut self.data)?,
                None => self.record_data()?,
            }
        }
        Ok(())
    }

    /// Copies a file's data into the image.
    fn file(&mut self, entry: &Entry) -> Result<crate::erofs::Content, Error> {
        match &entry.sparse {
            Some(map) if Chunks::has_holes(map, entry.size) => self.sparse_file(entry),
            _ => self.plain_file(entry.size),
        }
    }

    fn plain_file(&mut self, size: u64) -> Result<crate::erofs::Content, Error> {
        let block = self.data.start_file()?;
        while let Some(slice) = self.reader.data()? {
            self.recorder.data(self.data.position(), slice.len() as u64)?;
            self.data.write(slice)?;
        }
        Ok(crate::erofs::Content::File { block, size })
    }

    fn sparse_file(&mut self, entry: &Entry) -> Result<crate::erofs::Content, Error> {
        let too_large = || layer::refuse(Kind::TooMany, entry, "its holes are too large");
        let map = entry.sparse.as_deref().unwrap_or_default();
        let plan = Plan::new(map, entry.size).ok_or_else(too_large)?;
        self.fill_left = self.fill_left.checked_sub(plan.excess()).ok_or_else(too_large)?;
        self.layer.charge(entry, plan.table_size())?;
        let mut chunks = plan.begin();
        while let Some(mut slice) = self.reader.data()? {
            while !slice.is_empty() {
                let length = chunks.stand(&mut self.data, slice.len())?;
                let (now, later) = slice.split_at(length);
                self.recorder.data(self.data.position(), length as u64)?;
                self.data.write(now)?;
                slice = later;
            }
        }
        self.layer.sparse_file(&chunks.finish(&mut self.data)?)
    }

    /// Data that has no place in the image.
    fn record_data(&mut self) -> Result<(), Error> {
        while let Some(slice) = self.reader.data()? {
            self.recorder.bytes(slice)?;
        }
        Ok(())
    }

    /// What ends the archive, and what follows it.
    fn rest(&mut self, allow_missing_end: bool) -> Result<(), Error> {
        if self.reader.ended_early() && !allow_missing_end {
            let at = self.reader.position();
            let what = format!("the tar archive ends at byte {at} without the blocks that mark its end");
            return Err(Error::new(Kind::Truncated, what));
        }
        self.recorder.bytes(self.reader.raw())?;
        self.record_data()
    }
}
