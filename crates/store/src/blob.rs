//! Blobs: immutable files named by the sha256 of their content, `blobs/sha256/<hex>`.
//!
//! Documents (manifests, configurations) are written through a temporary file beside the final name,
//! synced, renamed, and the directory synced. What is read is hashed again, every time: a document
//! is small, and a bit that flipped on the disk must not become a command line.

use std::io;

use holm_spec::Digest;
use holm_sys::file::{self, Durability};

use crate::error::{Error, Kind, Result};
use crate::store::{InUse, Store};

/// Largest document (manifest, index, configuration) that is read or written, in bytes.
pub const DOCUMENT_LIMIT: u64 = 4 << 20;

impl Store {
    /// Stores a document and gives its digest. Durable when it returns; a blob that is there already,
    /// with the right content, is kept.
    ///
    /// # Errors
    /// [`Kind::Invalid`] beyond [`DOCUMENT_LIMIT`]; [`Kind::NoSpace`], [`Kind::ReadOnly`],
    /// [`Kind::Io`].
    pub fn put_blob(&self, _in_use: &InUse, content: &[u8]) -> Result<Digest> {
        let digest = Digest::of(content);
        if content.len() as u64 > DOCUMENT_LIMIT {
            return Err(Error::new(
                Kind::Invalid,
                format!("blob {digest} is larger than {DOCUMENT_LIMIT} bytes"),
            ));
        }
        self.write_blob(&digest, content)?;
        Ok(digest)
    }

    /// Stores what is no document, of any size, and gives its digest. As durable as [`Store::put_blob`].
    ///
    /// # Errors
    /// [`Kind::NoSpace`], [`Kind::ReadOnly`], [`Kind::Io`].
    pub(crate) fn put_file(&self, _in_use: &InUse, content: &[u8]) -> Result<Digest> {
        let digest = Digest::of(content);
        self.write_blob(&digest, content)?;
        Ok(digest)
    }

    fn write_blob(&self, digest: &Digest, content: &[u8]) -> Result<()> {
        let path = self.paths().blob(digest);
        let write = || match file::read_limited(&path, content.len() as u64) {
            // Its writer may have died before it synced the directory.
            Ok(present) if present == content => file::sync_directory(&self.paths().blobs()),
            _ => file::replace(&path, content, Durability::Durable),
        };
        write().map_err(|error| Error::io(format!("write blob {digest}"), error))
    }

    /// Stores a document that must have the digest `expected`.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] where it has another; otherwise as [`Store::put_blob`].
    pub fn put_blob_verified(&self, in_use: &InUse, expected: &Digest, content: &[u8]) -> Result<()> {
        let digest = Digest::of(content);
        if digest != *expected {
            return Err(Error::new(Kind::Corrupt, format!("blob {expected} has the digest {digest}")));
        }
        self.put_blob(in_use, content).map(|_| ())
    }

    /// Reads a document of at most [`DOCUMENT_LIMIT`] bytes and checks its digest.
    ///
    /// # Errors
    /// [`Kind::NotFound`], or [`Kind::Corrupt`] where the content has another digest or is too large.
    pub fn blob(&self, digest: &Digest) -> Result<Vec<u8>> {
        let content = file::read_limited(&self.paths().blob(digest), DOCUMENT_LIMIT);
        let content = content.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::new(Kind::NotFound, format!("blob {digest} is missing")),
            io::ErrorKind::FileTooLarge => {
                Error::new(Kind::Corrupt, format!("blob {digest} is larger than {DOCUMENT_LIMIT} bytes"))
            }
            _ => Error::io(format!("read blob {digest}"), error),
        })?;
        let actual = Digest::of(&content);
        if actual != *digest {
            return Err(Error::new(
                Kind::Corrupt,
                format!("blob {digest} is damaged: its digest is {actual}"),
            ));
        }
        Ok(content)
    }

    /// Whether a blob of that name is there, without a look at its content.
    pub(crate) fn has_blob(&self, digest: &Digest) -> bool {
        rustix::fs::access(self.paths().blob(digest), rustix::fs::Access::EXISTS).is_ok()
    }

    /// Removes a blob; says whether it was there.
    pub(crate) fn remove_blob(&self, digest: &Digest) -> Result<bool> {
        remove_file(&self.paths().blob(digest), || format!("remove blob {digest}"))
    }
}

/// Removes a file; says whether it was there.
pub(crate) fn remove_file(path: &std::path::Path, context: impl Fn() -> String) -> Result<bool> {
    match rustix::fs::unlink(path) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(errno) => Err(Error::io(context(), errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch;

    #[test]
    fn content_comes_back_and_damage_is_noticed() {
        let (_dir, store) = scratch();
        let in_use = store.in_use().expect("lock");
        let digest = store.put_blob(&in_use, b"{}").expect("put");
        assert_eq!(store.put_blob(&in_use, b"{}").expect("put again"), digest);
        assert_eq!(store.blob(&digest).expect("get"), b"{}");

        std::fs::write(store.paths().blob(&digest), b"[]").expect("damage");
        let error = store.blob(&digest).expect_err("damaged");
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.to_string().contains(&digest.to_string()), "{error}");
        store.put_blob(&in_use, b"{}").expect("heal");
        assert_eq!(store.blob(&digest).expect("get"), b"{}");

        assert!(store.remove_blob(&digest).expect("remove"));
        assert!(!store.remove_blob(&digest).expect("nothing to remove"));
        assert_eq!(store.blob(&digest).expect_err("gone").kind(), Kind::NotFound);
    }

    #[test]
    fn what_has_another_digest_or_is_too_large_is_refused() {
        let (_dir, store) = scratch();
        let in_use = store.in_use().expect("lock");
        let other = Digest::of(b"other");
        assert_eq!(
            store.put_blob_verified(&in_use, &other, b"{}").expect_err("another").kind(),
            Kind::Corrupt
        );
        let large = vec![b' '; usize::try_from(DOCUMENT_LIMIT).expect("fits") + 1];
        assert_eq!(store.put_blob(&in_use, &large).expect_err("too large").kind(), Kind::Invalid);
        let blob = store.paths().blob(&other);
        std::fs::write(blob, &large).expect("write");
        assert_eq!(store.blob(&other).expect_err("too large").kind(), Kind::Corrupt);
    }
}
