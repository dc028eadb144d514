//! The networks of an installation: making, finding and removing them. The document is the network; its bridge and its rules
//! follow from it (see `bridges`).

use holm_spec::Timestamp;
use holm_spec::layout::Layout;
use holm_spec::network::{DEFAULT, Driver, Endpoint, Network};
use holm_sys::fail_point;
use holm_sys::file::{Durability, ensure_directory, random_bytes, replace, sync_directory};
use holm_sys::lock::{Lock, Mode};

use crate::addresses::{Addresses, read_endpoint};
use crate::cni;
use crate::document;
use crate::error::{Error, Kind, Result};
use crate::links::Links;
use crate::plan::{self, NewNetwork, Surroundings};
use crate::rules::Rules;

/// Held by who answers for the names of a network.
pub(crate) const RESOLVER_LOCK: &str = ".netd.lock";
/// Where the default network's bridge begins to look for its name.
const DEFAULT_BRIDGE: &str = "holm";

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

    pub(crate) fn lock(&self, mode: Mode) -> Result<Lock> {
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
        let mut networks = Vec::new();
        for name in document::names_in(&self.layout.networks())? {
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

    pub(crate) fn read(&self, name: &str) -> Result<Option<Network>> {
        document::read("network", &self.layout.network(name), |network: &Network| network.version)
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
        let mut network = plan::plan(asked, &surroundings)?;
        if let Some(plugins) = &asked.plugins {
            let leases = self.layout.network_addresses(&network.name).join("leases");
            network.plugins = Some(cni::resolve(plugins, &network, leases)?);
        }
        self.write(&network)?;
        let up = match network.driver {
            Driver::Bridge => self.bring_up(&network).map(drop),
            Driver::Cni => self.write_router_rule(),
        };
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
        if let Some(endpoint) = self.endpoints(&network)?.first() {
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

    /// Prepares a network for who answers for its names: its bridge, and the directory of its addresses. Says whether nobody
    /// does yet. Of a network that plugins carry nobody ever does; of the default network only beside firewalld, to which the
    /// same process tells of the bridge.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; what the kernel says.
    pub fn lacks_resolver(&self, name: &str) -> Result<bool> {
        if name == DEFAULT && !Rules::open(&self.table())?.are_beside_firewalld() {
            return Ok(false);
        }
        let network = self.find(name)?;
        if network.driver == Driver::Cni {
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

    pub(crate) fn all_endpoints(&self, networks: &[Network]) -> Result<Vec<Endpoint>> {
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
        match network.driver {
            Driver::Bridge => Addresses::of(&self.layout, network).list(),
            Driver::Cni => self.endpoints_by_sandbox(network),
        }
    }

    /// Addresses that plugins give are no names of files here.
    fn endpoints_by_sandbox(&self, network: &Network) -> Result<Vec<Endpoint>> {
        let mut endpoints = Vec::new();
        for name in document::names_in(&self.layout.sandboxes())? {
            let Ok(sandbox) = name.parse() else { continue };
            endpoints.extend(read_endpoint(&self.layout.sandbox(&sandbox).endpoints().join(&network.name))?);
        }
        endpoints.sort_by(|a, b| a.addresses.cmp(&b.addresses));
        Ok(endpoints)
    }
}
