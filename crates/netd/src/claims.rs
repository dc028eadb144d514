//! The endpoints of a network, as its directory has them, followed while they come and go.
//!
//! ```text
//! <run>/networks/<name>/<address>   Endpoint; another name of the same file for each of its addresses
//! <run>/networks/<name>/.netd.lock  flock: whoever answers for the network
//! <run>/networks/<name>/.<any>      not ours: what is half made
//! ```
//!
//! The kernel says which names changed; only those are read again. Where it could not remember all of them, everything
//! is. What cannot be read is not there: it is half made or half gone, and another change follows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use holm_spec::network::{Endpoint, VERSION};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use crate::{Error, Result};

/// Name of the file in the directory that whoever answers for the network has locked.
pub const LOCK: &str = ".netd.lock";

/// Bytes of the largest document that is read.
const LARGEST: u64 = 1 << 20;

/// What makes a document another one, or none.
const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Addresses and who has them.
#[derive(Debug)]
pub struct Claims {
    directory: PathBuf,
    changes: OwnedFd,
    endpoints: BTreeMap<IpAddr, Endpoint>,
    gone: bool,
}

/// What the kernel said about the directory.
#[derive(Debug, Default)]
struct Changed {
    addresses: Vec<IpAddr>,
    /// More than it could remember.
    all: bool,
    gone: bool,
}

impl Claims {
    /// Reads a directory and follows it from now on.
    pub fn follow(directory: &Path) -> Result<Self> {
        let failed = |errno| Error::io(format!("follow `{}`", directory.display()), errno);
        let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(failed)?;
        inotify::add_watch(&changes, directory, CHANGES).map_err(failed)?;
        let mut claims =
            Self { directory: directory.to_owned(), changes, endpoints: BTreeMap::new(), gone: false };
        claims.read_all();
        Ok(claims)
    }

    /// Takes in what has changed; whether anything has.
    pub fn refresh(&mut self) -> bool {
        let changed = self.changed();
        self.gone |= changed.gone;
        if changed.all {
            self.read_all();
        } else {
            changed.addresses.iter().for_each(|address| self.read(*address));
        }
        changed.all || !changed.addresses.is_empty()
    }

    /// Whether nobody has an address.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// Whether the directory or the lock in it was removed: then so is the network.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Each endpoint once for each of its addresses that it has claimed, with that address alone.
    pub fn endpoints(&self) -> impl Iterator<Item = Endpoint> {
        self.endpoints.iter().map(|(address, endpoint)| {
            let mut endpoint = endpoint.clone();
            endpoint.addresses.retain(|subnet| subnet.address == *address);
            endpoint
        })
    }

    /// The servers of whoever has an address; `None` if it has none of its own.
    pub fn servers_of(&self, address: IpAddr) -> Option<&[IpAddr]> {
        let servers = &self.endpoints.get(&address)?.servers;
        (!servers.is_empty()).then_some(servers)
    }

    fn changed(&self) -> Changed {
        let mut changed = Changed::default();
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.changes, &mut space);
        while let Ok(event) = reader.next() {
            changed.all |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            changed.gone |= event.events().intersects(ReadFlags::DELETE_SELF | ReadFlags::IGNORED);
            let name = event.file_name().and_then(|name| name.to_str().ok());
            changed.gone |= event.events().contains(ReadFlags::DELETE) && name == Some(LOCK);
            changed.addresses.extend(name.and_then(address));
        }
        // A file that is made, written and closed is one change.
        changed.addresses.sort_unstable();
        changed.addresses.dedup();
        changed
    }

    fn read_all(&mut self) {
        self.endpoints.clear();
        let Ok(entries) = self.directory.read_dir() else { return };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let addresses: Vec<_> = names.filter_map(|name| address(&name)).collect();
        addresses.iter().for_each(|address| self.read(*address));
    }

    fn read(&mut self, address: IpAddr) {
        match read(&self.directory.join(address.to_string())) {
            Some(endpoint) => self.endpoints.insert(address, endpoint),
            None => self.endpoints.remove(&address),
        };
    }
}

impl AsFd for Claims {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }
}

/// The address that a name of a file is, if it is written as it is displayed: others are nobody's claim.
fn address(name: &str) -> Option<IpAddr> {
    name.parse().ok().filter(|address: &IpAddr| address.to_string() == name)
}

fn read(path: &Path) -> Option<Endpoint> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LARGEST).read_to_end(&mut bytes).ok()?;
    let endpoint: Endpoint = serde_json::from_slice(&bytes).ok()?;
    (endpoint.version <= VERSION).then_some(endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::tests::endpoint;

    fn names(claims: &Claims) -> Vec<String> {
        let endpoints = claims.endpoints();
        endpoints.map(|found| format!("{} {}", found.name, found.addresses[0].address)).collect()
    }

    #[test]
    fn endpoints_come_and_go() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        let one = endpoint(1, "one", &[], &["10.1.0.2/24", "fd01::2/64"]);
        let one = serde_json::to_vec(&one).unwrap();
        std::fs::write(path("10.1.0.2"), &one).unwrap();
        std::fs::write(path(".10.1.0.3"), &one).unwrap();
        std::fs::write(path("fd01:0::2"), &one).unwrap();
        std::fs::write(path("10.1.0.9"), "half").unwrap();
        let mut claims = Claims::follow(scratch.path()).unwrap();
        assert_eq!(names(&claims), ["one 10.1.0.2"]);
        assert!(!claims.refresh());
        std::fs::hard_link(path("10.1.0.2"), path("fd01::2")).unwrap();
        assert!(claims.refresh());
        assert_eq!(names(&claims), ["one 10.1.0.2", "one fd01::2"]);
        let two = serde_json::to_vec(&endpoint(2, "two", &[], &["10.1.0.2/24"])).unwrap();
        std::fs::write(path(".new"), two).unwrap();
        assert!(!claims.refresh(), "nobody's address");
        std::fs::rename(path(".new"), path("10.1.0.2")).unwrap();
        std::fs::remove_file(path("fd01::2")).unwrap();
        assert!(claims.refresh());
        assert_eq!(names(&claims), ["two 10.1.0.2"]);
        std::fs::remove_dir_all(scratch.path()).unwrap();
        claims.refresh();
        assert!(claims.is_empty() && claims.is_gone());
    }
}
