//! Lists: repositories, tags, and who refers to a manifest.

use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::{Asked, Registry};
use crate::access::Action;
use crate::answer;
use crate::body::Body;
use crate::digest::Digest;
use crate::failure::{Code, Failure, Result};
use crate::manifest::INDEX;
use crate::name::Repository;
use crate::query::encode;

/// Names on a page, unless fewer are asked for.
const PAGE: usize = 10_000;

impl Registry {
    pub(super) async fn catalog(&self, asked: &Asked<'_>) -> Result<Response<Body>> {
        let (number, last) = page(asked)?;
        let (storage, behind) = (self.storage.clone(), last);
        // What a user may see is asked of each repository while the disk is read.
        let shown = |repository: &Repository| self.access.allows(asked.user, repository, Action::Pull);
        let page = tokio::task::block_in_place(|| storage.repositories(&behind, number, &shown));
        let page = page.map_err(|error| Failure::storage("list repositories", &error))?;
        let mut answer = answer::json(&json!({"repositories": page.items}));
        if let Some(next) = page.next {
            set_next(&mut answer, "/v2/_catalog", &format!("n={number}&last={}", encode(&next)));
        }
        Ok(answer)
    }

    pub(super) async fn tags(&self, repository: Repository, asked: &Asked<'_>) -> Result<Response<Body>> {
        let (number, last) = page(asked)?;
        let of = repository.clone();
        let list = move |storage: &crate::storage::Storage| {
            Ok(match storage.has_repository(&of)? {
                true => Some(storage.tags(&of, &last, number)?),
                false => None,
            })
        };
        let Some(page) = self.blocking("list tags", list).await? else {
            return Err(Failure::new(Code::NameUnknown, format!("there is no repository `{repository}`")));
        };
        let mut answer = answer::json(&json!({"name": repository.as_str(), "tags": page.items}));
        if let Some(next) = page.next {
            let path = format!("/v2/{repository}/tags/list");
            set_next(&mut answer, &path, &format!("n={number}&last={}", encode(&next)));
        }
        Ok(answer)
    }

    pub(super) async fn referrers(
        &self,
        repository: Repository,
        subject: Digest,
        asked: &Asked<'_>,
    ) -> Result<Response<Body>> {
        let kind = asked.query.get("artifactType").filter(|kind| !kind.is_empty()).map(str::to_owned);
        let last = asked.query.get("last").unwrap_or_default().to_owned();
        let (of, to, filter) = (repository.clone(), subject.clone(), kind.clone());
        let list =
            move |storage: &crate::storage::Storage| storage.referrers(&of, &to, filter.as_deref(), &last);
        let page = self.blocking("list referrers", list).await?;
        let document = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": page.items});
        let mut answer = answer::with_body(StatusCode::OK, Body::bytes(document.to_string()));
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(INDEX));
        if kind.is_some() {
            answer.headers_mut().insert(answer::FILTERS, HeaderValue::from_static("artifactType"));
        }
        if let Some(next) = page.next {
            let filter = kind.map(|kind| format!("artifactType={}&", encode(&kind))).unwrap_or_default();
            let path = format!("/v2/{repository}/referrers/{subject}");
            set_next(&mut answer, &path, &format!("{filter}last={}", encode(&next)));
        }
        Ok(answer)
    }
}

/// How many names are wanted, and behind which.
fn page(asked: &Asked<'_>) -> Result<(usize, String)> {
    let number = match asked.query.get("n") {
        Some(text) => {
            let number = text.parse::<usize>();
            number.map_err(|_| {
                Failure::new(Code::Unsupported, "`n` is no number").with_status(StatusCode::BAD_REQUEST)
            })?
        }
        None => PAGE,
    };
    Ok((number.min(PAGE), asked.query.get("last").unwrap_or_default().to_owned()))
}

/// Where the next page is (RFC 8288).
fn set_next(answer: &mut Response<Body>, path: &str, query: &str) {
    answer::set(answer, header::LINK, &format!("<{path}?{query}>; rel=\"next\""));
}
