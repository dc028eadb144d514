//! What answers carry: nothing, bytes, or a part of a file, which is read as the client takes it.

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

/// Bytes of a file that are read at once.
const PIECE: usize = 128 * 1024;

/// The body of an answer; its line is logged when it has been sent or given up.
pub struct Body {
    content: Content,
    sent: u64,
    line: Option<Line>,
}

enum Content {
    Bytes(Option<Bytes>),
    File(Part),
}

/// A part of a file.
struct Part {
    file: Arc<File>,
    offset: u64,
    left: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
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
        let part = Part { file: Arc::new(file), offset, left: length, reading: None };
        Self { content: Content::File(part), sent: 0, line: None }
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
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let body = self.get_mut();
        let piece = match &mut body.content {
            Content::Bytes(bytes) => bytes.take().map(Ok),
            Content::File(part) => ready!(part.poll_piece(context)),
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
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.content {
            Content::Bytes(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Content::File(part) => part.left,
        })
    }
}

impl Part {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let length = usize::try_from(self.left).map_or(PIECE, |left| left.min(PIECE));
        let read = match &mut self.reading {
            Some(reading) => {
                let read = ready!(Pin::new(reading).poll(context));
                self.reading = None;
                read.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
            }
            None => match read(&self.file, self.offset, length, ReadWriteFlags::NOWAIT) {
                Ok(piece) => Ok(piece),
                // The disk must be asked, or the file system cannot say: others wait for it.
                Err(_) => {
                    let (file, offset) = (self.file.clone(), self.offset);
                    self.reading = Some(tokio::task::spawn_blocking(move || {
                        read(&file, offset, length, ReadWriteFlags::empty())
                    }));
                    return self.poll_piece(context);
                }
            },
        };
        if let Ok(piece) = &read {
            self.offset += piece.len() as u64;
            self.left = self.left.saturating_sub(piece.len() as u64);
        }
        Poll::Ready(Some(read))
    }
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
