//! Push: an image, or the kernel of virtual machines, from the store to a registry.
//!
//! ```text
//! for each manifest   layers: there already? in another repository of the registry? kept as packed? else packed now
//!                     configuration
//!                     the manifest itself, with what was packed now in it
//! index, if the name stands for one and all of it is here
//! ```
//! What was pulled goes byte for byte, as long as its layers are kept as they came or the registry has them. A layer
//! that has no packed form is packed, and the manifest then names that: the image's id stays, its digest changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::OnceLock;

use holm_spec::image::Descriptor;
use holm_spec::{Digest, Reference};
use holm_store::compression::Compression;
use holm_store::{Publication, PublishedManifest, Store, StoredLayer};

use crate::client::Client;
use crate::document;
use crate::error::{Error, Kind, Result};
use crate::node::Node;
use crate::packed::{Form, rewrite_index, rewrite_manifest};
use crate::parallel::{AT_A_TIME, in_parallel};
use crate::pull::{Observer, Step};
use crate::repository::Repository;

/// What is to be pushed.
#[derive(Clone, Copy, Debug)]
pub struct PushRequest<'a> {
    /// Its name, which says where it goes.
    pub reference: &'a Reference,
    /// How layers are to be packed; where it is not said, as they are, and by gzip where they are not packed.
    pub compression: Option<Compression>,
}

/// What was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// What the name stands for in the registry from now on.
    pub digest: Digest,
    /// Size of that document in bytes.
    pub size: u64,
    /// Of an image for several platforms only the one for this machine went, since the others are not here.
    pub partial: bool,
}

/// Pushes what a name stands for. `observer` hears of layers by their diff-ids, and of other blobs by their digests.
///
/// # Errors
/// By what went wrong; all name the image, and the registry or the layer. The registry's name has not changed then.
pub fn push(
    store: &Store,
    client: &Client,
    request: &PushRequest<'_>,
    observer: &dyn Observer,
) -> Result<Pushed> {
    let repository = Repository::to_write(client, request.reference.path());
    let push = Push { store, repository, request, observer, siblings: OnceLock::new() };
    push.run().map_err(|error| error.about(format!("push `{}`", request.reference.familiar())))
}

struct Push<'a> {
    store: &'a Store,
    repository: Repository<'a>,
    request: &'a PushRequest<'a>,
    observer: &'a dyn Observer,
    /// Which repositories of the registry have what, as far as is known here.
    siblings: OnceLock<BTreeMap<Digest, BTreeSet<String>>>,
}

