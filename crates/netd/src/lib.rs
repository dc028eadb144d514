//! The resolver of one network's names: what the process `holm-netd` is.
//!
//! ```text
//! workload ──> gateway:53, UDP and TCP ── answer ── zone       names of the network, made of its endpoints (claims)
//!                                           └────── upstream   anything else: the host's servers (nameservers)
//! ```
//!
//! It owns no state: the names are those of the documents in `<run>/networks/<name>/`, which it follows, and what it
//! forwards is not remembered. On the wire are the messages of RFC 1035 with the sizes of RFC 6891; what other servers
//! say goes back byte for byte but for its id. Where firewalld is, it also keeps the bridge in a zone, since it lives as long as
//! the network is needed.
//!
//! # Life
//!
//! Whoever gives a network its first endpoint starts the process, and need not know whether there is one: it takes the
//! lock `.netd.lock` in the network's directory, or ends at once. When it listens at every gateway it says so by a
//! byte. It ends when nobody has had an address for ten seconds, when the network's directory is removed, and on
//! SIGTERM. Where the lock alone is removed, the bridge is another one: it begins anew there. Before it ends for lack of use it lets go of its sockets, then of the lock, and then looks once more: an
//! endpoint that was made before finds it still there, one that is made later finds the lock free.

pub mod answer;
mod claims;
mod clients;
mod error;
mod firewalld;
mod frame;
mod gateway;
mod nameservers;
mod poll;
pub mod resolv_conf;
mod server;
mod upstream;
pub mod zone;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use holm_spec::network::{Network, VERSION};
use holm_sys::lock::{Lock, Mode};
use holm_sys::signals;

pub use error::{Error, Result};

use claims::{Claims, LOCK};
use server::{End, Server};

/// Where servers of names are asked.
pub const PORT: u16 = 53;

const SIGTERM: i32 = 15;

/// Bytes of the largest document of a network that is read.
const LARGEST_DOCUMENT: u64 = 1 << 20;

/// What a resolver is to serve.
#[derive(Debug)]
pub struct Service {
    /// The network's document.
    pub document: PathBuf,
    /// The directory of the claims of its addresses.
    pub directory: PathBuf,
    /// Instead of the host's `/etc/resolv.conf`.
    pub resolv_conf: Option<PathBuf>,
    /// The bus that firewalld is on, if it has a say about this network.
    pub bus: Option<PathBuf>,
    /// Who waits for a byte that says that questions will be answered.
    pub ready: Option<OwnedFd>,
}

/// Answers for a network until nobody needs it; at once if somebody else does. SIGTERM is blocked from then on.
///
/// # Errors
/// The document cannot be read, the directory is not there, a gateway's port is taken.
pub fn serve(mut service: Service) -> Result<()> {
    let signals = signals::descriptor(&[SIGTERM]).map_err(|errno| Error::io("wait for signals", errno))?;
    while let Some(lock) = Lock::try_acquire(&service.directory.join(LOCK), Mode::Exclusive)? {
        let network = read(&service.document)?;
        let server = Server::open(&network, &service, &signals)?;
        service.ready.take().into_iter().for_each(say_ready);
        if server.run()? == End::Asked {
            break;
        }
        drop(lock);
        if !is_used(&service.directory) {
            break;
        }
    }
    Ok(())
}

fn is_used(directory: &Path) -> bool {
    Claims::follow(directory).is_ok_and(|claims| !claims.is_empty())
}

fn say_ready(descriptor: OwnedFd) {
    // Whoever waited may be gone.
    let _ = File::from(descriptor).write_all(b"1");
}

fn read(path: &Path) -> Result<Network> {
    let failed = |error| Error::io(format!("read `{}`", path.display()), error);
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(LARGEST_DOCUMENT).read_to_end(&mut bytes).map_err(failed)?;
    let network: Option<Network> = serde_json::from_slice(&bytes).ok();
    network
        .filter(|network| network.version <= VERSION)
        .ok_or_else(|| Error::new(format!("`{}` is no network that this version knows", path.display())))
}

/// Tells whoever looks at the process's standard error.
fn say(what: &str) {
    drop(writeln!(std::io::stderr(), "holm-netd: {what}"));
}
