//! Artifacts: whatever a registry keeps that is neither an image nor a kernel (OCI image specification 1.1, "Guidelines for
//! Artifact Usage"): signatures, lists of contents, charts, files.
//!
//! ```text
//! blobs/sha256/<hex>     manifest, configuration (as a rule the empty one), files
//! refs/<name>            as of an image
//! ```
//! Of its files the store knows no more than what the manifest says of them.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use holm_spec::image::{Descriptor, ImageManifest, ImageManifestBuilder, MediaType};
use holm_spec::{Digest, Reference, Timestamp};
use holm_sys::file::{Draft, sync_directory};

use crate::document::{self, Document, canonical, descriptor};
use crate::error::{Error, Kind, Result};
use crate::image::{Known, Name, Sort};
use crate::import::check_taggable;
use crate::ingest::Ingest;
use crate::pack::Hashed;
use crate::store::{InUse, Store};

/// The configuration of an artifact that has none.
const EMPTY: &[u8] = b"{}";
/// Annotation with the name of a file.
const TITLE: &str = "org.opencontainers.image.title";

/// An artifact: its documents, read and verified.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// Its id: digest of the manifest.
    pub id: Digest,
    /// What the name resolved to: digest of the manifest, or of an index that lists it.
    pub digest: Digest,
    /// The manifest.
    pub manifest: ImageManifest,
    /// The name that it was found by; none where it was found by its id.
    pub reference: Option<Reference>,
}

/// A row of the list of artifacts.
#[derive(Clone, Debug)]
pub struct ArtifactSummary {
    /// The artifact.
    pub artifact: Artifact,
    /// Its names, sorted; none where all of them moved on.
    pub names: Vec<Name>,
    /// When a name last got this meaning.
    pub named: Timestamp,
}

/// A file of an artifact.
#[derive(Clone, Debug)]
pub struct ArtifactFile {
    /// Its name, where it has one: no path, and safe to be made in a directory.
    pub name: Option<String>,
    /// What it is.
    pub media_type: String,
    /// Digest of its content.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// What is to become an artifact.
#[derive(Clone, Copy, Debug)]
pub struct ImportArtifact<'a> {
    /// Its name.
    pub reference: &'a Reference,
    /// What kind of artifact it is, as a media type.
    pub artifact_type: &'a str,
    /// Annotations of the manifest.
    pub annotations: &'a BTreeMap<String, String>,
    /// The manifest that it is about.
    pub subject: Option<&'a Descriptor>,
    /// Files, each with its media type.
    pub files: &'a [(&'a Path, &'a str)],
}

impl Artifact {
    /// What kind of artifact it is: what it says, else the type of its configuration.
    pub fn artifact_type(&self) -> String {
        let told = self.manifest.artifact_type().as_ref().map(ToString::to_string);
        told.unwrap_or_else(|| self.manifest.config().media_type().to_string())
    }

    /// Its files.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] for a digest that is none of ours.
    pub fn files(&self) -> Result<Vec<ArtifactFile>> {
        let is_file = |layer: &&Descriptor| *layer.media_type() != MediaType::EmptyJSON;
        self.manifest.layers().iter().filter(is_file).map(file_of).collect()
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.manifest.layers().iter().map(Descriptor::size).fold(0, u64::saturating_add)
    }
}

fn file_of(layer: &Descriptor) -> Result<ArtifactFile> {
    let title = layer.annotations().as_ref().and_then(|annotations| annotations.get(TITLE));
    let is_safe = |name: &&String| {
        !matches!(name.as_str(), "" | "." | "..") && !name.contains(|c: char| c == '/' || c.is_control())
    };
    Ok(ArtifactFile {
        name: title.filter(is_safe).cloned(),
        media_type: layer.media_type().to_string(),
        digest: document::digest_of(layer)?,
        size: layer.size(),
    })
}

impl Store {
    /// Finds an artifact by what a user wrote, in the order of [`Store::resolve`].
    ///
    /// # Errors
    /// Those of [`Store::resolve`]; [`Kind::WrongSort`] if the name is an image's or a kernel's.
    pub fn artifact(&self, name: &str) -> Result<Artifact> {
        let (digest, reference) = self.find(name, Sort::Artifact)?;
        let artifact = self.open_artifact(digest, reference);
        artifact.map_err(|error| error.about(format!("open artifact `{name}`")))
    }

    fn open_artifact(&self, digest: Digest, reference: Option<Reference>) -> Result<Artifact> {
        let (id, manifest) = self.manifest(digest).map_err(Error::missing_is_damage)?;
        Sort::of(&manifest).expect(Sort::Artifact)?;
        Ok(Artifact { id, digest, manifest, reference })
    }

    /// Every artifact, the one that was named last first. Damaged ones are left out with a warning.
    ///
    /// # Errors
    /// What listing and reading report.
    pub fn artifacts(&self) -> Result<Vec<ArtifactSummary>> {
        let mut found: BTreeMap<Digest, Vec<Known>> = BTreeMap::new();
        for known in self.known(Sort::Artifact)? {
            found.entry(known.manifest_digest).or_default().push(known);
        }
        let mut rows = Vec::with_capacity(found.len());
        for known in found.into_values() {
            let Some(first) = known.first() else { continue };
            let artifact = match self.open_artifact(first.record.digest, first.record.reference.clone()) {
                Err(error) if error.kind() == Kind::Corrupt => {
                    tracing::warn!("{error}");
                    continue;
                }
                artifact => artifact?,
            };
            let named = known.iter().map(|known| known.record.updated).max().unwrap_or_default();
            let names = known.into_iter().filter_map(|known| Name::of(known.record)).collect();
            rows.push(ArtifactSummary { artifact, names, named });
        }
        rows.sort_by(|a, b| b.named.cmp(&a.named).then_with(|| a.artifact.id.cmp(&b.artifact.id)));
        Ok(rows)
    }

