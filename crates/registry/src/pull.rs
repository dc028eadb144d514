//! Pull: an image from a registry into the store.
//!
//! ```text
//! name -> manifest, or index -> manifest for the platform -> configuration -> layers -> documents -> name
//!                                                         '-> an artifact: configuration, blobs -> documents -> name
//! ```
//! Two blobs are fetched at a time; layers are converted in their order, each while it comes in, since one may need
//! those below it. What is there already is not fetched, and what another process fetches or converts just now is
//! waited for.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use holm_spec::image::{Descriptor, ImageConfiguration, ImageManifest};
use holm_spec::platform::Platform;
use holm_spec::{Digest, Reference};
use holm_store::{ReceivedImage, Store, is_image_config};

use crate::connections::Connections;
use crate::document::{self, Document, Layer};
use crate::error::{Error, Kind, Result};
use crate::fetch::Fetch;
use crate::policy::{Candidate, Policy};
use crate::repository::Repository;
use crate::spool::Spool;

/// Blobs that are fetched at a time.
const FETCHED_AT_A_TIME: usize = 2;
/// How often what another process took away, or left damaged, is fetched again.
const ROUNDS: u32 = 3;

/// What happens to a layer or a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is there already.
    Exists,
    /// The registry took it over from another repository of its own.
    Mounted,
    /// A registry on this host took it from this host's images.
    Taken,
    /// It is going to be moved.
    Begins {
        /// Its size in bytes; none where it is yet to be packed.
        size: Option<u64>,
    },
    /// So many of its bytes are there.
    Moved {
        /// In bytes.
        bytes: u64,
        /// Its size in bytes.
        size: u64,
    },
    /// It is where it should be.
    Complete,
}

/// Hears how far a pull or a push is, from several threads.
pub trait Observer: Sync {
    /// It is known what there is to move.
    fn found(&self);
    /// Something happened to the layer or blob with this digest.
    fn layer(&self, layer: &Digest, step: Step);
}

/// What is to be pulled.
#[derive(Clone, Copy)]
pub struct PullRequest<'a> {
    /// Its name.
    pub reference: &'a Reference,
    /// For which platform; this machine's if absent.
    pub platform: Option<&'a Platform>,
    /// Says which manifests are taken.
    pub policy: &'a dyn Policy,
}

/// What was pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// What the name stands for in the registry: digest of a manifest or an index.
    pub digest: Digest,
    /// It was not there under this name before.
    pub newer: bool,
}

/// Pulls an image or an artifact, as the kernel of virtual machines is one.
///
/// # Errors
/// By what went wrong; all name the image, and the registry or the layer. No name has changed then.
pub fn pull(
    store: &Store,
    connections: &Connections,
    request: &PullRequest<'_>,
    observer: &dyn Observer,
) -> Result<Pulled> {
    pull_from_any(store, connections, request, observer)
        .map_err(|error| error.about(format!("pull `{}`", request.reference.familiar())))
}

/// From the first source that has it. One that fails in the middle has left what it gave.
fn pull_from_any(
    store: &Store,
    connections: &Connections,
    request: &PullRequest<'_>,
    observer: &dyn Observer,
) -> Result<Pulled> {
    let mut sources = connections.sources(request.reference)?.into_iter().peekable();
    while let Some((client, path)) = sources.next() {
        let repository = Repository::to_read(&client, &path);
        match (Pull { store, repository, request, observer }).run() {
            Err(error) if sources.peek().is_some() && !matches!(error.kind(), Kind::Store(_)) => {
                tracing::warn!("{}: {}; another source is asked", client.domain(), holm_store::chain(&error));
            }
            result => return result,
        }
    }
    unreachable!("the last source returns")
}

struct Pull<'a> {
    store: &'a Store,
    repository: Repository<'a>,
    request: &'a PullRequest<'a>,
    observer: &'a dyn Observer,
}

/// The documents of an image or an artifact.
struct Remote {
    /// What the name stands for.
    digest: Digest,
    index: Option<Vec<u8>>,
    manifest_digest: Digest,
    manifest: Vec<u8>,
    config: Vec<u8>,
    content: Content,
}

/// What a manifest names beside its configuration.
enum Content {
    Layers(Vec<Layer>),
    Artifact(Box<ImageManifest>),
}

/// A layer or blob that is not there.
struct Missing<'a> {
    noun: &'static str,
    digest: Digest,
    size: u64,
    spool: Spool,
    /// A layer, and its place.
    layer: Option<(usize, &'a Layer)>,
}

