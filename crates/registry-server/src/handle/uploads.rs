//! Uploads: begun, gone on with in order, finished or given up; and blobs that other repositories have already.

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header;
use hyper::{Response, StatusCode};

use super::{Asked, Registry, created};
use crate::access::Action;
use crate::answer;
use crate::body::Body;
use crate::digest::{Algorithm, Digest, NoDigest};
use crate::failure::{Code, Failure, Result};
use crate::name::{Repository, UploadId};
use crate::range;
use crate::receive;
use crate::sessions::Held;
use crate::storage::{Mounted, Upload, Written};

impl Registry {
    pub(super) async fn begin_upload(
        &self,
        repository: Repository,
        asked: &Asked<'_>,
        body: &mut Incoming,
    ) -> Result<Response<Body>> {
        if let Some(digest) = asked.query.get("mount") {
            let digest = parse_digest(digest)?;
            if self.mount(&repository, &digest, asked).await? == Mounted::Here {
                return Ok(blob_created(&repository, &digest));
            }
        }
        let digest = asked.query.get("digest").map(parse_digest).transpose()?;
        let algorithm = match asked.query.get("digest-algorithm") {
            Some(name) => Algorithm::named(name)
                .ok_or_else(|| Failure::new(Code::DigestInvalid, NoDigest.to_string()))?,
            None => digest.as_ref().map_or(Algorithm::Sha256, Digest::algorithm),
        };
        let to = repository.clone();
        let upload =
            self.blocking("begin an upload", move |storage| storage.begin_upload(&to, algorithm)).await?;
        let id = upload.id().clone();
        self.sessions.insert(upload);
        // A digest with nothing behind it is a client that asks whether this is possible, or the empty blob.
        match digest {
            Some(digest) => {
                let result = self.receive_whole(&repository, &id, &digest, body).await;
                if result.is_err() {
                    self.give_up(&repository, &id).await?;
                }
                result
            }
            None => Ok(upload_at(StatusCode::ACCEPTED, &repository, &id, 0)),
        }
    }

    async fn receive_whole(
        &self,
        repository: &Repository,
        id: &UploadId,
        digest: &Digest,
        body: &mut Incoming,
    ) -> Result<Response<Body>> {
        let held = self.hold(repository, id).await?;
        let held = self.receive(held, body).await?;
        self.keep(held, repository, id, digest).await
    }

    pub(super) async fn upload_status(&self, repository: Repository, id: UploadId) -> Result<Response<Body>> {
        let (of, which) = (repository.clone(), id.clone());
        let size =
            self.blocking("look for an upload", move |storage| storage.upload_size(&of, &which)).await?;
        let size = size.ok_or_else(unknown)?;
        Ok(upload_at(StatusCode::NO_CONTENT, &repository, &id, size))
    }

    pub(super) async fn append(
        &self,
        repository: Repository,
        id: UploadId,
        asked: &Asked<'_>,
        body: &mut Incoming,
    ) -> Result<Response<Body>> {
        let held = self.hold(&repository, &id).await?;
        check_range(&held, asked, body)?;
        let held = self.receive(held, body).await?;
        Ok(upload_at(StatusCode::ACCEPTED, &repository, &id, offset(&held)))
    }

    pub(super) async fn finish(
        &self,
        repository: Repository,
        id: UploadId,
        asked: &Asked<'_>,
        body: &mut Incoming,
    ) -> Result<Response<Body>> {
        let digest = asked.query.get("digest");
        let digest = digest.ok_or_else(|| Failure::new(Code::DigestInvalid, "`digest` is missing"))?;
        let digest = parse_digest(digest)?;
        let held = self.hold(&repository, &id).await?;
        check_range(&held, asked, body)?;
        let held = self.receive(held, body).await?;
        self.keep(held, &repository, &id, &digest).await
    }

    pub(super) async fn cancel(&self, repository: Repository, id: UploadId) -> Result<Response<Body>> {
        match self.give_up(&repository, &id).await? {
            true => Ok(answer::empty(StatusCode::NO_CONTENT)),
            false => Err(unknown()),
        }
    }

    async fn give_up(&self, repository: &Repository, id: &UploadId) -> Result<bool> {
        let (of, which) = (repository.clone(), id.clone());
        let there =
            self.blocking("cancel an upload", move |storage| storage.cancel_upload(&of, &which)).await;
        self.sessions.remove(id);
        there
    }

    /// The right to write to an upload, which is open then.
    async fn hold(&self, repository: &Repository, id: &UploadId) -> Result<Held> {
        let mut held = self.sessions.hold(id).ok_or_else(busy)?;
        if held.is_none() {
            let (of, which) = (repository.clone(), id.clone());
            let resume = move |storage: &crate::storage::Storage| {
                *held = storage.resume_upload(&of, &which)?;
                Ok(held)
            };
            held = self.blocking("open an upload", resume).await?;
        }
        match &*held {
            Some(upload) if upload.repository() == repository => Ok(held),
            Some(_) => Err(unknown()),
            None => {
                drop(held);
                self.sessions.remove(id);
                Err(unknown())
            }
        }
    }

    /// Appends a body to an upload. What came is kept, also if not all came.
    async fn receive(&self, mut held: Held, body: &mut Incoming) -> Result<Held> {
        loop {
            let mut pieces = Vec::new();
            let more = receive::gather(body, &mut pieces).await;
            if !pieces.is_empty() {
                held = self.write(held, pieces).await?;
            }
            if !more? {
                return Ok(held);
            }
        }
    }

    /// The right goes with the work: if this request is given up, nobody else writes before the work is done.
    async fn write(&self, mut held: Held, pieces: Vec<Bytes>) -> Result<Held> {
        let append = move |_: &crate::storage::Storage| {
            let result = match &mut *held {
                Some(upload) => upload.append(pieces.iter().map(Bytes::as_ref)),
                None => Ok(()),
            };
            if result.is_err() {
                *held = None;
            }
            result.map(|()| held)
        };
        self.blocking("write an upload", append).await
    }

