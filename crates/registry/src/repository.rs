//! A repository of a registry, and what can be asked of it (OCI distribution specification 1.1, "API").

use holm_spec::image::{Descriptor, ImageIndex};
use holm_spec::{Digest, Reference};
use ureq::Body;
use ureq::http::{Method, Response, StatusCode};

use crate::client::{ATTEMPTS, Call, Client, Open, PAGES, Payload};
use crate::document::{self, INDEX};
use crate::error::{Error, Kind, Result};
use crate::node::Node;
use holm_store::DOCUMENT_LIMIT;

/// Referrers of one manifest that are looked at, at most.
const REFERRERS: usize = 10_000;

/// A repository.
#[derive(Clone, Debug)]
pub struct Repository<'a> {
    client: &'a Client,
    path: String,
    /// What is to be done there, as token servers name it.
    actions: &'static str,
}

impl<'a> Repository<'a> {
    /// A repository that is read from.
    pub fn to_read(client: &'a Client, path: &str) -> Self {
        Self { client, path: path.to_owned(), actions: "pull" }
    }

    /// A repository that is written to.
    pub fn to_write(client: &'a Client, path: &str) -> Self {
        Self { client, path: path.to_owned(), actions: "pull,push" }
    }

    /// The registry's name.
    pub fn domain(&self) -> &str {
        self.client.domain()
    }

    /// Makes a request below the repository.
    fn call<'b>(&self, method: Method, tail: &str, doing: impl Into<String>) -> Call<'b> {
        let scope = format!("repository:{}:{}", self.path, self.actions);
        Call::new(method, format!("{}/{tail}", self.path), &scope, doing)
    }

    /// The manifest or index behind a tag or digest, with its digest, which is `pinned` if that is given.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Invalid`] where another one comes; otherwise as [`Client::send`].
    pub fn manifest(&self, wanted: &str, pinned: Option<Digest>) -> Result<(Digest, Vec<u8>)> {
        let mut call = self.call(Method::GET, &format!("manifests/{wanted}"), "ask for the image");
        call.headers.push(("Accept", document::ACCEPT.to_owned()));
        let (headers, content) = self.client.fetch(&call, DOCUMENT_LIMIT)?;
        let told = headers.get("docker-content-digest").and_then(|value| value.to_str().ok());
        let told = pinned.or_else(|| told?.parse().ok());
        let digest = Digest::of(&content);
        self.expect("manifest", told.unwrap_or(digest), digest)?;
        Ok((digest, content))
    }

    /// What a name stands for: its digest, else its tag.
    ///
    /// # Errors
    /// As [`Repository::manifest`].
    pub fn manifest_of(&self, reference: &Reference) -> Result<(Digest, Vec<u8>)> {
        let pinned = reference.digest();
        let wanted = pinned.map(|digest| digest.to_string());
        self.manifest(wanted.as_deref().or(reference.tag()).unwrap_or("latest"), pinned)
    }

