//! The addresses of a network, and whose they are.
//!
//! ```text
//! <run>/sandboxes/<sandbox>/endpoints/<network>   the document, before it has an address
//! <run>/networks/<network>/<address>              a further name of the same file for each of its addresses
//! ```
//! link(2) refuses a name that is taken, so an address has one owner without a lock. What a crash leaves is known by the
//! sandbox that the document names: it is gone.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use holm_spec::Id;
use holm_spec::layout::Layout;
use holm_spec::network::{Attachment, Endpoint, HardwareAddress, Network, Pool, Subnet};
use holm_sys::file::{Durability, ensure_directory, replace};

use crate::document::{self, LIMIT};
use crate::error::{Error, Kind, Result};

/// Of an endpoint that is to have one that follows from its first address.
pub(crate) const NO_HARDWARE: HardwareAddress = HardwareAddress([0; 6]);

/// Where the documents of one sandbox and one network lie.
#[derive(Debug)]
pub(crate) struct Addresses<'a> {
    layout: &'a Layout,
    network: &'a Network,
}

impl<'a> Addresses<'a> {
    pub(crate) fn of(layout: &'a Layout, network: &'a Network) -> Self {
        Self { layout, network }
    }

    fn directory(&self) -> PathBuf {
        self.layout.network_addresses(&self.network.name)
    }

    /// Takes addresses for an endpoint, and writes its document with them. Nothing is left where one cannot be had.
    pub(crate) fn claim(&self, attachment: &Attachment, endpoint: Endpoint) -> Result<Endpoint> {
        let record = self.record(&endpoint.sandbox);
        self.try_claim(attachment, endpoint).inspect_err(|_| drop(release_record(self.layout, &record)))
    }

    fn try_claim(&self, attachment: &Attachment, mut endpoint: Endpoint) -> Result<Endpoint> {
        let directory = self.directory();
        let made = |path: &Path| {
            ensure_directory(path, 0o700)
                .map_err(|error| Error::io(format!("make `{}`", path.display()), error))
        };
        made(&directory)?;
        made(&self.layout.sandbox(&endpoint.sandbox).endpoints())?;
        let taken: HashSet<String> = document::names_in(&directory)?.into_iter().collect();
        for pool in &self.network.pools {
            let asked = match pool.gateway {
                IpAddr::V4(_) => attachment.address.map(IpAddr::from),
                IpAddr::V6(_) => attachment.address6.map(IpAddr::from),
            };
            match asked {
                Some(address) => self.take_asked(pool, address, &mut endpoint)?,
                None => self.take_any(pool, &taken, &mut endpoint)?,
            }
        }
        if endpoint.addresses.len() > 1 {
            // The first name is of a document without the second address.
            self.name_again(&endpoint)?;
        }
        Ok(endpoint)
    }

    fn take_asked(&self, pool: &Pool, address: IpAddr, endpoint: &mut Endpoint) -> Result<()> {
        let refused = |why: &str| {
            let text = format!("address {address} of network `{}`: {why}", self.network.name);
            Err(Error::new(Kind::Invalid, text))
        };
        if !pool.subnet.contains(address) {
            return refused(&format!("it is not in {}", pool.subnet));
        }
        if !is_usable(pool, address) {
            return refused("it is the gateway's, or that of the network itself");
        }
        if self.take(pool, address, endpoint)? {
            return Ok(());
        }
        let owner = self.read(&self.directory().join(address.to_string()))?;
        let owner = owner.map_or_else(|| "somebody".to_owned(), |owner| format!("workload `{}`", owner.name));
        let text = format!("address {address} of network `{}`: {owner} has it", self.network.name);
        Err(Error::new(Kind::InUse, text))
    }

    fn take_any(&self, pool: &Pool, taken: &HashSet<String>, endpoint: &mut Endpoint) -> Result<()> {
        let range = pool.range.unwrap_or(pool.subnet);
        for offset in 0..range.size() {
            let Some(address) = range.nth(offset).filter(|address| is_usable(pool, *address)) else {
                continue;
            };
            if !taken.contains(&address.to_string()) && self.take(pool, address, endpoint)? {
                return Ok(());
            }
        }
        let text = format!("network `{}`: no address of {range} is left", self.network.name);
        Err(Error::new(Kind::Exhausted, text))
    }

    /// Whether the address was free, and is the endpoint's now.
    fn take(&self, pool: &Pool, address: IpAddr, endpoint: &mut Endpoint) -> Result<bool> {
        let mut with = endpoint.clone();
        with.addresses.push(Subnet { address, prefix: pool.subnet.prefix });
        if with.hardware == NO_HARDWARE {
            with.hardware = hardware_of(address);
        }
        let record = self.record(&with.sandbox);
        self.write(&record, &with)?;
        let name = self.directory().join(address.to_string());
        match std::fs::hard_link(&record, &name) {
            Ok(()) => *endpoint = with,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(Error::io(format!("claim address `{}`", name.display()), error)),
        }
        Ok(true)
    }

