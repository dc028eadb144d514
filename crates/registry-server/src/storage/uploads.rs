//! Uploads: files that grow until they are a blob.
//!
//! The offset is the file's size. The running hash goes with the open upload; one that is opened anew reads what is there.

use std::fs::File;
use std::io::{self, Read, Seek, Write};

use holm_sys::fail_point;

use super::place::Directory;
use super::{Storage, found, in_repository};
use crate::digest::{Algorithm, Digest, Hasher};
use crate::name::{Repository, UploadId};

/// Bytes that are read at once when a file is hashed.
const PIECE: usize = 128 * 1024;

/// An upload that is open.
pub struct Upload {
    repository: Repository,
    id: UploadId,
    file: File,
    offset: u64,
    hasher: Hasher,
}

/// What became of an upload whose end was announced.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    /// The repository has the blob.
    Kept,
    /// The content has another digest, and is gone.
    Other(Digest),
}

impl Storage {
    /// Begins an upload whose digest will be of `algorithm`, as far as is known.
    pub fn begin_upload(&self, repository: &Repository, algorithm: Algorithm) -> io::Result<Upload> {
        let id = UploadId::random();
        let file = self.root.make_directory(&in_repository(repository, "_uploads"))?.create(id.as_str())?;
        Ok(Upload { repository: repository.clone(), id, file, offset: 0, hasher: Hasher::new(algorithm) })
    }

    /// The file of an upload, for those who read behind it.
    pub fn upload_file(&self, repository: &Repository, id: &UploadId) -> io::Result<File> {
        self.root.file(&format!("{}/{id}", in_repository(repository, "_uploads")))
    }

    /// Opens an upload that somebody began, and hashes what is there.
    pub fn resume_upload(&self, repository: &Repository, id: &UploadId) -> io::Result<Option<Upload>> {
        let Some(directory) = self.uploads(repository)? else { return Ok(None) };
        let Some(mut file) = found(directory.open(id.as_str()))? else { return Ok(None) };
        let (hasher, offset) = hash(&mut file, Algorithm::Sha256)?;
        Ok(Some(Upload { repository: repository.clone(), id: id.clone(), file, offset, hasher }))
    }

    /// How many bytes of an upload are there.
    pub fn upload_size(&self, repository: &Repository, id: &UploadId) -> io::Result<Option<u64>> {
        let Some(directory) = self.uploads(repository)? else { return Ok(None) };
        Ok(found(directory.stat(id.as_str()))?.map(|stat| u64::try_from(stat.st_size).unwrap_or(0)))
    }

    /// Gives an upload up; whether it was there.
    pub fn cancel_upload(&self, repository: &Repository, id: &UploadId) -> io::Result<bool> {
        match self.uploads(repository)? {
            Some(directory) => directory.remove(id.as_str()),
            None => Ok(false),
        }
    }

    /// Makes an upload the blob of that digest, on the disk before this returns, and ends it.
    pub fn finish_upload(&self, mut upload: Upload, digest: &Digest) -> io::Result<Written> {
        let directory = self.uploads(&upload.repository)?.ok_or(io::ErrorKind::NotFound)?;
        if upload.hasher.algorithm() != digest.algorithm() {
            (upload.hasher, _) = hash(&mut upload.file, digest.algorithm())?;
        }
        let actual = upload.hasher.finish();
        if actual != *digest {
            directory.remove(upload.id.as_str())?;
            return Ok(Written::Other(actual));
        }
        upload.file.sync_data()?;
        fail_point::reached("registry-upload-synced");
        self.keep(&directory, upload.id.as_str(), &upload.repository, digest)?;
        directory.remove(upload.id.as_str())?;
        fail_point::reached("registry-upload-removed");
        Ok(Written::Kept)
    }

    fn uploads(&self, repository: &Repository) -> io::Result<Option<Directory>> {
        found(self.root.directory(&in_repository(repository, "_uploads")))
    }
}

impl Upload {
    /// Its name.
    pub fn id(&self) -> &UploadId {
        &self.id
    }

    /// Whose it is.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// How many bytes are there.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends `pieces`. If that fails, this is of no use any more: opened anew, it knows how much was written.
    pub fn append<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        for piece in pieces {
            self.file.write_all(piece)?;
            self.hasher.update(piece);
            self.offset += piece.len() as u64;
        }
        fail_point::reached("registry-upload-appended");
        Ok(())
    }
}

/// Hashes a file from its beginning; and its length.
pub(super) fn hash(file: &mut File, algorithm: Algorithm) -> io::Result<(Hasher, u64)> {
    let (mut hasher, mut size, mut piece) = (Hasher::new(algorithm), 0, vec![0; PIECE]);
    file.rewind()?;
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok((hasher, size));
        }
        hasher.update(&piece[..read]);
        size += read as u64;
    }
}
