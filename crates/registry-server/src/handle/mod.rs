//! What the registry does for a request: finds the way, asks who may go it, and answers.

mod blobs;
mod lists;
mod manifests;
mod uploads;

use std::io;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, Response, StatusCode};

use crate::access::{Access, Action, Identity};
use crate::answer;
use crate::body::Body;
use crate::failure::{Code, Failure, Result};
use crate::mirror::Mirror;
use crate::name::Repository;
use crate::query::Query;
use crate::receive;
use crate::route::{self, Route};
use crate::sessions::Sessions;
use crate::storage::Storage;

/// A registry: what it keeps, who may use it, and what is being pushed.
pub struct Registry {
    storage: Arc<Storage>,
    sessions: Sessions,
    access: Access,
    read_only: bool,
    mirror: Option<Arc<Mirror>>,
}

/// What every part of the work on a request needs of it.
struct Asked<'a> {
    user: Option<&'a str>,
    headers: &'a HeaderMap,
    query: Query,
}

impl Registry {
    /// A registry over a storage.
    pub fn new(storage: Arc<Storage>, access: Access, read_only: bool, mirror: Option<Mirror>) -> Self {
        Self { storage, sessions: Sessions::default(), access, read_only, mirror: mirror.map(Arc::new) }
    }

    /// What it keeps.
    pub fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    /// Answers a request; also who asked.
    pub async fn answer(&self, request: Request<Incoming>) -> (Response<Body>, Option<String>) {
        let (head, mut body) = request.into_parts();
        let authorization = head.headers.get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes);
        let identity = self.access.identify(authorization).await;
        let query = Query::parse(head.uri.query().unwrap_or_default());
        let asked = Asked { user: identity.user(), headers: &head.headers, query };
        let result = match self.way(&head.method, head.uri.path(), &identity) {
            Ok(route) => self.go(route, &asked, &mut body).await,
            Err(failure) => Err(failure),
        };
        let answer = match result {
            Ok(answer) => answer,
            Err(failure) => {
                receive::discard(&mut body).await;
                answer::failed(failure)
            }
        };
        let Identity::User(user) = identity else { return (answer, None) };
        (answer, Some(user))
    }

    /// Where the request leads, if whoever asks may go there.
    fn way(&self, method: &Method, path: &str, identity: &Identity) -> Result<Route> {
        if *identity == Identity::Wrong {
            return Err(unauthorized("user name or password is wrong"));
        }
        let route = route::parse(method.as_str(), path)?;
        let action = action(&route);
        if self.read_only && action != Action::Pull {
            return Err(Failure::new(Code::Unsupported, "this registry is read-only"));
        }
        if let Some(mirror) = self.mirror.as_ref().filter(|_| action != Action::Pull) {
            let text =
                format!("this registry mirrors {}: nothing can be pushed or removed here", mirror.domain());
            return Err(Failure::new(Code::Unsupported, text));
        }
        let anonymous = *identity == Identity::Anonymous && self.access.has_users();
        match route.repository() {
            // Clients send a password only to whoever asks for one here.
            None if anonymous => Err(unauthorized("a user name and a password are needed")),
            Some(repository) if !self.access.allows(identity.user(), repository, action) => {
                Err(match anonymous {
                    true => unauthorized("a user name and a password are needed"),
                    false => Failure::new(Code::Denied, format!("this is not allowed in `{repository}`")),
                })
            }
            _ => Ok(route),
        }
    }

    async fn go(&self, route: Route, asked: &Asked<'_>, body: &mut Incoming) -> Result<Response<Body>> {
        match route {
            Route::Base => Ok(answer::json(&serde_json::json!({}))),
            Route::Catalog => self.catalog(asked).await,
            Route::Tags(repository) => self.tags(repository, asked).await,
            Route::Referrers(repository, digest) => self.referrers(repository, digest, asked).await,
            Route::ReadBlob(repository, digest) => self.read_blob(repository, digest, asked).await,
            Route::DeleteBlob(repository, digest) => self.delete_blob(repository, digest).await,
            Route::BeginUpload(repository) => self.begin_upload(repository, asked, body).await,
            Route::UploadStatus(repository, id) => self.upload_status(repository, id).await,
            Route::Append(repository, id) => self.append(repository, id, asked, body).await,
            Route::Finish(repository, id) => self.finish(repository, id, asked, body).await,
            Route::Cancel(repository, id) => self.cancel(repository, id).await,
            Route::ReadManifest(repository, reference) => {
                self.read_manifest(repository, reference, asked).await
            }
            Route::PutManifest(repository, reference) => {
                self.put_manifest(repository, reference, asked, body).await
            }
            Route::DeleteManifest(repository, reference) => self.delete_manifest(repository, reference).await,
        }
    }

    /// Does work on the storage where it may wait for a disk.
    async fn blocking<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Storage) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let storage = self.storage.clone();
        let done = tokio::task::spawn_blocking(move || work(&storage)).await;
        done.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
            .map_err(|error| Failure::storage(doing, &error))
    }

    /// The failure for something that is not there, which may be so because the whole repository is not.
    async fn missing(&self, repository: Repository, failure: Failure) -> Failure {
        let known = self.blocking("look for a repository", {
            let repository = repository.clone();
            move |storage| storage.has_repository(&repository)
        });
        match known.await {
            Ok(true) => failure,
            Ok(false) => Failure::new(Code::NameUnknown, format!("there is no repository `{repository}`")),
            Err(failure) => failure,
        }
    }
}

/// What a route does to its repository.
fn action(route: &Route) -> Action {
    match route {
        Route::Base
        | Route::Catalog
        | Route::Tags(_)
        | Route::Referrers(..)
        | Route::ReadBlob(..)
        | Route::ReadManifest(..) => Action::Pull,
        Route::BeginUpload(_)
        | Route::UploadStatus(..)
        | Route::Append(..)
        | Route::Finish(..)
        | Route::Cancel(..)
        | Route::PutManifest(..) => Action::Push,
        Route::DeleteBlob(..) | Route::DeleteManifest(..) => Action::Delete,
    }
}

fn unauthorized(message: &str) -> Failure {
    Failure::new(Code::Unauthorized, message)
        .with_header(header::WWW_AUTHENTICATE, "Basic realm=\"registry\", charset=\"UTF-8\"")
}

/// An answer that something was made, and where it is.
fn created(location: &str) -> Response<Body> {
    let mut answer = answer::empty(StatusCode::CREATED);
    answer::set(&mut answer, header::LOCATION, location);
    answer
}
