//! The rules of packets: one table of our own in nftables, for IPv4 and IPv6, written as a whole in one transaction.
//!
//! ```text
//! set  bridges, internal     names of bridges
//! map  ports4, ports6        protocol . port            -> address . port   published on all addresses
//! map  ports4_at, ports6_at  protocol . address . port  -> address . port   published on one
//!
//! early        prerouting, before anything   127.0.0.0/8 from elsewhere than loopback: dropped
//! prerouting   destination of what arrives   to an address of this host, in a map: changed
//! output       and of what begins here       the same
//! forward      what passes through           see below
//! postrouting  source of what leaves         see below
//! ```
//! *forward*: answers pass; so does what stays on one bridge; what comes from an internal network does not; what a
//! published port brought does; nothing else goes to a bridge of ours, from whatever side.
//!
//! *postrouting*: what a network sends elsewhere gets the host's address; so does what a workload sends to its own network
//! through a published port, or the answer would take a way on which nobody changes it back; and what begins at 127.0.0.1,
//! which is nowhere to answer to.
//!
//! Only the maps change when workloads come and go. What is to be there follows from the documents on the disk, so a table
//! that somebody flushed is written anew ([`Rules::restore`]).

mod nftables;

use std::net::{IpAddr, Ipv4Addr};

use holm_spec::network::{Endpoint, Network, PublishedPort};
use holm_sys::netlink::Netlink;
use rustix::io::Errno;

use crate::error::{Error, Kind, Result};
use nftables::{Batch, Concatenation, Fact, Hook, Rule, Type};

const BRIDGES: (&str, u32) = ("bridges", 1);
const INTERNAL: (&str, u32) = ("internal", 2);
const EARLY: &str = "early";
const ARRIVING: &str = "prerouting";
const BEGINNING: &str = "output";
const PASSING: &str = "forward";
const LEAVING: &str = "postrouting";

/// A map of published ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PortMap {
    name: &'static str,
    number: u32,
    v4: bool,
    /// The host's address is in the key.
    at: bool,
}

const PORT_MAPS: [PortMap; 4] = [
    PortMap { name: "ports4_at", number: 3, v4: true, at: true },
    PortMap { name: "ports4", number: 4, v4: true, at: false },
    PortMap { name: "ports6_at", number: 5, v4: false, at: true },
    PortMap { name: "ports6", number: 6, v4: false, at: false },
];

impl PortMap {
    fn address(self) -> Type {
        if self.v4 { Type::Address4 } else { Type::Address6 }
    }

    fn key(self) -> Vec<Type> {
        if self.at {
            vec![Type::Protocol, self.address(), Type::Service]
        } else {
            vec![Type::Protocol, Type::Service]
        }
    }

    fn facts(self) -> Vec<Fact> {
        if self.at {
            vec![Fact::Protocol, Fact::Destination(self.v4), Fact::DestinationPort]
        } else {
            vec![Fact::Protocol, Fact::DestinationPort]
        }
    }

    /// What leads from a published port to an endpoint.
    fn element(self, endpoint: &Endpoint, port: &PublishedPort) -> Option<(Vec<u8>, Vec<u8>)> {
        if port.host.is_ipv4() != self.v4 || port.host.is_unspecified() == self.at {
            return None;
        }
        let target = endpoint.addresses.iter().find(|address| address.address.is_ipv4() == self.v4)?;
        let key = Concatenation::default().part(&[port.port.protocol.number()]);
        let key = if self.at { key.part(&nftables::octets(port.host)) } else { key };
        let key = key.part(&port.host_port.to_be_bytes());
        let value = Concatenation::default()
            .part(&nftables::octets(target.address))
            .part(&port.port.number.to_be_bytes());
        Some((key.0, value.0))
    }

    fn elements(self, endpoints: &[Endpoint]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let ports = |endpoint: &Endpoint| {
            endpoint.ports.iter().filter_map(|port| self.element(endpoint, port)).collect::<Vec<_>>()
        };
        endpoints.iter().flat_map(ports).collect()
    }
}

/// The table, in the caller's network namespace.
#[derive(Debug)]
pub struct Rules {
    netlink: Netlink,
    table: String,
}

