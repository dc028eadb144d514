//! The names of a network, made from its endpoints. Pure.
//!
//! | name | leads to |
//! |---|---|
//! | `NAME`, `ALIAS`, the sandbox's id and its first 12 digits | the addresses of all endpoints that have it |
//! | the same before `.NETWORK` | the same |
//! | an address, reversed | `NAME.NETWORK.` |

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use holm_spec::network::{Endpoint, Network, Subnet};

/// What a network's names lead to.
#[derive(Debug)]
pub struct Zone {
    network: String,
    /// A dot and the network's name in lower case.
    suffix: Vec<u8>,
    blocks: Vec<Subnet>,
    /// By names in lower case, without the network's.
    names: HashMap<Vec<u8>, Addresses>,
    owners: BTreeMap<IpAddr, String>,
}

impl Zone {
    /// The names of `endpoints`; one that is named twice counts once.
    pub fn new<'a>(network: &Network, endpoints: impl IntoIterator<Item = &'a Endpoint>) -> Self {
        let mut found: HashMap<Vec<u8>, BTreeSet<IpAddr>> = HashMap::new();
        let mut owners = BTreeMap::new();
        for endpoint in endpoints {
            let addresses = || endpoint.addresses.iter().map(|subnet| subnet.address);
            for name in names_of(endpoint) {
                found.entry(name.to_ascii_lowercase().into_bytes()).or_default().extend(addresses());
            }
            owners.extend(addresses().map(|address| (address, endpoint.name.clone())));
        }
        Self {
            network: network.name.clone(),
            suffix: format!(".{}", network.name.to_ascii_lowercase()).into_bytes(),
            blocks: network.pools.iter().map(|pool| pool.subnet).collect(),
            names: found.into_iter().map(|(name, addresses)| (name, Addresses::new(&addresses))).collect(),
            owners,
        }
    }

    /// The addresses behind a name that has no dot at its end, in any case.
    pub fn find(&self, name: &[u8]) -> Option<&Addresses> {
        let name = name.to_ascii_lowercase();
        self.names.get(&name).or_else(|| self.names.get(name.strip_suffix(self.suffix.as_slice())?))
    }

    /// The full name of whoever has an address, without the dot at its end.
    pub fn owner(&self, address: IpAddr) -> Option<String> {
        self.owners.get(&address).map(|name| format!("{name}.{}", self.network))
    }

    /// Whether nobody else knows of an address.
    pub fn covers(&self, address: IpAddr) -> bool {
        self.blocks.iter().any(|block| block.contains(address))
    }
}

fn names_of(endpoint: &Endpoint) -> impl Iterator<Item = String> {
    let sandbox = [endpoint.sandbox.short(), endpoint.sandbox.to_string()];
    let given = std::iter::once(&endpoint.name).chain(&endpoint.aliases).cloned();
    given.chain(sandbox).filter(|name| !name.is_empty())
}

/// The addresses of a name. Each answer begins with another one.
#[derive(Debug)]
pub struct Addresses {
    v4: Ring<Ipv4Addr>,
    v6: Ring<Ipv6Addr>,
}

impl Addresses {
    fn new(addresses: &BTreeSet<IpAddr>) -> Self {
        let v4 = addresses.iter().filter_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        });
        let v6 = addresses.iter().filter_map(|address| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(*address),
        });
        Self { v4: Ring::new(v4), v6: Ring::new(v6) }
    }

    /// Those of IPv4, for one answer.
    pub fn v4(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.v4.turn()
    }

    /// Those of IPv6, for one answer.
    pub fn v6(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.v6.turn()
    }
}

/// A list that begins at another place each time.
#[derive(Debug)]
struct Ring<T> {
    items: Vec<T>,
    first: Cell<usize>,
}

impl<T: Copy> Ring<T> {
    fn new(items: impl Iterator<Item = T>) -> Self {
        Self { items: items.collect(), first: Cell::new(0) }
    }

