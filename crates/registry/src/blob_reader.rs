//! The bytes of a blob, over as many connections as it takes: a broken one goes on from where it was.

use std::io::{self, Read};
use std::thread::sleep;
use std::time::Duration;

use holm_spec::Digest;
use ureq::Body;
use ureq::http::{Response, StatusCode};

use crate::client::ATTEMPTS;
use crate::error::{Error, Kind, Result};
use crate::repository::Repository;

const PAUSE: Duration = Duration::from_millis(250);

/// Reads a blob of a repository. Its digest is for who reads to check.
pub struct BlobReader<'a> {
    repository: Repository<'a>,
    digest: Digest,
    size: u64,
    at: u64,
    connection: Option<Box<dyn Read + Send>>,
    /// Connections that ended early, since the last one that brought something.
    vain: u32,
}

impl<'a> BlobReader<'a> {
    /// Reads the blob `digest` of `size` bytes from the byte `start` on.
    pub fn new(repository: Repository<'a>, digest: Digest, size: u64, start: u64) -> Self {
        Self { repository, digest, size, at: start, connection: None, vain: 0 }
    }

    /// The next bytes; 0 behind the last one.
    ///
    /// # Errors
    /// [`Kind::Invalid`] where there are more than there should be; otherwise as [`Repository::blob`], also after some
    /// patience.
    pub fn next(&mut self, buffer: &mut [u8]) -> Result<usize> {
        while self.at < self.size {
            match self.try_next(buffer) {
                Err(error) if error.kind() == Kind::Broken => self.lose(error)?,
                result => return result,
            }
        }
        self.end()
    }

    fn try_next(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let answer = self.repository.blob(&self.digest, self.at)?;
                self.connection.insert(body(answer, self.at)?)
            }
        };
        let left = usize::try_from(self.size - self.at).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let length = connection.read(&mut buffer[..wanted]).map_err(broken)?;
        if length == 0 {
            let text = format!("it ends after {} of {} bytes", self.at, self.size);
            return Err(Error::new(Kind::Broken, text));
        }
        self.at += length as u64;
        // Where something comes, it may go on for as long as it takes.
        self.vain = 0;
        Ok(length)
    }

    /// A connection ended early.
    fn lose(&mut self, error: Error) -> Result<()> {
        self.connection = None;
        self.vain += 1;
        if self.vain == ATTEMPTS {
            return Err(error);
        }
        tracing::info!("blob {}: {error}; again", self.digest);
        sleep(PAUSE * self.vain);
        Ok(())
    }

    /// Behind the last byte nothing may come.
    fn end(&mut self) -> Result<usize> {
        let Some(mut connection) = self.connection.take() else { return Ok(0) };
        match connection.read(&mut [0]) {
            Ok(1) => {
                let text = format!("it is larger than the {} bytes that it should have", self.size);
                Err(Error::new(Kind::Invalid, text))
            }
            // All of it is there, however the connection ends.
            _ => Ok(0),
        }
    }
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.next(buffer).map_err(io::Error::other)
    }
}

/// What comes behind the first `start` bytes. A registry may send the whole again.
fn body(answer: Response<Body>, start: u64) -> Result<Box<dyn Read + Send>> {
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
