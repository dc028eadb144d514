//! What a workload has of networks, as Docker shows it.

use std::collections::BTreeMap;

use holm_spec::network::{DEFAULT, Endpoint, PublishedPort, Subnet};
use holm_spec::workload::{Config, Isolation, NetworkMode, Settings, Status};
use holm_store::over_defaults;
use serde_json::{Map, Value, json};

use super::defaults;
use crate::{Engine, Workload};

/// Docker's word for the network that a workload was asked to have.
pub(super) fn mode(config: &Config) -> String {
    match config.settings.network {
        NetworkMode::None => "none".into(),
        NetworkMode::Host => "host".into(),
        NetworkMode::Container(other) => format!("container:{other}"),
        NetworkMode::Networks => {
            config.settings.networks.first().map_or(DEFAULT, |first| &first.network).into()
        }
    }
}

/// `Config.ExposedPorts`.
pub(super) fn exposed(settings: &Settings) -> Value {
    let ports: Map<String, Value> =
        settings.exposed.iter().map(|port| (port.to_string(), json!({}))).collect();
    if ports.is_empty() { Value::Null } else { ports.into() }
}

/// `HostConfig.PortBindings`.
pub(super) fn bindings(settings: &Settings) -> Value {
    let mut bindings: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for publication in &settings.ports {
        let host = publication.host.map(|host| host.to_string()).unwrap_or_default();
        let port = match publication.host_ports {
            (0, 0) => String::new(),
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        };
        let binding = json!({ "HostIp": host, "HostPort": port });
        bindings.entry(publication.port.to_string()).or_default().push(binding);
    }
    json!(bindings)
}

/// `HostConfig.ExtraHosts`.
pub(super) fn extra_hosts(settings: &Settings) -> Value {
    let text = |entry: &holm_spec::workload::ExtraHost| {
        let address = entry.address.map_or_else(|| "host-gateway".to_owned(), |address| address.to_string());
        format!("{}:{address}", entry.name)
    };
    let texts: Vec<String> = settings.extra_hosts.iter().map(text).collect();
    if texts.is_empty() { Value::Null } else { json!(texts) }
}

impl Engine {
    /// Ports of the host that lead to a workload now.
    pub fn ports_of(&self, workload: &Workload) -> Vec<PublishedPort> {
        self.endpoints_of(workload).iter().flat_map(|endpoint| endpoint.ports.clone()).collect()
    }

    /// What a workload has of networks now; nothing if it does not run.
    pub fn endpoints_of(&self, workload: &Workload) -> Vec<Endpoint> {
        let config = &workload.config;
        if config.settings.network != NetworkMode::Networks || workload.state.status != Status::Running {
            return Vec::new();
        }
        // It may end under the look.
        self.networks().endpoints_of(&config.sandbox).unwrap_or_default()
    }

    pub(super) fn network_settings(&self, workload: &Workload) -> Value {
        let config = &workload.config;
        let endpoints = self.endpoints_of(workload);
        let mut networks = Map::new();
        for attachment in &config.settings.networks {
            let endpoint = endpoints.iter().find(|endpoint| endpoint.network == attachment.network);
            networks
                .insert(attachment.network.clone(), self.endpoint_document(&attachment.network, endpoint));
        }
        for endpoint in &endpoints {
            let document = || self.endpoint_document(&endpoint.network, Some(endpoint));
            networks.entry(&endpoint.network).or_insert_with(document);
        }
        if matches!(config.settings.network, NetworkMode::None | NetworkMode::Host) {
            networks.insert(mode(config), over_defaults(defaults::NETWORK, Value::Null));
        }
        let mut document = json!({ "Networks": networks, "Ports": ports(config, &endpoints) });
        if workload.state.pid != 0 && config.settings.network != NetworkMode::Host {
            document["SandboxID"] = json!(config.sandbox);
            // That of a machine's process is empty: its workload's is in the guest.
            if config.isolation == Isolation::Container {
                document["SandboxKey"] = json!(format!("/proc/{}/ns/net", workload.state.pid));
            }
        }
        // As Docker does for its default network.
        let own = endpoints.iter().find(|endpoint| endpoint.network == DEFAULT).map(addresses);
        for (name, value) in own.into_iter().flatten() {
            document[name] = value;
        }
        over_defaults(defaults::NETWORK_SETTINGS, document)
    }

    fn endpoint_document(&self, name: &str, endpoint: Option<&Endpoint>) -> Value {
        let id = self.networks().find(name).map(|network| network.id.to_string()).unwrap_or_default();
        let mut document = json!({ "NetworkID": id });
        if let Some(endpoint) = endpoint {
            for (name, value) in addresses(endpoint) {
                document[name] = value;
            }
            if endpoint.network != DEFAULT {
                let names = std::iter::once(&endpoint.name).chain(&endpoint.aliases).cloned();
                let names: Vec<String> = names.chain([endpoint.sandbox.short()]).collect();
                document["DNSNames"] = json!(names);
                document["Aliases"] =
                    if endpoint.aliases.is_empty() { Value::Null } else { json!(endpoint.aliases) };
            }
        }
        over_defaults(defaults::NETWORK, document)
    }
}

fn addresses(endpoint: &Endpoint) -> Vec<(&'static str, Value)> {
    let of_family = |v4: bool| {
        let is = |address: &&Subnet| address.address.is_ipv4() == v4;
        let gateway = endpoint.gateways.iter().find(|gateway| gateway.is_ipv4() == v4);
        (endpoint.addresses.iter().find(is), gateway.map(ToString::to_string).unwrap_or_default())
    };
    let shown = |address: Option<&Subnet>| {
        (address.map(|one| one.address.to_string()).unwrap_or_default(), address.map_or(0, |one| one.prefix))
    };
    let ((v4, gateway4), (v6, gateway6)) = (of_family(true), of_family(false));
    let ((address4, prefix4), (address6, prefix6)) = (shown(v4), shown(v6));
    vec![
        ("EndpointID", json!(endpoint.id)),
        ("MacAddress", json!(endpoint.hardware)),
        ("Gateway", json!(gateway4)),
        ("IPAddress", json!(address4)),
        ("IPPrefixLen", json!(prefix4)),
        ("IPv6Gateway", json!(gateway6)),
        ("GlobalIPv6Address", json!(address6)),
        ("GlobalIPv6PrefixLen", json!(prefix6)),
    ]
}

/// Exposed ports, with what leads there.
fn ports(config: &Config, endpoints: &[Endpoint]) -> Value {
    let mut ports: BTreeMap<String, Option<Vec<Value>>> = BTreeMap::new();
    if endpoints.is_empty() {
        return json!({});
    }
    for port in &config.settings.exposed {
        ports.insert(port.to_string(), None);
    }
    for published in endpoints.iter().flat_map(|endpoint| &endpoint.ports) {
        let leads = json!({ "HostIp": published.host, "HostPort": published.host_port.to_string() });
        ports.entry(published.port.to_string()).or_default().get_or_insert_default().push(leads);
    }
    json!(ports)
}
