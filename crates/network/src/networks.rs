//! The networks of an installation: making, finding and removing them, and their bridges.
//!
//! The document is written when a network is made, its bridge and rules are made then and whenever a sandbox joins and they
//! are not there: after a boot, or when somebody took them away. A bridge says in its alias whose it is; one that is half
//! made says that.

use std::io::ErrorKind;
use std::path::PathBuf;

use holm_spec::Timestamp;
use holm_spec::layout::Layout;
use holm_spec::network::{DEFAULT, Endpoint, Network, VERSION};
use holm_sys::fail_point;
use holm_sys::file::{Durability, ensure_directory, random_bytes, read_limited, replace, sync_directory};
use holm_sys::lock::{Lock, Mode};
use rustix::io::Errno;

use crate::addresses::{Addresses, hardware_of};
use crate::error::{Error, Kind, Result};
use crate::links::{Bridge, Link, Links};
use crate::membership::begins_at_loopback;
use crate::plan::{self, NewNetwork, Surroundings};
use crate::rules::{Rules, Wanted};
use crate::sysctl;

/// Longest document, in bytes.
const LIMIT: u64 = 1 << 20;
/// Held by who answers for the names of a network.
const RESOLVER_LOCK: &str = ".netd.lock";
/// Where the default network's bridge begins to look for its name.
const DEFAULT_BRIDGE: &str = "holm";
/// Where Holm is installed usually; the names of another installation's things say whose they are.
const USUAL_ROOT: &str = "/var/lib/holm";

/// The networks of one installation.
#[derive(Clone, Debug)]
pub struct Networks {
    layout: Layout,
}

