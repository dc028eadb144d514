//! Images: what a name, a digest or the start of an id stands for.
//!
//! Looking up a name is the hot path of every start: it reads the reference, the manifest and the
//! configuration, and lists no directory. Everything else lists the references.

use std::collections::BTreeMap;

use holm_spec::image::{ImageConfiguration, ImageIndex, ImageManifest};
use holm_spec::platform::Platform;
use holm_spec::{Digest, Reference};

use crate::collect::is_image_config;
use crate::document::{self, Document, ImageHealth};
use crate::error::{Error, Kind, Result};
use crate::kernel::is_kernel;
use crate::refs::RefRecord;
use crate::store::Store;

/// An image: its documents, read and verified. Whether its layers are there, [`Store::layer_keys`]
/// and [`Store::root_fs`] say; whether its platform is this machine's, the caller decides.
#[derive(Clone, Debug)]
pub struct Image {
    /// The image id: digest of the configuration.
    pub id: Digest,
    /// What the name resolved to: digest of the manifest or of the index that lists it.
    pub digest: Digest,
    /// Digest of the manifest.
    pub manifest_digest: Digest,
    /// The manifest.
    pub manifest: ImageManifest,
    /// The configuration.
    pub config: ImageConfiguration,
    /// How its health is found out: Docker's addition to the configuration.
    pub health: Option<ImageHealth>,
    /// Digests of the uncompressed layers, lowest first.
    pub diff_ids: Vec<Digest>,
    /// The name that it was found by; none for an image found by its id or digest.
    pub reference: Option<Reference>,
}

impl Image {
    /// What the image is made for, as its configuration says.
    pub fn platform(&self) -> Platform {
        Platform { os: self.config.os().to_string(), architecture: self.config.architecture().to_string() }
    }
}

/// What a name can be that of. All share their names, so that one hides no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// Something to run.
    Image,
    /// The kernel of a virtual machine.
    Kernel,
    /// Any other artifact.
    Artifact,
}

impl Sort {
    /// What a manifest is that of.
    pub(crate) fn of(manifest: &ImageManifest) -> Self {
        match manifest {
            kernel if is_kernel(kernel) => Self::Kernel,
            image if is_image_config(image) => Self::Image,
            _ => Self::Artifact,
        }
    }

    /// As people call it.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Kernel => "kernel",
            Self::Artifact => "artifact",
        }
    }

    fn with_article(self) -> &'static str {
        match self {
            Self::Image => "an image",
            Self::Kernel => "a kernel",
            Self::Artifact => "an artifact",
        }
    }

    /// It is of this sort, if that is the one that was looked for.
    ///
    /// # Errors
    /// [`Kind::WrongSort`].
    pub(crate) fn expect(self, wanted: Self) -> Result<()> {
        if self == wanted {
            return Ok(());
        }
        let text = format!("it is {}, not {}", self.with_article(), wanted.with_article());
        Err(Error::new(Kind::WrongSort, text))
    }
}

/// A name or mark together with the image or kernel that it stands for.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) record: RefRecord,
    pub(crate) manifest_digest: Digest,
    /// Digest of an image's configuration, or of an artifact's manifest: its configuration does not tell its content.
    pub(crate) id: Digest,
}

impl Known {
    /// Lists show ids; a manifest or index is known by its whole digest, and its start would fit unseen.
    fn matches(&self, hex: &str) -> bool {
        self.id.hex().starts_with(hex)
            || [self.record.digest, self.manifest_digest].iter().any(|digest| digest.hex() == hex)
    }
}

impl Store {
    /// Finds an image by what a user wrote, in Docker's order: a whole digest; a reference (with the
    /// default registry and tag), or `name@digest`; the start of an image id, with or without
    /// `sha256:`. Manifests and indexes are found by their whole digests only.
    ///
    /// What it says may be removed by others at any time, and an image that goes at this moment looks
    /// damaged, unless the caller holds [`Store::in_use`].
    ///
    /// # Errors
    /// [`Kind::NotFound`] naming it, [`Kind::Ambiguous`], [`Kind::Invalid`] where it is neither a
    /// reference nor the start of an id, [`Kind::Corrupt`] naming the damaged object.
    pub fn resolve(&self, name: &str) -> Result<Image> {
        let (digest, reference) = self.find(name, Sort::Image)?;
        self.open_image(digest, reference).map_err(|error| error.about(format!("open image `{name}`")))
    }

