//! How much room images, kernels and compressed layers take on the disk, and when each was used last.
//!
//! A part (a document, the files of a layer) that several images need counts once in sums. A compressed layer is a
//! cache: what its image needs of it lies in `layers/` and gives it back. Whatever a manifest of an image calls a layer is one; layers of artifacts, and so of
//! kernels, are content.
//!
//! An image is used last when a workload is made of it, which touches its configuration ([`Store::touch`]), or when it
//! gets a name.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use holm_spec::{Digest, Timestamp};
use holm_sys::usage::Usage;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};

use crate::collect::Content;
use crate::document;
use crate::error::{Error, Kind, Result};
use crate::image::{Known, Name, Sort};
use crate::store::Store;

/// What takes room: a blob, or a layer by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Blob(Digest),
    Layer(Digest),
}

/// An image or kernel with what it consists of.
#[derive(Clone, Debug)]
pub struct ObjectUsage {
    /// Its id.
    pub id: Digest,
    /// Its names, sorted; none where all of them moved on.
    pub names: Vec<Name>,
    /// When it was made, as it says itself.
    pub created: Option<Timestamp>,
    /// When it was used last.
    pub used: Timestamp,
    /// Labels of an image.
    pub labels: BTreeMap<String, String>,
    parts: BTreeSet<Part>,
}

/// A layer as it came, or as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompressedUsage {
    /// Digest of the bytes.
    pub digest: Digest,
    /// Bytes on the disk.
    pub size: u64,
    /// When it was written or used last.
    pub used: Timestamp,
}

/// What the store holds.
#[derive(Clone, Debug, Default)]
pub struct StoreUsage {
    /// Images, by id.
    pub images: Vec<ObjectUsage>,
    /// Kernels of virtual machines, by id.
    pub kernels: Vec<ObjectUsage>,
    /// Other artifacts, by id.
    pub artifacts: Vec<ObjectUsage>,
    /// Compressed layers, the one that was used longest ago first.
    pub compressed: Vec<CompressedUsage>,
    /// Bytes on the disk by part.
    sizes: BTreeMap<Part, u64>,
    /// Bytes on the disk of `blobs` and `layers`, whatever they are for.
    pub content: u64,
}

impl StoreUsage {
    /// Images, kernels and other artifacts.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectUsage> {
        self.images.iter().chain(&self.kernels).chain(&self.artifacts)
    }

    /// Bytes on the disk of an image or artifact, with all that it shares.
    pub fn size(&self, object: &ObjectUsage) -> u64 {
        self.together([object])
    }

    /// Bytes on the disk of what objects need, each part once.
    pub fn together<'a>(&self, objects: impl IntoIterator<Item = &'a ObjectUsage>) -> u64 {
        let parts: BTreeSet<&Part> = objects.into_iter().flat_map(|object| &object.parts).collect();
        parts.into_iter().filter_map(|part| self.sizes.get(part)).sum()
    }

    /// Bytes on the disk of what an image needs and others need, too.
    pub fn shared(&self, object: &ObjectUsage) -> u64 {
        let others = self.objects().filter(|other| other.id != object.id);
        let others: BTreeSet<&Part> = others.flat_map(|other| &other.parts).collect();
        object.parts.iter().filter(|part| others.contains(part)).filter_map(|part| self.sizes.get(part)).sum()
    }

    /// Bytes on the disk of all compressed layers.
    pub fn compressed_size(&self) -> u64 {
        self.compressed.iter().map(|layer| layer.size).sum()
    }
}

impl Store {
    /// Measures what the store holds. Damaged images are left out with a warning; what they consist of is in
    /// [`StoreUsage::content`] all the same.
    ///
    /// # Errors
    /// What listing and reading report.
    pub fn usage(&self) -> Result<StoreUsage> {
        let mut counter = Usage::default();
        let mut usage = StoreUsage::default();
        let mut compressed = BTreeSet::new();
        usage.images = self.objects(Sort::Image, &mut compressed)?;
        usage.kernels = self.objects(Sort::Kernel, &mut compressed)?;
        usage.artifacts = self.objects(Sort::Artifact, &mut compressed)?;
        let mut sizes = BTreeMap::new();
        for part in usage.objects().flat_map(|object| &object.parts) {
            if !sizes.contains_key(part) {
                sizes.insert(*part, self.part_size(&mut counter, part)?);
            }
        }
        usage.sizes = sizes;
        // What is a document or an artifact somewhere is no cache anywhere.
        compressed.retain(|digest| !usage.sizes.contains_key(&Part::Blob(*digest)));
        for digest in compressed {
            usage.compressed.extend(self.compressed(&mut counter, digest)?);
        }
        usage.compressed.sort_by_key(|layer| (layer.used, layer.digest));
        usage.content = self.content_size()?;
        Ok(usage)
    }