/// Proof that networks stay as they are: the shared lock.
#[derive(Debug)]
pub(crate) struct Stable(#[expect(dead_code, reason = "held, not looked at")] Lock);

impl Networks {
    /// Those of an installation.
    pub fn new(layout: &Layout) -> Self {
        Self { layout: layout.clone() }
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    fn lock(&self, mode: Mode) -> Result<Lock> {
        let lock = self.layout.networks_lock();
        let directory = lock.parent().unwrap_or(&lock);
        ensure_directory(directory, 0o700)
            .map_err(|error| Error::io(format!("make `{}`", directory.display()), error))?;
        Ok(Lock::acquire(&lock, mode)?)
    }

    pub(crate) fn stable(&self) -> Result<Stable> {
        self.lock(Mode::Shared).map(Stable)
    }

    /// All networks, by name. One whose document cannot be read is left out: it stands in nobody's way.
    ///
    /// # Errors
    /// [`Kind::Io`].
    pub fn list(&self) -> Result<Vec<Network>> {
        let directory = self.layout.networks();
        let failed = |error| Error::io(format!("list `{}`", directory.display()), error);
        let entries = match std::fs::read_dir(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut networks = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let name = name.to_string_lossy();
            if let Some(name) = name.strip_suffix(".json").filter(|name| !name.starts_with('.')) {
                match self.read(name) {
                    Err(error) if error.kind() == Kind::Corrupt => {}
                    read => networks.extend(read?),
                }
            }
        }
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(networks)
    }

    fn read(&self, name: &str) -> Result<Option<Network>> {
        let path = self.layout.network(name);
        let corrupt = |why: String| Error::new(Kind::Corrupt, format!("network `{}`: {why}", path.display()));
        let text = match read_limited(&path, LIMIT) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| Error::io(format!("read `{}`", path.display()), error))?,
        };
        let network: Network = serde_json::from_slice(&text).map_err(|error| corrupt(error.to_string()))?;
        match network.version {
            VERSION => Ok(Some(network)),
            other => Err(corrupt(format!("unknown version {other}"))),
        }
    }

    /// The network of a name, or of an id or the beginning of one.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Invalid`] if several ids begin so.
    pub fn find(&self, name: &str) -> Result<Network> {
        if plan::check_name(name).is_ok()
            && let Some(network) = self.read(name)?
        {
            return Ok(network);
        }
        let begins = |network: &Network| !name.is_empty() && network.id.to_string().starts_with(name);
        let mut found: Vec<Network> = self.list()?.into_iter().filter(begins).collect();
        match (found.pop(), found.is_empty()) {
            (Some(network), true) => Ok(network),
            (Some(_), false) => {
                Err(Error::new(Kind::Invalid, format!("several networks have an id like `{name}`")))
            }
            (None, _) => Err(Error::new(Kind::NotFound, format!("no such network: `{name}`"))),
        }
    }

    /// Makes a network, with its bridge.
    ///
    /// # Errors
    /// [`Kind::Exists`], [`Kind::Invalid`], [`Kind::InUse`] naming what its addresses overlap with, [`Kind::Exhausted`];
    /// what the kernel says. Nothing is left then.
    pub fn create(&self, asked: &NewNetwork) -> Result<Network> {
        plan::check_name(&asked.name)?;
        if asked.name == DEFAULT {
            let text =
                format!("network `{DEFAULT}` is the default one, which is made when a workload needs it");
            return Err(Error::new(Kind::Invalid, text));
        }
        let _alone = self.lock(Mode::Exclusive)?;
        if self.read(&asked.name)?.is_some() {
            return Err(Error::new(Kind::Exists, format!("network `{}` exists already", asked.name)));
        }
        self.create_alone(asked)
    }

    fn create_alone(&self, asked: &NewNetwork) -> Result<Network> {
        let mut links = Links::open()?;
        let random = random_bytes();
        let interface = self.free_interface(&mut links, asked, random)?;
        let surroundings = Surroundings {
            networks: &self.list()?,
            routes: &links.routes()?,
            interface,
            random,
            now: Timestamp::from_nanos(holm_sys::process::now()),
        };
        let network = plan::plan(asked, &surroundings)?;
        self.write(&network)?;
        let up = self.bring_up(&network);
        if up.is_err() {
            let _ = std::fs::remove_file(self.layout.network(&network.name));
            let _ = self.take_down(&network);
        }
        up.map(|_| network)
    }

    fn write(&self, network: &Network) -> Result<()> {
        let path = self.layout.network(&network.name);
        let failed = |error| Error::io(format!("write `{}`", path.display()), error);
        ensure_directory(&self.layout.networks(), 0o700).map_err(failed)?;
        let text = serde_json::to_vec_pretty(network).expect("a network is plain data");
        replace(&path, &text, Durability::Durable).map_err(failed)
    }

    /// A name for a bridge that no device has.
    fn free_interface(&self, links: &mut Links, asked: &NewNetwork, random: [u8; 32]) -> Result<String> {
        if asked.name != DEFAULT {
            let number = u64::from_be_bytes([0, 0, 0, random[0], random[1], random[2], random[3], random[4]]);
            return Ok(format!("holm-{number:010x}"));
        }
        let devices = links.list()?;
        let is_free = |name: &String| devices.iter().all(|device| device.name != *name);
        let mut names = (0..).map(|number| format!("{DEFAULT_BRIDGE}{number}"));
        Ok(names.find(is_free).expect("there are more numbers than devices"))
    }

    /// The network that workloads get which ask for none, made if it is not there.
    ///
    /// # Errors
    /// As [`Networks::create`].
    pub fn default_network(&self) -> Result<Network> {
        if let Some(network) = self.read(DEFAULT)? {
            return Ok(network);
        }
        let _alone = self.lock(Mode::Exclusive)?;
        match self.read(DEFAULT)? {
            Some(network) => Ok(network),
            None => self.create_alone(&plan::default_network()),
        }
    }

    /// Removes a network that nobody uses.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::InUse`], naming whoever uses it: `planned` says which workloads that do not run are to
    /// have it.
    pub fn remove(&self, name: &str, planned: &dyn Fn(&Network) -> Option<String>) -> Result<Network> {
        let _alone = self.lock(Mode::Exclusive)?;
        let network = self.find(name)?;
        let refused =
            |why: String| Err(Error::new(Kind::InUse, format!("remove network `{}`: {why}", network.name)));
        let addresses = Addresses::of(&self.layout, &network);
        addresses.reclaim()?;
        if let Some(endpoint) = addresses.list()?.first() {
            return refused(format!("workload `{}` uses it", endpoint.name));
        }
        if let Some(workload) = planned(&network) {
            return refused(format!("workload `{workload}` is to have it"));
        }
        let path = self.layout.network(&network.name);
        std::fs::remove_file(&path)
            .and_then(|()| sync_directory(&self.layout.networks()))
            .map_err(|error| Error::io(format!("remove `{}`", path.display()), error))?;
        fail_point::reached("networks-document-removed");
        self.take_down(&network)?;
        Ok(network)
    }

    /// Removes the bridge of a network, and what its rules and addresses were.
    fn take_down(&self, network: &Network) -> Result<()> {
        let mut links = Links::open()?;
        let found = links.find(&network.interface)?;
        if let Some(link) =
            found.filter(|link| [self.alias(network), self.half_made(network)].contains(&link.alias))
        {
            links
                .remove(link.index)
                .map_err(|errno| Error::io(format!("remove bridge `{}`", network.interface), errno))?;
        }
        self.write_rules()?;
        let addresses = self.layout.network_addresses(&network.name);
        holm_sys::file::remove_tree(&addresses)
            .map_err(|error| Error::io(format!("remove `{}`", addresses.display()), error))
    }

    /// The bridge's number, after a look whether it and the rules are there; they are made if they are not.
    pub(crate) fn ensure_up(&self, network: &Network, stable: Stable) -> Result<(u32, Stable)> {
        if let Some(link) = self.whole_bridge(network)?
            && sysctl::passes_on()
            && self.has_rules()?
        {
            return Ok((link.index, stable));
        }
        drop(stable);
        let alone = self.lock(Mode::Exclusive)?;
        if self.read(&network.name)?.as_ref() != Some(network) {
            return Err(Error::new(Kind::NotFound, format!("network `{}` was removed", network.name)));
        }
        let index = self.bring_up(network)?;
        drop(alone);
        Ok((index, self.stable()?))
    }

    /// Prepares a network for who answers for its names: its bridge, and the directory of its addresses. Says whether nobody
    /// answers yet; of the default network nobody ever does.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; what the kernel says.
    pub fn lacks_resolver(&self, name: &str) -> Result<bool> {
        let network = self.find(name)?;
        if network.is_default() {
            return Ok(false);
        }
        let directory = self.layout.network_addresses(&network.name);
        let lock = directory.join(RESOLVER_LOCK);
        if lock.exists() && Lock::try_acquire(&lock, Mode::Exclusive)?.is_none() {
            return Ok(false);
        }
        let stable = self.stable()?;
        self.ensure_up(&network, stable)?;
        ensure_directory(&directory, 0o700)
            .map_err(|error| Error::io(format!("make `{}`", directory.display()), error))?;
        Ok(true)
    }

    fn whole_bridge(&self, network: &Network) -> Result<Option<Link>> {
        let found = Links::open()?.find(&network.interface)?;
        Ok(found.filter(|link| link.alias == self.alias(network)))
    }

    fn has_rules(&self) -> Result<bool> {
        let networks = self.list()?;
        let made_router = self.made_router();
        Rules::open(&self.table())?.are_there(&Wanted {
            networks: &networks,
            made_router,
            ..Wanted::default()
        })
    }

    /// Makes the bridge unless it is there, and writes all rules. The caller is alone.
    fn bring_up(&self, network: &Network) -> Result<u32> {
        let mut links = Links::open()?;
        let failed = |errno: Errno| Error::io(format!("make bridge `{}`", network.interface), errno);
        if let Some(link) = links.find(&network.interface)? {
            match () {
                () if link.alias == self.alias(network) => {
                    self.prepare_host(network)?;
                    self.write_rules()?;
                    return Ok(link.index);
                }
                () if link.alias == self.half_made(network) => links.remove(link.index).map_err(failed)?,
                () => {
                    let text = format!(
                        "network `{}`: device `{}` is there and not Holm's",
                        network.name, network.interface
                    );
                    return Err(Error::new(Kind::InUse, text));
                }
            }
        }
        let bridge = Bridge {
            name: &network.interface,
            alias: &self.half_made(network),
            hardware: hardware_of(network.pools[0].gateway),
            mtu: network.mtu,
        };
        links.make_bridge(&bridge).map_err(failed)?;
        let link = links.find(&network.interface)?.ok_or_else(|| failed(Errno::NODEV))?;
        self.prepare_host(network)?;
        for pool in &network.pools {
            let address = holm_spec::network::Subnet { address: pool.gateway, prefix: pool.subnet.prefix };
            links.add_address(link.index, address).map_err(failed)?;
        }
        self.write_rules()?;
        self.return_members(network, &mut links, link.index)?;
        links.set_alias(link.index, &self.alias(network)).map_err(failed)?;
        Ok(link.index)
    }

    /// Puts the devices of who runs on a bridge that somebody had removed; whoever answered for names there begins anew.
    fn return_members(&self, network: &Network, links: &mut Links, bridge: u32) -> Result<()> {
        for endpoint in self.endpoints(network)? {
            if begins_at_loopback(&endpoint) {
                sysctl::let_loopback_leave(&network.interface)?;
            }
            match links.put_on(&endpoint.host_interface, bridge) {
                // It is about to be made.
                Ok(()) | Err(Errno::NODEV) => {}
                Err(errno) => {
                    let text =
                        format!("connect workload `{}` to network `{}` again", endpoint.name, network.name);
                    return Err(Error::io(text, errno));
                }
            }
        }
        let lock = self.layout.network_addresses(&network.name).join(RESOLVER_LOCK);
        let _ = std::fs::remove_file(lock);
        Ok(())
    }

    /// Remembers it if the host was no router before.
    fn prepare_host(&self, network: &Network) -> Result<()> {
        if sysctl::prepare_host(network)? {
            let mark = self.router_mark();
            let directory = mark.parent().unwrap_or(&mark);
            ensure_directory(directory, 0o700)
                .and_then(|()| std::fs::write(&mark, b""))
                .map_err(|error| Error::io(format!("write `{}`", mark.display()), error))?;
        }
        Ok(())
    }

    fn router_mark(&self) -> PathBuf {
        self.layout.network_addresses(".made-router")
    }

    fn made_router(&self) -> bool {
        self.router_mark().exists()
    }

    fn write_rules(&self) -> Result<()> {
        let networks = self.list()?;
        let endpoints = self.all_endpoints(&networks)?;
        let made_router = self.made_router();
        let wanted = Wanted { networks: &networks, endpoints: &endpoints, made_router, ..Wanted::default() };
        Rules::open(&self.table())?.write(&wanted)
    }

    /// Puts right what a crash, or somebody, left: addresses without a sandbox, bridges that are gone or belong to no
    /// network, rules that are not what they must be. Says what was done, a line each; nothing if another command is at it.
    ///
    /// # Errors
    /// What reading reports, and the kernel.
    pub fn repair(&self) -> Result<Vec<String>> {
        let mut done = Vec::new();
        if !self.layout.networks().exists() {
            return Ok(done);
        }
        let Some(_alone) = Lock::try_acquire(&self.layout.networks_lock(), Mode::Exclusive)? else {
            return Ok(done);
        };
        let networks = self.list()?;
        for network in &networks {
            let reclaimed = Addresses::of(&self.layout, network).reclaim()?;
            if reclaimed > 0 {
                done.push(format!(
                    "network {}: gave {reclaimed} addresses back that nobody used",
                    network.name
                ));
            }
            // Without a workload nobody misses it; the next one brings it.
            if !self.endpoints(network)?.is_empty() && self.whole_bridge(network)?.is_none() {
                self.bring_up(network)?;
                done.push(format!(
                    "network {}: made its bridge anew, which somebody had removed",
                    network.name
                ));
            }
        }
        done.extend(self.remove_stray_bridges(&networks)?);
        done.extend(self.restore_rules(&networks)?);
        Ok(done)
    }

    fn restore_rules(&self, networks: &[Network]) -> Result<Option<String>> {
        let endpoints = self.all_endpoints(networks)?;
        if endpoints.is_empty() && networks.is_empty() {
            return Ok(None);
        }
        let mut rules = Rules::open(&self.table())?;
        if endpoints.is_empty() && !rules.exist()? {
            return Ok(None);
        }
        let joining: Vec<Endpoint> =
            endpoints.iter().filter(|endpoint| !self.runs(endpoint)).cloned().collect();
        let made_router = self.made_router();
        let wanted = Wanted { networks, endpoints: &endpoints, joining: &joining, made_router };
        let told = "wrote the rules of packets anew, which somebody had changed";
        Ok(rules.restore(&wanted)?.then(|| told.to_owned()))
    }

    /// Whether an endpoint's sandbox has come as far as a state.
    fn runs(&self, endpoint: &Endpoint) -> bool {
        self.layout.sandbox(&endpoint.sandbox).state(&endpoint.sandbox).exists()
    }

    /// Removes bridges of networks whose document is gone.
    fn remove_stray_bridges(&self, networks: &[Network]) -> Result<Vec<String>> {
        let mut links = Links::open()?;
        let mut done = Vec::new();
        let is_known = |link: &Link| networks.iter().any(|network| network.interface == link.name);
        let own = format!(" of {}", self.root_in_alias());
        for link in links.list()? {
            let is_ours = link.alias.contains("holm network ") && link.alias.ends_with(&own);
            if is_ours && !is_known(&link) {
                links
                    .remove(link.index)
                    .map_err(|errno| Error::io(format!("remove bridge `{}`", link.name), errno))?;
                done.push(format!("removed bridge {} of a network that is gone", link.name));
            }
        }
        Ok(done)
    }

    fn all_endpoints(&self, networks: &[Network]) -> Result<Vec<Endpoint>> {
        let mut endpoints = Vec::new();
        for network in networks {
            endpoints.extend(self.endpoints(network)?);
        }
        Ok(endpoints)
    }

    /// Who has an address of a network.
    ///
    /// # Errors
    /// [`Kind::Corrupt`], [`Kind::Io`].
    pub fn endpoints(&self, network: &Network) -> Result<Vec<Endpoint>> {
        Addresses::of(&self.layout, network).list()
    }

    /// Name of the table of rules.
    pub(crate) fn table(&self) -> String {
        match self.layout.root.to_str() {
            Some(USUAL_ROOT) => "holm".into(),
            _ => format!("holm-{:08x}", fingerprint(self.layout.root.as_os_str().as_encoded_bytes())),
        }
    }

    fn alias(&self, network: &Network) -> String {
        format!("holm network {} of {}", network.id.short(), self.root_in_alias())
    }

    /// The kernel takes 255 bytes in all.
    fn root_in_alias(&self) -> String {
        let root = self.layout.root.to_string_lossy();
        let skipped = root.char_indices().map(|(at, _)| at).find(|at| root.len() - at <= 160);
        root[skipped.unwrap_or(0)..].to_owned()
    }

    fn half_made(&self, network: &Network) -> String {
        format!("half made: {}", self.alias(network))
    }
}

/// 32 bits that tell names apart (FNV-1a).
fn fingerprint(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