    /// What a user's text means: the digest, and the name if it was found by one. What a name stands for may be of
    /// the other sort.
    pub(crate) fn find(&self, name: &str, sort: Sort) -> Result<(Digest, Option<Reference>)> {
        let by_id = |hex: &str| Ok((self.known_by_id(name, hex, sort)?.record.digest, None));
        match Query::parse(name)? {
            Query::Id(hex) => by_id(&hex),
            Query::Name(reference, prefix) => match self.by_reference(&reference, sort)? {
                Some(record) => Ok((record.digest, record.reference)),
                None => by_id(&prefix.unwrap_or_default()),
            },
        }
    }

    /// The names of the image with the id `id`, sorted.
    pub fn names(&self, id: &Digest) -> Result<Vec<Name>> {
        let known = self.known(Sort::Image)?.into_iter().filter(|known| known.id == *id);
        Ok(known.filter_map(|known| Name::of(known.record)).collect())
    }

    /// Reads the documents of the image behind `digest`, a manifest or an index.
    pub(crate) fn open_image(&self, digest: Digest, reference: Option<Reference>) -> Result<Image> {
        let (manifest_digest, manifest) = self.manifest(digest).map_err(Error::missing_is_damage)?;
        Sort::of(&manifest).expect(Sort::Image)?;
        let id = document::digest_of(manifest.config())?;
        let config = self.blob(&id).map_err(Error::missing_is_damage)?;
        let health = document::health(&id, &config)?;
        let config = document::parse_config(&id, &config)?;
        let diff_ids = document::diff_ids(&config)?;
        Ok(Image { id, digest, manifest_digest, manifest, config, health, diff_ids, reference })
    }

    /// The manifest behind `digest`: that itself, or one of an index.
    pub(crate) fn manifest(&self, digest: Digest) -> Result<(Digest, ImageManifest)> {
        let index = match document::parse(&digest, &self.blob(&digest)?)? {
            Document::Manifest(manifest) => return Ok((digest, *manifest)),
            Document::Index(index) => index,
        };
        let chosen = self.choose(&index).ok_or_else(|| {
            Error::new(Kind::Corrupt, format!("image index {digest} has no manifest in this store"))
        })?;
        match document::parse(&chosen, &self.blob(&chosen)?)? {
            Document::Manifest(manifest) => Ok((chosen, *manifest)),
            Document::Index(_) => {
                Err(Error::new(Kind::Corrupt, format!("image index {digest} lists another index")))
            }
        }
    }

    /// Of the manifests that were stored the one for this machine, else the first.
    fn choose(&self, index: &ImageIndex) -> Option<Digest> {
        let host = Platform::host();
        let (ours, others): (Vec<_>, Vec<_>) =
            index.manifests().iter().partition(|entry| document::is_for(entry, &host));
        for entry in ours.into_iter().chain(others) {
            // One with another kind of digest is not stored.
            if let Some(digest) = document::digest_of(entry).ok().filter(|digest| self.has_blob(digest)) {
                return Some(digest);
            }
        }
        None
    }

    /// The name itself, or for `name@digest` another name of the same repository with that digest.
    pub(crate) fn by_reference(&self, reference: &Reference, sort: Sort) -> Result<Option<RefRecord>> {
        if let Some(record) = self.reference(reference)? {
            return Ok(Some(record));
        }
        let Some(digest) = reference.digest() else { return Ok(None) };
        let same_repository = |known: &Known| {
            let name = known.record.reference.as_ref();
            name.is_some_and(|name| (name.domain(), name.path()) == (reference.domain(), reference.path()))
        };
        let has_digest = |known: &Known| known.record.digest == digest || known.manifest_digest == digest;
        let found = self.known(sort)?.into_iter().find(|known| same_repository(known) && has_digest(known));
        Ok(found.map(|known| known.record))
    }

    /// The one whose id starts with the digits `hex`, or whose manifest or index has them all.
    pub(crate) fn known_by_id(&self, name: &str, hex: &str, sort: Sort) -> Result<Known> {
        let kind = match sort {
            Sort::Image => Kind::NotFound,
            Sort::Kernel => Kind::NoKernel,
            Sort::Artifact => Kind::NoArtifact,
        };
        let noun = sort.noun();
        let not_found = || Error::new(kind, format!("there is no {noun} `{name}`"));
        if hex.is_empty() {
            return Err(not_found());
        }
        let mut matching = self.known(sort)?.into_iter().filter(|known| known.matches(hex));
        let first = matching.next().ok_or_else(not_found)?;
        if let Some(other) = matching.find(|other| other.id != first.id) {
            let (first, other) = (first.id.short(), other.id.short());
            let text = format!("`{name}` is the start of several {noun} ids: {first}, {other}");
            return Err(Error::new(Kind::Ambiguous, text));
        }
        Ok(first)
    }

