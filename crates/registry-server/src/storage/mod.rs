//! What the registry keeps, as plain files below one directory. Everything here blocks: it is called where that may be.
//!
//! ```text
//! version                                                     format of all this, and the lock of the one who serves it
//! blobs/<algorithm>/<hex>                                      every blob once
//! repositories/<name>/_blobs/<algorithm>/<hex>                 a hard link to it: the repository has it
//! repositories/<name>/_manifests/<algorithm>/<hex>             the bytes of a manifest
//! repositories/<name>/_manifests/<algorithm>/<hex>.json        its type and subject, written before it
//! repositories/<name>/_tags/<tag>                              the digest that it points to
//! repositories/<name>/_referrers/<algorithm>/<hex>/<algorithm>-<hex>   who refers to a manifest: the referrer's descriptor
//! repositories/<name>/_uploads/<id>                            the bytes of a blob so far
//! ```
//!
//! No component of a repository's name begins with `_`, so nothing collides. What has its name is complete and on the disk;
//! names with a leading dot are half made. A manifest is there when its bytes have their name, whatever else is.
//!
//! A blob that was taken from Holm's images on the same disk is a hard link to their file, and has no name in `blobs`.
//!
//! A blob goes when no repository has it: its last link is the one in `blobs`. Links are made and removed without a lock.
//! Whoever has a link has the content, so a race between a push and a removal can leave a second copy, never a hole.

mod blobs;
mod lists;
mod manifests;
mod place;
mod sweep;
mod uploads;

use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::{Hash, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};

use crate::digest::Digest;
use crate::name::Repository;
use place::Root;

pub use blobs::Mounted;
pub use manifests::NewManifest;
pub use uploads::{Upload, Written};

/// The format that is written, and the only one that is read.
const VERSION: &[u8] = b"holm registry 1\n";

/// How many writers of manifests may be at work at once: those of one repository wait for each other.
const STRIPES: usize = 64;

/// The directory of one registry.
pub struct Storage {
    root: Root,
    /// Holds the lock.
    _version: File,
    stripes: Vec<Mutex<()>>,
    /// Blobs of Holm's images, if pushes may take them from there.
    images: Option<PathBuf>,
}

impl Storage {
    /// Opens the storage at `path`, made if nothing is there, and locks it: for itself, or with other readers if it is
    /// `read_only`.
    ///
    /// # Errors
    /// It is locked, is not a storage of this format, or the file system says no.
    pub fn open(path: &Path, read_only: bool) -> io::Result<Self> {
        if !read_only {
            holm_sys::file::ensure_directory(path, 0o700)?;
        }
        let root = Root::open(path)?;
        let version = version(&root, read_only)?;
        let operation = match read_only {
            true => FlockOperation::NonBlockingLockShared,
            false => FlockOperation::NonBlockingLockExclusive,
        };
        flock(&version, operation).map_err(|errno| match errno {
            holm_sys::Errno::WOULDBLOCK => io::Error::other("another registry serves it"),
            other => other.into(),
        })?;
        let stripes = (0..STRIPES).map(|_| Mutex::new(())).collect();
        Ok(Self { root, _version: version, stripes, images: None })
    }

    /// Lets pushes take blobs of Holm's images, which lie below `blobs`. There may be none yet.
    pub fn share(&mut self, blobs: &Path) {
        self.images = Some(blobs.to_owned());
    }

    /// Keeps others from writing manifests of that repository.
    fn lock(&self, repository: &Repository) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        repository.hash(&mut hasher);
        let stripe = usize::try_from(hasher.finish() % STRIPES as u64).unwrap_or(0);
        self.stripes[stripe].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything was ever pushed to that repository.
    pub fn has_repository(&self, repository: &Repository) -> io::Result<bool> {
        let there = |part: &str| found(self.root.directory(&in_repository(repository, part)));
        Ok(there("_manifests")?.is_some() || there("_blobs")?.is_some())
    }
}

fn version(root: &Root, read_only: bool) -> io::Result<File> {
    let directory = root.directory(".")?;
    if !read_only && found(root.file("version"))?.is_none() {
        let mut empty = true;
        directory.each(|_, _| {
            empty = false;
            Ok(())
        })?;
        if !empty {
            return Err(io::Error::other("it is not empty and no storage of a registry"));
        }
        directory.replace("version", VERSION)?;
    }
    let mut file = root.file("version")?;
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(&mut file, 1024), &mut text)?;
    match text == VERSION {
        true => Ok(file),
        false => Err(io::Error::other("its format is another one than this registry's")),
    }
}

fn in_repository(repository: &Repository, part: &str) -> String {
    format!("repositories/{repository}/{part}")
}

/// The directory of one algorithm in a part of a repository.
fn of_algorithm(repository: &Repository, part: &str, digest: &Digest) -> String {
    format!("repositories/{repository}/{part}/{}", digest.algorithm().name())
}

/// `None` for what is not there.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
