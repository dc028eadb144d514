//! The rules of packets: one table of our own in nftables, for IPv4 and IPv6, written as a whole in one transaction.
//!
//! ```text
//! set  bridges, internal     names of bridges
//! map  ports4, ports6        protocol . port            -> address . port   published on all addresses
//! map  ports4_at, ports6_at  protocol . address . port  -> address . port   published on one
//!
//! early        prerouting, before anything   127.0.0.0/8 from or to elsewhere than loopback, and what says that it comes
//!                                            from an address which its bridge has not: dropped
//! prerouting   destination of what arrives   to an address of this host, in a map: changed
//! output       and of what begins here       the same
//! forward      what passes through           see below
//! postrouting  source of what leaves         see below
//! ```
//! *forward*: answers pass; so does what stays on one bridge; what comes from an internal network does not; what a
//! published port brought does; nothing else goes to a bridge of ours, from whatever side. Where Holm made the host a router,
//! it passes nothing on that is none of ours.
//!
//! *postrouting*: what a network sends elsewhere gets the host's address; so does what a workload sends to its own network
//! through a published port, or the answer would take a way on which nobody changes it back; and what begins at 127.0.0.1,
//! which is nowhere to answer to.
//!
//! Only the maps change when workloads come and go. What is to be there follows from the documents on the disk, so a table
//! that somebody flushed is written anew ([`Rules::restore`]).

mod nftables;
mod seams;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use holm_spec::network::{Endpoint, Network, PublishedPort};
use holm_sys::netlink::Netlink;
use rustix::io::Errno;

use crate::error::{Error, Kind, Result};
use nftables::{Batch, Concatenation, Fact, Hook, Rule, Type};
pub use seams::When;

/// Kinds of messages that begin what the kernel tells when a table, chain, rule or set of anybody's is removed.
pub const TAKING_AWAY: [u16; 4] = nftables::REMOVALS;

/// Name of its table.
const FIREWALLD: &str = "firewalld";

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
        let no_rule_leads_out = port.host == Ipv6Addr::LOCALHOST;
        if port.host.is_ipv4() != self.v4 || port.host.is_unspecified() == self.at || no_rule_leads_out {
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

/// What the table is to say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// All networks; without one there is no table.
    pub networks: &'a [Network],
    /// All endpoints.
    pub endpoints: &'a [Endpoint],
    /// Those of them that may not have been published yet.
    pub joining: &'a [Endpoint],
    /// The host passes packets on since Holm said so.
    pub made_router: bool,
}

/// What the rules of others do to what passes through the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// Chains that drop it, which no accept of ours changes.
    pub dropped_by: Vec<Chain>,
    /// Chains that they offer for exceptions, where ours are.
    pub seams: Vec<Chain>,
    /// firewalld has rules, and rejects what it was not told of.
    pub firewalld: bool,
}

/// A chain, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Family of the table, as nft(8) has it: `ip`, `ip6`, `inet`.
    pub family: &'static str,
    /// Name of the table.
    pub table: String,
    /// Its name.
    pub name: String,
}

impl Passage {
    /// Whether every chain that drops is passed through a seam.
    pub fn is_open(&self) -> bool {
        let has_seam = |chain: &Chain| {
            self.seams.iter().any(|seam| (seam.family, &seam.table) == (chain.family, &chain.table))
        };
        self.dropped_by.iter().all(has_seam)
    }
}

