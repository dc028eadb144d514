//! What copying needs of a place, as where it comes from and as where it goes.

use std::io::{self, Read};

use holm_spec::Digest;
use holm_spec::image::{Descriptor, ImageManifest};
use holm_spec::platform::Platform;
use holm_store::DOCUMENT_LIMIT;
use sha2::{Digest as _, Sha256};

use crate::client::Open;
use crate::document::{self, Document};
use crate::error::{Error, Kind, Result};
use crate::node::Node;
use crate::parallel::AT_A_TIME;

/// A blob by its digest and its size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Where something comes from.
pub trait Source: Sync {
    /// What the name stands for.
    fn top(&self) -> Result<Vec<u8>>;

    /// A manifest by its digest. Who asks checks it.
    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>>;

    /// A blob from its first byte on. Who asks checks it.
    fn blob(&self, blob: &Blob) -> Result<Box<dyn Read + '_>>;

    /// Manifests that are about the one with this digest.
    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>>;

    /// Registry and repository, if it is one.
    fn repository(&self) -> Option<(&str, &str)> {
        None
    }
}

/// What became of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It was there.
    Existed,
    /// The registry had it in another repository.
    Mounted,
    /// The registry is on this host, and took it from this host's images.
    Taken,
    /// It was sent.
    Sent,
}

/// Where something goes.
pub trait Destination: Sync {
    /// Whether a manifest is there with all that it names.
    fn has(&self, manifest: &Digest) -> Result<bool>;

    /// Puts a blob there, unless it is there. What `open` gives ends with an error unless all of it has come and is right.
    fn put_blob<'b>(&self, blob: &Blob, open: &'b Open<'b>) -> Result<Put>;

    /// How many blobs may be put there at a time.
    fn at_a_time(&self) -> usize {
        AT_A_TIME
    }

    /// Puts a manifest or index there, behind all that it names; `named` is what was asked for.
    fn put_manifest(&self, node: &Node, named: bool) -> Result<()>;

    /// Everything is there.
    fn finish(&self) -> Result<()>;
}

/// Reads a blob and checks it on the way: the last bytes come only if all are right.
pub struct Verified<'a> {
    input: Box<dyn Read + 'a>,
    blob: Blob,
    read: u64,
    hash: Sha256,
    told: &'a dyn Fn(u64),
}

impl<'a> Verified<'a> {
    /// Reads `blob` from `input`; `told` hears how much was read.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for an empty blob with the digest of another.
    pub fn new(input: Box<dyn Read + 'a>, blob: Blob, told: &'a dyn Fn(u64)) -> Result<Self> {
        let hash = Sha256::new();
        if blob.size == 0 {
            check(&blob, hash.clone())?;
        }
        Ok(Self { input, blob, read: 0, hash, told })
    }
}

fn check(blob: &Blob, hash: Sha256) -> Result<()> {
    let digest = Digest::from_sha256(hash.finalize().into());
    match digest == blob.digest {
        true => Ok(()),
        false => Err(Error::new(Kind::Invalid, format!("blob {} has the digest {digest}", blob.digest))),
    }
}

impl Read for Verified<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.blob.size - self.read).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        if wanted == 0 {
            return Ok(0);
        }
        let length = self.input.read(&mut buffer[..wanted])?;
        if length == 0 {
            let Blob { digest, size } = self.blob;
            let text = format!("blob {digest} ends after {} of {size} bytes", self.read);
            return Err(io::Error::other(Error::new(Kind::Invalid, text)));
        }
        self.hash.update(&buffer[..length]);
        self.read += length as u64;
        if self.read == self.blob.size {
            check(&self.blob, self.hash.clone()).map_err(io::Error::other)?;
        }
        (self.told)(self.read);
        Ok(length)
    }
}

/// The manifest that a place has, or that of its index which is for this host.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::Platform`]; [`Kind::Invalid`] also where the index lists another one.
pub fn manifest_for_host(source: &dyn Source) -> Result<ImageManifest> {
    let index = match document::parse(&source.top()?)? {
        Document::Manifest(manifest) => return Ok(*manifest),
        Document::Index(index) => index,
    };
    let chosen = document::digest_of(document::choose(index.manifests(), &Platform::host())?)?;
    let content = source.manifest(&chosen)?;
    check_manifest(&chosen, &content)?;
    match document::parse(&content)? {
        Document::Manifest(manifest) => Ok(*manifest),
        Document::Index(_) => Err(Error::new(Kind::Invalid, "its index lists another index")),
    }
}

/// The configuration that a manifest names.
///
/// # Errors
/// [`Kind::Invalid`] where it is larger than a document may be, or another one; what reading reports.
pub fn configuration(source: &dyn Source, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let blob = Blob { digest: document::digest_of(descriptor)?, size: descriptor.size() };
    if blob.size > DOCUMENT_LIMIT {
        return Err(Error::new(Kind::Invalid, format!("its configuration has {} bytes", blob.size)));
    }
    let mut content = Vec::new();
    Verified::new(source.blob(&blob)?, blob, &|_| ())?
        .read_to_end(&mut content)
        .map_err(|error| io_error("read its configuration", error))?;
    Ok(content)
}

/// Looks whether a manifest is the one with this digest.
///
/// # Errors
/// [`Kind::Invalid`].
pub fn check_manifest(digest: &Digest, content: &[u8]) -> Result<()> {
    let actual = Digest::of(content);
    match actual == *digest {
        true => Ok(()),
        false => Err(Error::new(Kind::Invalid, format!("the manifest {digest} has the digest {actual}"))),
    }
}

/// No image, or no one of `count` images with these names, is what was asked for.
pub fn not_there(name: Option<&str>, count: usize, names: &[&str]) -> Error {
    let known = if names.is_empty() { "none has a name".to_owned() } else { names.join(", ") };
    let text = match name {
        Some(name) => format!("there is no `{name}` in it; there are: {known}"),
        None => format!("it holds {count} images, and one must be named; there are: {known}"),
    };
    Error::new(Kind::NotFound, text)
}

/// An error of a file.
pub fn io_error(context: impl Into<String>, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => Kind::NotFound,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::Store(holm_store::Kind::NoSpace),
        _ => error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).map_or(Kind::Io, Error::kind),
    };
    Error::because(kind, context, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &'static [u8], told: &[u8], size: u64) -> io::Result<Vec<u8>> {
        let blob = Blob { digest: Digest::of(told), size };
        let mut verified = Verified::new(Box::new(content), blob, &|_| ()).map_err(io::Error::other)?;
        let mut out = Vec::new();
        verified.read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn the_last_bytes_come_only_if_all_are_right() {
        assert_eq!(read(b"abc", b"abc", 3).expect("right"), b"abc");
        assert_eq!(read(b"", b"", 0).expect("right"), b"");
        assert_eq!(read(b"abcd", b"abc", 3).expect("what follows is not read"), b"abc");
        for (content, told, size) in [(&b"abd"[..], &b"abc"[..], 3), (b"ab", b"abc", 3), (b"", b"abc", 0)] {
            assert!(read(content, told, size).is_err());
        }
    }
}