impl Rules {
    /// The table of this name, which may not be there yet.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] if the kernel has no nftables.
    pub fn open(table: &str) -> Result<Self> {
        let netlink = Netlink::open_netfilter().map_err(|errno| match errno {
            Errno::PROTONOSUPPORT => Error::new(Kind::Unsupported, "the kernel has no nftables"),
            errno => Error::io("open a socket to the kernel's rules of packets", errno),
        })?;
        Ok(Self { netlink, table: table.to_owned() })
    }

    /// Writes the whole table.
    ///
    /// # Errors
    /// The kernel's; nothing is changed then.
    pub fn write(&mut self, networks: &[Network], endpoints: &[Endpoint]) -> Result<()> {
        let mut batch = Batch::new(&self.table);
        batch.replace_table();
        if !networks.is_empty() {
            sets(&mut batch, networks, endpoints);
            chains(&mut batch);
            for (chain, rule) in rules(networks) {
                batch.rule(chain, rule);
            }
        } else {
            batch.remove_table();
        }
        batch.commit(&mut self.netlink).map_err(|errno| self.failed("write", errno))
    }

    /// Writes the whole table if it is not what it must be; says whether it was not.
    ///
    /// # Errors
    /// The kernel's.
    pub fn restore(&mut self, networks: &[Network], endpoints: &[Endpoint]) -> Result<bool> {
        let is_whole = self.is_whole(networks, endpoints).map_err(|errno| self.failed("read", errno))?;
        if is_whole {
            return Ok(false);
        }
        self.write(networks, endpoints).map(|()| true)
    }

    /// Whether the table has its rules; who changes what they say is not found out.
    ///
    /// # Errors
    /// The kernel's.
    pub fn are_there(&mut self, networks: &[Network]) -> Result<bool> {
        let found = nftables::count_rules(&mut self.netlink, &self.table);
        let found = found.map_err(|errno| self.failed("read", errno))?;
        Ok(found == (!networks.is_empty()).then(|| rules(networks).len()))
    }