impl std::fmt::Display for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "chain {} of table {} {}", self.name, self.family, self.table)
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
    pub fn write(&mut self, wanted: &Wanted<'_>) -> Result<()> {
        let Wanted { networks, endpoints, .. } = *wanted;
        let mut batch = Batch::new(&self.table);
        batch.replace_table();
        if !networks.is_empty() {
            sets(&mut batch, networks, endpoints);
            chains(&mut batch);
            for (chain, rule) in rules(wanted) {
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
    pub fn restore(&mut self, wanted: &Wanted<'_>) -> Result<bool> {
        if self.are_there(wanted)? && self.has_ports(wanted).map_err(|errno| self.failed("read", errno))? {
            return Ok(false);
        }
        self.write(wanted).map(|()| true)
    }

    /// Sees to it that others' chains let through what may pass, as far as they offer a place for that; says in which it did.
    /// The caller is alone. Tables of others may refuse to be changed: `doctor` tells then, and nothing of ours stands still.
    pub fn keep_seams(&mut self, when: When) -> Vec<&'static str> {
        seams::keep(&mut self.netlink, &self.table, when).unwrap_or_default()
    }

    /// Takes back what [`Rules::keep_seams`] has added.
    pub fn leave_seams(&mut self) {
        // As above.
        let _ = seams::remove(&mut self.netlink, &self.table);
    }

    /// Whether nothing is to be done there.
    pub fn have_seams(&mut self) -> bool {
        seams::are_kept(&mut self.netlink, &self.table).unwrap_or(true)
    }

    /// Whether firewalld has rules here.
    pub fn are_beside_firewalld(&mut self) -> bool {
        nftables::has_table(&mut self.netlink, nftables::FAMILY_INET, FIREWALLD).unwrap_or(false)
    }

    /// What others do to what passes.
    ///
    /// # Errors
    /// The kernel's.
    pub fn passage(&mut self) -> Result<Passage> {
        let dropped_by = nftables::dropping_chains(&mut self.netlink, &self.table);
        let dropped_by = dropped_by.map_err(|errno| self.failed("read", errno))?;
        let seams = seams::offered(&mut self.netlink).map_err(|errno| self.failed("read", errno))?;
        Ok(Passage { dropped_by, seams, firewalld: self.are_beside_firewalld() })
    }

    /// Whether there is a table.
    ///
    /// # Errors
    /// The kernel's.
    pub fn exist(&mut self) -> Result<bool> {
        let found = nftables::count_rules(&mut self.netlink, &self.table);
        Ok(found.map_err(|errno| self.failed("read", errno))?.is_some())
    }

    /// Whether the table has its rules; who changes what they say is not found out.
    ///
    /// # Errors
    /// The kernel's.
    pub fn are_there(&mut self, wanted: &Wanted<'_>) -> Result<bool> {
        let found = nftables::count_rules(&mut self.netlink, &self.table);
        let found = found.map_err(|errno| self.failed("read", errno))?;
        Ok(found == (!wanted.networks.is_empty()).then(|| rules(wanted).len()))
    }

    /// Whether the maps have as many ports as they must. Those of a sandbox that is about to join may be there or not.
    fn has_ports(&mut self, wanted: &Wanted<'_>) -> Result<bool, Errno> {
        for map in PORT_MAPS.iter().filter(|_| !wanted.networks.is_empty()) {
            let found = nftables::count_elements(&mut self.netlink, &self.table, map.name)?;
            let (all, joining) = (map.elements(wanted.endpoints).len(), map.elements(wanted.joining).len());
            if found > all || found + joining < all {
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
        match self.change(endpoint, Batch::remove_elements) {
            // One that is gone keeps all of them.
            Err(Errno::NOENT) if endpoint.ports.len() > 1 => endpoint.ports.iter().try_for_each(|port| {
                let one = Endpoint { ports: vec![*port], ..endpoint.clone() };
                match self.change(&one, Batch::remove_elements) {
                    Err(Errno::NOENT) => Ok(()),
                    done => done,
                }
            }),
            done => done,
        }
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
fn rules(wanted: &Wanted<'_>) -> Vec<(&'static str, Rule)> {
    let mut rules: Vec<_> = early(wanted.networks).into_iter().map(|rule| (EARLY, rule)).collect();
    for chain in [ARRIVING, BEGINNING] {
        rules.extend(PORT_MAPS.map(|map| (chain, published(map))));
    }
    rules.extend(passing(wanted).into_iter().map(|rule| (PASSING, rule)));
    rules.extend(leaving(wanted.networks).into_iter().map(|rule| (LEAVING, rule)));
    rules
}

fn early(networks: &[Network]) -> Vec<Rule> {
    let from_elsewhere = || of_family(true).compare(Fact::InputName, false, &name("lo"));
    let mut rules = vec![
        from_elsewhere().in_block(Fact::Destination(true), true, &loopback()).drop(),
        from_elsewhere().in_block(Fact::Source(true), true, &loopback()).drop(),
    ];
    for network in networks {
        for v4 in [true, false] {
            rules.push(foreign(network, v4).drop());
        }
    }
    rules
}

/// What comes from a network's bridge and says that it comes from an address which the network has not.
fn foreign(network: &Network, v4: bool) -> Rule {
    let mut rule = of_family(v4).compare(Fact::InputName, true, &name(&network.interface));
    if let Some(pool) = network.pool(v4) {
        rule = rule.in_block(Fact::Source(v4), false, &pool.subnet);
    }
    if v4 {
        return rule;
    }
    // Neighbours look for each other by these, before they have an address and after.
    rule.in_block(Fact::Source(false), false, &link_local()).compare(Fact::Source(false), false, &[0; 16])
}

fn published(map: PortMap) -> Rule {
    let mut rule = of_family(map.v4).compare(Fact::DestinationType, true, &nftables::LOCAL.to_ne_bytes());
    if !map.v4 {
        // No rule leads out of it: see `relay`.
        rule = rule.compare(Fact::Destination(false), false, &Ipv6Addr::LOCALHOST.octets());
    }
    rule.map(&map.facts(), map.name, map.number).change_destination(map.v4)
}

fn passing(wanted: &Wanted<'_>) -> Vec<Rule> {
    let mut rules =
        vec![Rule::new().any_bit(Fact::ConnectionState, nftables::ESTABLISHED_OR_RELATED).accept()];
    for network in wanted.networks {
        let name = name(&network.interface);
        rules.push(
            Rule::new().compare(Fact::InputName, true, &name).compare(Fact::OutputName, true, &name).accept(),
        );
    }
    rules.push(Rule::new().in_set(Fact::InputName, true, INTERNAL).drop());
    rules.push(
        Rule::new()
            .in_set(Fact::OutputName, true, BRIDGES)
            .any_bit(Fact::ConnectionStatus, nftables::DESTINATION_CHANGED)
            .accept(),
    );
    rules.push(Rule::new().in_set(Fact::OutputName, true, BRIDGES).drop());
    if wanted.made_router {
        rules.push(Rule::new().in_set(Fact::InputName, false, BRIDGES).drop());
    }
    rules
}

fn leaving(networks: &[Network]) -> Vec<Rule> {
    let mut rules = Vec::new();
    for network in networks {
        let name = name(&network.interface);
        for pool in &network.pools {
            let v4 = pool.gateway.is_ipv4();
            let from_it = || of_family(v4).in_block(Fact::Source(v4), true, &pool.subnet);
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
    let from_loopback = of_family(true).in_block(Fact::Source(true), true, &loopback());
    rules.push(from_loopback.in_set(Fact::OutputName, true, BRIDGES).masquerade());
    rules
}

fn of_family(v4: bool) -> Rule {
    Rule::new().compare(Fact::Family, true, &[if v4 { 2 } else { 10 }])
}

fn name(name: &str) -> Vec<u8> {
    nftables::interface_name(name)
}

fn link_local() -> holm_spec::network::Subnet {
    holm_spec::network::Subnet { address: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into(), prefix: 10 }
}

fn loopback() -> holm_spec::network::Subnet {
    holm_spec::network::Subnet { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), prefix: 8 }
}
