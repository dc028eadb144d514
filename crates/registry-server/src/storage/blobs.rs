//! Blobs: found, given to a repository, and removed.

use std::fs::File;
use std::io::{self, Seek};
use std::path::Path;

use holm_sys::Errno;
use holm_sys::fail_point;

use super::place::{Directory, Root};
use super::uploads::hash;
use super::{Storage, found, of_algorithm};
use crate::digest::Digest;
use crate::name::Repository;

/// Whether a blob could be given to a repository that did not have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounted {
    /// It has it now.
    Here,
    /// Nobody has it.
    Nowhere,
}

impl Storage {
    /// A blob of the repository, open, with its size.
    pub fn blob(&self, repository: &Repository, digest: &Digest) -> io::Result<Option<(File, u64)>> {
        sized(found(self.root.file(&path(repository, digest)))?)
    }

    /// As [`Self::blob`], only if that takes no disk; `WouldBlock` otherwise.
    pub fn blob_at_once(&self, repository: &Repository, digest: &Digest) -> io::Result<Option<(File, u64)>> {
        sized(found(self.root.file_at_once(&path(repository, digest)))?)
    }

    /// Whether the repository has a blob.
    pub fn has_blob(&self, repository: &Repository, digest: &Digest) -> io::Result<bool> {
        Ok(self.blob(repository, digest)?.is_some())
    }

    /// Gives `to` the blob that `from` has.
    pub fn mount(&self, from: &Repository, to: &Repository, digest: &Digest) -> io::Result<Mounted> {
        let Some(source) = found(self.root.directory(&of_algorithm(from, "_blobs", digest)))? else {
            return Ok(Mounted::Nowhere);
        };
        self.give(&source, to, digest)
    }

    /// Gives `to` the blob if any repository has it.
    pub fn mount_from_any(&self, to: &Repository, digest: &Digest) -> io::Result<Mounted> {
        let Some(source) = found(self.root.directory(&every(digest)))? else { return Ok(Mounted::Nowhere) };
        match found(source.stat(digest.hex()))? {
            // One link only is a blob that nobody has any more.
            Some(stat) if stat.st_nlink > 1 => self.give(&source, to, digest),
            _ => Ok(Mounted::Nowhere),
        }
    }

    /// Gives `to` the blob if Holm's images on the same disk have it: by a further name for their file, else by a copy that
    /// shares its blocks. It gets no name in `blobs`, where the number of names tells whether a repository has it.
    pub fn take(&self, to: &Repository, digest: &Digest) -> io::Result<Mounted> {
        let Some(images) = &self.images else { return Ok(Mounted::Nowhere) };
        if self.has_blob(to, digest)? {
            return Ok(Mounted::Here);
        }
        // What cannot be read there can still be sent.
        let Ok(Some(file)) = image_blob(images, digest) else { return Ok(Mounted::Nowhere) };
        let own = self.root.make_directory(&of_algorithm(to, "_blobs", digest))?;
        match own.link_file(&file, digest.hex()) {
            Ok(()) => own.sync()?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => own.sync()?,
            Err(_) => {
                let share = |copy: &mut File| Ok(rustix::fs::ioctl_ficlone(copy, &file)?);
                if own.replace_with(digest.hex(), share).is_err() {
                    return Ok(Mounted::Nowhere);
                }
            }
        }
        fail_point::reached("registry-blob-taken");
        Ok(Mounted::Here)
    }

    /// Takes the blob from the repository; whether it had it. The content goes with the last one that has it.
    pub fn delete_blob(&self, repository: &Repository, digest: &Digest) -> io::Result<bool> {
        let Some(own) = found(self.root.directory(&of_algorithm(repository, "_blobs", digest)))? else {
            return Ok(false);
        };
        if !own.remove(digest.hex())? {
            return Ok(false);
        }
        own.sync()?;
        fail_point::reached("registry-blob-unlinked");
        self.remove_unused(digest)?;
        Ok(true)
    }

    /// Removes the content of a blob that no repository has.
    pub(super) fn remove_unused(&self, digest: &Digest) -> io::Result<bool> {
        let Some(all) = found(self.root.directory(&every(digest)))? else { return Ok(false) };
        match found(all.stat(digest.hex()))? {
            Some(stat) if stat.st_nlink == 1 => all.remove(digest.hex()),
            _ => Ok(false),
        }
    }

    /// Makes a file with the blob's content, complete and on the disk, the blob of that digest, and gives it to a
    /// repository.
    pub(super) fn keep(
        &self,
        uploads: &Directory,
        name: &str,
        to: &Repository,
        digest: &Digest,
    ) -> io::Result<()> {
        let all = self.root.make_directory(&every(digest))?;
        // Somebody may remove it between the two links, but not for ever.
        for _ in 0..100 {
            if all.link(uploads, name, digest.hex())? {
                all.sync()?;
            }
            fail_point::reached("registry-blob-named");
            if self.give(&all, to, digest)? == Mounted::Here {
                return Ok(());
            }
        }
        Err(io::Error::other("the blob is removed as often as it is pushed"))
    }

    /// Links what has the blob's name in `source` into the repository.
    fn give(&self, source: &Directory, to: &Repository, digest: &Digest) -> io::Result<Mounted> {
        if found(source.stat(digest.hex()))?.is_none() {
            return Ok(Mounted::Nowhere);
        }
        let own = self.root.make_directory(&of_algorithm(to, "_blobs", digest))?;
        match own.link(source, digest.hex(), digest.hex()) {
            Ok(_) => own.sync()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Mounted::Nowhere),
            Err(error) if must_copy(&error) => copy(source, &own, digest)?,
            Err(error) => return Err(error),
        }
        fail_point::reached("registry-blob-given");
        Ok(Mounted::Here)
    }
}

/// A blob of Holm's images, whole and on the disk.
fn image_blob(images: &Path, digest: &Digest) -> io::Result<Option<File>> {
    let Some(root) = found(Root::open(images))? else { return Ok(None) };
    let path = format!("{}/{}", digest.algorithm().name(), digest.hex());
    let Some((mut file, _)) = sized(found(root.file(&path))?)? else { return Ok(None) };
    if hash(&mut file, digest.algorithm())?.0.finish() != *digest {
        return Ok(None);
    }
    // There it is a cache, which may be lost.
    file.sync_data()?;
    Ok(Some(file))
}

fn path(repository: &Repository, digest: &Digest) -> String {
    format!("{}/{}", of_algorithm(repository, "_blobs", digest), digest.hex())
}

/// The directory of all blobs of an algorithm.
fn every(digest: &Digest) -> String {
    format!("blobs/{}", digest.algorithm().name())
}

fn sized(file: Option<File>) -> io::Result<Option<(File, u64)>> {
    let Some(file) = file else { return Ok(None) };
    let data = file.metadata()?;
    Ok(data.is_file().then_some((file, data.len())))
}

/// The file has as many names as the file system allows, or the repository is on another one.
fn must_copy(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    number == Some(Errno::MLINK.raw_os_error()) || number == Some(Errno::XDEV.raw_os_error())
}

fn copy(source: &Directory, to: &Directory, digest: &Digest) -> io::Result<()> {
    let mut original = source.open(digest.hex())?;
    original.rewind()?;
    to.replace_with(digest.hex(), |file| io::copy(&mut original, file).map(drop))
}