impl Pull<'_> {
    fn run(&self) -> Result<Pulled> {
        let remote = self.remote()?;
        self.observer.found();
        let known = self.store.digest_of_name(self.request.reference).unwrap_or_default();
        let digest = self.named(&remote);
        let mut newer = known != Some(digest);
        for round in 1.. {
            let missing = self.missing(&remote)?;
            newer |= !missing.is_empty();
            match self.receive(&missing, &remote).and_then(|()| self.publish(&remote, digest)) {
                Err(error) if round < ROUNDS && is_passing(&error) => {}
                result => return result.map(|()| Pulled { digest: remote.digest, newer }),
            }
        }
        unreachable!("the last round returns")
    }

    fn publish(&self, remote: &Remote, digest: Digest) -> Result<()> {
        let documents: Vec<&[u8]> = [Some(&remote.config), Some(&remote.manifest), remote.index.as_ref()]
            .into_iter()
            .flatten()
            .map(Vec::as_slice)
            .collect();
        let blobs: Vec<Digest> = match &remote.content {
            Content::Layers(_) => Vec::new(),
            Content::Artifact(manifest) => {
                self.store
                    .check_artifact(manifest, &remote.config)
                    .map_err(|error| Error::store("use it as a kernel", error))?;
                manifest.layers().iter().map(document::digest_of).collect::<Result<_>>()?
            }
        };
        let image = ReceivedImage {
            documents: &documents,
            diff_ids: &remote.diff_ids(),
            reference: self.request.reference,
            digest,
            blobs: &blobs,
        };
        self.store.publish_received(&image).map_err(|error| Error::store("write the image", error))
    }

    /// What the name is to stand for here: the index as in the registry, where that means the same image. For another
    /// platform than this machine's it would not.
    fn named(&self, remote: &Remote) -> Digest {
        match self.request.platform {
            Some(platform) if *platform != Platform::host() => remote.manifest_digest,
            _ => remote.digest,
        }
    }

    /// Everything about the image but its layers.
    fn remote(&self) -> Result<Remote> {
        let (digest, first) = self.repository.manifest_of(self.request.reference)?;
        self.accept(&digest, &first)?;
        let (index, manifest_digest, manifest) = match document::parse(&first)? {
            Document::Manifest(_) => (None, digest, first),
            Document::Index(index) => {
                let entry = document::choose(index.manifests(), &self.platform())?;
                let chosen = document::digest_of(entry)?;
                let (_, manifest) = self.repository.manifest(&chosen.to_string(), Some(chosen))?;
                self.check_size("manifest", entry, &manifest)?;
                self.accept(&chosen, &manifest)?;
                (Some(first), chosen, manifest)
            }
        };
        let Document::Manifest(parsed) = document::parse(&manifest)? else {
            return Err(Error::new(Kind::Invalid, format!("the image index {digest} lists another index")));
        };
        let (config, content) = self.content(parsed)?;
        Ok(Remote { digest, index, manifest_digest, manifest, config, content })
    }

    fn accept(&self, digest: &Digest, content: &[u8]) -> Result<()> {
        let media_type = document::media_type_of(content);
        self.request.policy.accept(&Candidate { digest, media_type: &media_type, content })
    }

    fn platform(&self) -> Platform {
        self.request.platform.cloned().unwrap_or_else(Platform::host)
    }

    /// The configuration, and what it and the manifest say of the rest.
    fn content(&self, manifest: Box<ImageManifest>) -> Result<(Vec<u8>, Content)> {
        let content = self.repository.document(&document::digest_of(manifest.config())?)?;
        self.check_size("configuration", manifest.config(), &content)?;
        if !is_image_config(&manifest) {
            return Ok((content, Content::Artifact(manifest)));
        }
        let config = document::parse_configuration(&content)?;
        self.check_platform(&config)?;
        let layers = document::layers(&manifest, &config)?;
        Ok((content, Content::Layers(layers)))
    }

    fn check_size(&self, what: &str, descriptor: &Descriptor, content: &[u8]) -> Result<()> {
        let (told, is, registry) = (descriptor.size(), content.len(), self.repository.domain());
        if told == is as u64 {
            return Ok(());
        }
        let digest = descriptor.digest();
        let text = format!("the {what} {digest} from {registry} has {is} bytes, not {told}");
        Err(Error::new(Kind::Invalid, text))
    }

    fn check_platform(&self, config: &ImageConfiguration) -> Result<()> {
        let (os, architecture) = (config.os().to_string(), config.architecture().to_string());
        let made_for = Platform { os, architecture };
        match self.request.platform {
            Some(platform) if *platform != made_for => {
                Err(Error::new(Kind::Platform, format!("it is made for {made_for}, not for {platform}")))
            }
            _ => Ok(()),
        }
    }

    /// The layers or blobs that are not there.
    fn missing<'r>(&self, remote: &'r Remote) -> Result<Vec<Missing<'r>>> {
        let mut missing = Vec::new();
        let mut note = |digest: Digest, size: u64, there: bool, layer: Option<(usize, &'r Layer)>| {
            self.observer
                .layer(&digest, if there { Step::Exists } else { Step::Begins { size: Some(size) } });
            let noun = if layer.is_some() { "layer" } else { "blob" };
            if !there {
                missing.push(Missing { noun, digest, size, spool: Spool::default(), layer });
            }
        };
        match &remote.content {
            Content::Layers(layers) => {
                let diff_ids = remote.diff_ids();
                for (place, layer) in layers.iter().enumerate() {
                    let there = self.store.holds_layers(&diff_ids[..=place])?;
                    note(layer.digest, layer.size, there, Some((place, layer)));
                }
            }
            Content::Artifact(manifest) => {
                for blob in manifest.layers() {
                    let digest = document::digest_of(blob)?;
                    note(digest, blob.size(), self.store.packed(&digest)?.is_some(), None);
                }
            }
        }
        Ok(missing)
    }

    /// Some threads fetch, this one converts.
    fn receive(&self, missing: &[Missing<'_>], remote: &Remote) -> Result<()> {
        let (next, abandoned) = (AtomicUsize::new(0), AtomicBool::new(false));
        let fetch = || {
            while let Some(missing) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.fetch(missing, &abandoned);
            }
        };
        let diff_ids = remote.diff_ids();
        std::thread::scope(|scope| {
            for _ in 0..FETCHED_AT_A_TIME.min(missing.len()) {
                scope.spawn(fetch);
            }
            let received = missing.iter().try_for_each(|missing| match missing.layer {
                Some((place, layer)) => self.convert(missing, layer, &diff_ids[..=place]),
                None => self.await_blob(missing),
            });
            abandoned.store(received.is_err(), Ordering::Relaxed);
            received
        })
    }

    fn fetch(&self, missing: &Missing<'_>, abandoned: &AtomicBool) {
        let Missing { noun, digest, size, spool, .. } = missing;
        let (store, repository) = (self.store, &self.repository);
        let fetch = Fetch { store, repository, noun, digest: *digest, size: *size, spool, abandoned };
        fetch.run(&|bytes| self.observer.layer(digest, Step::Moved { bytes, size: *size }));
    }

    fn await_blob(&self, missing: &Missing<'_>) -> Result<()> {
        missing.spool.wait();
        match missing.spool.take_failure() {
            Some(failure) => Err(failure),
            None => {
                self.observer.layer(&missing.digest, Step::Complete);
                Ok(())
            }
        }
    }

    /// Makes the layer, the last one of `diff_ids`, unless it is there by now: the same layer may stand in an image
    /// twice, and another process may be faster.
    fn convert(&self, missing: &Missing<'_>, layer: &Layer, diff_ids: &[Digest]) -> Result<()> {
        let _turn = self.store.begin_layer(&layer.digest, &|| true)?;
        if !self.store.holds_layers(diff_ids)? {
            let (_, below) = diff_ids.split_last().expect("this layer is one of them");
            self.store
                .receive_layer(missing.spool.reader(), &layer.expected(below))
                .map_err(|error| self.refusal(missing, error))?;
        }
        self.observer.layer(&layer.digest, Step::Complete);
        Ok(())
    }

    /// Why a layer was not taken: that it could not be fetched and that it has another digest come before what is wrong
    /// in it.
    fn refusal(&self, missing: &Missing<'_>, error: holm_store::Error) -> Error {
        let (digest, registry) = (missing.digest, self.repository.domain());
        if error.kind() == holm_store::Kind::NoSpace {
            return Error::store(format!("keep layer {digest} from {registry}"), error);
        }
        missing.spool.wait();
        let used = || Error::store(format!("use layer {digest} from {registry}"), error);
        missing.spool.take_failure().unwrap_or_else(used)
    }
}

impl Remote {
    /// Digests of the tars of the layers, lowest first; none of an artifact.
    fn diff_ids(&self) -> Vec<Digest> {
        match &self.content {
            Content::Layers(layers) => layers.iter().map(|layer| layer.diff_id).collect(),
            Content::Artifact(_) => Vec::new(),
        }
    }
}

/// Whether another attempt begins with other things: another process took something away, or had left something that
/// was damaged.
fn is_passing(error: &Error) -> bool {
    matches!(error.kind(), Kind::Stale | Kind::Store(holm_store::Kind::Corrupt))
}