    /// Makes an artifact of files; gives its id. The same files give the same artifact.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a name with a digest, or a file without a name; [`Kind::NoSpace`], [`Kind::ReadOnly`],
    /// [`Kind::Locked`], [`Kind::Io`].
    pub fn import_artifact(&self, request: &ImportArtifact<'_>) -> Result<Digest> {
        check_taggable(request.reference)?;
        check_names(request.files)?;
        let ingest = Ingest::begin(self)?;
        let files = request.files.iter().enumerate();
        let files = files.map(|(number, (path, media_type))| take(&ingest, number, path, media_type));
        let files = files.collect::<Result<Vec<_>>>()?;
        let in_use = self.in_use()?;
        for (number, layer) in files.iter().enumerate() {
            let digest = document::digest_of(layer)?;
            self.put_packed(&ingest, &number.to_string(), &digest, &in_use)?;
        }
        let blobs = self.paths().blobs();
        sync_directory(&blobs).map_err(|error| Error::io(format!("write `{}`", blobs.display()), error))?;
        let manifest = self.put_artifact(&in_use, request, files)?;
        self.set_reference(&in_use, request.reference, &manifest)?;
        Ok(manifest)
    }

    fn put_artifact(
        &self,
        in_use: &InUse,
        request: &ImportArtifact<'_>,
        mut files: Vec<Descriptor>,
    ) -> Result<Digest> {
        let empty = self.put_blob(in_use, EMPTY)?;
        let mut config = descriptor(MediaType::EmptyJSON, EMPTY.len() as u64, &empty);
        config.set_data(Some("e30=".to_owned()));
        if files.is_empty() {
            files.push(config.clone());
        }
        let mut builder = ImageManifestBuilder::default()
            .schema_version(2_u32)
            .media_type(MediaType::ImageManifest)
            .artifact_type(MediaType::from(request.artifact_type))
            .config(config)
            .layers(files);
        if let Some(subject) = request.subject {
            builder = builder.subject(subject.clone());
        }
        if !request.annotations.is_empty() {
            builder = builder.annotations(request.annotations.clone().into_iter().collect::<HashMap<_, _>>());
        }
        self.put_blob(in_use, &canonical(&builder.build().expect("every required field is set")))
    }

    /// The descriptor of a manifest or index here, as the subject of others.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] where it is missing or damaged.
    pub fn subject(&self, digest: &Digest) -> Result<Descriptor> {
        let content = self.blob(digest).map_err(Error::missing_is_damage)?;
        let (told, usual) = match document::parse(digest, &content)? {
            Document::Manifest(manifest) => (manifest.media_type().clone(), MediaType::ImageManifest),
            Document::Index(index) => (index.media_type().clone(), MediaType::ImageIndex),
        };
        Ok(descriptor(told.unwrap_or(usual), content.len() as u64, digest))
    }

    /// Writes a file of an artifact to `path`, which it gets, in place of what is there, when it is whole and on the disk.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] where it is missing or damaged; [`Kind::NoSpace`], [`Kind::Io`] naming the path.
    pub fn extract_artifact_file(&self, file: &ArtifactFile, path: &Path) -> Result<()> {
        let missing = || Error::new(Kind::Corrupt, format!("blob {} is missing", file.digest));
        let mut input = self.packed(&file.digest)?.ok_or_else(missing)?;
        let mut write = || {
            let mut draft = Draft::begin(path)?;
            io::copy(&mut input, draft.file())?;
            draft.finish(path)
        };
        write().map_err(|error| Error::io(format!("write `{}`", path.display()), error))
    }
}

/// Each file has a name of its own.
fn check_names(files: &[(&Path, &str)]) -> Result<()> {
    let mut names: Vec<_> = files.iter().filter_map(|(path, _)| path.file_name()).collect();
    names.sort_unstable();
    match names.windows(2).find(|two| two[0] == two[1]) {
        Some(two) => Err(Error::new(Kind::Invalid, format!("two files are called `{}`", two[0].display()))),
        None => Ok(()),
    }
}

/// Takes a file into the ingest directory, under its number.
fn take(ingest: &Ingest, number: usize, path: &Path, media_type: &str) -> Result<Descriptor> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Error::new(Kind::Invalid, format!("`{}` has no name", path.display())))?;
    let failed = |error| Error::io(format!("read `{}`", path.display()), error);
    let mut input = File::open(path).map_err(failed)?;
    let target = ingest.path().join(number.to_string());
    let file = File::options().write(true).create_new(true).mode(0o600).open(&target).map_err(failed)?;
    let mut out = Hashed::new(file);
    io::copy(&mut input, &mut out).and_then(|_| out.flush()).map_err(failed)?;
    let (file, digest, size) = out.finish();
    file.sync_data().map_err(failed)?;
    let mut layer = descriptor(MediaType::from(media_type), size, &digest);
    layer.set_annotations(Some(HashMap::from([(TITLE.to_owned(), name.to_owned())])));
    Ok(layer)
}
