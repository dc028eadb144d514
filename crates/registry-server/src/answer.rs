//! Answers, and what all of them carry.

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use crate::body::Body;
use crate::digest::Digest;
use crate::failure::{Code, Failure};
use crate::route::Lost;

/// What old clients look for to know a registry.
const VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
/// The digest of what is answered.
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// The name of an upload.
pub const UPLOAD: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// The subject of a manifest, to say that its referrer was noticed.
pub const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// Tags that were written with a manifest.
pub const TAG: HeaderName = HeaderName::from_static("oci-tag");
/// Filters that a list of referrers went through.
pub const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");
/// The type of what has no better one.
pub const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response<Body> {
    with_body(status, Body::empty())
}

/// An answer of a JSON document.
pub fn json(document: &serde_json::Value) -> Response<Body> {
    let mut answer = with_body(StatusCode::OK, Body::bytes(document.to_string()));
    answer.headers_mut().insert(header::CONTENT_TYPE, JSON);
    answer
}

/// An answer with a body.
pub fn with_body(status: StatusCode, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(VERSION, HeaderValue::from_static("registry/2.0"));
    answer
}

/// Sets a header whose value is made of names that were checked.
pub fn set(answer: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// Says which content it is: by the header that clients check, and by a tag that caches compare.
pub fn set_digest(answer: &mut Response<Body>, digest: &Digest) {
    set(answer, CONTENT_DIGEST, &digest.to_string());
    set(answer, header::ETAG, &format!("\"{digest}\""));
}

/// Whether the client has this content already (RFC 9110, section 13.1.2).
pub fn has_it(headers: &HeaderMap, digest: &Digest) -> bool {
    let Some(known) = text(headers, header::IF_NONE_MATCH) else { return false };
    let tag = digest.to_string();
    known.split(',').any(|one| one.trim().trim_start_matches("W/").trim_matches('"') == tag)
}

/// A header that is text.
pub fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The answer to a request that failed.
pub fn failed(failure: Failure) -> Response<Body> {
    let mut answer = with_body(failure.status, Body::bytes(failure.body()));
    answer.headers_mut().insert(header::CONTENT_TYPE, JSON);
    answer.headers_mut().extend(failure.headers);
    answer
}

impl From<Lost> for Failure {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Path => Self::new(Code::Unsupported, "there is nothing at this path")
                .with_status(StatusCode::NOT_FOUND),
            Lost::Method(allowed) => Self::new(Code::Unsupported, "this method does nothing here")
                .with_header(header::ALLOW, allowed),
            Lost::Name => Self::new(Code::NameInvalid, "that is no name of a repository"),
            Lost::Digest => Self::new(Code::DigestInvalid, crate::digest::NoDigest.to_string()),
            Lost::Reference => Self::new(Code::ManifestInvalid, "that is neither a tag nor a digest"),
            Lost::NoManifest => Self::new(Code::ManifestUnknown, "that is neither a tag nor a digest"),
            Lost::NoUpload => Self::new(Code::BlobUploadUnknown, "there is no such upload"),
        }
    }
}
