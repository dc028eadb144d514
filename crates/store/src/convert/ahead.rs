//! Reading ahead: a thread decompresses and hashes while another one converts.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// How much is handed over at once: fits the cache of a processor.
const BLOCK: usize = 256 << 10;
/// Blocks on their way; with the two that are filled and read it is what reading ahead takes of memory.
const BLOCKS: usize = 4;

/// The side that reads the source.
pub(super) struct Feeder {
    full: SyncSender<io::Result<Vec<u8>>>,
    empty: Receiver<Vec<u8>>,
}

/// The side that is read.
pub(super) struct Ahead {
    full: Receiver<io::Result<Vec<u8>>>,
    empty: Sender<Vec<u8>>,
    block: Vec<u8>,
    at: usize,
}

/// Both sides. Dropping one ends the other.
pub(super) fn pair() -> (Feeder, Ahead) {
    let (full_in, full_out) = sync_channel(BLOCKS);
    let (empty_in, empty_out) = channel();
    for _ in 0..BLOCKS {
        // The other end is here.
        let _ = empty_in.send(Vec::new());
    }
    let ahead = Ahead { full: full_out, empty: empty_in, block: Vec::new(), at: 0 };
    (Feeder { full: full_in, empty: empty_out }, ahead)
}

impl Feeder {
    /// Hands on all of `source`, or what failed, until nobody reads any more; says whether the source came to its end.
    pub fn feed(self, mut source: impl Read) -> bool {
        while let Ok(mut block) = self.empty.recv() {
            block.resize(BLOCK, 0);
            let (length, failure) = fill(&mut source, &mut block);
            block.truncate(length);
            if length == 0 && failure.is_none() {
                return true;
            }
            let failed = failure.is_some();
            let parts = [(length > 0).then_some(Ok(block)), failure.map(Err)];
            if parts.into_iter().flatten().any(|part| self.full.send(part).is_err()) || failed {
                return false;
            }
        }
        false
    }
}

/// Reads until `block` is full, or the source ends or fails.
fn fill(source: &mut impl Read, block: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut length = 0;
    while let Some(rest) = block.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (length, Some(error)),
        }
    }
    (length, None)
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            // Nothing comes after the end or a failure.
            let Ok(next) = self.full.recv() else { return Ok(0) };
            // The feeder may have ended.
            let _ = self.empty.send(std::mem::replace(&mut self.block, next?));
            self.at = 0;
        }
        let rest = self.block.get(self.at..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        if let Some((to, from)) = buffer.get_mut(..length).zip(rest.get(..length)) {
            to.copy_from_slice(from);
        }
        self.at += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `source` through a thread.
    fn read(source: impl Read + Send) -> (Vec<u8>, Option<io::ErrorKind>) {
        let (feeder, mut ahead) = pair();
        std::thread::scope(|scope| {
            scope.spawn(|| feeder.feed(source));
            let mut content = Vec::new();
            let result = ahead.read_to_end(&mut content);
            (content, result.err().map(|error| error.kind()))
        })
    }

    #[test]
    fn everything_comes_in_order() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 10 * BLOCK + 7] {
            let content: Vec<u8> = (0..length).map(|number| (number % 251) as u8).collect();
            assert!(read(&content[..]) == (content, None), "{length}");
        }
    }

    #[test]
    fn a_failure_comes_behind_what_was_read() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::TimedOut.into())
            }
        }
        assert_eq!(read(Failing), (Vec::new(), Some(io::ErrorKind::TimedOut)));
        assert_eq!(read((&b"some"[..]).chain(Failing)), (b"some".to_vec(), Some(io::ErrorKind::TimedOut)));
    }

    #[test]
    fn who_stops_reading_ends_the_feeder() {
        let (feeder, mut ahead) = pair();
        std::thread::scope(|scope| {
            scope.spawn(|| feeder.feed(io::repeat(7)));
            ahead.read_exact(&mut [0; 10]).expect("endless");
            drop(ahead);
        });
    }
}
