//! What goes wrong with a request, as the distribution specification says it (section "Error Codes").

use std::io;

use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::json;

/// Error codes of the specification, and one for what it has none for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// `BLOB_UNKNOWN`
    BlobUnknown,
    /// `BLOB_UPLOAD_INVALID`
    BlobUploadInvalid,
    /// `BLOB_UPLOAD_UNKNOWN`
    BlobUploadUnknown,
    /// `DIGEST_INVALID`
    DigestInvalid,
    /// `MANIFEST_BLOB_UNKNOWN`
    ManifestBlobUnknown,
    /// `MANIFEST_INVALID`
    ManifestInvalid,
    /// `MANIFEST_UNKNOWN`
    ManifestUnknown,
    /// `NAME_INVALID`
    NameInvalid,
    /// `NAME_UNKNOWN`
    NameUnknown,
    /// `SIZE_INVALID`
    SizeInvalid,
    /// `UNAUTHORIZED`
    Unauthorized,
    /// `DENIED`
    Denied,
    /// `UNSUPPORTED`
    Unsupported,
    /// The registry itself failed.
    Unknown,
}

impl Code {
    const fn name(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// The status that goes with it unless another one is set.
    const fn status(self) -> StatusCode {
        match self {
            Self::BlobUnknown | Self::BlobUploadUnknown | Self::ManifestUnknown | Self::NameUnknown => {
                StatusCode::NOT_FOUND
            }
            Self::BlobUploadInvalid
            | Self::DigestInvalid
            | Self::ManifestBlobUnknown
            | Self::ManifestInvalid
            | Self::NameInvalid
            | Self::SizeInvalid => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A request that is answered with an error.
#[derive(Debug)]
pub struct Failure {
    /// The answer's status.
    pub status: StatusCode,
    /// Headers that it carries besides.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// One or more errors: code, what people read, and what it is about.
    errors: Vec<(Code, String, Option<String>)>,
}

/// The result of a request's parts.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// An error with its usual status.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let errors = vec![(code, message.into(), None)];
        Self { status: code.status(), headers: Vec::new(), errors }
    }

    /// Several errors of one code, each about something; the first says the status.
    pub fn several(code: Code, message: &str, about: impl IntoIterator<Item = String>) -> Self {
        let errors = about.into_iter().map(|about| (code, message.to_owned(), Some(about))).collect();
        Self { status: code.status(), headers: Vec::new(), errors }
    }

    /// With another status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// With a header; one that HTTP cannot carry is left out.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// What people read.
    #[cfg(test)]
    pub fn message(&self) -> &str {
        self.errors.first().map_or("", |(_, message, _)| message)
    }

    /// The answer's body.
    pub fn body(&self) -> Vec<u8> {
        let errors: Vec<_> = self
            .errors
            .iter()
            .map(|(code, message, about)| match about {
                Some(about) => json!({"code": code.name(), "message": message, "detail": {"digest": about}}),
                None => json!({"code": code.name(), "message": message}),
            })
            .collect();
        json!({"errors": errors}).to_string().into_bytes()
    }

    /// What the storage said while `doing` something: a full disk has a status of its own, the rest is told to the log
    /// and not to the client.
    pub fn storage(doing: &str, error: &io::Error) -> Self {
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Self::new(Code::Unknown, "the registry's disk is full")
                .with_status(StatusCode::INSUFFICIENT_STORAGE);
        }
        tracing::error!("{doing}: {error}");
        Self::new(Code::Unknown, format!("the registry failed to {doing}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_the_form_of_the_specification() {
        let failure = Failure::new(Code::NameUnknown, "no such repository");
        assert_eq!(failure.status, StatusCode::NOT_FOUND);
        let body = String::from_utf8(failure.body()).expect("text");
        assert_eq!(body, r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such repository"}]}"#);
        let failure =
            Failure::several(Code::ManifestBlobUnknown, "unknown", ["a".to_owned(), "b".to_owned()]);
        assert_eq!(
            String::from_utf8(failure.body()).expect("text").matches("MANIFEST_BLOB_UNKNOWN").count(),
            2
        );
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let error = io::Error::from_raw_os_error(holm_sys::Errno::NOSPC.raw_os_error());
        assert_eq!(Failure::storage("write", &error).status, StatusCode::INSUFFICIENT_STORAGE);
        let error = io::Error::from_raw_os_error(holm_sys::Errno::IO.raw_os_error());
        assert_eq!(Failure::storage("write", &error).status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}