impl Push<'_> {
    fn run(&self) -> Result<Pushed> {
        let reference = self.request.reference;
        let tag = reference.tag().filter(|_| reference.digest().is_none());
        let tag = tag.ok_or_else(|| Error::new(Kind::Invalid, "only a name with a tag can be pushed"))?;
        let publication =
            self.store.publication(reference).map_err(|error| Error::store(error.to_string(), error))?;
        let mut sent = Vec::new();
        for manifest in &publication.manifests {
            sent.push(self.manifest(manifest)?);
        }
        let top = match &publication.index {
            Some(index) => {
                for manifest in &sent {
                    self.repository.put_manifest(&manifest.digest.to_string(), manifest)?;
                }
                rewrite_index(&index.content, &publication.manifests, &sent)?
            }
            None => sent.swap_remove(0),
        };
        self.repository.put_manifest(tag, &top)?;
        self.remember(&publication, &top)?;
        Ok(Pushed { digest: top.digest, size: top.content.len() as u64, partial: publication.partial })
    }

    /// The name stands here, too, for what the registry has.
    fn remember(&self, publication: &Publication, top: &Node) -> Result<()> {
        let [manifest] = &publication.manifests[..] else { return Ok(()) };
        if publication.index.is_some() || publication.partial || manifest.document.content == top.content {
            return Ok(());
        }
        self.store
            .published_as(self.request.reference, &manifest.document.digest, &top.content)
            .map_err(|error| Error::store("write down what was pushed", error))
    }

    /// Sends what a manifest names; gives what is to be sent for the manifest.
    fn manifest(&self, manifest: &PublishedManifest) -> Result<Node> {
        // First, since it shows whether we may, and layers may take long to pack.
        self.config(&manifest.config)?;
        self.observer.found();
        let told = manifest.manifest.layers();
        let forms = match &manifest.layers {
            Some(layers) => {
                let both: Vec<(&Descriptor, &StoredLayer)> = told.iter().zip(layers).collect();
                in_parallel(&both, AT_A_TIME, |(told, layer)| self.layer(told, layer))?
            }
            None => {
                in_parallel(told, AT_A_TIME, |blob| self.blob(&document::digest_of(blob)?))?;
                Vec::new()
            }
        };
        rewrite_manifest(manifest, &forms)
    }

    /// Sees to it that the registry has a layer; gives the form in which it does.
    fn layer(&self, told: &Descriptor, layer: &StoredLayer) -> Result<Form> {
        let forms = Form::known(told, layer, self.request.compression)?;
        for form in &forms {
            if self.is_there(&form.digest, &layer.diff_id)? {
                return Ok(*form);
            }
        }
        for form in &forms {
            let Some(file) = self.store.packed_unchecked(&form.digest, form.size)? else { continue };
            match self.send(form, &file, &layer.diff_id) {
                // The registry has hashed it. If it is damaged here, it is packed anew.
                Err(error) if error.kind() == Kind::Invalid && self.store.packed(&form.digest)?.is_none() => {
                }
                sent => return sent.map(|()| *form),
            }
        }
        self.observer.layer(&layer.diff_id, Step::Begins { size: None });
        let form = Form::made(self.store, &layer.key, self.request.compression)?;
        if !forms.contains(&form) && self.is_there(&form.digest, &layer.diff_id)? {
            return Ok(form);
        }
        let gone = || Error::new(Kind::Io, format!("layer {}: somebody removed it just now", layer.diff_id));
        let file = self.store.packed_unchecked(&form.digest, form.size)?.ok_or_else(gone)?;
        self.send(&form, &file, &layer.diff_id)?;
        Ok(form)
    }

    /// Sees to it that the registry has a configuration. It is small, and nobody hears of it.
    fn config(&self, digest: &Digest) -> Result<()> {
        if self.repository.has_blob(digest)? {
            return Ok(());
        }
        let (file, size) = self.kept(digest)?;
        self.repository.put_blob(digest, size, &|| Ok(FileReader::open(&file, size, &|_| ()))).map(drop)
    }

    /// Sees to it that the registry has a blob of an artifact.
    fn blob(&self, digest: &Digest) -> Result<()> {
        if self.is_there(digest, digest)? {
            return Ok(());
        }
        let (file, size) = self.kept(digest)?;
        self.send(&Form { digest: *digest, size, compression: Compression::None }, &file, digest)
    }

    /// A blob that must be here, and its size.
    fn kept(&self, digest: &Digest) -> Result<(File, u64)> {
        let missing =
            || Error::new(Kind::Store(holm_store::Kind::Corrupt), format!("blob {digest} is missing"));
        let file = self.store.packed(digest)?.ok_or_else(missing)?;
        let size = file.metadata().map_err(|error| Error::because(Kind::Io, "look at a blob", error))?.len();
        Ok((file, size))
    }

    /// Whether the registry has a blob, or takes it over from another repository.
    fn is_there(&self, digest: &Digest, shown: &Digest) -> Result<bool> {
        if self.repository.has_blob(digest)? {
            self.observer.layer(shown, Step::Exists);
            return Ok(true);
        }
        let own = self.request.reference.path();
        for path in self.siblings()?.get(digest).into_iter().flatten() {
            if path != own && self.repository.mount(digest, path)? {
                self.observer.layer(shown, Step::Mounted);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Read once, when the first blob is missing. Two threads may both read it.
    fn siblings(&self) -> Result<&BTreeMap<Digest, BTreeSet<String>>> {
        if let Some(known) = self.siblings.get() {
            return Ok(known);
        }
        let found = self.store.repositories_by_blob(self.repository.domain())?;
        Ok(self.siblings.get_or_init(|| found))
    }

    fn send(&self, form: &Form, file: &File, shown: &Digest) -> Result<()> {
        let size = form.size;
        self.observer.layer(shown, Step::Begins { size: Some(size) });
        let told = |bytes| self.observer.layer(shown, Step::Moved { bytes, size });
        let sent =
            self.repository.put_blob(&form.digest, size, &|| Ok(FileReader::open(file, size, &told)))?;
        self.observer.layer(shown, if sent { Step::Complete } else { Step::Taken });
        Ok(())
    }
}

/// A file on its way.
struct FileReader<'a> {
    file: &'a File,
    at: u64,
    size: u64,
    told: &'a dyn Fn(u64),
}

impl<'a> FileReader<'a> {
    /// Reads the first `size` bytes; `told` hears how many were read.
    fn open(file: &'a File, size: u64, told: &'a dyn Fn(u64)) -> Box<dyn Read + 'a> {
        Box::new(Self { file, at: 0, size, told })
    }
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size - self.at).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let length = self.file.read_at(&mut buffer[..length], self.at)?;
        self.at += length as u64;
        (self.told)(self.at);
        Ok(length)
    }
}
