//! What another registry has, fetched when somebody asks for it and kept.
//!
//! A tag is looked up upstream each time, and what is here serves while upstream fails. What has a digest is asked for
//! once. A blob on its way is an upload that grows; those who want it read behind it, and get its last byte only when its
//! digest is right.

mod fetch;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holm_registry::{Call, Client, Configuration, Error, Kind, Registries};
use hyper::{Method, StatusCode};
use tokio::sync::{OnceCell, Semaphore};

pub use fetch::{Behind, Fetch};

use crate::digest::{Algorithm, Digest};
use crate::failure::{Code, Failure, Result};
use crate::manifest::{self, LIMIT};
use crate::name::{Reference, Repository, Tag};
use crate::storage::{NewManifest, Storage};

/// Blobs that are fetched at once; each takes a thread.
const FETCHES: usize = 8;
/// Types of manifests that are asked for.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json, */*";

/// Blobs on their way, by where they go; each is begun once.
type Fetches = HashMap<(Repository, Digest), Arc<OnceCell<Arc<Fetch>>>>;

/// A registry that is mirrored.
pub struct Mirror {
    client: Client,
    storage: Arc<Storage>,
    fetches: Mutex<Fetches>,
    turns: Arc<Semaphore>,
}

impl Mirror {
    /// A mirror of `upstream`, a registry's name with or without `https://` in front, with the credentials and rules that
    /// this user has for it.
    ///
    /// # Errors
    /// The user's configuration cannot be used.
    pub fn new(upstream: &str, storage: Arc<Storage>) -> std::result::Result<Self, Error> {
        let (plain, domain) = match (upstream.strip_prefix("https://"), upstream.strip_prefix("http://")) {
            (Some(domain), _) => (false, domain),
            (_, Some(domain)) => (true, domain),
            (None, None) => (false, upstream),
        };
        let domain = domain.trim_end_matches('/');
        let mut rules = Registries::read()?.rules(domain);
        rules.insecure |= plain;
        let client = Client::with(domain, Configuration::read()?.credentials(domain)?, &rules)?;
        Ok(Self { client, storage, fetches: Mutex::default(), turns: Arc::new(Semaphore::new(FETCHES)) })
    }

    /// The upstream registry's name.
    pub fn domain(&self) -> &str {
        self.client.domain()
    }

    /// Brings a manifest here, or up to date. Blocks.
    ///
    /// # Errors
    /// It is nowhere, or upstream fails and it is not here.
    pub fn update(&self, repository: &Repository, reference: &Reference) -> Result<()> {
        let updated = match reference {
            Reference::Digest(digest) => self.update_digest(repository, digest),
            Reference::Tag(tag) => self.update_tag(repository, tag),
        };
        match updated {
            Ok(()) => Ok(()),
            Err(Trouble::Storage(error)) => Err(Failure::storage("keep a manifest", &error)),
            Err(Trouble::Upstream(error)) if error.kind() == Kind::NotFound => {
                Err(Failure::new(Code::ManifestUnknown, format!("{} has no such manifest", self.domain())))
            }
            Err(Trouble::Upstream(error)) if self.is_here(repository, reference) => {
                tracing::warn!("what is here is answered: {error}");
                Ok(())
            }
            Err(Trouble::Upstream(error)) => Err(upstream_failed(self.domain(), &error)),
            Err(Trouble::Refused(failure)) => Err(failure),
        }
    }

    fn is_here(&self, repository: &Repository, reference: &Reference) -> bool {
        let here = match reference {
            Reference::Digest(digest) => self.storage.has_manifest(repository, digest),
            Reference::Tag(tag) => match self.storage.tag(repository, tag) {
                Ok(Some(digest)) => self.storage.has_manifest(repository, &digest),
                other => other.map(|_| false),
            },
        };
        here.unwrap_or(false)
    }

    fn update_digest(&self, repository: &Repository, digest: &Digest) -> std::result::Result<(), Trouble> {
        if self.storage.has_manifest(repository, digest)? {
            return Ok(());
        }
        self.fetch_manifest(repository, &digest.to_string(), Some(digest), &[])
    }

    fn update_tag(&self, repository: &Repository, tag: &Tag) -> std::result::Result<(), Trouble> {
        let mut call = self.call(Method::HEAD, repository, &format!("manifests/{tag}"), "look for the tag");
        call.headers.push(("Accept", ACCEPT.to_owned()));
        let answer = self.client.send(&call)?;
        let told = answer
            .headers()
            .get("docker-content-digest")
            .and_then(|digest| digest.to_str().ok()?.parse().ok());
        if let Some(digest) = &told
            && self.storage.has_manifest(repository, digest)?
        {
            return Ok(self.storage.point(repository, tag, digest)?);
        }
        self.fetch_manifest(repository, tag.as_str(), told.as_ref(), std::slice::from_ref(tag))
    }