    /// Every name and mark of a sort with what it stands for, sorted by name. Those whose image is damaged are left
    /// out with a warning.
    pub(crate) fn known(&self, sort: Sort) -> Result<Vec<Known>> {
        let mut seen: BTreeMap<Digest, Option<Identity>> = BTreeMap::new();
        let mut known = Vec::new();
        for record in self.references()?.0 {
            let found = match seen.get(&record.digest) {
                Some(found) => *found,
                None => {
                    let found = self.identify(&record)?;
                    seen.insert(record.digest, found);
                    found
                }
            };
            let found = found.filter(|found| found.sort == sort);
            known.extend(found.map(|Identity { manifest_digest, id, .. }| Known {
                record,
                manifest_digest,
                id,
            }));
        }
        Ok(known)
    }

    /// What a name stands for; `None` where that is damaged, or went just now.
    pub(crate) fn identify(&self, record: &RefRecord) -> Result<Option<Identity>> {
        let read = || -> Result<_> {
            let (manifest_digest, manifest) = self.manifest(record.digest)?;
            let sort = Sort::of(&manifest);
            let id = match sort {
                Sort::Image => document::digest_of(manifest.config())?,
                Sort::Kernel | Sort::Artifact => manifest_digest,
            };
            Ok(Identity { sort, manifest_digest, id })
        };
        match read() {
            Ok(found) => Ok(Some(found)),
            Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::NotFound) => {
                let name = record.reference.as_ref().map(Reference::familiar);
                tracing::warn!("image `{}`: {error}", name.unwrap_or_else(|| record.digest.to_string()));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// What a manifest or index is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) sort: Sort,
    pub(crate) manifest_digest: Digest,
    pub(crate) id: Digest,
}

/// A name of an image, and what it resolved to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The reference.
    pub reference: Reference,
    /// Digest of the manifest or index that it stands for.
    pub digest: Digest,
}

impl Name {
    /// A name; `None` for a mark.
    pub(crate) fn of(record: RefRecord) -> Option<Self> {
        record.reference.map(|reference| Self { reference, digest: record.digest })
    }

    /// `repository@digest`, as Docker shows it.
    pub fn repository_digest(&self) -> String {
        format!("{}@{}", self.reference.familiar_name(), self.digest)
    }
}

/// What a user's text can mean.
pub(crate) enum Query {
    /// Hexadecimal digits of a digest.
    Id(String),
    /// A reference, or if there is none of that name digits of a digest.
    Name(Box<Reference>, Option<String>),
}

impl Query {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_id = (1..=64).contains(&digits.len()) && digits.bytes().all(hexadecimal);
        let digits = is_id.then(|| digits.to_owned());
        match (digits, text.parse::<Reference>()) {
            // Nobody may hide an image behind a name that looks like its whole id.
            (Some(digits), _) if digits.len() == 64 => Ok(Self::Id(digits)),
            (digits, Ok(reference)) => Ok(Self::Name(Box::new(reference), digits)),
            (Some(digits), Err(_)) => Ok(Self::Id(digits)),
            (None, Err(error)) => Err(Error::because(Kind::Invalid, format!("find image `{text}`"), error)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::store::tests::scratch;

    /// Stores an image of `config` whose layers are not there.
    pub(crate) fn store_image(store: &Store, config: &Value, config_type: &str) -> Digest {
        let in_use = store.in_use().expect("lock");
        let config = config.to_string();
        let id = store.put_blob(&in_use, config.as_bytes()).expect("put");
        let manifest = json!({
            "schemaVersion": 2,
            "config": {"mediaType": config_type, "digest": id, "size": config.len()},
            "layers": [],
        });
        store.put_blob(&in_use, manifest.to_string().as_bytes()).expect("put")
    }

    pub(crate) const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";

    pub(crate) fn config(architecture: &str) -> Value {
        json!({"os": "linux", "architecture": architecture, "rootfs": {"type": "layers", "diff_ids": []}})
    }

    fn index(entries: &[(Digest, &str)]) -> Vec<u8> {
        let entry = |(digest, architecture): &(Digest, &str)| {
            json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": digest,
                "size": 1,
                "platform": {"os": "linux", "architecture": architecture},
            })
        };
        let entries: Vec<Value> = entries.iter().map(entry).collect();
        json!({"schemaVersion": 2, "manifests": entries}).to_string().into_bytes()
    }

    fn name(text: &str) -> Reference {
        text.parse().expect("a reference")
    }