    /// Manifests that are about the one with the digest `subject` (OCI distribution specification, "Listing Referrers").
    ///
    /// # Errors
    /// As [`Client::send`]; [`Kind::Invalid`] where the list has no end or is none.
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let mut tail = format!("referrers/{subject}");
        let mut all = Vec::new();
        for _ in 0..PAGES {
            let mut call = self.call(Method::GET, &tail, "ask for referrers");
            if tail.contains("://") || tail.starts_with('/') {
                call.target = tail;
            }
            let answer = match self.client.send(&call) {
                // It has no interface for that, and perhaps a list under a tag.
                Err(error) if error.kind() == Kind::NotFound && all.is_empty() => {
                    return self.listed_referrers(subject);
                }
                answer => answer?,
            };
            let next = next_page(&answer);
            all.extend(entries(&self.client.read(answer, DOCUMENT_LIMIT)?)?);
            match next {
                Some(next) if all.len() < REFERRERS => tail = next,
                Some(_) => break,
                None => return Ok(all),
            }
        }
        Err(Error::new(Kind::Invalid, format!("the list of what is about {subject} has no end")))
    }

    fn listed_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        match self.manifest(&document::referrers_tag(subject), None) {
            Ok((_, content)) => entries(&content),
            Err(error) if error.kind() == Kind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// A small blob.
    ///
    /// # Errors
    /// As [`Repository::manifest`].
    pub fn document(&self, digest: &Digest) -> Result<Vec<u8>> {
        let doing = format!("ask for the configuration {digest}");
        let call = self.call(Method::GET, &format!("blobs/{digest}"), doing);
        let (_, content) = self.client.fetch(&call, DOCUMENT_LIMIT)?;
        self.expect("configuration", *digest, Digest::of(&content))?;
        Ok(content)
    }

    fn expect(&self, what: &str, expected: Digest, actual: Digest) -> Result<()> {
        if expected == actual {
            return Ok(());
        }
        let registry = self.domain();
        let text = format!("{registry} sent for the {what} {expected} one with the digest {actual}");
        Err(Error::new(Kind::Invalid, text))
    }

    /// A blob from the byte `start` on; a registry may send it from the first one.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn blob(&self, digest: &Digest, start: u64) -> Result<Response<Body>> {
        let mut call = self.call(Method::GET, &format!("blobs/{digest}"), "ask for it");
        if start > 0 {
            call.headers.push(("Range", format!("bytes={start}-")));
        }
        self.client.send(&call)
    }

    /// Whether a blob is there.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn has_blob(&self, digest: &Digest) -> Result<bool> {
        self.has(&format!("blobs/{digest}"), format!("look for the blob {digest}"))
    }

    /// Whether a manifest is there.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn has_manifest(&self, digest: &Digest) -> Result<bool> {
        self.has(&format!("manifests/{digest}"), format!("look for the manifest {digest}"))
    }

    fn has(&self, tail: &str, doing: String) -> Result<bool> {
        let mut call = self.call(Method::HEAD, tail, doing);
        call.headers.push(("Accept", document::ACCEPT.to_owned()));
        match self.client.send(&call) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == Kind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Asks the registry to take a blob over from another repository of its own; says whether it did.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn mount(&self, digest: &Digest, from: &str) -> Result<bool> {
        let tail = format!("blobs/uploads/?mount={digest}&from={from}");
        let mut call = self.call(Method::POST, &tail, format!("take the blob {digest} from {from}"));
        call.scope = format!("{} repository:{from}:pull", call.scope);
        let answer = match self.client.send(&call) {
            // That repository is closed to us, or gone.
            Err(error) if matches!(error.kind(), Kind::Denied | Kind::NotFound | Kind::Invalid) => {
                return Ok(false);
            }
            answer => answer?,
        };
        if answer.status() == StatusCode::CREATED {
            return Ok(true);
        }
        // It has begun an upload instead.
        if let Ok(location) = location(&answer) {
            let mut call = self.call(Method::DELETE, "", "give up an upload");
            (call.target, call.attempts) = (location, 1);
            // It goes by itself in time.
            let _ = self.client.send(&call);
        }
        Ok(false)
    }

    /// Sends a blob of `size` bytes, which `open` gives anew after a failure; false if a registry on this host took it
    /// from this host's images, and nothing went.
    ///
    /// # Errors
    /// As [`Client::send`], also after some patience; those of `open`.
    pub fn put_blob<'b>(&self, digest: &Digest, size: u64, open: &'b Open<'b>) -> Result<bool> {
        for attempt in 1.. {
            match self.try_put_blob(digest, size, open) {
                Err(error)
                    if attempt < ATTEMPTS
                        && matches!(error.kind(), Kind::Broken | Kind::Server | Kind::NotFound) =>
                {
                    tracing::info!("blob {digest}: {error}; again");
                    std::thread::sleep(crate::client::FIRST_PAUSE * attempt);
                }
                result => return result,
            }
        }
        unreachable!("the last attempt returns")
    }

    fn try_put_blob<'b>(&self, digest: &Digest, size: u64, open: &'b Open<'b>) -> Result<bool> {
        // One that has the same disk may have it (OCI distribution specification, "Mounting a blob", without `from`).
        let tail = match self.client.is_local() {
            true => format!("blobs/uploads/?mount={digest}"),
            false => "blobs/uploads/".to_owned(),
        };
        let begin = self.call(Method::POST, &tail, format!("begin to send the blob {digest}"));
        let begun = self.client.send(&begin)?;
        if begun.status() == StatusCode::CREATED {
            return Ok(false);
        }
        let location = location(&begun)?;
        let joint = if location.contains('?') { '&' } else { '?' };
        let mut call = self.call(Method::PUT, "", format!("send the blob {digest}"));
        call.target = format!("{location}{joint}digest={digest}");
        // What is left of the upload after a failure is not known.
        call.attempts = 1;
        call.payload = Payload::Bytes(open, size);
        self.client.send(&call).map(|_| true)
    }

    /// Gives a manifest or index to a tag, or keeps it by its digest. What is about another manifest is listed with that one.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn put_manifest(&self, name: &str, node: &Node) -> Result<()> {
        let answer = self.try_put_manifest(name, &node.media_type, &node.content)?;
        match &node.subject {
            Some(subject) if !answer.headers().contains_key("oci-subject") => self.add_to_list(node, subject),
            _ => Ok(()),
        }
    }

    fn try_put_manifest(&self, name: &str, media_type: &str, content: &[u8]) -> Result<Response<Body>> {
        let doing = format!("send the manifest of {}:{name}", self.path);
        let mut call = self.call(Method::PUT, &format!("manifests/{name}"), doing);
        call.payload = Payload::Document(content, media_type);
        self.client.send(&call)
    }

    /// Adds a referrer to the list that a registry without an interface for that keeps under a tag (OCI distribution
    /// specification, "Pushing Manifests with Subject").
    fn add_to_list(&self, node: &Node, subject: &Digest) -> Result<()> {
        let mut list = self.listed_referrers(subject)?;
        let descriptor = node.descriptor();
        if list.iter().any(|known| known.digest() == descriptor.digest()) {
            return Ok(());
        }
        list.push(descriptor);
        let index = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": list});
        let tag = document::referrers_tag(subject);
        self.try_put_manifest(&tag, INDEX, index.to_string().as_bytes()).map(drop)
    }

    /// The tags of the repository, as the registry orders them.
    ///
    /// # Errors
    /// As [`Client::send`]; [`Kind::Invalid`] where the list has no end or is none.
    pub fn tags(&self) -> Result<Vec<String>> {
        #[derive(serde::Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let scope = format!("repository:{}:{}", self.path, self.actions);
        let target = format!("{}/tags/list", self.path);
        self.client.pages(&target, &scope, "ask for the tags", |content| {
            serde_json::from_slice(content).map(|page: Page| page.tags)
        })
    }
}

/// The entries of an index.
fn entries(content: &[u8]) -> Result<Vec<Descriptor>> {
    let index: ImageIndex = serde_json::from_slice(content)
        .map_err(|error| Error::because(Kind::Invalid, "read a list of referrers", error))?;
    Ok(index.manifests().clone())
}

/// Where a list goes on (RFC 8288).
fn next_page(answer: &Response<Body>) -> Option<String> {
    let link = answer.headers().get("link")?.to_str().ok()?;
    let (address, parameters) = link.strip_prefix('<')?.split_once('>')?;
    parameters.contains("next").then(|| address.to_owned())
}

/// Where an upload goes on.
fn location(answer: &Response<Body>) -> Result<String> {
    let location = answer.headers().get("location").and_then(|value| value.to_str().ok());
    location
        .map(str::to_owned)
        .ok_or_else(|| Error::new(Kind::Server, "it does not say where the upload goes on"))
}
