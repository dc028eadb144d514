//! Manifests and tags. Writers of one repository wait for each other; readers never wait.

use std::io::{self, Read};

use holm_sys::fail_point;
use serde::{Deserialize, Serialize};

use super::{Storage, found, in_repository, of_algorithm};
use crate::digest::Digest;
use crate::manifest::{Facts, LIMIT, Referrer};
use crate::name::{Repository, Tag};

/// Longest document of the registry's own in bytes; a referrer's annotations are as long as its manifest at most.
const DOCUMENT_LIMIT: usize = LIMIT + 65536;

/// A manifest that is there.
#[derive(Debug)]
pub struct Manifest {
    /// Its bytes.
    pub content: Vec<u8>,
    /// Its type.
    pub media_type: String,
}

/// A manifest that is pushed.
pub struct NewManifest<'a> {
    /// Where to.
    pub repository: &'a Repository,
    /// Its digest, which its bytes have.
    pub digest: &'a Digest,
    /// Its bytes.
    pub content: &'a [u8],
    /// What it says.
    pub facts: &'a Facts,
}

/// What stands beside a manifest.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Beside {
    media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
}

/// What a tag is.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pointer {
    digest: String,
}

impl Storage {
    /// A manifest of the repository.
    pub fn manifest(&self, repository: &Repository, digest: &Digest) -> io::Result<Option<Manifest>> {
        let path = format!("{}/{}", of_algorithm(repository, "_manifests", digest), digest.hex());
        let Some(content) = self.read(&path, LIMIT)? else { return Ok(None) };
        let Some(beside) = self.read(&format!("{path}.json"), DOCUMENT_LIMIT)? else { return Ok(None) };
        let beside: Beside = serde_json::from_slice(&beside)?;
        Ok(Some(Manifest { content, media_type: beside.media_type }))
    }

    /// Whether the repository has a manifest.
    pub fn has_manifest(&self, repository: &Repository, digest: &Digest) -> io::Result<bool> {
        let directory = found(self.root.directory(&of_algorithm(repository, "_manifests", digest)))?;
        Ok(match directory {
            Some(directory) => found(directory.stat(digest.hex()))?.is_some(),
            None => false,
        })
    }

    /// What a tag points to, whether or not that is there.
    pub fn tag(&self, repository: &Repository, tag: &Tag) -> io::Result<Option<Digest>> {
        let path = format!("{}/{tag}", in_repository(repository, "_tags"));
        let Some(text) = self.read(&path, DOCUMENT_LIMIT)? else { return Ok(None) };
        let pointer: Pointer = serde_json::from_slice(&text)?;
        Ok(pointer.digest.parse().ok())
    }

    /// Keeps a manifest and points `tags` to it, all on the disk before this returns.
    pub fn put_manifest(&self, new: &NewManifest<'_>, tags: &[Tag]) -> io::Result<()> {
        let _alone = self.lock(new.repository);
        if !self.has_manifest(new.repository, new.digest)? {
            self.write_manifest(new)?;
        }
        tags.iter().try_for_each(|tag| self.write_tag(new.repository, tag, new.digest))
    }

    /// Points a tag to a manifest that is there, unless it does.
    pub fn point(&self, repository: &Repository, tag: &Tag, digest: &Digest) -> io::Result<()> {
        let _alone = self.lock(repository);
        match self.tag(repository, tag)? {
            Some(to) if to == *digest => Ok(()),
            _ => self.write_tag(repository, tag, digest),
        }
    }

    fn write_tag(&self, repository: &Repository, tag: &Tag, digest: &Digest) -> io::Result<()> {
        let text = serde_json::to_vec(&Pointer { digest: digest.to_string() })?;
        self.root.make_directory(&in_repository(repository, "_tags"))?.replace(tag.as_str(), &text)?;
        fail_point::reached("registry-tag-written");
        Ok(())
    }