    #[test]
    fn of_an_index_the_manifest_for_this_machine_is_taken() {
        let (_dir, store) = scratch();
        let host = Platform::host().architecture;
        let other = store_image(&store, &config("s390x"), CONFIG_TYPE);
        let ours = store_image(&store, &config(&host), CONFIG_TYPE);
        let absent = Digest::of(b"not stored");
        let in_use = store.in_use().expect("lock");
        let both = index(&[(other, "s390x"), (ours, &host)]);
        let both = store.put_blob(&in_use, &both).expect("put");
        store.set_reference(&in_use, &name("both"), &both).expect("set");
        let image = store.resolve("both").expect("resolve");
        assert_eq!((image.manifest_digest, image.digest), (ours, both));

        let foreign = index(&[(absent, &host), (other, "s390x")]);
        let foreign = store.put_blob(&in_use, &foreign).expect("put");
        store.set_reference(&in_use, &name("foreign"), &foreign).expect("set");
        let image = store.resolve("foreign").expect("resolve");
        assert_eq!(image.platform().architecture, "s390x");

        let nothing = store.put_blob(&in_use, &index(&[(absent, &host)])).expect("put");
        store.set_reference(&in_use, &name("nothing"), &nothing).expect("set");
        assert_eq!(store.resolve("nothing").expect_err("nothing is there").kind(), Kind::Corrupt);
        let nested = store.put_blob(&in_use, &index(&[(both, &host)])).expect("put");
        store.set_reference(&in_use, &name("nested"), &nested).expect("set");
        assert_eq!(store.resolve("nested").expect_err("an index in an index").kind(), Kind::Corrupt);
    }

    #[test]
    fn documents_of_an_index_are_kept_and_removed_together() {
        let (_dir, store) = scratch();
        let host = Platform::host().architecture;
        let other = store_image(&store, &config("s390x"), CONFIG_TYPE);
        let ours = store_image(&store, &config(&host), CONFIG_TYPE);
        let artifact = store_image(&store, &json!({}), "application/vnd.example.kernel.v1+json");
        let in_use = store.in_use().expect("lock");
        let both = store.put_blob(&in_use, &index(&[(other, "s390x"), (ours, &host)])).expect("put");
        store.set_reference(&in_use, &name("both"), &both).expect("set");
        store.set_reference(&in_use, &name("kernel"), &artifact).expect("set");
        drop(in_use);
        let exclusive = store.exclusive().expect("lock");
        assert_eq!(exclusive.repair(&[]).expect("repair"), Vec::<String>::new());
        exclusive.remove("both", false, &[]).expect("remove");
        assert!([both, other, ours].iter().all(|digest| !store.has_blob(digest)));
        assert!(store.has_blob(&artifact));
        assert_eq!(exclusive.repair(&[]).expect("repair"), Vec::<String>::new());
    }

    #[test]
    fn digests_that_are_not_ours_spoil_one_image_only() {
        let (_dir, store) = scratch();
        let sha512 = format!("sha512:{}", "0".repeat(128));
        let mut foreign = config("amd64");
        foreign["rootfs"]["diff_ids"] = json!([sha512]);
        let foreign = store_image(&store, &foreign, CONFIG_TYPE);
        let good = store_image(&store, &config("amd64"), CONFIG_TYPE);
        let in_use = store.in_use().expect("lock");
        let text =
            String::from_utf8(index(&[(good, "amd64"), (Digest::of(b"other"), "s390x")])).expect("text");
        let text = text.replace(&Digest::of(b"other").to_string(), &sha512);
        let partly = store.put_blob(&in_use, text.as_bytes()).expect("put");
        for (text, digest) in [("foreign", foreign), ("good", good), ("partly", partly)] {
            store.set_reference(&in_use, &name(text), &digest).expect("set");
        }
        drop(in_use);
        assert_eq!(store.resolve("foreign").expect_err("of no use").kind(), Kind::Corrupt);
        assert_eq!(store.resolve("partly").expect("resolve").manifest_digest, good);
        assert_eq!(store.list().expect("list").len(), 1);
        let exclusive = store.exclusive().expect("lock");
        let report = exclusive.repair(&[]).expect("repair");
        assert!(report[0].contains(&sha512), "{report:?}");
        exclusive.remove("good", false, &[]).expect("remove");
        exclusive.remove("foreign", false, &[]).expect("remove");
        assert!(exclusive.repair(&[]).expect("repair").iter().all(|line| line.contains("nothing used")));
        assert!(store.has_blob(&good) && !store.has_blob(&foreign));
    }
}
