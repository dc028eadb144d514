//! A file that one thread fills from the network while another one reads it: what is fetched ahead takes no memory.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard};

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Kind, Result};

/// The file, and how far it is.
#[derive(Debug)]
pub struct Spool {
    file: File,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    written: u64,
    ended: bool,
    failure: Option<Error>,
}

impl Spool {
    /// A new, empty file at `path`.
    ///
    /// # Errors
    /// [`Kind::Io`].
    pub fn create(path: &Path) -> Result<Self> {
        let opened = File::options().read(true).write(true).create_new(true).mode(0o600).open(path);
        let file =
            opened.map_err(|error| Error::because(Kind::Io, format!("make `{}`", path.display()), error))?;
        Ok(Self { file, state: Mutex::default(), changed: Condvar::new() })
    }

    /// How much is there.
    pub fn written(&self) -> u64 {
        self.state().written
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// Of pwrite(2).
    pub fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.written())?;
        self.state().written += bytes.len() as u64;
        self.changed.notify_all();
        Ok(())
    }

    /// Nothing more comes: it is whole, or it failed.
    pub fn end(&self, result: Result<()>) {
        let mut state = self.state();
        state.ended = true;
        state.failure = result.err();
        drop(state);
        self.changed.notify_all();
    }

    /// Why nothing more came, once.
    pub fn take_failure(&self) -> Option<Error> {
        self.state().failure.take()
    }

    /// The digest of what is there.
    ///
    /// # Errors
    /// Of pread(2).
    pub fn digest(&self) -> io::Result<holm_spec::Digest> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 64 << 10];
        let mut at = 0;
        loop {
            match self.file.read_at(&mut buffer, at)? {
                0 => return Ok(holm_spec::Digest::from_sha256(hash.finalize().into())),
                length => {
                    hash.update(&buffer[..length]);
                    at += length as u64;
                }
            }
        }
    }

    /// Waits until nothing more comes.
    pub fn wait(&self) {
        let state = self.state();
        drop(self.changed.wait_while(state, |state| !state.ended));
    }

    /// Reads from the beginning, and waits for what is not there yet.
    pub fn reader(&self) -> Reader<'_> {
        Reader { spool: self, at: 0 }
    }

    /// A thread that panicked left nothing half done here.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// See [`Spool::reader`].
#[derive(Debug)]
pub struct Reader<'a> {
    spool: &'a Spool,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let waiting = |state: &mut State| state.written == self.at && !state.ended;
        let state = self.spool.changed.wait_while(self.spool.state(), waiting);
        let state = state.unwrap_or_else(std::sync::PoisonError::into_inner);
        if state.written == self.at && state.failure.is_some() {
            return Err(io::Error::other("it could not be fetched"));
        }
        drop(state);
        let length = self.spool.file.read_at(buffer, self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_follows_the_writer_and_hears_of_its_failure() {
        let dir = tempfile::tempdir().expect("a directory");
        let spool = Spool::create(&dir.path().join("spool")).expect("create");
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut content = Vec::new();
                let result = spool.reader().read_to_end(&mut content);
                (content, result.is_err())
            });
            spool.append(b"one ").expect("write");
            spool.append(b"two").expect("write");
            spool.end(Err(Error::new(Kind::Broken, "gone")));
            assert_eq!(reader.join().expect("no panic"), (b"one two".to_vec(), true));
        });
        assert_eq!(spool.digest().expect("read"), holm_spec::Digest::of(b"one two"));
        assert!(spool.take_failure().is_some());
    }
}
