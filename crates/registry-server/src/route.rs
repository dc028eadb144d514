//! From method and path to what is asked for (distribution specification, section "Endpoints"). Pure.
//!
//! A repository's name has slashes and may have components like `blobs` or `tags`, so a path is read from its end.

use crate::digest::Digest;
use crate::name::{Reference, Repository, UploadId};
use crate::query::decode;

/// What is asked for. Names are those of the specification's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// end-1
    Base,
    /// The list of repositories, which is Docker's.
    Catalog,
    /// end-8
    Tags(Repository),
    /// end-12
    Referrers(Repository, Digest),
    /// end-2
    ReadBlob(Repository, Digest),
    /// end-10
    DeleteBlob(Repository, Digest),
    /// end-4 and end-11
    BeginUpload(Repository),
    /// end-13
    UploadStatus(Repository, UploadId),
    /// end-5
    Append(Repository, UploadId),
    /// end-6
    Finish(Repository, UploadId),
    /// end-14
    Cancel(Repository, UploadId),
    /// end-3
    ReadManifest(Repository, Reference),
    /// end-7
    PutManifest(Repository, Reference),
    /// end-9
    DeleteManifest(Repository, Reference),
}

impl Route {
    /// The repository that it is about.
    pub fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Base | Self::Catalog => None,
            Self::Tags(repository)
            | Self::Referrers(repository, _)
            | Self::ReadBlob(repository, _)
            | Self::DeleteBlob(repository, _)
            | Self::BeginUpload(repository)
            | Self::UploadStatus(repository, _)
            | Self::Append(repository, _)
            | Self::Finish(repository, _)
            | Self::Cancel(repository, _)
            | Self::ReadManifest(repository, _)
            | Self::PutManifest(repository, _)
            | Self::DeleteManifest(repository, _) => Some(repository),
        }
    }
}

/// Why a request leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// No such path.
    Path,
    /// The path is there, and takes only these methods.
    Method(&'static str),
    /// What stands for a repository's name is none.
    Name,
    /// What stands for a digest is none.
    Digest,
    /// What stands for a tag or digest is neither, and is to be written.
    Reference,
    /// What stands for a tag or digest is neither, so nothing can be there.
    NoManifest,
    /// What stands for an upload's name is none, so nothing can be there.
    NoUpload,
}

/// What `method` and `path` ask for; HEAD is GET.
///
/// # Errors
/// See [`Lost`].
pub fn parse(method: &str, path: &str) -> Result<Route, Lost> {
    let method = if method == "HEAD" { "GET" } else { method };
    let path = decode(path).ok_or(Lost::Path)?;
    let path = match path.strip_prefix("/v2") {
        Some("" | "/") => return only("GET", method, Route::Base),
        Some(rest) => rest.strip_prefix('/').ok_or(Lost::Path)?,
        None => return Err(Lost::Path),
    };
    if path == "_catalog" {
        return only("GET", method, Route::Catalog);
    }
    if let Some(name) = path.strip_suffix("/tags/list") {
        return only("GET", method, Route::Tags(repository(name)?));
    }
    if let Some(name) = path.strip_suffix("/blobs/uploads/").or_else(|| path.strip_suffix("/blobs/uploads")) {
        return only("POST", method, Route::BeginUpload(repository(name)?));
    }
    let (place, last) = path.rsplit_once('/').ok_or(Lost::Path)?;
    match place.rsplit_once('/').ok_or(Lost::Path)? {
        (name, "manifests") => manifest(method, repository(name)?, last),
        (name, "blobs") => blob(method, repository(name)?, last),
        (name, "referrers") => {
            let digest = last.parse().map_err(|_| Lost::Digest)?;
            only("GET", method, Route::Referrers(repository(name)?, digest))
        }
        (place, "uploads") => upload(method, place.strip_suffix("/blobs").ok_or(Lost::Path)?, last),
        _ => Err(Lost::Path),
    }
}

fn only(allowed: &'static str, method: &str, route: Route) -> Result<Route, Lost> {
    if method == allowed {
        Ok(route)
    } else {
        Err(Lost::Method(if allowed == "GET" { "GET, HEAD" } else { allowed }))
    }
}

fn repository(name: &str) -> Result<Repository, Lost> {
    Repository::parse(name).ok_or(Lost::Name)
}

fn manifest(method: &str, repository: Repository, last: &str) -> Result<Route, Lost> {
    let reference = Reference::parse(last);
    match method {
        "GET" => Ok(Route::ReadManifest(repository, reference.ok_or(Lost::NoManifest)?)),
        "PUT" => Ok(Route::PutManifest(repository, reference.ok_or(Lost::Reference)?)),
        "DELETE" => Ok(Route::DeleteManifest(repository, reference.ok_or(Lost::NoManifest)?)),
        _ => Err(Lost::Method("GET, HEAD, PUT, DELETE")),
    }
}