    fn is_whole(&mut self, networks: &[Network], endpoints: &[Endpoint]) -> Result<bool, Errno> {
        let expected = (!networks.is_empty()).then(|| rules(networks).len());
        if nftables::count_rules(&mut self.netlink, &self.table)? != expected {
            return Ok(false);
        }
        for map in PORT_MAPS.iter().filter(|_| expected.is_some()) {
            let found = nftables::count_elements(&mut self.netlink, &self.table, map.name)?;
            if found != map.elements(endpoints).len() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lets the ports of an endpoint lead to it.
    ///
    /// # Errors
    /// The kernel's; `ENOENT` if the table is not there.
    pub fn publish(&mut self, endpoint: &Endpoint) -> Result<(), Errno> {
        self.change(endpoint, Batch::add_elements)
    }

    /// Lets them lead nowhere.
    ///
    /// # Errors
    /// As [`Rules::publish`]; `ENOENT` also if they do so already.
    pub fn withdraw(&mut self, endpoint: &Endpoint) -> Result<(), Errno> {
        self.change(endpoint, Batch::remove_elements)
    }

    fn change(
        &mut self,
        endpoint: &Endpoint,
        change: impl Fn(&mut Batch, &str, &[(Vec<u8>, Vec<u8>)]),
    ) -> Result<(), Errno> {
        let mut batch = Batch::new(&self.table);
        for map in PORT_MAPS {
            change(&mut batch, map.name, &map.elements(std::slice::from_ref(endpoint)));
        }
        batch.commit(&mut self.netlink)
    }

    fn failed(&self, what: &str, errno: Errno) -> Error {
        Error::io(format!("{what} the rules of packets in table `inet {}`", self.table), errno)
    }
}

fn sets(batch: &mut Batch, networks: &[Network], endpoints: &[Endpoint]) {
    let named = |wanted: &dyn Fn(&Network) -> bool| {
        let names = networks.iter().filter(|network| wanted(network));
        names.map(|network| (nftables::interface_name(&network.interface), Vec::new())).collect::<Vec<_>>()
    };
    for ((name, number), elements) in
        [(BRIDGES, named(&|_| true)), (INTERNAL, named(&|network| network.internal))]
    {
        batch.set(name, number, &[Type::InterfaceName], &[]);
        batch.add_elements(name, &elements);
    }
    for map in PORT_MAPS {
        batch.set(map.name, map.number, &map.key(), &[map.address(), Type::Service]);
        batch.add_elements(map.name, &map.elements(endpoints));
    }
}

fn chains(batch: &mut Batch) {
    use nftables::{FORWARD, OUTPUT, POST_ROUTING, PRE_ROUTING};
    for (name, kind, number, priority) in [
        (EARLY, "filter", PRE_ROUTING, -300),
        (ARRIVING, "nat", PRE_ROUTING, -100),
        (BEGINNING, "nat", OUTPUT, -100),
        (PASSING, "filter", FORWARD, 0),
        (LEAVING, "nat", POST_ROUTING, 100),
    ] {
        batch.chain(name, Hook { kind, number, priority });
    }
}

/// All rules, with their chains.
fn rules(networks: &[Network]) -> Vec<(&'static str, Rule)> {
    let mut rules = vec![(
        EARLY,
        of_family(true)
            .compare(Fact::InputName, false, &name("lo"))
            .in_block(Fact::Destination(true), &loopback())
            .drop(),
    )];
    for chain in [ARRIVING, BEGINNING] {
        rules.extend(PORT_MAPS.map(|map| (chain, published(map))));
    }
    rules.extend(passing(networks).into_iter().map(|rule| (PASSING, rule)));
    rules.extend(leaving(networks).into_iter().map(|rule| (LEAVING, rule)));
    rules
}

fn published(map: PortMap) -> Rule {
    of_family(map.v4)
        .compare(Fact::DestinationType, true, &nftables::LOCAL.to_ne_bytes())
        .map(&map.facts(), map.name, map.number)
        .change_destination(map.v4)
}

fn passing(networks: &[Network]) -> Vec<Rule> {
    let mut rules =
        vec![Rule::new().any_bit(Fact::ConnectionState, nftables::ESTABLISHED_OR_RELATED).accept()];
    for network in networks {
        let name = name(&network.interface);
        rules.push(
            Rule::new().compare(Fact::InputName, true, &name).compare(Fact::OutputName, true, &name).accept(),
        );
    }
    rules.push(Rule::new().in_set(Fact::InputName, INTERNAL.0, INTERNAL.1).drop());
    rules.push(
        Rule::new()
            .in_set(Fact::OutputName, BRIDGES.0, BRIDGES.1)
            .any_bit(Fact::ConnectionStatus, nftables::DESTINATION_CHANGED)
            .accept(),
    );
    rules.push(Rule::new().in_set(Fact::OutputName, BRIDGES.0, BRIDGES.1).drop());
    rules
}

fn leaving(networks: &[Network]) -> Vec<Rule> {
    let mut rules = Vec::new();
    for network in networks {
        let name = name(&network.interface);
        for pool in &network.pools {
            let v4 = pool.gateway.is_ipv4();
            let from_it = || of_family(v4).in_block(Fact::Source(v4), &pool.subnet);
            if !network.internal {
                rules.push(from_it().compare(Fact::OutputName, false, &name).masquerade());
            }
            rules.push(
                from_it()
                    .compare(Fact::OutputName, true, &name)
                    .any_bit(Fact::ConnectionStatus, nftables::DESTINATION_CHANGED)
                    .masquerade(),
            );
        }
    }
    let from_loopback = of_family(true).in_block(Fact::Source(true), &loopback());
    rules.push(from_loopback.in_set(Fact::OutputName, BRIDGES.0, BRIDGES.1).masquerade());
    rules
}

fn of_family(v4: bool) -> Rule {
    Rule::new().compare(Fact::Family, true, &[if v4 { 2 } else { 10 }])
}

fn name(name: &str) -> Vec<u8> {
    nftables::interface_name(name)
}

fn loopback() -> holm_spec::network::Subnet {
    holm_spec::network::Subnet { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), prefix: 8 }
}
