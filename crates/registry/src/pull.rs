//! Pull: an image from a registry into the store.
//!
//! ```text
//! name -> manifest, or index -> manifest for the platform -> configuration -> layers -> documents -> name
//! ```
//! Two layers are fetched at a time, into spools; the layers are converted in their order, each while it comes in,
//! since one may need those below it. What is there already is not fetched.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use holm_spec::image::{ImageConfiguration, ImageManifest};
use holm_spec::platform::Platform;
use holm_spec::{Digest, Reference};
use holm_store::{DOCUMENT_LIMIT, ExpectedLayer, Ingest, ReceivedImage, Store};

use crate::client::{Call, Client};
use crate::document::{self, Document, Layer};
use crate::download::Download;
use crate::error::{Error, Kind, Result};
use crate::spool::Spool;

/// Layers that are fetched at a time.
const FETCHED_AT_A_TIME: usize = 2;
/// How often layers that another process took away are fetched again.
const ROUNDS: u32 = 3;

/// What happens to a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is there already.
    Exists,
    /// It is going to be fetched.
    Begins {
        /// Its size in bytes.
        size: u64,
    },
    /// So many of its bytes are there.
    Fetched {
        /// In bytes.
        bytes: u64,
        /// Its size in bytes.
        size: u64,
        /// So many of them came just now.
        new: u64,
    },
    /// It is in the store.
    Complete,
}

/// Hears how far a pull is, from several threads.
pub trait Observer: Sync {
    /// Something happened to the layer with this digest.
    fn layer(&self, layer: &Digest, step: Step);
}

/// What is to be pulled.
#[derive(Clone, Copy, Debug)]
pub struct PullRequest<'a> {
    /// Its name.
    pub reference: &'a Reference,
    /// For which platform; this machine's if absent.
    pub platform: Option<&'a Platform>,
}

/// What was pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// What the name stands for in the registry: digest of a manifest or an index.
    pub digest: Digest,
    /// It was not there under this name before.
    pub newer: bool,
}

/// Pulls an image.
///
/// # Errors
/// By what went wrong; all name the image, and the registry or the layer. No name has changed then.
pub fn pull(
    store: &Store,
    client: &Client,
    request: &PullRequest<'_>,
    observer: &dyn Observer,
) -> Result<Pulled> {
    let pull = Pull { store, client, request, observer };
    pull.run().map_err(|error| error.about(format!("pull `{}`", request.reference.familiar())))
}

struct Pull<'a> {
    store: &'a Store,
    client: &'a Client,
    request: &'a PullRequest<'a>,
    observer: &'a dyn Observer,
}

/// The documents of an image.
struct Remote {
    /// What the name stands for.
    digest: Digest,
    index: Option<Vec<u8>>,
    manifest_digest: Digest,
    manifest: Vec<u8>,
    config: Vec<u8>,
    layers: Vec<Layer>,
}

