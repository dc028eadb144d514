//! From what was asked of a network to all that it is. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use holm_spec::network::{DEFAULT, Driver, Network, Pool, Subnet, VERSION};
use holm_spec::{Id, Timestamp};

use crate::cni::NewPlugins;
use crate::error::{Error, Kind, Result};

/// A network to be made.
#[derive(Clone, Debug, Default)]
pub struct NewNetwork {
    /// Its name.
    pub name: String,
    /// Its blocks of addresses, at most one a family; one of IPv4 is chosen if none is here.
    pub subnets: Vec<Subnet>,
    /// The bridge's own addresses; the first of each block if none is here.
    pub gateways: Vec<IpAddr>,
    /// Where addresses are given from.
    pub ranges: Vec<Subnet>,
    /// It has IPv6, too; a block is chosen if none is here.
    pub ipv6: bool,
    /// Nothing of it leaves the host.
    pub internal: bool,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options, for people.
    pub options: BTreeMap<String, String>,
    /// What carries it, if not a bridge of Holm's own.
    pub plugins: Option<NewPlugins>,
}

impl NewNetwork {
    /// Whether plugins carry it that somebody else has configured: nothing of addresses is Holm's then.
    fn is_configured(&self) -> bool {
        self.plugins.as_ref().is_some_and(|plugins| plugins.list.is_some())
    }
}

/// What others have, and chance.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) networks: &'a [Network],
    /// Blocks that the host's routes lead to.
    pub(crate) routes: &'a [Subnet],
    pub(crate) interface: String,
    pub(crate) random: [u8; 32],
    pub(crate) now: Timestamp,
}

/// Smallest packet that IPv6 lives with (RFC 8200 section 5), and the largest that the kernel's bridges take.
const MTU: std::ops::RangeInclusive<u32> = 1280..=65_535;
/// Longest name, as a label of DNS.
const NAME_LIMIT: usize = 63;

/// # Errors
/// [`Kind::Invalid`] for what makes no sense, [`Kind::InUse`] for a block that overlaps with another one, by its owner,
/// [`Kind::Exhausted`] if there is no block to choose.
pub(crate) fn plan(asked: &NewNetwork, around: &Surroundings<'_>) -> Result<Network> {
    check_name(&asked.name)?;
    let invalid = |text: String| Error::new(Kind::Invalid, format!("network `{}`: {text}", asked.name));
    if let Some(mtu) = asked.mtu.filter(|mtu| !MTU.contains(mtu)) {
        return Err(invalid(format!(
            "packets of at most {mtu} bytes: {} to {} are possible",
            MTU.start(),
            MTU.end()
        )));
    }
    refuse_beside_list(asked).map_err(invalid)?;
    let mut pools = Vec::new();
    for v4 in [true, false].into_iter().filter(|_| !asked.is_configured()) {
        let of_family: Vec<&Subnet> =
            asked.subnets.iter().filter(|subnet| subnet.address.is_ipv4() == v4).collect();
        let subnet = match of_family[..] {
            [] if v4 => free_block(asked, around)?,
            [] if asked.ipv6 => local_block(around.random),
            [] => continue,
            [subnet] => subnet.network(),
            _ => return Err(invalid("more than one block of addresses of one family".into())),
        };
        check_sort(&subnet).map_err(invalid)?;
        check_overlap(asked, &subnet, around)?;
        pools.push(pool(asked, subnet).map_err(invalid)?);
    }
    check_used(asked, &pools).map_err(invalid)?;
    Ok(Network {
        version: VERSION,
        id: Id::from_bytes(around.random),
        name: asked.name.clone(),
        driver: if asked.plugins.is_some() { Driver::Cni } else { Driver::Bridge },
        interface: if asked.is_configured() { String::new() } else { around.interface.clone() },
        created: around.now,
        pools,
        internal: asked.internal,
        mtu: asked.mtu,
        labels: asked.labels.clone(),
        options: asked.options.clone(),
        plugins: None,
    })
}

/// What a network configuration list says itself.
fn refuse_beside_list(asked: &NewNetwork) -> Result<(), String> {
    let said = [
        ("--subnet", !asked.subnets.is_empty()),
        ("--gateway", !asked.gateways.is_empty()),
        ("--ip-range", !asked.ranges.is_empty()),
        ("--ipv6", asked.ipv6),
        ("--internal", asked.internal),
        ("mtu", asked.mtu.is_some()),
    ];
    match said.into_iter().find(|(_, said)| *said && asked.is_configured()) {
        Some((what, _)) => Err(format!("{what}: its network configuration list says that")),
        None => Ok(()),
    }
}

