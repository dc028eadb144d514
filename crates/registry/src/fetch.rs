//! A blob from a registry into the store, while somebody may read it already. A broken connection goes on from where it
//! was, and so does the next process after one that died.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use holm_spec::Digest;
use holm_store::{Begun, Download, Store};
use sha2::{Digest as _, Sha256};

use crate::blob_reader::BlobReader;
use crate::error::{Error, Kind, Result};
use crate::repository::Repository;
use crate::spool::Spool;

const BUFFER: usize = 64 << 10;

/// A blob of a repository, to be fetched.
#[derive(Debug)]
pub struct Fetch<'a> {
    /// Where it goes.
    pub store: &'a Store,
    /// Where it comes from.
    pub repository: &'a Repository<'a>,
    /// What people call it: `layer`, `blob`.
    pub noun: &'static str,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Through which it is read meanwhile.
    pub spool: &'a Spool,
    /// Nobody wants it any more.
    pub abandoned: &'a AtomicBool,
}

impl Fetch<'_> {
    /// Fetches it, and tells the spool how that ended; `told` hears how many bytes are there.
    pub fn run(&self, told: &dyn Fn(u64)) {
        let about = format!("fetch {} {} from {}", self.noun, self.digest, self.repository.domain());
        self.spool.end(self.fetch(told).map_err(|error| error.about(about)));
    }

    fn fetch(&self, told: &dyn Fn(u64)) -> Result<()> {
        let wanted = || !self.abandoned.load(Ordering::Relaxed);
        match self.store.begin_download(&self.digest, &wanted)? {
            None => Err(not_wanted()),
            Some(Begun::Whole(file)) => {
                let size = file.metadata().map_err(unreadable)?.len();
                self.spool.begin(file);
                self.spool.grow(size);
                told(size);
                Ok(())
            }
            Some(Begun::Part(download)) => self.go_on(download, told),
        }
    }

    fn go_on(&self, download: Download, told: &dyn Fn(u64)) -> Result<()> {
        let mut part = Part { fetch: self, file: file_of(&download)?, hash: Sha256::new(), told };
        self.spool.begin(download.reader()?);
        let earlier = part.earlier()?;
        part.rest()?;
        let digest = Digest::from_sha256(part.hash.finalize().into());
        if digest == self.digest {
            return Ok(download.finish(self.store)?);
        }
        download.discard()?;
        match earlier {
            0 => {
                let text = format!("it has the digest {digest}");
                Err(Error::new(Kind::Invalid, text))
            }
            // Its end may be right, and its beginning what somebody else had been sent.
            _ => Err(Error::new(
                Kind::Stale,
                format!("with what an earlier pull had left it has the digest {digest}"),
            )),
        }
    }
}

/// The file of a download. Its lock stays with the download.
fn file_of(download: &Download) -> Result<File> {
    use std::os::fd::AsFd as _;
    let file = download.file().as_fd().try_clone_to_owned();
    file.map(File::from).map_err(unreadable)
}

/// A blob that is being fetched.
struct Part<'a> {
    fetch: &'a Fetch<'a>,
    file: File,
    hash: Sha256,
    told: &'a dyn Fn(u64),
}

impl Part<'_> {
    fn written(&self) -> u64 {
        self.fetch.spool.written()
    }

    /// Hashes what is there already; gives how much that is.
    fn earlier(&mut self) -> Result<u64> {
        let mut buffer = vec![0; BUFFER];
        let length = self.file.metadata().map_err(unreadable)?.len();
        if length > self.fetch.size {
            self.file.set_len(0).map_err(unreadable)?;
            return Ok(0);
        }
        while self.written() < length {
            let count = self.file.read_at(&mut buffer, self.written()).map_err(unreadable)?;
            if count == 0 {
                break;
            }
            self.add(&buffer[..count]);
        }
        Ok(self.written())
    }

    fn rest(&mut self) -> Result<()> {
        let Fetch { repository, digest, size, abandoned, .. } = self.fetch;
        let mut blob = BlobReader::new((*repository).clone(), *digest, *size, self.written());
        let mut buffer = vec![0; BUFFER];
        loop {
            if abandoned.load(Ordering::Relaxed) {
                return Err(not_wanted());
            }
            match blob.next(&mut buffer)? {
                0 => return Ok(()),
                length => self.append(&buffer[..length])?,
            }
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let kind = |error: &io::Error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Kind::Store(holm_store::Kind::NoSpace)
            }
            _ => Kind::Io,
        };
        let written = self.file.write_all_at(bytes, self.written());
        written.map_err(|error| Error::because(kind(&error), "keep what was fetched", error))?;
        self.add(bytes);
        Ok(())
    }

    /// More bytes are in the file.
    fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.fetch.spool.grow(bytes.len() as u64);
        (self.told)(self.written());
    }
}

fn unreadable(error: io::Error) -> Error {
    Error::because(Kind::Io, "read what was fetched", error)
}

fn not_wanted() -> Error {
    Error::new(Kind::Io, "it is not wanted any more")
}
