//! What a name stands for, as a registry needs it: its documents byte for byte, and what they name.
//!
//! ```text
//! index (perhaps) -> manifests that are here -> configuration, and layers or the blobs of an artifact
//! ```

use std::collections::{BTreeMap, BTreeSet};

use holm_spec::image::{Descriptor, ImageIndexBuilder, ImageManifest, MediaType, PlatformBuilder};
use holm_spec::{Digest, Reference};

use crate::collect::is_image_config;
use crate::document::{self, Document, canonical, descriptor};
use crate::error::{Error, Kind, Result};
use crate::image::{Image, Sort};
use crate::import::check_taggable;
use crate::layer::Received;
use crate::store::Store;

/// What a name stands for.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The index, where the name stands for one and every manifest of it is here.
    pub index: Option<StoredDocument>,
    /// The manifests.
    pub manifests: Vec<PublishedManifest>,
    /// The name stands for an index, and of its manifests only the one that is meant on this machine goes.
    pub partial: bool,
}

/// A document.
#[derive(Clone, Debug)]
pub struct StoredDocument {
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// A manifest and what it names.
#[derive(Clone, Debug)]
pub struct PublishedManifest {
    /// The manifest.
    pub document: StoredDocument,
    /// The manifest as it is read.
    pub manifest: ImageManifest,
    /// Digest of the configuration; for an artifact of whatever it has in its place.
    pub config: Digest,
    /// Layers of an image, lowest first; none for an artifact, whose `layers` are blobs.
    pub layers: Option<Vec<StoredLayer>>,
}

/// A layer of an image.
#[derive(Clone, Debug)]
pub struct StoredLayer {
    /// Digest of its tar.
    pub diff_id: Digest,
    /// Under what it is kept (see `layer`).
    pub key: Digest,
    /// A compressed form of it, if one is known.
    pub packed: Option<Received>,
}

impl Store {
    /// What a name stands for. What it names may be removed by others at any time.
    ///
    /// # Errors
    /// [`Kind::NotFound`] where there is no such name; [`Kind::Corrupt`] naming what is missing or damaged.
    pub fn publication(&self, reference: &Reference) -> Result<Publication> {
        let name = reference.familiar();
        let record = self.reference(reference)?;
        let record =
            record.ok_or_else(|| Error::new(Kind::NotFound, format!("there is no image `{name}`")))?;
        self.published(record.digest)
            .map_err(|error| error.missing_is_damage().about(format!("open image `{name}`")))
    }

    /// The one manifest of an image, and what that names.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] naming what is missing or damaged.
    pub fn publication_of(&self, image: &Image) -> Result<Publication> {
        self.published(image.manifest_digest)
            .map_err(|error| error.missing_is_damage().about(format!("open image {}", image.id.short())))
    }

    fn published(&self, digest: Digest) -> Result<Publication> {
        let content = self.blob(&digest)?;
        let Document::Index(index) = document::parse(&digest, &content)? else {
            let manifests = vec![self.published_manifest(digest)?];
            return Ok(Publication { index: None, manifests, partial: false });
        };
        let entries: Vec<Option<Digest>> =
            index.manifests().iter().map(|entry| document::digest_of(entry).ok()).collect();
        let here = |entry: &Option<Digest>| entry.is_some_and(|digest| self.has_blob(&digest));
        if entries.iter().all(here) {
            let manifests = entries.iter().flatten().map(|entry| self.published_manifest(*entry));
            let index = Some(StoredDocument { digest, content });
            return Ok(Publication { index, manifests: manifests.collect::<Result<_>>()?, partial: false });
        }
        let (chosen, _) = self.manifest(digest)?;
        Ok(Publication { index: None, manifests: vec![self.published_manifest(chosen)?], partial: true })
    }

    fn published_manifest(&self, digest: Digest) -> Result<PublishedManifest> {
        let content = self.blob(&digest)?;
        let Document::Manifest(manifest) = document::parse(&digest, &content)? else {
            return Err(Error::new(Kind::Corrupt, format!("image index {digest} lies in another index")));
        };
        let config = document::digest_of(manifest.config())?;
        let layers = match is_image_config(&manifest) {
            true => Some(self.stored_layers(&config)?),
            false => None,
        };
        let document = StoredDocument { digest, content };
        Ok(PublishedManifest { document, manifest: *manifest, config, layers })
    }

    fn stored_layers(&self, config: &Digest) -> Result<Vec<StoredLayer>> {
        let config = document::parse_config(config, &self.blob(config)?)?;
        let diff_ids = document::diff_ids(&config)?;
        let keys = self.layer_keys(&diff_ids)?;
        let layer = |(diff_id, key): (&Digest, Digest)| {
            Ok(StoredLayer { diff_id: *diff_id, key, packed: self.layer_record(&key)?.received })
        };
        diff_ids.iter().zip(keys).map(layer).collect()
    }

