//! Blobs: read, whole or in part, and removed.

use std::fs::File;
use std::io;

use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};

use super::{Asked, Registry};
use crate::answer;
use crate::body::Body;
use crate::digest::Digest;
use crate::failure::{Code, Failure, Result};
use crate::mirror::{Fetch, bad_gateway};
use crate::name::Repository;
use crate::range;

/// What has this name never changes.
const FOREVER: HeaderValue = HeaderValue::from_static("max-age=31536000");

impl Registry {
    pub(super) async fn read_blob(
        &self,
        repository: Repository,
        digest: Digest,
        asked: &Asked<'_>,
    ) -> Result<Response<Body>> {
        let (file, size) = match (self.find_blob(&repository, &digest).await?, &self.mirror) {
            (Some(found), _) => found,
            (None, Some(mirror)) => {
                let fetch = mirror.fetch(&repository, &digest).await?;
                // Whoever wants a part waits for the whole, which then is like any other.
                if let Some(size) = fetch.size().filter(|_| !asked.headers.contains_key(header::RANGE)) {
                    return Ok(blob(&digest, size, Body::behind(fetch.behind(size))));
                }
                self.wait_for(&fetch, &repository, &digest).await?
            }
            (None, None) => return Err(self.missing(repository, unknown(&digest)).await),
        };
        if answer::has_it(asked.headers, &digest) {
            let mut answer = answer::empty(StatusCode::NOT_MODIFIED);
            answer::set_digest(&mut answer, &digest);
            return Ok(answer);
        }
        let (start, length) = match range::asked(answer::text(asked.headers, header::RANGE), size) {
            range::Asked::Whole => (0, size),
            range::Asked::Part { start, end } => (start, end - start + 1),
            range::Asked::Nothing => return Err(unsatisfiable(size)),
        };
        let mut answer = blob(&digest, length, Body::file(file, start, length));
        if length < size {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {start}-{}/{size}", start + length - 1);
            answer::set(&mut answer, header::CONTENT_RANGE, &range);
        }
        Ok(answer)
    }

    async fn find_blob(&self, repository: &Repository, digest: &Digest) -> Result<Option<(File, u64)>> {
        // Most often the kernel has it all in memory, and going to another thread would cost more than the work.
        match self.storage.blob_at_once(repository, digest) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let (repository, digest) = (repository.clone(), digest.clone());
                self.blocking("read a blob", move |storage| storage.blob(&repository, &digest)).await
            }
            found => found.map_err(|error| Failure::storage("read a blob", &error)),
        }
    }

    async fn wait_for(&self, fetch: &Fetch, repository: &Repository, digest: &Digest) -> Result<(File, u64)> {
        let failed = || bad_gateway("the blob did not come whole");
        match fetch.finished().await {
            true => self.find_blob(repository, digest).await?.ok_or_else(failed),
            false => Err(failed()),
        }
    }

    pub(super) async fn delete_blob(&self, repository: Repository, digest: Digest) -> Result<Response<Body>> {
        let (of, which) = (repository.clone(), digest.clone());
        match self.blocking("remove a blob", move |storage| storage.delete_blob(&of, &which)).await? {
            true => Ok(answer::empty(StatusCode::ACCEPTED)),
            false => Err(self.missing(repository, unknown(&digest)).await),
        }
    }
}

/// An answer with a blob, or a part of one.
fn blob(digest: &Digest, length: u64, body: Body) -> Response<Body> {
    let mut answer = answer::with_body(StatusCode::OK, body);
    answer::set_digest(&mut answer, digest);
    let headers = answer.headers_mut();
    // Of an empty one, too, which the answer to HEAD would say nothing of.
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CONTENT_TYPE, answer::BYTES);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, FOREVER);
    answer
}

fn unknown(digest: &Digest) -> Failure {
    Failure::several(Code::BlobUnknown, "the repository has no such blob", [digest.to_string()])
}

fn unsatisfiable(size: u64) -> Failure {
    Failure::new(Code::SizeInvalid, "the range is not in the blob")
        .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
        .with_header(header::CONTENT_RANGE, &format!("bytes */{size}"))
}
