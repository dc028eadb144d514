//! Parts of files that go from the page cache to a socket without being copied (sendfile(2)).
//!
//! The HTTP library writes buffers, and has no word for a file. So a part of a file is a buffer that stands for it: its
//! bytes are those of one region of zeros that nothing else uses. The connection's [`Outlet`] knows what stands behind it,
//! in the order in which it is written; whoever writes the connection's bytes sends the file wherever it meets the region.
//! Only on connections whose bytes are not changed on the way: TLS has its bodies read.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};

/// Bytes of a file that one buffer stands for at most.
pub const PIECE: usize = 1 << 20;

/// Never written, and never sent: the kernel gives it memory only if somebody reads it.
static REGION: LazyLock<Vec<u8>> = LazyLock::new(|| vec![0; PIECE]);

/// What a body is made of.
pub enum Piece {
    /// Bytes.
    Bytes(Bytes),
    /// So many bytes of the file that the outlet knows.
    File(usize),
}

impl Piece {
    /// How long it is.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File(left) => *left,
        }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::File(left) => &REGION[..(*left).min(PIECE)],
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Bytes(bytes) => bytes.advance(count),
            Self::File(left) => *left = left.saturating_sub(count),
        }
    }
}

/// What stands behind the buffers of one connection that are on their way.
#[derive(Clone, Default)]
pub struct Outlet(Arc<Mutex<VecDeque<Part>>>);

struct Part {
    file: Arc<File>,
    offset: u64,
    left: usize,
}

impl Outlet {
    /// Puts a part behind those that are on their way; what stands for it must be written next.
    pub fn put(&self, file: Arc<File>, offset: u64, length: usize) -> Piece {
        let length = length.min(PIECE);
        self.parts().push_back(Part { file, offset, left: length });
        Piece::File(length)
    }

    /// Sends from the part that is next, at most as much as `stand_in` is long.
    pub fn send(&self, socket: impl AsFd, stand_in: &[u8]) -> io::Result<usize> {
        let mut parts = self.parts();
        let part = parts.front_mut().ok_or(io::ErrorKind::InvalidData)?;
        let length = part.left.min(stand_in.len());
        let sent = rustix::fs::sendfile(socket, &part.file, Some(&mut part.offset), length)?;
        if sent == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        part.left -= sent;
        if part.left == 0 {
            parts.pop_front();
        }
        Ok(sent)
    }

    fn parts(&self) -> MutexGuard<'_, VecDeque<Part>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a buffer stands for a part of a file.
pub fn stands_in(buffer: &[u8]) -> bool {
    !buffer.is_empty() && REGION.as_ptr_range().contains(&buffer.as_ptr())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn parts_are_sent_in_their_order_and_nothing_else_is() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"0123456789").expect("written");
        let (file, outlet) = (Arc::new(file), Outlet::default());
        let (socket, mut other) = UnixStream::pair().expect("a pair");
        let pieces = [outlet.put(file.clone(), 2, 4), outlet.put(file.clone(), 8, 2), outlet.put(file, 9, 5)];
        let mut sent = Vec::new();
        for mut piece in pieces {
            assert!(stands_in(piece.chunk()));
            while piece.has_remaining() {
                let Ok(count) = outlet.send(&socket, &piece.chunk()[..piece.remaining().min(3)]) else {
                    break;
                };
                sent.push(count);
                piece.advance(count);
            }
        }
        drop(socket);
        let mut got = String::new();
        other.read_to_string(&mut got).expect("read");
        assert_eq!((got.as_str(), sent.as_slice()), ("2345899", [3, 1, 2, 1].as_slice()));
        assert!(!stands_in(b"bytes") && !stands_in(b""));
        assert!(Outlet::default().send(&other, &REGION[..1]).is_err(), "nothing stands behind it");
    }
}
