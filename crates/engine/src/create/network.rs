//! The network of a workload, as it is asked for, held against the networks that there are.

use holm_spec::image;
use holm_spec::machine::NETWORKS_LIMIT;
use holm_spec::network::{Attachment, DEFAULT, Port, Protocol, Publication};
use holm_spec::workload::{Config, Isolation, NetworkMode};

use crate::request::{CreateRequest, NetworkChoice};
use crate::{Engine, Error, Kind, Result};

/// What a workload will have.
pub(super) struct Resolved {
    pub mode: NetworkMode,
    pub attachments: Vec<Attachment>,
    pub ports: Vec<Publication>,
    pub exposed: Vec<Port>,
    /// The hostname that comes with another one's network.
    pub hostname: Option<String>,
}

impl Engine {
    pub(super) fn resolve_network(
        &self,
        request: &CreateRequest,
        config: &image::Config,
    ) -> Result<Resolved> {
        let (mode, attachments) = self.resolve_choice(request)?;
        refuse_too_many(request.isolation, &attachments)?;
        let exposed = exposed(request, config);
        let mut ports = request.ports.clone();
        if request.publish_all {
            let is_new = |port: &Port| request.ports.iter().all(|published| published.port != *port);
            let any = |port: &Port| Publication { port: *port, host: None, host_ports: (0, 0) };
            ports.extend(exposed.iter().filter(|port| is_new(port)).map(any));
        }
        match &mode {
            NetworkMode::Networks => {}
            // As with Docker, where a port of the host is the workload's anyway, or leads nowhere.
            NetworkMode::Host | NetworkMode::None => ports.clear(),
            NetworkMode::Container(_) => refuse_beside_another(request)?,
        }
        self.refuse_unfit(request.isolation, &attachments, !ports.is_empty())?;
        let hostname = match &mode {
            NetworkMode::Container(other) => self.config(other)?.oci.hostname().clone(),
            _ => None,
        };
        Ok(Resolved { mode, attachments, ports, exposed, hostname })
    }

    /// Refuses what the plugins of networks cannot do, before anything is made.
    pub(crate) fn refuse_unfit(
        &self,
        isolation: Isolation,
        attachments: &[Attachment],
        has_ports: bool,
    ) -> Result<()> {
        self.networks().check(isolation, attachments, &[], has_ports).map(drop).map_err(|error| {
            let error = Error::from(error);
            let hint = "a network without `--driver` serves both: `holm network create`";
            let is_of_machines = error.kind() == Kind::Unsupported;
            if is_of_machines { error.with_hint(Some(hint)) } else { error }
        })
    }

    fn resolve_choice(&self, request: &CreateRequest) -> Result<(NetworkMode, Vec<Attachment>)> {
        Ok(match &request.network {
            NetworkChoice::None => (NetworkMode::None, Vec::new()),
            NetworkChoice::Host => (NetworkMode::Host, Vec::new()),
            NetworkChoice::Container(name) => {
                let other = self.find(name)?;
                refuse_sharing_of_machines(request, &self.config(&other)?)?;
                (NetworkMode::Container(other), Vec::new())
            }
            NetworkChoice::Default => {
                let attachment = Attachment { network: DEFAULT.into(), ..Attachment::default() };
                (NetworkMode::Networks, vec![self.resolve_attachment(&attachment)?])
            }
            NetworkChoice::Networks(attachments) => {
                let resolved = attachments.iter().map(|attachment| self.resolve_attachment(attachment));
                let resolved = resolved.collect::<Result<Vec<_>>>()?;
                let mut names: Vec<&str> = resolved.iter().map(|one| one.network.as_str()).collect();
                names.sort_unstable();
                if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
                    let text = format!("network `{}` is asked for twice", twice[0]);
                    return Err(Error::new(Kind::InvalidRequest, text));
                }
                (NetworkMode::Networks, resolved)
            }
        })
    }

    /// By its name; that of the default one stands for it before it is made.
    pub(crate) fn resolve_attachment(&self, attachment: &Attachment) -> Result<Attachment> {
        let network = match attachment.network.as_str() {
            DEFAULT | "default" => self.networks().default_network()?,
            name => self.networks().find(name)?,
        };
        let asks = attachment.address.is_some() || attachment.address6.is_some();
        if network.is_default() && (asks || !attachment.aliases.is_empty()) {
            let text = "the default network has neither addresses to choose nor names; `holm network create` makes one that has";
            return Err(Error::new(Kind::InvalidRequest, text));
        }
        // What plugins have is known when they have given it.
        let has6 = network.plugins.is_some() || network.pool(false).is_some();
        if attachment.address6.is_some() && !has6 {
            let text = format!("network `{}` has no addresses of IPv6", network.name);
            return Err(Error::new(Kind::InvalidRequest, text));
        }
        Ok(Attachment { network: network.name, ..attachment.clone() })
    }
}

/// A virtual machine has places for so many devices.
pub(crate) fn refuse_too_many(isolation: Isolation, attachments: &[Attachment]) -> Result<()> {
    if isolation == Isolation::Container || attachments.len() <= NETWORKS_LIMIT {
        return Ok(());
    }
    let count = attachments.len();
    let text = format!("{count} networks: a virtual machine has room for {NETWORKS_LIMIT} network devices");
    Err(Error::new(Kind::Unsupported, text))
}

/// The network stack of a virtual machine is its own kernel's.
fn refuse_sharing_of_machines(request: &CreateRequest, other: &Config) -> Result<()> {
    let refused = |why: &str| {
        let text = format!("use the network of workload `{}`: {why}", other.name);
        let hint = "workloads on one network reach each other by name: `holm network create`";
        Err(Error::new(Kind::Unsupported, text).with_hint(Some(hint)))
    };
    match (request.isolation, other.isolation) {
        (Isolation::Vm, _) => refused("a virtual machine has a network stack of its own"),
        (_, Isolation::Vm) => refused("it is a virtual machine, which has a network stack of its own"),
        (Isolation::Container, Isolation::Container) => Ok(()),
    }
}

/// What belongs to a network belongs to whoever has it.
fn refuse_beside_another(request: &CreateRequest) -> Result<()> {
    let set = [
        ("--hostname", request.hostname.is_some()),
        ("--publish", !request.ports.is_empty() || request.publish_all),
        ("--expose", !request.exposed.is_empty()),
        ("--dns", request.resolver != holm_spec::workload::Resolver::default()),
        ("--add-host", !request.extra_hosts.is_empty()),
    ];
    match set.into_iter().find(|(_, set)| *set) {
        Some((flag, _)) => {
            let text = format!("{flag} does not go with another workload's network: that one has it");
            Err(Error::new(Kind::InvalidRequest, text))
        }
        None => Ok(()),
    }
}

/// The image's ports, then the request's.
fn exposed(request: &CreateRequest, config: &image::Config) -> Vec<Port> {
    let mut ports = Vec::new();
    for text in config.exposed_ports().iter().flatten() {
        // What an image only mentions, of SCTP say, keeps nobody from running it.
        ports.extend(parse_port(text).unwrap_or_default());
    }
    ports.extend(&request.exposed);
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn parse_port(text: &str) -> Option<Vec<Port>> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol: Protocol = protocol.parse().ok()?;
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first > 0 && first <= last).then(|| (first..=last).map(|number| Port { number, protocol }).collect())
}