    /// Writes the document of an endpoint that has no addresses of this network's own.
    pub(crate) fn write_unnamed(&self, endpoint: &Endpoint) -> Result<()> {
        let directory = self.layout.sandbox(&endpoint.sandbox).endpoints();
        ensure_directory(&directory, 0o700)
            .map_err(|error| Error::io(format!("make `{}`", directory.display()), error))?;
        self.write(&self.record(&endpoint.sandbox), endpoint)
    }

    /// Writes the whole document, and gives it the names of its addresses.
    pub(crate) fn name_again(&self, endpoint: &Endpoint) -> Result<()> {
        let record = self.record(&endpoint.sandbox);
        self.write(&record, endpoint)?;
        for address in &endpoint.addresses {
            let name = self.directory().join(address.address.to_string());
            let staged = self.directory().join(format!(".{}-{}", endpoint.id.short(), address.address));
            std::fs::hard_link(&record, &staged)
                .and_then(|()| std::fs::rename(&staged, &name))
                .map_err(|error| Error::io(format!("write `{}`", name.display()), error))?;
        }
        Ok(())
    }

    fn record(&self, sandbox: &Id) -> PathBuf {
        self.layout.sandbox(sandbox).endpoints().join(&self.network.name)
    }

    fn write(&self, path: &Path, endpoint: &Endpoint) -> Result<()> {
        let text = serde_json::to_vec(endpoint).expect("an endpoint is plain data");
        if text.len() as u64 > LIMIT {
            let text = format!("workload `{}` has more ports and names than a network holds", endpoint.name);
            return Err(Error::new(Kind::Invalid, text));
        }
        replace(path, &text, Durability::Volatile)
            .map_err(|error| Error::io(format!("write `{}`", path.display()), error))
    }

    fn read(&self, path: &Path) -> Result<Option<Endpoint>> {
        read_endpoint(path)
    }

    /// The endpoints of the network, by their first addresses.
    pub(crate) fn list(&self) -> Result<Vec<Endpoint>> {
        let directory = self.directory();
        let mut found = std::collections::BTreeMap::new();
        for name in document::names_in(&directory)? {
            let Ok(address) = name.parse::<IpAddr>() else { continue };
            // One that cannot be read stands in nobody's way; it goes when its sandbox is gone.
            let Ok(Some(endpoint)) = self.read(&directory.join(name)) else { continue };
            if endpoint.addresses.first().is_some_and(|first| first.address == address) {
                found.insert(address, endpoint);
            }
        }
        Ok(found.into_values().collect())
    }

    /// Gives back what a crash left: addresses whose sandbox is gone. Says how many.
    pub(crate) fn reclaim(&self) -> Result<usize> {
        let directory = self.directory();
        let mut reclaimed = 0;
        for name in document::names_in(&directory)? {
            let path = directory.join(&name);
            let is_address = name.parse::<IpAddr>().is_ok();
            let owner = if is_address { self.read(&path) } else { Ok(None) };
            let is_left = match owner {
                Ok(Some(owner)) => !self.layout.sandbox(&owner.sandbox).dir.exists(),
                // Half a rename; who is at it holds the lock that the caller has alone.
                Ok(None) => name.starts_with('.') && !name.ends_with(".lock"),
                // Its sandbox had a name of it.
                Err(_) => path.metadata().is_ok_and(|data| data.nlink() == 1),
            };
            if is_left {
                document::remove(&path)?;
                reclaimed += 1;
            }
        }
        Ok(reclaimed)
    }
}

/// Removes a document and each name that it has as an address.
pub(crate) fn release_record(layout: &Layout, record: &Path) -> Result<()> {
    let Some(endpoint) = read_endpoint(record)? else { return Ok(()) };
    for address in &endpoint.addresses {
        let name = layout.network_addresses(&endpoint.network).join(address.address.to_string());
        // A killed claim may name an address that somebody else had.
        if read_endpoint(&name)?.is_some_and(|owner| owner.sandbox == endpoint.sandbox) {
            document::remove(&name)?;
        }
    }
    document::remove(record)
}

/// A document; `None` if there is none.
pub(crate) fn read_endpoint(path: &Path) -> Result<Option<Endpoint>> {
    document::read("endpoint", path, |endpoint: &Endpoint| endpoint.version)
}

/// Neither the network's own address, nor everybody's, nor the gateway's.
fn is_usable(pool: &Pool, address: IpAddr) -> bool {
    let offset = pool.subnet.offset(address);
    let is_edge = offset == 0 || (address.is_ipv4() && offset == pool.subnet.size() - 1);
    address != pool.gateway && (pool.subnet.prefix >= if address.is_ipv4() { 31 } else { 127 } || !is_edge)
}

/// A hardware address that follows from an address: who keeps it in mind after its owner has changed is right.
pub(crate) fn hardware_of(address: IpAddr) -> HardwareAddress {
    let last = match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(address) => {
            let [.., a, b, c, d] = address.octets();
            [a, b, c, d]
        }
    };
    let [a, b, c, d] = last;
    HardwareAddress([0x02, 0x68, a, b, c, d])
}