    /// Fetches a manifest, whose digest may be known, and keeps it with these tags.
    fn fetch_manifest(
        &self,
        repository: &Repository,
        name: &str,
        expected: Option<&Digest>,
        tags: &[Tag],
    ) -> std::result::Result<(), Trouble> {
        let mut call = self.call(Method::GET, repository, &format!("manifests/{name}"), "fetch the manifest");
        call.headers.push(("Accept", ACCEPT.to_owned()));
        let answer = self.client.send(&call)?;
        let kind =
            answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).map(str::to_owned);
        let content = self.client.read(answer, LIMIT as u64)?;
        let algorithm = expected.map_or(Algorithm::Sha256, Digest::algorithm);
        let digest = algorithm.digest(&content);
        // A tag may have moved between the two requests, but what was asked for by digest is that.
        if let Some(expected) = expected.filter(|expected| **expected != digest && tags.is_empty()) {
            let text = format!("{} sent another manifest for {expected}", self.domain());
            return Err(Trouble::Refused(bad_gateway(text)));
        }
        let facts = manifest::read(&content, kind.as_deref()).map_err(Trouble::Refused)?;
        let new = NewManifest { repository, digest: &digest, content: &content, facts: &facts };
        Ok(self.storage.put_manifest(&new, tags)?)
    }

    fn call<'a>(&self, method: Method, repository: &Repository, tail: &str, doing: &str) -> Call<'a> {
        let mut call = Call::new(
            method,
            format!("{repository}/{tail}"),
            &format!("repository:{repository}:pull"),
            doing,
        );
        // Somebody waits.
        call.attempts = 2;
        call
    }

    /// A blob that is not here, on its way: one fetch for all who ask.
    ///
    /// # Errors
    /// Upstream has none, or fails.
    pub async fn fetch(self: &Arc<Self>, repository: &Repository, digest: &Digest) -> Result<Arc<Fetch>> {
        let key = (repository.clone(), digest.clone());
        let cell = self.fetches().entry(key.clone()).or_default().clone();
        let begun = cell.get_or_try_init(|| self.begin(repository.clone(), digest.clone())).await;
        if begun.is_err() {
            self.fetches().remove(&key);
        }
        begun.cloned()
    }

    async fn begin(self: &Arc<Self>, repository: Repository, digest: Digest) -> Result<Arc<Fetch>> {
        let turn = self.turns.clone().acquire_owned().await;
        let turn = turn.map_err(|_| bad_gateway("nothing is fetched any more"))?;
        let mirror = self.clone();
        let begun = tokio::task::spawn_blocking(move || {
            let call = mirror.call(Method::GET, &repository, &format!("blobs/{digest}"), "fetch the blob");
            let answer = mirror.client.send(&call).map_err(|error| match error.kind() {
                Kind::NotFound => {
                    Failure::new(Code::BlobUnknown, format!("{} has no such blob", mirror.domain()))
                }
                _ => upstream_failed(mirror.domain(), &error),
            })?;
            let size =
                answer.headers().get("content-length").and_then(|size| size.to_str().ok()?.parse().ok());
            let upload = mirror.storage.begin_upload(&repository, digest.algorithm());
            let upload = upload.map_err(|error| Failure::storage("begin an upload", &error))?;
            let file = mirror.storage.upload_file(&repository, upload.id());
            let file = file.map_err(|error| Failure::storage("open an upload", &error))?;
            let (fetch, progress) = Fetch::new(file, size);
            let source = answer.into_body().into_reader();
            tokio::task::spawn_blocking(move || {
                let _turn = turn;
                fetch::run(&mirror.storage, upload, &digest, source, &progress);
                mirror.fetches().remove(&(repository, digest));
            });
            Ok(Arc::new(fetch))
        });
        begun.await.map_err(|_| bad_gateway("the fetch was stopped"))?
    }

    fn fetches(&self) -> MutexGuard<'_, Fetches> {
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a manifest is not up to date.
enum Trouble {
    Upstream(Error),
    Storage(io::Error),
    Refused(Failure),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Upstream(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Storage(error)
    }
}

fn upstream_failed(domain: &str, error: &Error) -> Failure {
    tracing::error!("{domain}: {error}");
    bad_gateway(format!("{domain} could not be asked"))
}

/// An answer that blames somebody else.
pub fn bad_gateway(message: impl Into<String>) -> Failure {
    Failure::new(Code::Unknown, message).with_status(StatusCode::BAD_GATEWAY)
}