    /// Bytes on the disk of images, kernels and compressed layers, and of what is left of some.
    ///
    /// # Errors
    /// What listing and reading report.
    pub fn content_size(&self) -> Result<u64> {
        let size = |directory: std::path::PathBuf| {
            Usage::default().below(&directory, &[]).map_err(|error| measuring(&directory, error))
        };
        Ok(size(self.layout().root.join("blobs"))? + size(self.paths().layers())?)
    }

    /// Remembers that an image is being used, without a sync: where that cannot be written, or is lost, it counts as not
    /// used, and no more.
    pub fn touch(&self, id: &Digest) {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        let _ = utimensat(CWD, self.paths().blob(id), &times, AtFlags::empty());
    }

    fn objects(&self, sort: Sort, compressed: &mut BTreeSet<Digest>) -> Result<Vec<ObjectUsage>> {
        let mut found: BTreeMap<Digest, Vec<Known>> = BTreeMap::new();
        for known in self.known(sort)? {
            found.entry(known.id).or_default().push(known);
        }
        let mut objects = Vec::with_capacity(found.len());
        for (id, known) in found {
            match self.object(id, sort, known, compressed) {
                Ok(object) => objects.push(object),
                Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::NotFound) => {
                    tracing::warn!("{} {id}: {error}", sort.noun());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(objects)
    }

    fn object(
        &self,
        id: Digest,
        sort: Sort,
        known: Vec<Known>,
        compressed: &mut BTreeSet<Digest>,
    ) -> Result<ObjectUsage> {
        let mut content = Content::default();
        for known in &known {
            content.add_document(self, known.record.digest)?;
        }
        compressed.extend(&content.compressed);
        let named = known.iter().map(|known| known.record.updated).max().unwrap_or_default();
        let (mut created, mut labels) = (None, BTreeMap::new());
        if sort == Sort::Image {
            let config = document::parse_config(&id, &self.blob(&id)?)?;
            created = config.created().as_deref().and_then(|text| text.parse().ok());
            let given = config.labels_of_config().into_iter().flatten();
            labels.extend(given.map(|(key, value)| (key.clone(), value.clone())));
        }
        let blobs = content.blobs.into_iter().map(Part::Blob);
        Ok(ObjectUsage {
            id,
            used: named.max(self.modified(&id)),
            names: known.into_iter().filter_map(|known| Name::of(known.record)).collect(),
            created,
            labels,
            parts: blobs.chain(content.layers.into_iter().map(Part::Layer)).collect(),
        })
    }

    fn modified(&self, blob: &Digest) -> Timestamp {
        self.paths()
            .blob(blob)
            .metadata()
            .map_or_else(|_| Timestamp::default(), |metadata| modified(&metadata))
    }

    fn part_size(&self, counter: &mut Usage, part: &Part) -> Result<u64> {
        match part {
            Part::Blob(digest) => count(counter, &self.paths().blob(digest)),
            Part::Layer(key) => self.layer_size(counter, key),
        }
    }

    /// Bytes on the disk of a layer's files and its directory that were not counted yet; 0 if it is gone.
    pub(crate) fn layer_size(&self, counter: &mut Usage, key: &Digest) -> Result<u64> {
        let paths = self.paths().layer(key);
        let files = [paths.erofs, paths.tarmeta, paths.record].map(|path| count(counter, &path));
        let unpacked = self.layer_mount(key).unpacked();
        let directory = counter.below(&unpacked, &[]).map_err(|error| measuring(&unpacked, error));
        files.into_iter().chain([directory]).sum()
    }

    /// `None` if it is not there.
    fn compressed(&self, counter: &mut Usage, digest: Digest) -> Result<Option<CompressedUsage>> {
        let path = self.paths().blob(&digest);
        let metadata = match path.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            metadata => metadata.map_err(|error| measuring(&path, error))?,
        };
        let size = count(counter, &path)?;
        Ok(Some(CompressedUsage { digest, size, used: modified(&metadata) }))
    }
}

fn modified(metadata: &std::fs::Metadata) -> Timestamp {
    Timestamp::from_nanos(
        metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
    )
}

fn count(counter: &mut Usage, path: &Path) -> Result<u64> {
    counter.of(path).map_err(|error| measuring(path, error))
}

fn measuring(path: &Path, error: std::io::Error) -> Error {
    Error::io(format!("measure `{}`", path.display()), error)
}