    /// First what stands beside it, then the manifest: it is there from then on.
    fn write_manifest(&self, new: &NewManifest<'_>) -> io::Result<()> {
        let hex = new.digest.hex();
        let subject = new.facts.subject.as_ref();
        let beside =
            Beside { media_type: new.facts.media_type.clone(), subject: subject.map(ToString::to_string) };
        let directory = self.root.make_directory(&of_algorithm(new.repository, "_manifests", new.digest))?;
        directory.replace(&format!("{hex}.json"), &serde_json::to_vec(&beside)?)?;
        fail_point::reached("registry-manifest-described");
        if let Some(subject) = subject {
            let referrer = serde_json::to_vec(&new.referrer())?;
            let referrers = self.root.make_directory(&referrers(new.repository, subject))?;
            referrers.replace(&name_of_referrer(new.digest), &referrer)?;
            fail_point::reached("registry-referrer-written");
        }
        directory.replace(hex, new.content)?;
        fail_point::reached("registry-manifest-written");
        Ok(())
    }

    /// Removes a tag; whether it was there.
    pub fn delete_tag(&self, repository: &Repository, tag: &Tag) -> io::Result<bool> {
        let _alone = self.lock(repository);
        let Some(directory) = found(self.root.directory(&in_repository(repository, "_tags")))? else {
            return Ok(false);
        };
        let removed = directory.remove(tag.as_str())?;
        directory.sync()?;
        Ok(removed)
    }

    /// Removes a manifest, then what stands beside it and the tags that point to it; whether it was there.
    pub fn delete_manifest(&self, repository: &Repository, digest: &Digest) -> io::Result<bool> {
        let _alone = self.lock(repository);
        let path = of_algorithm(repository, "_manifests", digest);
        let Some(directory) = found(self.root.directory(&path))? else { return Ok(false) };
        let beside = self.read(&format!("{path}/{}.json", digest.hex()), DOCUMENT_LIMIT)?;
        if !directory.remove(digest.hex())? {
            return Ok(false);
        }
        directory.sync()?;
        fail_point::reached("registry-manifest-removed");
        let subject =
            beside.and_then(|text| serde_json::from_slice::<Beside>(&text).ok()?.subject?.parse().ok());
        if let Some(subject) = subject {
            self.forget_referrer(repository, &subject, digest)?;
        }
        directory.remove(&format!("{}.json", digest.hex()))?;
        self.remove_tags_of(repository, digest)?;
        Ok(true)
    }

    fn forget_referrer(&self, repository: &Repository, subject: &Digest, digest: &Digest) -> io::Result<()> {
        match found(self.root.directory(&referrers(repository, subject)))? {
            Some(directory) => directory.remove(&name_of_referrer(digest)).map(drop),
            None => Ok(()),
        }
    }

    fn remove_tags_of(&self, repository: &Repository, digest: &Digest) -> io::Result<()> {
        let Some(directory) = found(self.root.directory(&in_repository(repository, "_tags")))? else {
            return Ok(());
        };
        let mut dangling = Vec::new();
        directory.each(|name, _| {
            let tag = Tag::parse(name);
            if tag.is_some_and(|tag| matches!(self.tag(repository, &tag), Ok(Some(to)) if to == *digest)) {
                dangling.push(name.to_owned());
            }
            Ok(())
        })?;
        dangling.iter().try_for_each(|name| directory.remove(name).map(drop))?;
        directory.sync()
    }

    /// All of a file of at most `limit` bytes.
    pub(super) fn read(&self, path: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = found(self.root.file(path))? else { return Ok(None) };
        let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        if size > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut content = Vec::with_capacity(size + 1);
        file.take(limit as u64).read_to_end(&mut content)?;
        Ok(Some(content))
    }
}

impl NewManifest<'_> {
    fn referrer(&self) -> Referrer {
        Referrer {
            media_type: self.facts.media_type.clone(),
            size: self.content.len() as u64,
            digest: self.digest.to_string(),
            artifact_type: self.facts.artifact_type.clone(),
            annotations: self.facts.annotations.clone(),
        }
    }
}

/// The directory of those that refer to `subject`.
pub(super) fn referrers(repository: &Repository, subject: &Digest) -> String {
    format!("{}/{}", of_algorithm(repository, "_referrers", subject), subject.hex())
}

fn name_of_referrer(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().name(), digest.hex())
}
