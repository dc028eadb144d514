//! A connection: plain or TLS, and closed when the client takes nothing for too long.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::server::TlsStream;

use crate::outlet::{Outlet, stands_in};

/// How long a client may take nothing of what is sent.
const PATIENCE: Duration = Duration::from_secs(60);

/// What bytes go through.
pub enum Transport {
    /// As they are.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that does not wait for ever.
pub struct Stream {
    transport: Transport,
    /// What stands behind buffers that stand for files.
    outlet: Outlet,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    /// A connection over `transport`.
    pub fn new(transport: Transport) -> Self {
        Self { transport, outlet: Outlet::default(), stalled: None }
    }

    /// Where files can be put, if this connection can send them as they are.
    pub fn outlet(&self) -> Option<Outlet> {
        matches!(self.transport, Transport::Plain(_)).then(|| self.outlet.clone())
    }

    /// Looks at the clock while a write waits.
    fn watch<T>(&mut self, polled: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        match stalled.as_mut().poll(context) {
            Poll::Ready(()) => {
                stalled.as_mut().reset(Instant::now() + PATIENCE);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        let polled = match &mut stream.transport {
            Transport::Plain(inner) => Pin::new(inner).poll_write(context, bytes),
            Transport::Tls(inner) => Pin::new(inner).poll_write(context, bytes),
        };
        stream.watch(polled, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        let polled = match &mut stream.transport {
            Transport::Plain(inner) => poll_write_pieces(inner, &stream.outlet, context, pieces),
            Transport::Tls(inner) => Pin::new(inner).poll_write_vectored(context, pieces),
        };
        stream.watch(polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        let polled = match &mut stream.transport {
            Transport::Plain(inner) => Pin::new(inner).poll_flush(context),
            Transport::Tls(inner) => Pin::new(inner).poll_flush(context),
        };
        stream.watch(polled, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        let polled = match &mut stream.transport {
            Transport::Plain(inner) => Pin::new(inner).poll_shutdown(context),
            Transport::Tls(inner) => Pin::new(inner).poll_shutdown(context),
        };
        stream.watch(polled, context)
    }
}

/// Writes the bytes up to the first buffer that stands for a file, or a part of that file.
fn poll_write_pieces(
    socket: &mut TcpStream,
    outlet: &Outlet,
    context: &mut Context<'_>,
    pieces: &[io::IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let first = pieces.iter().position(|piece| !piece.is_empty()).unwrap_or(0);
    let pieces = &pieces[first..];
    let bytes = pieces.iter().take_while(|piece| !stands_in(piece)).count();
    let Some(stand_in) = pieces.first().filter(|_| bytes == 0) else {
        return Pin::new(socket).poll_write_vectored(context, &pieces[..bytes]);
    };
    loop {
        ready!(socket.poll_write_ready(context))?;
        match socket.try_io(Interest::WRITABLE, || outlet.send(&*socket, stand_in)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return Poll::Ready(sent),
        }
    }
}
