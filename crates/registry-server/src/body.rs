//! What answers carry: nothing, bytes, or a part of a file, which is read, or sent as it is, as the client takes it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use rustix::io::{ReadWriteFlags, preadv2};
use tokio::task::JoinHandle;

use crate::log::Line;
use crate::mirror::Behind;
use crate::outlet::{self, Outlet, Piece};

/// Bytes of a file that are read at once.
const PIECE: usize = 128 * 1024;
/// From this length on files are sent as they are; shorter ones go out with the head, in one call.
const LONG: u64 = 64 * 1024;

/// The body of an answer; its line is logged when it has been sent or given up.
pub struct Body {
    content: Content,
    sent: u64,
    line: Option<Line>,
}

enum Content {
    Bytes(Option<Bytes>),
    File(Part),
    Behind(Behind),
}

/// A part of a file.
struct Part {
    file: Arc<File>,
    offset: u64,
    left: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    outlet: Option<Outlet>,
}

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Self { content: Content::Bytes(None), sent: 0, line: None }
    }

    /// These bytes.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { content: Content::Bytes(Some(bytes).filter(|bytes| !bytes.is_empty())), sent: 0, line: None }
    }

    /// `length` bytes of a file from `offset` on, which are there.
    pub fn file(file: File, offset: u64, length: u64) -> Self {
        if length == 0 {
            return Self::empty();
        }
        let part = Part { file: Arc::new(file), offset, left: length, reading: None, outlet: None };
        Self { content: Content::File(part), sent: 0, line: None }
    }

    /// A blob that is still on its way here.
    pub fn behind(behind: Behind) -> Self {
        Self { content: Content::Behind(behind), sent: 0, line: None }
    }

    /// Over a connection that can send files as they are.
    #[must_use]
    pub fn through(mut self, outlet: &Outlet) -> Self {
        if let Content::File(part) = &mut self.content {
            part.outlet = Some(outlet.clone()).filter(|_| part.left >= LONG);
        }
        self
    }

    /// With the line that is logged at its end.
    #[must_use]
    pub fn logged(mut self, line: Line) -> Self {
        self.line = Some(line);
        self
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            line.write(self.sent);
        }
    }
}

impl HttpBody for Body {
    type Data = Piece;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Piece>>>> {
        let body = self.get_mut();
        let piece = match &mut body.content {
            Content::Bytes(bytes) => bytes.take().map(|bytes| Ok(Piece::Bytes(bytes))),
            Content::File(part) => ready!(part.poll_piece(context)),
            Content::Behind(behind) => ready!(behind.poll_piece(context)).map(|read| read.map(Piece::Bytes)),
        };
        if let Some(Ok(piece)) = &piece {
            body.sent += piece.len() as u64;
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Bytes(bytes) => bytes.is_none(),
            Content::File(part) => part.left == 0,
            Content::Behind(behind) => behind.left() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.content {
            Content::Bytes(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Content::File(part) => part.left,
            Content::Behind(behind) => behind.left(),
        })
    }
}

impl Part {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Piece>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let waited = match &mut self.reading {
            Some(reading) => {
                let read = ready!(Pin::new(reading).poll(context));
                self.reading = None;
                Some(read.unwrap_or_else(|stopped| Err(io::Error::other(stopped))))
            }
            None => None,
        };
        let piece = match (self.outlet.clone(), waited) {
            (_, Some(Err(error))) => Err(error),
            (Some(outlet), waited) => {
                let length = self.next(outlet::PIECE);
                if waited.is_none() && !is_in_memory(&self.file, self.offset, length) {
                    return self.wait(context, length, fetch);
                }
                Ok(outlet.put(self.file.clone(), self.offset, length))
            }
            (None, Some(Ok(bytes))) => Ok(Piece::Bytes(bytes)),
            (None, None) => {
                let length = self.next(PIECE);
                match read(&self.file, self.offset, length, ReadWriteFlags::NOWAIT) {
                    Ok(bytes) => Ok(Piece::Bytes(bytes)),
                    Err(_) => return self.wait(context, length, read_slowly),
                }
            }
        };
        if let Ok(piece) = &piece {
            self.offset += piece.len() as u64;
            self.left = self.left.saturating_sub(piece.len() as u64);
        }
        Poll::Ready(Some(piece))
    }

    /// How much of what is left is next.
    fn next(&self, most: usize) -> usize {
        usize::try_from(self.left).map_or(most, |left| left.min(most))
    }

    /// The disk must be asked, or the file system cannot say whether: others wait for it.
    fn wait(
        &mut self,
        context: &mut Context<'_>,
        length: usize,
        work: Work,
    ) -> Poll<Option<io::Result<Piece>>> {
        let (file, offset) = (self.file.clone(), self.offset);
        self.reading = Some(tokio::task::spawn_blocking(move || work(&file, offset, length)));
        self.poll_piece(context)
    }
}

/// What is done with so many bytes of a file from an offset on.
type Work = fn(&File, u64, usize) -> io::Result<Bytes>;

/// At least one byte of a file, from a disk if need be.
pub fn read_slowly(file: &File, offset: u64, length: usize) -> io::Result<Bytes> {
    read(file, offset, length, ReadWriteFlags::empty())
}

/// Brings a part of a file into memory, so that sending it holds nobody up.
fn fetch(file: &File, offset: u64, length: usize) -> io::Result<Bytes> {
    let mut done = 0;
    while done < length {
        done += read_slowly(file, offset + done as u64, PIECE.min(length - done))?.len();
    }
    Ok(Bytes::new())
}

/// Whether a part of a file can be sent without a disk, as far as its ends tell and the file system can say.
fn is_in_memory(file: &File, offset: u64, length: usize) -> bool {
    let last = offset + (length as u64).saturating_sub(1);
    let waits = |at| match read(file, at, 1, ReadWriteFlags::NOWAIT) {
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        Ok(_) => false,
    };
    !waits(offset) && !waits(last)
}

/// At least one byte of a file, or an error.
fn read(file: &File, offset: u64, length: usize, flags: ReadWriteFlags) -> io::Result<Bytes> {
    let mut piece = vec![0; length];
    let read = preadv2(file.as_fd(), &mut [io::IoSliceMut::new(&mut piece)], offset, flags)?;
    if read == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    piece.truncate(read);
    Ok(Bytes::from(piece))
}