    /// Makes an upload a blob, if it has that digest.
    async fn keep(
        &self,
        mut held: Held,
        repository: &Repository,
        id: &UploadId,
        digest: &Digest,
    ) -> Result<Response<Body>> {
        let wanted = digest.clone();
        let keep = move |storage: &crate::storage::Storage| match held.take() {
            Some(upload) => storage.finish_upload(upload, &wanted).map(Some),
            None => Ok(None),
        };
        let written = self.blocking("keep a blob", keep).await;
        self.sessions.remove(id);
        match written?.ok_or_else(unknown)? {
            Written::Kept => Ok(blob_created(repository, digest)),
            Written::Other(actual) => Err(Failure::new(
                Code::DigestInvalid,
                format!("the content has the digest {actual}, not {digest}"),
            )),
        }
    }

    /// Gives the repository a blob that another one has from which the user may pull, or that Holm's images on this disk
    /// have.
    async fn mount(&self, to: &Repository, digest: &Digest, asked: &Asked<'_>) -> Result<Mounted> {
        let (to, digest) = (to.clone(), digest.clone());
        if let Some(from) = asked.query.get("from").and_then(Repository::parse) {
            if !self.access.allows(asked.user, &from, Action::Pull) {
                return Ok(Mounted::Nowhere);
            }
            return self.blocking("mount a blob", move |storage| storage.mount(&from, &to, &digest)).await;
        }
        let (there, which) = (to.clone(), digest.clone());
        if self.mount_from_others(to, digest, asked).await? == Mounted::Here {
            return Ok(Mounted::Here);
        }
        self.blocking("take a blob", move |storage| storage.take(&there, &which)).await
    }

    /// Gives the repository a blob of any repository from which the user may pull.
    async fn mount_from_others(&self, to: Repository, digest: Digest, asked: &Asked<'_>) -> Result<Mounted> {
        if self.access.allows_everywhere(asked.user, Action::Pull) {
            return self.blocking("mount a blob", move |storage| storage.mount_from_any(&to, &digest)).await;
        }
        let mut candidates = self.repositories_with(&digest).await?;
        candidates.retain(|repository| self.access.allows(asked.user, repository, Action::Pull));
        let Some(from) = candidates.into_iter().next() else { return Ok(Mounted::Nowhere) };
        self.blocking("mount a blob", move |storage| storage.mount(&from, &to, &digest)).await
    }

    async fn repositories_with(&self, digest: &Digest) -> Result<Vec<Repository>> {
        let digest = digest.clone();
        let search = move |storage: &crate::storage::Storage| {
            let mut found = Vec::new();
            storage.each_repository(&mut |repository| {
                if storage.has_blob(repository, &digest)? {
                    found.push(repository.clone());
                }
                Ok(())
            })?;
            Ok(found)
        };
        self.blocking("look for a blob", search).await
    }
}

/// A chunk goes on where the last one ended, and is as long as it says.
fn check_range(held: &Held, asked: &Asked<'_>, body: &Incoming) -> Result<()> {
    let (Some(upload), Some(value)) = (&**held, answer::text(asked.headers, header::CONTENT_RANGE)) else {
        return Ok(());
    };
    let (start, end) = range::of_chunk(value)
        .ok_or_else(|| Failure::new(Code::BlobUploadInvalid, "`Content-Range` is no range"))?;
    if start != upload.offset() {
        return Err(out_of_order(upload));
    }
    let length = body.size_hint().exact();
    if length.is_some_and(|length| length.checked_sub(1) != Some(end - start)) {
        return Err(Failure::new(Code::SizeInvalid, "`Content-Range` and `Content-Length` disagree"));
    }
    Ok(())
}

fn out_of_order(upload: &Upload) -> Failure {
    Failure::new(
        Code::BlobUploadInvalid,
        format!("{} bytes are there, and the chunk begins elsewhere", upload.offset()),
    )
    .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
    .with_header(header::LOCATION, &location(upload.repository(), upload.id()))
    .with_header(header::RANGE, &so_far(upload.offset()))
}

fn parse_digest(text: &str) -> Result<Digest> {
    text.parse().map_err(|error: NoDigest| Failure::new(Code::DigestInvalid, error.to_string()))
}

fn offset(held: &Held) -> u64 {
    held.as_ref().map_or(0, Upload::offset)
}

fn location(repository: &Repository, id: &UploadId) -> String {
    format!("/v2/{repository}/blobs/uploads/{id}")
}

/// The bytes that are there. The specification has no words for none: as others do, it looks like one.
fn so_far(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}

fn upload_at(status: StatusCode, repository: &Repository, id: &UploadId, size: u64) -> Response<Body> {
    let mut answer = answer::empty(status);
    answer::set(&mut answer, header::LOCATION, &location(repository, id));
    answer::set(&mut answer, header::RANGE, &so_far(size));
    answer::set(&mut answer, answer::UPLOAD, id.as_str());
    answer
}

fn blob_created(repository: &Repository, digest: &Digest) -> Response<Body> {
    let mut answer = created(&format!("/v2/{repository}/blobs/{digest}"));
    answer::set(&mut answer, answer::CONTENT_DIGEST, &digest.to_string());
    answer
}

fn unknown() -> Failure {
    Failure::new(Code::BlobUploadUnknown, "there is no such upload")
}

fn busy() -> Failure {
    Failure::new(Code::BlobUploadInvalid, "another request writes to this upload")
        .with_status(StatusCode::CONFLICT)
        .with_header(header::RETRY_AFTER, "1")
}