fn blob(method: &str, repository: Repository, last: &str) -> Result<Route, Lost> {
    let digest = last.parse().map_err(|_| Lost::Digest);
    match method {
        "GET" => Ok(Route::ReadBlob(repository, digest?)),
        "DELETE" => Ok(Route::DeleteBlob(repository, digest?)),
        _ => Err(Lost::Method("GET, HEAD, DELETE")),
    }
}

fn upload(method: &str, name: &str, last: &str) -> Result<Route, Lost> {
    let (repository, id) = (repository(name)?, UploadId::parse(last).ok_or(Lost::NoUpload));
    match method {
        "GET" => Ok(Route::UploadStatus(repository, id?)),
        "PATCH" => Ok(Route::Append(repository, id?)),
        "PUT" => Ok(Route::Finish(repository, id?)),
        "DELETE" => Ok(Route::Cancel(repository, id?)),
        _ => Err(Lost::Method("GET, HEAD, PATCH, PUT, DELETE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;

    fn repository(name: &str) -> Repository {
        Repository::parse(name).expect("a name")
    }

    #[test]
    fn every_endpoint_is_found() {
        let (digest, id) = (Algorithm::Sha256.digest(b""), UploadId::random());
        let name = || repository("a/b");
        let reference = Reference::parse("v1").expect("a tag");
        for (method, path, route) in [
            ("GET", "/v2/".to_owned(), Route::Base),
            ("GET", "/v2".to_owned(), Route::Base),
            ("GET", "/v2/_catalog".to_owned(), Route::Catalog),
            ("GET", "/v2/a/b/tags/list".to_owned(), Route::Tags(name())),
            ("GET", format!("/v2/a/b/referrers/{digest}"), Route::Referrers(name(), digest.clone())),
            ("HEAD", format!("/v2/a/b/blobs/{digest}"), Route::ReadBlob(name(), digest.clone())),
            ("DELETE", format!("/v2/a/b/blobs/{digest}"), Route::DeleteBlob(name(), digest.clone())),
            ("POST", "/v2/a/b/blobs/uploads/".to_owned(), Route::BeginUpload(name())),
            ("POST", "/v2/a/b/blobs/uploads".to_owned(), Route::BeginUpload(name())),
            ("GET", format!("/v2/a/b/blobs/uploads/{id}"), Route::UploadStatus(name(), id.clone())),
            ("PATCH", format!("/v2/a/b/blobs/uploads/{id}"), Route::Append(name(), id.clone())),
            ("PUT", format!("/v2/a/b/blobs/uploads/{id}"), Route::Finish(name(), id.clone())),
            ("DELETE", format!("/v2/a/b/blobs/uploads/{id}"), Route::Cancel(name(), id.clone())),
            ("GET", "/v2/a%2Fb/manifests/v1".to_owned(), Route::ReadManifest(name(), reference.clone())),
            ("PUT", "/v2/a/b/manifests/v1".to_owned(), Route::PutManifest(name(), reference.clone())),
            ("DELETE", "/v2/a/b/manifests/v1".to_owned(), Route::DeleteManifest(name(), reference)),
        ] {
            assert_eq!(parse(method, &path), Ok(route), "{method} {path}");
        }
    }

    #[test]
    fn names_may_look_like_endpoints() {
        let tags = parse("GET", "/v2/tags/list/blobs/tags/list");
        assert_eq!(tags, Ok(Route::Tags(repository("tags/list/blobs"))));
        let manifest = parse("GET", "/v2/a/blobs/uploads/manifests/manifests");
        let reference = Reference::parse("manifests").expect("a tag");
        assert_eq!(manifest, Ok(Route::ReadManifest(repository("a/blobs/uploads"), reference)));
    }

    #[test]
    fn what_leads_nowhere_says_why() {
        for (method, path, lost) in [
            ("GET", "/", Lost::Path),
            ("GET", "/v3/", Lost::Path),
            ("GET", "/v2x", Lost::Path),
            ("GET", "/v2/a", Lost::Path),
            ("GET", "/v2/a/b", Lost::Path),
            ("GET", "/v2/%zz", Lost::Path),
            ("GET", "/v2/../../etc/manifests/x", Lost::Name),
            ("GET", "/v2/a/%2e%2e/manifests/x", Lost::Name),
            ("GET", "/v2/_blobs/manifests/x", Lost::Name),
            ("GET", "/v2/a/blobs/sha256:12", Lost::Digest),
            ("GET", "/v2/a/referrers/x", Lost::Digest),
            ("GET", "/v2/a/manifests/.x", Lost::NoManifest),
            ("PUT", "/v2/a/manifests/.x", Lost::Reference),
            ("PUT", "/v2/a/manifests/sha256:bad", Lost::Reference),
            ("PATCH", "/v2/a/blobs/uploads/..", Lost::NoUpload),
            ("POST", "/v2/", Lost::Method("GET, HEAD")),
            ("PUT", "/v2/a/blobs/uploads/", Lost::Method("POST")),
            ("TRACE", "/v2/a/manifests/x", Lost::Method("GET, HEAD, PUT, DELETE")),
        ] {
            assert_eq!(parse(method, path), Err(lost), "{method} {path}");
        }
    }
}
