//! A layer from a registry into a spool, with a fresh start from where it was when the connection breaks.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use ureq::Body;
use ureq::http::{Response, StatusCode};

use crate::client::{ATTEMPTS, Call, Client};
use crate::document::Layer;
use crate::error::{Error, Kind, Result};
use crate::spool::Spool;

const BUFFER: usize = 64 << 10;
const PAUSE: Duration = Duration::from_millis(250);

/// A layer of a repository, to be fetched.
#[derive(Debug)]
pub struct Download<'a> {
    /// Speaks to the registry.
    pub client: &'a Client,
    /// The repository.
    pub repository: &'a str,
    /// Which layer.
    pub layer: &'a Layer,
    /// Where it goes.
    pub spool: &'a Spool,
    /// Nobody wants it any more.
    pub abandoned: &'a AtomicBool,
}

impl Download<'_> {
    /// Fetches it, and tells the spool how that ended; `told` hears how many bytes are there, and how many of them are new.
    pub fn run(&self, told: &dyn Fn(u64, u64)) {
        let about = format!("fetch layer {} from {}", self.layer.digest, self.client.domain());
        self.spool.end(self.fetch(told).map_err(|error| error.about(about)));
    }

    fn fetch(&self, told: &dyn Fn(u64, u64)) -> Result<()> {
        let mut vain = 0;
        loop {
            let before = self.spool.written();
            let error = match self.fetch_rest(told) {
                Err(error) if error.kind() == Kind::Broken => error,
                result => return result,
            };
            // Where something comes, it may go on for as long as it takes.
            vain = if self.spool.written() > before { 1 } else { vain + 1 };
            if vain == ATTEMPTS {
                return Err(error);
            }
            tracing::info!("layer {}: {error}; again", self.layer.digest);
            sleep(PAUSE * vain);
        }
    }

    fn fetch_rest(&self, told: &dyn Fn(u64, u64)) -> Result<()> {
        let start = self.spool.written();
        let target = format!("{}/blobs/{}", self.repository, self.layer.digest);
        let scope = format!("repository:{}:pull", self.repository);
        let mut call = Call::get(target, &scope, "ask for it");
        if start > 0 {
            call.headers.push(("Range", format!("bytes={start}-")));
        }
        let mut body = self.body(self.client.send(&call)?, start)?;
        let mut buffer = vec![0; BUFFER];
        while !self.abandoned.load(Ordering::Relaxed) {
            let length = body.read(&mut buffer).map_err(broken)?;
            if length == 0 {
                return self.ended();
            }
            self.append(&buffer[..length])?;
            told(self.spool.written(), length as u64);
        }
        Ok(())
    }

    /// What comes behind the first `start` bytes. A registry may send the whole again.
    fn body(&self, answer: Response<Body>, start: u64) -> Result<Box<dyn Read>> {
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

    fn append(&self, bytes: &[u8]) -> Result<()> {
        let size = self.layer.size;
        if self.spool.written() + bytes.len() as u64 > size {
            return Err(Error::new(
                Kind::Invalid,
                format!("it is larger than the {size} bytes that it should have"),
            ));
        }
        let kind = |error: &io::Error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Kind::Store(holm_store::Kind::NoSpace)
            }
            _ => Kind::Io,
        };
        self.spool.append(bytes).map_err(|error| Error::because(kind(&error), "keep what was fetched", error))
    }

    fn ended(&self) -> Result<()> {
        let (written, size) = (self.spool.written(), self.layer.size);
        match written == size {
            true => Ok(()),
            false => Err(Error::new(Kind::Broken, format!("it ends after {written} of {size} bytes"))),
        }
    }
}

fn broken(error: io::Error) -> Error {
    Error::because(Kind::Broken, "the connection broke", error)
}
