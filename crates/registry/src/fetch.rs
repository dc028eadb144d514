//! A blob from a registry into the store, while somebody may read it already. A broken connection goes on from where it
//! was, and so does the next process after one that died.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use holm_spec::Digest;
use holm_store::{Begun, Download, Store};
use sha2::{Digest as _, Sha256};
use ureq::Body;
use ureq::http::{Response, StatusCode};

use crate::client::ATTEMPTS;
use crate::error::{Error, Kind, Result};
use crate::repository::Repository;
use crate::spool::Spool;

const BUFFER: usize = 64 << 10;
const PAUSE: Duration = Duration::from_millis(250);

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
            None => Err(abandoned()),
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
        let mut vain = 0;
        while self.written() < self.fetch.size {
            let before = self.written();
            let error = match self.try_rest() {
                Err(error) if error.kind() == Kind::Broken => error,
                result => return result,
            };
            // Where something comes, it may go on for as long as it takes.
            vain = if self.written() > before { 1 } else { vain + 1 };
            if vain == ATTEMPTS {
                return Err(error);
            }
            tracing::info!("blob {}: {error}; again", self.fetch.digest);
            sleep(PAUSE * vain);
        }
        Ok(())
    }

    fn try_rest(&mut self) -> Result<()> {
        let start = self.written();
        let mut body = body(self.fetch.repository.blob(&self.fetch.digest, start)?, start)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            if self.fetch.abandoned.load(Ordering::Relaxed) {
                return Err(abandoned());
            }
            let length = body.read(&mut buffer).map_err(broken)?;
            if length == 0 {
                return self.ended();
            }
            self.append(&buffer[..length])?;
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let size = self.fetch.size;
        if self.written() + bytes.len() as u64 > size {
            let text = format!("it is larger than the {size} bytes that it should have");
            return Err(Error::new(Kind::Invalid, text));
        }
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

    fn ended(&self) -> Result<()> {
        let (written, size) = (self.written(), self.fetch.size);
        match written == size {
            true => Ok(()),
            false => Err(Error::new(Kind::Broken, format!("it ends after {written} of {size} bytes"))),
        }
    }
}

/// What comes behind the first `start` bytes. A registry may send the whole again.
fn body(answer: Response<Body>, start: u64) -> Result<Box<dyn Read>> {
    let whole = answer.status() != StatusCode::PARTIAL_CONTENT;
    let range = answer.headers().get("content-range").and_then(|value| value.to_str().ok());
    let fits = range.is_some_and(|range| range.starts_with(&format!("bytes {start}-")));
    if !whole && !fits {
        return Err(Error::new(Kind::Invalid, "it sends another part than the one that was asked for"));
    }
    let mut body = answer.into_body().into_reader();
    if whole && start > 0 {
        io::copy(&mut body.by_ref().take(start), &mut io::sink()).map_err(broken)?;
    }
    Ok(Box::new(body))
}

fn broken(error: io::Error) -> Error {
    Error::because(Kind::Broken, "the connection broke", error)
}

fn unreadable(error: io::Error) -> Error {
    Error::because(Kind::Io, "read what was fetched", error)
}

fn abandoned() -> Error {
    Error::new(Kind::Io, "it is not wanted any more")
}
