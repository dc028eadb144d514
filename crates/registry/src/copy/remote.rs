//! A repository of a registry as a place.

use std::io::Read;

use holm_spec::image::Descriptor;
use holm_spec::{Digest, Reference};

use super::place::{Blob, Destination, Put, Source};
use crate::blob_reader::BlobReader;
use crate::client::{Client, Open};
use crate::connections::Connections;
use crate::error::{Error, Kind, Result};
use crate::node::Node;
use crate::repository::Repository;

/// Where something comes from.
#[derive(Debug)]
pub struct Origin {
    client: Client,
    path: String,
    top: Vec<u8>,
}

impl Origin {
    /// The first registry that has `reference`: mirrors first.
    ///
    /// # Errors
    /// As [`Repository::manifest`] of the last one.
    pub fn find(connections: &Connections, reference: &Reference) -> Result<Self> {
        let mut sources = connections.sources(reference)?.into_iter().peekable();
        while let Some((client, path)) = sources.next() {
            let top = Repository::to_read(&client, &path).manifest_of(reference);
            match top {
                Ok((_, top)) => return Ok(Self { client, path, top }),
                Err(error) if sources.peek().is_some() => {
                    let why = holm_store::chain(&error);
                    tracing::warn!("{}: {why}; another source is asked", client.domain());
                }
                Err(error) => return Err(error),
            }
        }
        unreachable!("the last source returns")
    }

    fn repository_to_read(&self) -> Repository<'_> {
        Repository::to_read(&self.client, &self.path)
    }
}

impl Source for Origin {
    fn top(&self) -> Result<Vec<u8>> {
        Ok(self.top.clone())
    }

    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>> {
        Ok(self.repository_to_read().manifest(&digest.to_string(), Some(*digest))?.1)
    }

    fn blob(&self, blob: &Blob) -> Result<Box<dyn Read + '_>> {
        Ok(Box::new(BlobReader::new(self.repository_to_read(), blob.digest, blob.size, 0)))
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.repository_to_read().referrers(subject)
    }

    fn repository(&self) -> Option<(&str, &str)> {
        Some((self.client.domain(), &self.path))
    }
}

/// Where something goes.
#[derive(Debug)]
pub struct Target<'a> {
    client: Client,
    reference: &'a Reference,
    /// Another repository of the same registry that has all of it.
    sibling: Option<String>,
}

impl<'a> Target<'a> {
    /// The repository that `reference` names, for what comes from `source`.
    ///
    /// # Errors
    /// As [`Connections::client`].
    pub fn new(connections: &Connections, reference: &'a Reference, source: &dyn Source) -> Result<Self> {
        let is_sibling =
            |(domain, path): &(&str, &str)| *domain == reference.domain() && *path != reference.path();
        let sibling = source.repository().filter(is_sibling).map(|(_, path)| path.to_owned());
        Ok(Self { client: connections.client(reference.domain())?, reference, sibling })
    }

    fn repository(&self) -> Repository<'_> {
        Repository::to_write(&self.client, self.reference.path())
    }

    /// Under which name a manifest goes: by its digest, or the one that was asked for.
    fn name_of(&self, node: &Node, named: bool) -> Result<String> {
        match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) if named && digest != node.digest => {
                let text =
                    format!("it has the digest {}, not the one of the name that it should get", node.digest);
                Err(Error::new(Kind::Invalid, text))
            }
            (None, Some(tag)) if named => Ok(tag.to_owned()),
            _ => Ok(node.digest.to_string()),
        }
    }
}

impl Destination for Target<'_> {
    fn has(&self, manifest: &Digest) -> Result<bool> {
        self.repository().has_manifest(manifest)
    }

    fn put_blob<'b>(&self, blob: &Blob, open: &'b Open<'b>) -> Result<Put> {
        let repository = self.repository();
        if repository.has_blob(&blob.digest)? {
            return Ok(Put::Existed);
        }
        if let Some(sibling) = &self.sibling
            && repository.mount(&blob.digest, sibling)?
        {
            return Ok(Put::Mounted);
        }
        let sent = repository.put_blob(&blob.digest, blob.size, open)?;
        Ok(if sent { Put::Sent } else { Put::Taken })
    }

    fn put_manifest(&self, node: &Node, named: bool) -> Result<()> {
        let name = self.name_of(node, named)?;
        self.repository().put_manifest(&name, node)
    }

    fn finish(&self) -> Result<()> {
        Ok(())
    }
}
