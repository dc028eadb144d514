//! Counting and hashing of what is read, while it is in the cache.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// Passes on what it reads, and remembers its digest, its length, and whether reading failed.
pub(super) struct Tap<R> {
    input: R,
    hash: Option<Sha256>,
    length: u64,
    failed: bool,
}

impl<R: Read> Tap<R> {
    /// A tap that hashes only if `hashed`.
    pub fn new(input: R, hashed: bool) -> Self {
        Self { input, hash: hashed.then(Sha256::new), length: 0, failed: false }
    }

    /// Whether the source reported an error of its own.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// The sha256 (of nothing, if it was not hashed) and the length of what was read.
    pub fn finish(self) -> ([u8; 32], u64) {
        (self.hash.unwrap_or_default().finalize().into(), self.length)
    }
}

impl<R: Read> Read for Tap<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer).inspect_err(|error| {
            self.failed |= error.kind() != io::ErrorKind::Interrupted;
        })?;
        self.length += count as u64;
        if let Some((hash, read)) = self.hash.as_mut().zip(buffer.get(..count)) {
            hash.update(read);
        }
        Ok(count)
    }
}