impl Pull<'_> {
    fn run(&self) -> Result<Pulled> {
        let remote = self.remote()?;
        let diff_ids: Vec<Digest> = remote.layers.iter().map(|layer| layer.diff_id).collect();
        let known = self.store.digest_of_name(self.request.reference).unwrap_or_default();
        let digest = self.named(&remote);
        let newer = known != Some(digest) || !self.store.holds_layers(&diff_ids)?;
        let documents: Vec<&[u8]> = [Some(&remote.config), Some(&remote.manifest), remote.index.as_ref()]
            .into_iter()
            .flatten()
            .map(Vec::as_slice)
            .collect();
        let image = ReceivedImage {
            documents: &documents,
            diff_ids: &diff_ids,
            reference: self.request.reference,
            digest,
        };
        for round in 1.. {
            self.layers(&remote.layers, &diff_ids)?;
            match self.store.publish_received(&image) {
                Err(error) if error.kind() == holm_store::Kind::Corrupt && round < ROUNDS => {}
                result => {
                    result.map_err(|error| Error::store("write the image", error))?;
                    break;
                }
            }
        }
        Ok(Pulled { digest: remote.digest, newer })
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
        let reference = self.request.reference;
        let pinned = reference.digest();
        let wanted = pinned.map(|digest| digest.to_string());
        let wanted = wanted.as_deref().or(reference.tag()).unwrap_or("latest");
        let (digest, first) = self.manifest(wanted, pinned)?;
        let (index, manifest_digest, manifest) = match document::parse(&first)? {
            Document::Manifest(_) => (None, digest, first),
            Document::Index(index) => {
                let chosen = document::digest_of(document::choose(&index, &self.platform())?)?;
                let (_, manifest) = self.manifest(&chosen.to_string(), Some(chosen))?;
                (Some(first), chosen, manifest)
            }
        };
        let Document::Manifest(parsed) = document::parse(&manifest)? else {
            return Err(Error::new(Kind::Invalid, format!("the image index {digest} lists another index")));
        };
        let (config, layers) = self.configuration(&parsed)?;
        Ok(Remote { digest, index, manifest_digest, manifest, config, layers })
    }

    fn platform(&self) -> Platform {
        self.request.platform.cloned().unwrap_or_else(Platform::host)
    }

    /// The manifest or index behind a tag or digest, with its digest.
    fn manifest(&self, wanted: &str, pinned: Option<Digest>) -> Result<(Digest, Vec<u8>)> {
        let target = format!("{}/manifests/{wanted}", self.request.reference.path());
        let mut call = Call::get(target, &self.scope(), "ask for the image");
        call.headers.push(("Accept", document::ACCEPT.to_owned()));
        let answer = self.client.send(&call)?;
        let told = answer.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        let told = pinned.or_else(|| told?.parse().ok());
        let content = self.client.read(answer, DOCUMENT_LIMIT)?;
        let digest = Digest::of(&content);
        self.expect("manifest", told.unwrap_or(digest), digest)?;
        Ok((digest, content))
    }

    /// The configuration, and what it and the manifest say of the layers.
    fn configuration(&self, manifest: &ImageManifest) -> Result<(Vec<u8>, Vec<Layer>)> {
        let digest = document::digest_of(manifest.config())?;
        let media_type = manifest.config().media_type().to_string();
        if !media_type.contains("image.config") && !media_type.contains("container.image") {
            let text = format!("it is no image: its configuration is of the type `{media_type}`");
            return Err(Error::new(Kind::Invalid, text));
        }
        let target = format!("{}/blobs/{digest}", self.request.reference.path());
        let doing = format!("ask for the configuration {digest}");
        let answer = self.client.send(&Call::get(target, &self.scope(), doing))?;
        let content = self.client.read(answer, DOCUMENT_LIMIT)?;
        self.expect("configuration", digest, Digest::of(&content))?;
        let config = document::parse_configuration(&content)?;
        self.check_platform(&config)?;
        let layers = document::layers(manifest, &config)?;
        Ok((content, layers))
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

    fn expect(&self, what: &str, expected: Digest, actual: Digest) -> Result<()> {
        if expected == actual {
            return Ok(());
        }
        let registry = self.client.domain();
        let text = format!("{registry} sent for the {what} {expected} one with the digest {actual}");
        Err(Error::new(Kind::Invalid, text))
    }

    fn scope(&self) -> String {
        format!("repository:{}:pull", self.request.reference.path())
    }

    /// Fetches and converts the layers that are not there.
    fn layers(&self, layers: &[Layer], diff_ids: &[Digest]) -> Result<()> {
        let mut missing = Vec::new();
        let ingest = self.store.ingest_directory()?;
        for (place, layer) in layers.iter().enumerate() {
            if self.store.holds_layers(&diff_ids[..=place])? {
                self.observer.layer(&layer.digest, Step::Exists);
            } else {
                self.observer.layer(&layer.digest, Step::Begins { size: layer.size });
                missing.push(Missing { place, layer, spool: spool(&ingest, place)? });
            }
        }
        self.receive(&missing, diff_ids)
    }

    /// Some threads fetch, this one converts.
    fn receive(&self, missing: &[Missing<'_>], diff_ids: &[Digest]) -> Result<()> {
        let (next, abandoned) = (AtomicUsize::new(0), AtomicBool::new(false));
        let fetch = || {
            while let Some(missing) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.download(missing, &abandoned);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..FETCHED_AT_A_TIME.min(missing.len()) {
                scope.spawn(fetch);
            }
            let received = missing.iter().try_for_each(|missing| self.convert(missing, diff_ids));
            abandoned.store(received.is_err(), Ordering::Relaxed);
            received
        })
    }

    fn download(&self, missing: &Missing<'_>, abandoned: &AtomicBool) {
        let Missing { layer, spool, .. } = missing;
        let repository = self.request.reference.path();
        let download = Download { client: self.client, repository, layer, spool, abandoned };
        download.run(&|bytes, new| {
            self.observer.layer(&layer.digest, Step::Fetched { bytes, size: layer.size, new });
        });
    }

    fn convert(&self, missing: &Missing<'_>, diff_ids: &[Digest]) -> Result<()> {
        let Missing { place, layer, spool } = missing;
        // The same layer may stand in an image twice.
        if !self.store.holds_layers(&diff_ids[..=*place])? {
            let expected = ExpectedLayer {
                digest: layer.digest,
                size: layer.size,
                compression: layer.compression,
                diff_id: layer.diff_id,
                below: &diff_ids[..*place],
            };
            self.store
                .receive_layer(spool.reader(), &expected)
                .map_err(|error| self.refusal(layer, spool, error))?;
        }
        self.observer.layer(&layer.digest, Step::Complete);
        Ok(())
    }

    /// Why a layer was not taken: that it could not be fetched and that it has another digest come before what is wrong
    /// in it.
    fn refusal(&self, layer: &Layer, spool: &Spool, error: holm_store::Error) -> Error {
        let (digest, registry) = (layer.digest, self.client.domain());
        if error.kind() == holm_store::Kind::NoSpace {
            return Error::store(format!("keep layer {digest} from {registry}"), error);
        }
        spool.wait();
        if let Some(failure) = spool.take_failure() {
            return failure;
        }
        match spool.digest() {
            Ok(actual) if actual != digest => {
                let text = format!("{registry} sent for the layer {digest} one with the digest {actual}");
                Error::new(Kind::Invalid, text)
            }
            _ => Error::store(format!("use layer {digest} from {registry}"), error),
        }
    }
}

/// A layer that is not there.
struct Missing<'a> {
    place: usize,
    layer: &'a Layer,
    spool: Spool,
}

fn spool(ingest: &Ingest, place: usize) -> Result<Spool> {
    Spool::create(&ingest.path().join(format!("layer-{place}")))
}
