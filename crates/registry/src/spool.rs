//! A file that one thread fills from the network while another one reads it: what is fetched ahead takes no memory.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};

/// How far the file is.
#[derive(Debug, Default)]
pub struct Spool {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// None before it is known where the content goes.
    file: Option<Arc<File>>,
    written: u64,
    ended: bool,
    failed: bool,
    failure: Option<Error>,
}

impl Spool {
    /// This is the file, from its first byte on.
    pub fn begin(&self, file: File) {
        self.state().file = Some(Arc::new(file));
    }

    /// How much is there.
    pub fn written(&self) -> u64 {
        self.state().written
    }

    /// So many bytes more are in the file.
    pub fn grow(&self, bytes: u64) {
        self.state().written += bytes;
        self.changed.notify_all();
    }

    /// Nothing more comes: what is there is whole and verified, or it failed.
    pub fn end(&self, result: Result<()>) {
        let mut state = self.state();
        state.ended = true;
        state.failed = result.is_err();
        state.failure = result.err();
        drop(state);
        self.changed.notify_all();
    }

    /// Why nothing more came, once.
    pub fn take_failure(&self) -> Option<Error> {
        self.state().failure.take()
    }

    /// Waits until nothing more comes.
    pub fn wait(&self) {
        drop(self.changed.wait_while(self.state(), |state| !state.ended));
    }

    /// Reads from the beginning, and waits for what is not there yet. It ends with an error unless all of it was whole
    /// and verified.
    pub fn reader(&self) -> Reader<'_> {
        Reader { spool: self, at: 0 }
    }

    /// A thread that panicked left nothing half done here.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        let state = state.unwrap_or_else(PoisonError::into_inner);
        if state.written == self.at && state.failed {
            return Err(io::Error::other("it could not be fetched"));
        }
        let Some(file) = state.file.clone() else { return Ok(0) };
        let there = usize::try_from(state.written - self.at).unwrap_or(usize::MAX);
        drop(state);
        let wanted = buffer.len().min(there);
        let length = file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_reader_follows_the_writer_and_hears_of_its_failure() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("spool");
        let mut file = File::create(&path).expect("create");
        let spool = Spool::default();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut content = Vec::new();
                let result = spool.reader().read_to_end(&mut content);
                (content, result.is_err())
            });
            spool.begin(File::open(&path).expect("open"));
            for part in ["one ", "two"] {
                file.write_all(part.as_bytes()).expect("write");
                spool.grow(part.len() as u64);
            }
            spool.end(Err(Error::new(Kind::Broken, "gone")));
            assert_eq!(reader.join().expect("no panic"), (b"one two".to_vec(), true));
        });
        assert!(spool.take_failure().is_some());
        assert!(spool.reader().read_to_end(&mut Vec::new()).is_err(), "the failure stays");
    }
}
