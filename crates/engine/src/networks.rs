//! Making and removing networks, and workloads that join and leave them after they were created.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use holm_network::{NewNetwork, Wanted, open_namespace};
use holm_spec::Id;
use holm_spec::event::EventKind;
use holm_spec::network::{Attachment, Network};
use holm_spec::workload::{Config, Isolation, NetworkMode, Status};
use holm_sys::file::{Durability, replace};

use crate::create::refuse_too_many;
use crate::{Engine, Error, Kind, Result};

impl Engine {
    /// Makes a network.
    ///
    /// # Errors
    /// [`Kind::NameTaken`], [`Kind::InvalidRequest`], [`Kind::InUse`], naming what its addresses overlap with.
    pub fn create_network(&self, asked: &NewNetwork) -> Result<Network> {
        let network = self.networks().create(asked)?;
        self.tell_of_network(&network, "create", []);
        Ok(network)
    }

    /// Removes a network that no workload has, or is to have.
    ///
    /// # Errors
    /// [`Kind::NoSuchNetwork`]; [`Kind::InUse`], by which workload.
    pub fn remove_network(&self, name: &str) -> Result<Network> {
        let workloads = self.list()?;
        let has = |network: &str| {
            let wants = |workload: &&crate::Workload| {
                workload.config.settings.networks.iter().any(|one| one.network == network)
            };
            workloads.iter().find(wants).map(|workload| workload.config.name.clone())
        };
        let network = self.networks().remove(name, &|network| has(&network.name))?;
        self.tell_of_network(&network, "destroy", []);
        Ok(network)
    }

    /// Gives a workload a further network, at once if it runs, and whenever it is started again.
    ///
    /// # Errors
    /// [`Kind::NoSuchNetwork`], [`Kind::NoSuchWorkload`]; [`Kind::NameTaken`] if it has the network;
    /// [`Kind::InvalidRequest`] if it has no networks of its own; [`Kind::InUse`] for an address.
    pub fn connect_network(&self, id: &Id, attachment: &Attachment) -> Result<()> {
        let _lock = self.lock_workload(id)?;
        let mut config = self.config(id)?;
        let attachment = self.resolve_attachment(attachment)?;
        let about = format!("connect workload `{}` to network `{}`", config.name, attachment.network);
        refuse_without_networks(&config, &about)?;
        if config.settings.networks.iter().any(|one| one.network == attachment.network) {
            return Err(Error::new(Kind::NameTaken, format!("{about}: it has it already")));
        }
        config.settings.networks.push(attachment.clone());
        refuse_too_many(config.isolation, &config.settings.networks)?;
        self.refuse_unfit(config.isolation, &config.settings.networks, !config.settings.ports.is_empty())?;
        if let Some(namespace) = self.namespace_of_running(&config, &about)? {
            self.ensure_resolver(&attachment.network)?;
            let networks = self.networks();
            let wanted = Wanted {
                sandbox: &config.sandbox,
                name: &config.name,
                isolation: config.isolation,
                attachments: &[attachment],
                publications: &[],
                servers: &config.settings.resolver.servers,
            };
            let mut membership = networks.claim(&wanted)?;
            membership.connect(namespace.as_fd())?;
            self.write_networks(&config)?;
            membership.keep();
            return self.describe_networks(&config);
        }
        self.write_networks(&config)
    }

    /// Takes a network from a workload, at once if it runs.
    ///
    /// # Errors
    /// [`Kind::NoSuchNetwork`] if it has none of that name; as [`Engine::connect_network`].
    pub fn disconnect_network(&self, id: &Id, network: &str) -> Result<()> {
        let _lock = self.lock_workload(id)?;
        let mut config = self.config(id)?;
        // A network that is gone can be left, too.
        let network = self.networks().find(network).map_or_else(|_| network.to_owned(), |found| found.name);
        let about = format!("disconnect workload `{}` from network `{network}`", config.name);
        refuse_without_networks(&config, &about)?;
        let before = config.settings.networks.len();
        config.settings.networks.retain(|one| one.network != network);
        if config.settings.networks.len() == before {
            return Err(Error::new(Kind::NoSuchNetwork, format!("{about}: it does not have it")));
        }
        let namespace = self.namespace_of_running(&config, &about)?;
        self.write_networks(&config)?;
        if let Some(namespace) = namespace {
            self.networks().leave(&config.sandbox, &network, namespace.as_fd())?;
            self.describe_networks(&config)?;
        }
        Ok(())
    }

    fn tell_of_network<'a>(
        &self,
        network: &Network,
        action: &str,
        attributes: impl IntoIterator<Item = (&'a str, String)>,
    ) {
        let known = [("name", network.name.clone()), ("type", network.driver.to_string())];
        let attributes = known.into_iter().chain(attributes);
        self.tell_of(EventKind::Network, action, network.id.to_string(), attributes);
    }

    fn namespace_of_running(&self, config: &Config, about: &str) -> Result<Option<OwnedFd>> {
        let state = self.state(config)?;
        if state.status != Status::Running {
            return Ok(None);
        }
        if config.isolation == Isolation::Vm {
            let text = format!("{about}: a virtual machine gets its network devices when it starts");
            let hint = "stop it first; it is then so when it starts again";
            return Err(Error::new(Kind::Unsupported, text).with_hint(Some(hint)));
        }
        Ok(Some(open_namespace(Path::new(&format!("/proc/{}/ns/net", state.pid)))?))
    }

    fn describe_networks(&self, config: &Config) -> Result<()> {
        let networks = self.networks();
        let endpoints = networks.endpoints_of(&config.sandbox)?;
        Ok(networks.describe(&self.layout.workload(&config.id).dir, config, &endpoints)?)
    }

    fn write_networks(&self, config: &Config) -> Result<()> {
        let path = self.layout.workload(&config.id).networks();
        let text = serde_json::to_vec(&config.settings.networks).expect("attachments are plain data");
        let durability = if config.auto_remove { Durability::Volatile } else { Durability::Durable };
        replace(&path, &text, durability)
            .map_err(|error| Error::io(format!("write `{}`", path.display()), error))
    }
}

fn refuse_without_networks(config: &Config, about: &str) -> Result<()> {
    if config.settings.network == NetworkMode::Networks {
        return Ok(());
    }
    let why = "it was created without networks of its own (--network none, host or container:)";
    Err(Error::new(Kind::InvalidRequest, format!("{about}: {why}")))
}
