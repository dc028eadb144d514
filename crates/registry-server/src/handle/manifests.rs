//! Manifests: read and removed by tag or digest, pushed.

use hyper::body::Incoming;
use hyper::header;
use hyper::{Response, StatusCode};

use super::{Asked, Registry, created};
use crate::answer;
use crate::body::Body;
use crate::digest::{Algorithm, Digest};
use crate::failure::{Code, Failure, Result};
use crate::manifest::{self, Facts, LIMIT};
use crate::mirror::bad_gateway;
use crate::name::{Reference, Repository, Tag};
use crate::receive;
use crate::storage::NewManifest;

/// How many tags one push may write.
const TAGS: usize = 100;

impl Registry {
    pub(super) async fn read_manifest(
        &self,
        repository: Repository,
        reference: Reference,
        asked: &Asked<'_>,
    ) -> Result<Response<Body>> {
        let (of, which, mirror) = (repository.clone(), reference.clone(), self.mirror.clone());
        if let Some(mirror) = mirror {
            let (of, which) = (of.clone(), which.clone());
            let updated = tokio::task::spawn_blocking(move || mirror.update(&of, &which)).await;
            updated.map_err(|_| bad_gateway("the fetch was stopped"))??;
        }
        let read = move |storage: &crate::storage::Storage| {
            let digest = match which {
                Reference::Digest(digest) => Some(digest),
                Reference::Tag(tag) => storage.tag(&of, &tag)?,
            };
            let Some(digest) = digest else { return Ok(None) };
            Ok(storage.manifest(&of, &digest)?.map(|manifest| (digest, manifest)))
        };
        let Some((digest, manifest)) = self.blocking("read a manifest", read).await? else {
            return Err(self.missing(repository, unknown(&reference)).await);
        };
        if answer::has_it(asked.headers, &digest) {
            let mut answer = answer::empty(StatusCode::NOT_MODIFIED);
            answer::set_digest(&mut answer, &digest);
            return Ok(answer);
        }
        let mut answer = answer::with_body(StatusCode::OK, Body::bytes(manifest.content));
        answer::set_digest(&mut answer, &digest);
        answer::set(&mut answer, header::CONTENT_TYPE, &manifest.media_type);
        Ok(answer)
    }

    pub(super) async fn put_manifest(
        &self,
        repository: Repository,
        reference: Reference,
        asked: &Asked<'_>,
        body: &mut Incoming,
    ) -> Result<Response<Body>> {
        let content = receive::whole(body, LIMIT).await?.ok_or_else(too_large)?;
        let facts = manifest::read(&content, answer::text(asked.headers, header::CONTENT_TYPE))?;
        let (digest, tags) = match &reference {
            Reference::Digest(digest) => (check_digest(&content, digest)?, tags(asked)?),
            Reference::Tag(tag) => (Algorithm::Sha256.digest(&content), vec![tag.clone()]),
        };
        let location = format!("/v2/{repository}/manifests/{digest}");
        let mut answer = created(&location);
        answer::set(&mut answer, answer::CONTENT_DIGEST, &digest.to_string());
        if let Some(subject) = &facts.subject {
            answer::set(&mut answer, answer::SUBJECT, &subject.to_string());
        }
        if matches!(reference, Reference::Digest(_)) && !tags.is_empty() {
            let names: Vec<_> = tags.iter().map(Tag::as_str).collect();
            answer::set(&mut answer, answer::TAG, &names.join(", "));
        }
        self.keep_manifest(Pushed { repository, digest, content, facts, tags }).await?;
        Ok(answer)
    }

    async fn keep_manifest(&self, pushed: Pushed) -> Result<()> {
        let keep = move |storage: &crate::storage::Storage| {
            let mut missing = Vec::new();
            for blob in &pushed.facts.blobs {
                // An artifact may have manifests for its content.
                if !storage.has_blob(&pushed.repository, blob)?
                    && !storage.has_manifest(&pushed.repository, blob)?
                {
                    missing.push(blob.to_string());
                }
            }
            if missing.is_empty() {
                storage.put_manifest(&pushed.manifest(), &pushed.tags)?;
            }
            Ok(missing)
        };
        let missing = self.blocking("keep a manifest", keep).await?;
        match missing.is_empty() {
            true => Ok(()),
            false => {
                let message = "the manifest needs a blob that the repository has not";
                Err(Failure::several(Code::ManifestBlobUnknown, message, missing))
            }
        }
    }

    pub(super) async fn delete_manifest(
        &self,
        repository: Repository,
        reference: Reference,
    ) -> Result<Response<Body>> {
        let (of, which) = (repository.clone(), reference.clone());
        let delete = move |storage: &crate::storage::Storage| match which {
            Reference::Tag(tag) => storage.delete_tag(&of, &tag),
            Reference::Digest(digest) => storage.delete_manifest(&of, &digest),
        };
        match self.blocking("remove a manifest", delete).await? {
            true => Ok(answer::empty(StatusCode::ACCEPTED)),
            false => Err(self.missing(repository, unknown(&reference)).await),
        }
    }
}

/// A manifest that came, and what is to become of it.
struct Pushed {
    repository: Repository,
    digest: Digest,
    content: Vec<u8>,
    facts: Facts,
    tags: Vec<Tag>,
}

impl Pushed {
    fn manifest(&self) -> NewManifest<'_> {
        let Self { repository, digest, content, facts, .. } = self;
        NewManifest { repository, digest, content, facts }
    }
}

fn check_digest(content: &[u8], digest: &Digest) -> Result<Digest> {
    let actual = digest.algorithm().digest(content);
    if actual == *digest {
        return Ok(actual);
    }
    Err(Failure::new(Code::DigestInvalid, format!("the manifest has the digest {actual}, not {digest}")))
}

fn tags(asked: &Asked<'_>) -> Result<Vec<Tag>> {
    let tags: Option<Vec<_>> = asked.query.all("tag").map(Tag::parse).collect();
    let tags = tags.ok_or_else(|| Failure::new(Code::ManifestInvalid, "`tag` is no tag"))?;
    if tags.len() > TAGS {
        let failure = Failure::new(Code::ManifestInvalid, format!("more than {TAGS} tags at once"));
        return Err(failure.with_status(StatusCode::URI_TOO_LONG));
    }
    Ok(tags)
}

fn too_large() -> Failure {
    Failure::new(Code::ManifestInvalid, "a manifest has at most 4 MiB")
        .with_status(StatusCode::PAYLOAD_TOO_LARGE)
}

fn unknown(reference: &Reference) -> Failure {
    let message = match reference {
        Reference::Tag(tag) => format!("the repository has no tag `{tag}`"),
        Reference::Digest(digest) => format!("the repository has no manifest {digest}"),
    };
    Failure::new(Code::ManifestUnknown, message)
}