    fn turn(&self) -> impl Iterator<Item = T> {
        let first = self.first.get();
        self.first.set((first + 1) % self.items.len().max(1));
        self.items[first..].iter().chain(&self.items[..first]).copied()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use holm_spec::network::{Driver, HardwareAddress, Pool};
    use holm_spec::{Id, Timestamp};

    use super::*;

    pub fn network() -> Network {
        let pool = |subnet: &str, gateway: &str| Pool {
            subnet: subnet.parse().expect("a block"),
            gateway: gateway.parse().expect("an address"),
            range: None,
        };
        Network {
            version: 1,
            id: Id::from_bytes([9; 32]),
            name: "Shop".into(),
            driver: Driver::Bridge,
            interface: "lo".into(),
            created: Timestamp::default(),
            pools: vec![pool("10.1.0.0/24", "10.1.0.1"), pool("fd01::/64", "fd01::1")],
            internal: false,
            mtu: None,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
            plugins: None,
        }
    }

    pub fn endpoint(number: u8, name: &str, aliases: &[&str], addresses: &[&str]) -> Endpoint {
        Endpoint {
            version: 1,
            id: Id::from_bytes([number; 32]),
            sandbox: Id::from_bytes([number; 32]),
            name: name.into(),
            aliases: aliases.iter().map(|&alias| alias.into()).collect(),
            network: "Shop".into(),
            interface: "eth0".into(),
            driver: Driver::Bridge,
            host_interface: "veth0".into(),
            hardware: HardwareAddress([2, 0, 0, 0, 0, number]),
            addresses: addresses.iter().map(|address| address.parse().expect("a block")).collect(),
            gateways: vec![],
            ports: vec![],
            servers: vec![],
        }
    }

    fn zone() -> Zone {
        let endpoints = [
            endpoint(1, "web-1", &["web"], &["10.1.0.2/24", "fd01::2/64"]),
            endpoint(2, "Web-2", &["web", "db.internal"], &["10.1.0.3/24"]),
            endpoint(3, "web-3", &["web", "", "web-3"], &["10.1.0.4/24"]),
        ];
        Zone::new(&network(), endpoints.iter().chain(&endpoints[..1]))
    }

    fn v4(zone: &Zone, name: &str) -> Option<String> {
        let found: Vec<_> = zone.find(name.as_bytes())?.v4().map(|address| address.to_string()).collect();
        Some(found.join(" "))
    }

    #[test]
    fn names_lead_to_addresses() {
        let zone = zone();
        let id = Id::from_bytes([2; 32]);
        for (name, wanted) in [
            ("web-1", Some("10.1.0.2")),
            ("WEB-2", Some("10.1.0.3")),
            ("web-1.shop", Some("10.1.0.2")),
            ("web-1.SHOP", Some("10.1.0.2")),
            ("db.internal", Some("10.1.0.3")),
            ("db.internal.shop", Some("10.1.0.3")),
            (&id.short(), Some("10.1.0.3")),
            (&id.to_string(), Some("10.1.0.3")),
            (&format!("{}.shop", id.short()), Some("10.1.0.3")),
            ("db", None),
            ("shop", None),
            (".shop", None),
            ("", None),
            ("web-1.shop.shop", None),
            ("web-1shop", None),
            (&id.to_string()[..13], None),
        ] {
            assert_eq!(v4(&zone, name).as_deref(), wanted, "{name}");
        }
    }

    #[test]
    fn every_answer_begins_with_another_address() {
        let zone = zone();
        let answers: Vec<_> = (0..4).filter_map(|_| v4(&zone, "web")).collect();
        let wanted = [
            "10.1.0.2 10.1.0.3 10.1.0.4",
            "10.1.0.3 10.1.0.4 10.1.0.2",
            "10.1.0.4 10.1.0.2 10.1.0.3",
            "10.1.0.2 10.1.0.3 10.1.0.4",
        ];
        assert_eq!(answers, wanted);
        let v6: Vec<_> = zone.find(b"web").expect("it is there").v6().collect();
        assert_eq!(v6, ["fd01::2".parse::<Ipv6Addr>().unwrap()]);
        assert_eq!(zone.find(b"web-2").expect("it is there").v6().count(), 0);
    }

    #[test]
    fn addresses_lead_to_names() {
        let zone = zone();
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(zone.owner(address("fd01::2")).as_deref(), Some("web-1.Shop"));
        assert_eq!(zone.owner(address("10.1.0.3")).as_deref(), Some("Web-2.Shop"));
        assert_eq!(zone.owner(address("10.1.0.9")), None);
        assert!(zone.covers(address("10.1.0.9")) && zone.covers(address("fd01::9")));
        assert!(!zone.covers(address("10.1.1.9")) && !zone.covers(address("::1")));
    }
}