/// As Docker's names, which are also names of files.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let refused =
        |why: &str| Err(Error::new(Kind::Invalid, format!("`{name}` is no name of a network: {why}")));
    let is_inner = |character: char| character.is_ascii_alphanumeric() || "_.-".contains(character);
    match name {
        "host" | "none" | "container" | "default" => refused("it stands for something else"),
        _ if name.len() > NAME_LIMIT => refused("it has more than 63 characters"),
        _ if !name.starts_with(|first: char| first.is_ascii_alphanumeric()) => {
            refused("it begins with a letter or a digit")
        }
        _ if !name.chars().all(is_inner) => refused("only letters, digits, `_`, `.` and `-` are allowed"),
        _ => Ok(()),
    }
}

/// Refuses blocks of addresses that are for something else (RFC 6890).
fn check_sort(subnet: &Subnet) -> Result<(), String> {
    let v4 = |a, b, prefix| Subnet { address: Ipv4Addr::new(a, b, 0, 0).into(), prefix };
    let v6 = |first, prefix| Subnet { address: Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0).into(), prefix };
    let others = [
        (v4(0, 0, 8), "this host"),
        (v4(127, 0, 8), "loopback"),
        (v4(169, 254, 16), "one link"),
        (v4(224, 0, 3), "groups and the future"),
        (v6(0, 8), "loopback and the like"),
        (v6(0xfe80, 10), "one link"),
        (v6(0xff00, 8), "groups"),
    ];
    match others.iter().find(|(block, _)| block.overlaps(subnet)) {
        Some((block, use_)) => Err(format!("{subnet} is in {block}, which is for {use_}")),
        None => Ok(()),
    }
}

fn pool(asked: &NewNetwork, subnet: Subnet) -> Result<Pool, String> {
    let v4 = subnet.address.is_ipv4();
    if subnet.prefix > if v4 { 30 } else { 126 } {
        return Err(format!("{subnet} is too small"));
    }
    let gateways: Vec<IpAddr> =
        asked.gateways.iter().copied().filter(|gateway| subnet.contains(*gateway)).collect();
    let gateway = match gateways[..] {
        [] => subnet.nth(1).ok_or_else(|| format!("{subnet} is too small"))?,
        [gateway] => gateway,
        _ => return Err(format!("more than one gateway in {subnet}")),
    };
    let offset = subnet.offset(gateway);
    if offset == 0 || (v4 && offset == subnet.size() - 1) {
        return Err(format!("gateway {gateway} is the first or the last address of {subnet}"));
    }
    let inside = |range: &Subnet| subnet.contains(range.address) && range.prefix >= subnet.prefix;
    let ranges: Vec<Subnet> = asked.ranges.iter().copied().filter(inside).collect();
    let range = match ranges[..] {
        [] => None,
        [range] => Some(range.network()),
        _ => return Err(format!("more than one range in {subnet}")),
    };
    Ok(Pool { subnet, gateway, range })
}

/// What was asked and belongs to no block is a mistake.
fn check_used(asked: &NewNetwork, pools: &[Pool]) -> Result<(), String> {
    let inside = |address: IpAddr| pools.iter().any(|pool| pool.subnet.contains(address));
    if let Some(gateway) = asked.gateways.iter().find(|gateway| !inside(**gateway)) {
        return Err(format!("gateway {gateway} is in no block of the network"));
    }
    let used = |range: &&Subnet| !pools.iter().any(|pool| pool.range == Some(range.network()));
    match asked.ranges.iter().find(used) {
        Some(range) => Err(format!("range {range} is in no block of the network")),
        None => Ok(()),
    }
}

fn check_overlap(asked: &NewNetwork, subnet: &Subnet, around: &Surroundings<'_>) -> Result<()> {
    let refused = |with: String| {
        Err(Error::new(Kind::InUse, format!("network `{}`: {subnet} overlaps with {with}", asked.name)))
    };
    for network in around.networks {
        if let Some(pool) = network.pools.iter().find(|pool| pool.subnet.overlaps(subnet)) {
            return refused(format!("{} of network `{}`", pool.subnet, network.name));
        }
    }
    // A route to everywhere, or nearly, is no user of the block.
    let narrow = |route: &&Subnet| route.prefix >= 8 && route.overlaps(subnet);
    match around.routes.iter().find(narrow) {
        Some(route) => refused(format!("the host's route to {route}")),
        None => Ok(()),
    }
}

/// The first block that nobody has, of those that Docker chooses from.
fn free_block(asked: &NewNetwork, around: &Surroundings<'_>) -> Result<Subnet> {
    let v4 = |a, b, c, prefix| Subnet { address: Ipv4Addr::new(a, b, c, 0).into(), prefix };
    let wide = (17..=31).map(|second| v4(172, second, 0, 16));
    let narrow = (0..16).map(|third| v4(192, 168, third * 16, 20));
    let mut candidates = wide.chain(narrow);
    candidates.find(|subnet| check_overlap(asked, subnet, around).is_ok()).ok_or_else(|| {
        let text = format!(
            "network `{}`: each block of 172.17.0.0/16 to 172.31.0.0/16 and of 192.168.0.0/16 is in use",
            asked.name
        );
        Error::new(Kind::Exhausted, text)
    })
}

