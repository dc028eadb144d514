//! The servers that are asked what a network does not know: those of the host, as they are now.
//!
//! The file is looked at when something is to be forwarded, at most once a second: no descriptor would follow it, as
//! it often is a link to what another program replaces.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType};

use crate::resolv_conf::{BEHIND_RESOLVED, HOST, MOST_BYTES, Nameserver, ResolvConf};

/// How long the file is taken to be as it was.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What makes a file another one: device, inode, size, seconds and nanoseconds of its last change.
type Version = (u64, u64, u64, i64, i64);

/// The host's servers.
#[derive(Debug)]
pub struct Nameservers {
    /// The file, and the one to be read instead if only the host can reach the servers of the first.
    files: Vec<PathBuf>,
    /// The network's own addresses: to ask there would be to ask ourselves.
    own: Vec<IpAddr>,
    servers: Rc<[SocketAddr]>,
    versions: Vec<Option<Version>>,
    looked: Option<Instant>,
}

impl Nameservers {
    /// Those of the host, or of a file that is `given`, but never those at `own` addresses.
    pub fn new(given: Option<PathBuf>, own: Vec<IpAddr>) -> Self {
        let files = given.map_or_else(|| vec![HOST.into(), BEHIND_RESOLVED.into()], |given| vec![given]);
        Self { files, own, servers: Rc::new([]), versions: Vec::new(), looked: None }
    }

    /// The servers in the order in which they are asked.
    pub fn current(&mut self, now: Instant) -> Rc<[SocketAddr]> {
        if self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_AGAIN) {
            self.looked = Some(now);
            self.look();
        }
        Rc::clone(&self.servers)
    }

    fn look(&mut self) {
        let versions: Vec<_> = self.files.iter().map(|file| version(file)).collect();
        if self.versions != versions {
            self.versions = versions;
            let servers = choose(self.files.iter().map(|file| read(file)));
            let others = servers.iter().filter(|server| !self.own.contains(&server.address));
            self.servers = others.map(|server| server.socket_address(interface_number)).collect();
            if self.servers.is_empty() {
                crate::say("no server is known to forward questions to");
            }
        }
    }
}

/// The servers of the first file, unless only the host can reach them and the second has others.
fn choose(mut files: impl Iterator<Item = ResolvConf>) -> Vec<Nameserver> {
    let first = files.next().unwrap_or_default();
    let second = files.next().filter(|second| first.is_local() && !second.nameservers.is_empty());
    second.unwrap_or(first).nameservers
}

fn version(path: &Path) -> Option<Version> {
    let metadata = path.metadata().ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.size(), metadata.ctime(), metadata.ctime_nsec()))
}

/// What a file says; nothing if there is none.
fn read(path: &Path) -> ResolvConf {
    let mut bytes = Vec::new();
    let most = MOST_BYTES as u64;
    // What was read before an error counts.
    let _ = File::open(path).map(|file| file.take(most).read_to_end(&mut bytes));
    ResolvConf::parse(&String::from_utf8_lossy(&bytes))
}

fn interface_number(name: &str) -> Option<u32> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    rustix::net::netdevice::name_to_index(&socket, name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(files: &[&str]) -> Vec<String> {
        let servers = choose(files.iter().map(|text| ResolvConf::parse(text)));
        servers.iter().map(|server| server.address.to_string()).collect()
    }

    #[test]
    fn what_only_the_host_can_reach_comes_second() {
        assert_eq!(chosen(&["nameserver 127.0.0.53", "nameserver 10.0.0.1"]), ["10.0.0.1"]);
        assert_eq!(chosen(&["nameserver 127.0.0.53", ""]), ["127.0.0.53"]);
        assert_eq!(chosen(&["nameserver 10.0.0.2", "nameserver 10.0.0.1"]), ["10.0.0.2"]);
        assert_eq!(chosen(&["", "nameserver 10.0.0.1"]), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_changed_is_read_again() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("resolv.conf");
        let own = "10.1.0.1".parse().unwrap();
        let mut servers = Nameservers::new(Some(file.clone()), vec![own]);
        let now = Instant::now();
        assert!(servers.current(now).is_empty());
        std::fs::write(&file, "nameserver 10.1.0.1\nnameserver 10.0.0.1\n").unwrap();
        assert!(servers.current(now).is_empty());
        let wanted: SocketAddr = "10.0.0.1:53".parse().unwrap();
        assert_eq!(*servers.current(now + LOOK_AGAIN), [wanted]);
        std::fs::remove_file(&file).unwrap();
        assert!(servers.current(now + 2 * LOOK_AGAIN).is_empty());
    }
}
