//! The server: settings become a registry, sockets become requests, signals become an end.
//!
//! Limits: connections, the size of a request's head, how long a client may be silent. SIGTERM and SIGINT: nothing new
//! is accepted, and what runs has a few seconds. SIGHUP: the certificate is read again.

mod certificate;
mod connection;
mod setup;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use holm_spec::registry::Server;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::handle::Registry;
use certificate::Certificate;

/// Connections at once; more wait until one has gone.
const CONNECTIONS: u32 = 1024;
/// How long requests may still run at the end.
const GRACE: Duration = Duration::from_secs(5);
/// How often what is of no use is removed.
const SWEEP: Duration = Duration::from_secs(3600);

/// Why nothing is served.
#[derive(Debug)]
pub struct Error {
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    fn caused(message: impl Into<String>, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { message: message.into(), source: Some(Box::new(source)) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as &(dyn std::error::Error + 'static))
    }
}

/// What all connections share.
struct Shared {
    registry: Registry,
    certificate: Option<Certificate>,
}

/// Serves a registry until a signal ends it.
///
/// # Errors
/// A file of the settings is wrong, the storage cannot be used, or nobody may listen there.
pub fn serve(settings: &Server) -> Result<(), Error> {
    setup::check(settings)?;
    let registry = setup::registry(settings)?;
    let certificate = settings.tls.clone().map(Certificate::read).transpose()?;
    let shared = Arc::new(Shared { registry, certificate });
    let runtime = tokio::runtime::Builder::new_multi_thread().max_blocking_threads(32).enable_all().build();
    let runtime = runtime.map_err(|error| Error::caused("start threads", error))?;
    let result = runtime.block_on(run(settings, shared));
    // Whoever is still at work has had its time; what it does to files is safe to break off.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn run(settings: &Server, shared: Arc<Shared>) -> Result<(), Error> {
    let signals = |error| Error::caused("listen for signals", error);
    let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
    let hangup = signal(SignalKind::hangup()).map_err(signals)?;
    let listener = listen(settings.address).await;
    let listener =
        listener.map_err(|error| Error::caused(format!("listen on `{}`", settings.address), error))?;
    announce(settings, &listener);
    if !settings.read_only {
        tokio::spawn(sweep(shared.clone(), Duration::from_secs(settings.upload_age)));
    }
    tokio::spawn(renew(shared.clone(), hangup));
    let (stop, stopped) = watch::channel(());
    let free = Arc::new(Semaphore::new(CONNECTIONS as usize));
    let accepting = tokio::spawn(accept(listener, shared, free.clone(), stopped));
    std::future::poll_fn(|context| match terminate.poll_recv(context) {
        std::task::Poll::Ready(_) => std::task::Poll::Ready(()),
        std::task::Poll::Pending => interrupt.poll_recv(context).map(drop),
    })
    .await;
    tracing::info!("ending: requests that run have {} seconds", GRACE.as_secs());
    accepting.abort();
    drop(stop);
    let _ = tokio::time::timeout(GRACE, free.acquire_many(CONNECTIONS)).await;
    Ok(())
}

/// Every address is IPv6's and IPv4's, or IPv4's alone on a host without the other.
async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    if listener.is_ok() || address.ip() != Ipv6Addr::UNSPECIFIED {
        return listener;
    }
    let fallback = TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await;
    fallback.or(listener)
}

fn announce(settings: &Server, listener: &TcpListener) {
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    let address = listener.local_addr().unwrap_or(settings.address);
    tracing::warn!("serving `{}` on {scheme}://{address}", settings.storage.display());
    if settings.tls.is_none() && !address.ip().is_loopback() {
        tracing::warn!("anybody on the way can read and change what is pulled and pushed: there is no TLS");
    }
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    free: Arc<Semaphore>,
    stopped: watch::Receiver<()>,
) {
    loop {
        let Ok(turn) = free.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, remote)) => {
                tokio::spawn(attend(socket, remote, shared.clone(), stopped.clone(), turn));
            }
            Err(error) => {
                tracing::error!("accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn attend(
    socket: TcpStream,
    remote: SocketAddr,
    shared: Arc<Shared>,
    stopped: watch::Receiver<()>,
    _turn: OwnedSemaphorePermit,
) {
    if let Err(error) = connection::attend(socket, remote, shared, stopped).await {
        tracing::debug!("{remote}: {error}");
    }
}

/// Removes what is of no use, now and then.
async fn sweep(shared: Arc<Shared>, age: Duration) {
    loop {
        let storage = shared.registry.storage().clone();
        match tokio::task::spawn_blocking(move || storage.sweep(age)).await {
            Ok(Ok(swept)) if swept.uploads + swept.blobs > 0 => {
                tracing::info!(
                    "removed {} old uploads and {} blobs that nobody has",
                    swept.uploads,
                    swept.blobs
                );
            }
            Ok(Err(error)) => tracing::error!("remove what is of no use: {error}"),
            _ => {}
        }
        tokio::time::sleep(SWEEP).await;
    }
}

/// Reads the certificate again when a signal asks for it.
async fn renew(shared: Arc<Shared>, mut hangup: tokio::signal::unix::Signal) {
    while hangup.recv().await.is_some() {
        let Some(certificate) = &shared.certificate else { continue };
        match tokio::task::block_in_place(|| certificate.renew()) {
            Ok(()) => tracing::warn!("the certificate was read again"),
            Err(error) => tracing::error!("the old certificate stays: {}", chain(&error)),
        }
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}