/// A block for local use (RFC 4193 section 3.2.1).
fn local_block(random: [u8; 32]) -> Subnet {
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..8].copy_from_slice(&random[..7]);
    Subnet { address: Ipv6Addr::from(octets).into(), prefix: 64 }
}

/// The network that workloads get which ask for none.
pub(crate) fn default_network() -> NewNetwork {
    NewNetwork { name: DEFAULT.into(), ..NewNetwork::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn planned(asked: &NewNetwork, networks: &[Network], routes: &[Subnet]) -> Result<Network> {
        let interface = "holm0".to_owned();
        let now = Timestamp::from_nanos(0);
        plan(asked, &Surroundings { networks, routes, interface, random: [7; 32], now })
    }

    fn named(name: &str) -> NewNetwork {
        NewNetwork { name: name.into(), ..NewNetwork::default() }
    }

    #[test]
    fn blocks_are_chosen_beside_those_of_others() {
        let first = planned(&named("a"), &[], &[subnet("172.17.0.0/16")]).expect("a network");
        assert_eq!(first.pools[0].subnet, subnet("172.18.0.0/16"));
        assert_eq!(first.pools[0].gateway.to_string(), "172.18.0.1");
        let networks = [first];
        let routes = [subnet("172.16.0.0/12"), subnet("0.0.0.0/0"), subnet("192.168.0.0/17")];
        let second = planned(&named("b"), &networks, &routes).expect("a network");
        assert_eq!(second.pools[0].subnet, subnet("192.168.128.0/20"));
        let error = planned(&named("c"), &[], &[routes[0], subnet("192.168.0.0/16")]).expect_err("none");
        assert_eq!(error.kind(), Kind::Exhausted);
        let with6 = NewNetwork { ipv6: true, ..named("d") };
        let with6 = planned(&with6, &[], &[]).expect("a network");
        assert_eq!(with6.pools[1].subnet.to_string(), "fd07:707:707:707::/64");
    }

    #[test]
    fn what_is_asked_is_what_is_planned() {
        let asked = NewNetwork {
            subnets: vec![subnet("fd00::/64"), subnet("10.1.0.9/24")],
            gateways: vec!["10.1.0.254".parse().expect("an address")],
            ranges: vec![subnet("10.1.0.128/25")],
            mtu: Some(1400),
            ..named("a")
        };
        let network = planned(&asked, &[], &[]).expect("a network");
        let pool = network.pools[0];
        assert_eq!((pool.subnet, pool.range), (subnet("10.1.0.0/24"), Some(subnet("10.1.0.128/25"))));
        assert_eq!(pool.gateway.to_string(), "10.1.0.254");
        assert_eq!(network.pools[1].gateway.to_string(), "fd00::1");
    }

    #[test]
    fn nonsense_is_refused_with_what_is_wrong() {
        let with = |change: &dyn Fn(&mut NewNetwork)| {
            let mut asked = named("a");
            change(&mut asked);
            let network =
                Network { name: "other".into(), ..planned(&named("x"), &[], &[]).expect("a network") };
            planned(&asked, &[network], &[subnet("10.9.0.0/16")]).expect_err("nonsense").to_string()
        };
        let block = |text: &'static str| move |asked: &mut NewNetwork| asked.subnets = vec![subnet(text)];
        for (change, words) in [
            (
                &block("172.17.5.0/24") as &dyn Fn(&mut NewNetwork),
                "overlaps with 172.17.0.0/16 of network `other`",
            ),
            (&block("10.9.1.0/24"), "overlaps with the host's route to 10.9.0.0/16"),
            (&block("10.1.0.0/31"), "10.1.0.0/31 is too small"),
            (&block("169.254.0.0/16"), "which is for one link"),
            (&block("224.1.0.0/24"), "which is for groups"),
            (&block("0.0.0.0/0"), "which is for this host"),
            (&|asked| asked.mtu = Some(100), "at most 100 bytes"),
            (&|asked| asked.gateways = vec![Ipv4Addr::LOCALHOST.into()], "gateway 127.0.0.1 is in no block"),
            (&|asked| asked.ranges = vec![subnet("10.0.0.0/8")], "range 10.0.0.0/8 is in no block"),
            (
                &|asked| asked.subnets = vec![subnet("10.1.0.0/24"), subnet("10.2.0.0/24")],
                "more than one block",
            ),
            (&|asked| asked.name = "host".into(), "it stands for something else"),
            (&|asked| asked.name = "../a".into(), "begins with a letter"),
            (&|asked| asked.name = "a/b".into(), "only letters"),
            (&|asked| asked.name = "a".repeat(64), "more than 63"),
        ] {
            let error = with(change);
            assert!(error.contains(words), "{error}");
        }
    }
}