    /// The manifest or index that a name stands for; `None` where there is no such name.
    ///
    /// # Errors
    /// [`Kind::Corrupt`], [`Kind::Io`], [`Kind::Denied`].
    pub fn document_of_name(&self, reference: &Reference) -> Result<Option<Vec<u8>>> {
        let record = self.by_reference(reference, Sort::Image)?;
        record.map(|record| self.blob(&record.digest).map_err(Error::missing_is_damage)).transpose()
    }

    /// Puts images, one for each of several platforms, under one name; gives the digest of the index.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a name with a digest, or two images for one platform; [`Kind::Corrupt`] where an image went
    /// meanwhile; [`Kind::NoSpace`], [`Kind::ReadOnly`], [`Kind::Locked`], [`Kind::Io`].
    pub fn create_index(&self, reference: &Reference, images: &[Image]) -> Result<Digest> {
        check_taggable(reference)?;
        let full = |image: &Image| match image.config.variant() {
            Some(variant) => format!("{}/{variant}", image.platform()),
            None => image.platform().to_string(),
        };
        let mut platforms: Vec<String> = images.iter().map(full).collect();
        platforms.sort();
        if let Some(two) = platforms.windows(2).find(|two| two[0] == two[1]) {
            return Err(Error::new(Kind::Invalid, format!("two of the images are made for {}", two[0])));
        }
        let in_use = self.in_use()?;
        let entries = images.iter().map(|image| self.index_entry(image)).collect::<Result<Vec<_>>>()?;
        let index = ImageIndexBuilder::default()
            .schema_version(2_u32)
            .media_type(MediaType::ImageIndex)
            .manifests(entries)
            .build()
            .expect("every required field is set");
        let digest = self.put_blob(&in_use, &canonical(&index))?;
        self.set_reference(&in_use, reference, &digest)?;
        Ok(digest)
    }

    fn index_entry(&self, image: &Image) -> Result<Descriptor> {
        let size = self.blob(&image.manifest_digest).map_err(Error::missing_is_damage)?.len() as u64;
        let media_type = image.manifest.media_type().clone().unwrap_or(MediaType::ImageManifest);
        let mut entry = descriptor(media_type, size, &image.manifest_digest);
        let platform = PlatformBuilder::default()
            .os(image.config.os().clone())
            .architecture(image.config.architecture().clone());
        let platform = match image.config.variant() {
            Some(variant) => platform.variant(variant.as_str()),
            None => platform,
        };
        let platform = platform.build().expect("every required field is set");
        entry.set_platform(Some(platform));
        Ok(entry)
    }

    /// Repositories of the registry `domain` by the layers and blobs of the images that have names there: a registry may
    /// give a blob from one to another.
    ///
    /// # Errors
    /// [`Kind::Io`], [`Kind::Denied`].
    pub fn repositories_by_blob(&self, domain: &str) -> Result<BTreeMap<Digest, BTreeSet<String>>> {
        let mut found: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
        for record in self.references()?.0 {
            let Some(reference) = record.reference.filter(|reference| reference.domain() == domain) else {
                continue;
            };
            // What cannot be read has nothing to give.
            let Ok((_, manifest)) = self.manifest(record.digest) else { continue };
            for digest in manifest.layers().iter().filter_map(|layer| document::digest_of(layer).ok()) {
                found.entry(digest).or_default().insert(reference.path().to_owned());
            }
        }
        Ok(found)
    }

    /// The names in the repository of `of`, sorted by their tags.
    ///
    /// # Errors
    /// [`Kind::Io`], [`Kind::Denied`].
    pub fn tags_of(&self, of: &Reference) -> Result<Vec<Reference>> {
        let is_there = |reference: &Reference| {
            (reference.domain(), reference.path()) == (of.domain(), of.path()) && reference.digest().is_none()
        };
        let records = self.references()?.0;
        let mut names: Vec<Reference> =
            records.into_iter().filter_map(|record| record.reference).filter(is_there).collect();
        names.sort();
        Ok(names)
    }

    /// Keeps what a registry was sent in place of `old`: the name stands for it from now on, if it has not moved
    /// meanwhile.
    ///
    /// # Errors
    /// [`Kind::NoSpace`], [`Kind::ReadOnly`], [`Kind::Locked`], [`Kind::Io`].
    pub fn published_as(&self, reference: &Reference, old: &Digest, new: &[u8]) -> Result<()> {
        let in_use = self.in_use()?;
        if self.reference(reference)?.is_none_or(|record| record.digest != *old) {
            return Ok(());
        }
        let digest = self.put_blob(&in_use, new)?;
        self.set_reference(&in_use, reference, &digest)
    }
}
