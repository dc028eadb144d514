//! One connection: its requests, one after the other.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::{GRACE, Shared};
use crate::body::Body;
use crate::log::Line;
use crate::outlet::Outlet;
use crate::stream::{Stream, Transport};

/// How long a client may take to greet, and how long to send a request's head, from the end of the one before.
const GREETING: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(60);
/// Longest head in bytes, which is also how much is read of a body at once.
const BUFFER: usize = 64 * 1024;
/// Headers of a request.
const HEADERS: usize = 64;

/// Serves one client until it goes, fails, or is told that this is the end.
pub async fn attend(
    socket: TcpStream,
    remote: SocketAddr,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<()>,
) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let stream = Stream::new(transport(socket, &shared).await?);
    let outlet = stream.outlet();
    let service = service_fn(move |request| answer(shared.clone(), remote, outlet.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .max_headers(HEADERS)
        // Buffers that stand for files must not be copied.
        .writev(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut end = pin!(async move { while stopped.changed().await.is_ok() {} });
    let finished = std::future::poll_fn(|context| match connection.as_mut().poll(context) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending => end.as_mut().poll(context).map(|()| None),
    });
    let result = match finished.await {
        Some(result) => result,
        None => {
            connection.as_mut().graceful_shutdown();
            let rest = tokio::time::timeout(
                GRACE,
                std::future::poll_fn(|context| connection.as_mut().poll(context)),
            );
            rest.await.unwrap_or(Ok(()))
        }
    };
    result.map_err(io::Error::other)
}

async fn transport(socket: TcpStream, shared: &Shared) -> io::Result<Transport> {
    let Some(certificate) = &shared.certificate else { return Ok(Transport::Plain(socket)) };
    let greeted = tokio::time::timeout(GREETING, certificate.acceptor().accept(socket)).await;
    let stream = greeted.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok(Transport::Tls(Box::new(stream)))
}

async fn answer(
    shared: Arc<Shared>,
    remote: SocketAddr,
    outlet: Option<Outlet>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (begun, method, path) = (Instant::now(), request.method().clone(), request.uri().path().to_owned());
    let (answer, user) = shared.registry.answer(request).await;
    let line = Line { begun, method, path, status: answer.status(), user, remote };
    Ok(answer.map(|body| match &outlet {
        Some(outlet) => body.through(outlet).logged(line),
        None => body.logged(line),
    }))
}
