//! Networks, and what a sandbox has of them: the documents that the networks' crate keeps.
//!
//! ```text
//! <root>/networks/<name>.json      Network: what was asked, resolved; immutable
//! <run>/networks/<name>/<address>  Endpoint, by each of its addresses: the claim of an address
//! ```
//! An [`Attachment`] is what was asked for a workload, an [`Endpoint`] what its sandbox was given for one run.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Id, Timestamp};

/// Version that this code writes into [`Network`] and [`Endpoint`]; it reads this one and none newer.
pub const VERSION: u32 = 1;

/// Name of the network that workloads get which ask for none.
pub const DEFAULT: &str = "bridge";

/// A block of addresses: an address and how many of its leading bits the block shares. The bits behind may be set: then
/// it says an address and the block that it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    /// An address of the block.
    pub address: IpAddr,
    /// Leading bits, at most 32 or 128.
    pub prefix: u8,
}

impl Subnet {
    /// A block; `None` if it would have more bits than the address.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        (prefix <= bits(address)).then_some(Self { address, prefix })
    }

    /// Whether an address is in the block.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && self.masked(address) == self.masked(self.address)
    }

    /// Whether the blocks share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        let wider = if self.prefix <= other.prefix { (self, other) } else { (other, self) };
        wider.0.contains(wider.1.address)
    }

    /// The block by its lowest address.
    pub fn network(&self) -> Self {
        Self { address: from_number(self.masked(self.address), self.address), prefix: self.prefix }
    }

    /// The address so many behind the lowest one, if it is in the block.
    pub fn nth(&self, offset: u128) -> Option<IpAddr> {
        let number = self.masked(self.address).checked_add(offset)?;
        (offset < self.size()).then(|| from_number(number, self.address))
    }

    /// How far an address of the block is behind the lowest one.
    pub fn offset(&self, address: IpAddr) -> u128 {
        number(address).wrapping_sub(self.masked(self.address))
    }

    /// How many addresses it has; `u128::MAX` for all of IPv6.
    pub fn size(&self) -> u128 {
        1_u128.checked_shl(u32::from(bits(self.address) - self.prefix)).unwrap_or(u128::MAX)
    }

    fn masked(&self, address: IpAddr) -> u128 {
        let behind = u32::from(bits(self.address) - self.prefix);
        number(address).checked_shr(behind).and_then(|bits| bits.checked_shl(behind)).unwrap_or(0)
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// An address of the family of `like`.
fn from_number(number: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from_bits(number as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(number).into(),
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once('/')
            .and_then(|(address, prefix)| Self::new(address.parse().ok()?, prefix.parse().ok()?));
        parsed.ok_or_else(|| format!("`{text}` is no block of addresses like 10.1.0.0/24"))
    }
}

impl Serialize for Subnet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subnet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What carries a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge of the host's.
    #[default]
    Bridge,
    /// Programs that others have written ([`Plugins`]).
    Cni,
}

impl Driver {
    /// Whether it is the usual one.
    pub fn is_bridge(&self) -> bool {
        *self == Self::Bridge
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bridge => "bridge",
            Self::Cni => "cni",
        })
    }
}

/// Addresses of a network, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// The block, by its lowest address.
    pub subnet: Subnet,
    /// The bridge's own address, and the way out.
    pub gateway: IpAddr,
    /// Where addresses are given from, if not from all of the block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Subnet>,
}

/// What carries a network of [`Driver::Cni`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plugins {
    /// Directories in which the programs are looked for, in this order.
    pub path: Vec<PathBuf>,
    /// The network configuration list (CNI specification 1.1, section 1), with the version that was chosen for it.
    pub list: Value,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// [`VERSION`].
    pub version: u32,
    /// Its id.
    pub id: Id,
    /// Its name, unique.
    pub name: String,
    /// What carries it.
    pub driver: Driver,
    /// Name of the bridge; none where plugins carry it that were configured by somebody else.
    pub interface: String,
    /// When it was made.
    pub created: Timestamp,
    /// Its addresses: one of IPv4, then at most one of IPv6; none where only plugins know them.
    pub pools: Vec<Pool>,
    /// Nothing of it leaves the host, and nothing comes in.
    pub internal: bool,
    /// Largest packet in bytes; the kernel's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options as they were asked, for people.
    pub options: BTreeMap<String, String>,
    /// What carries it, of [`Driver::Cni`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugins: Option<Plugins>,
}

impl Network {
    /// Whether workloads get it that ask for none. It has no names, as with Docker.
    pub fn is_default(&self) -> bool {
        self.name == DEFAULT
    }

    /// The pool of a family.
    pub fn pool(&self, v4: bool) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.gateway.is_ipv4() == v4)
    }
}

/// A network that a workload is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Attachment {
    /// The network's name.
    pub network: String,
    /// Further names of the workload in it.
    pub aliases: Vec<String>,
    /// Address of IPv4 that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Address of IPv6 that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address6: Option<Ipv6Addr>,
    /// Hardware address that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hardware: Option<HardwareAddress>,
}

/// A hardware address of Ethernet, shown as `02:42:ac:11:00:02`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HardwareAddress(pub [u8; 6]);

impl fmt::Display for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for HardwareAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("`{text}` is no hardware address like 02:42:ac:11:00:02");
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(refused)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| refused())?;
        }
        // The lowest bit is that of groups.
        if parts.next().is_some() || bytes[0] & 1 != 0 || bytes == [0; 6] {
            return Err(refused());
        }
        Ok(Self(bytes))
    }
}

impl Serialize for HardwareAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HardwareAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a port is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Its number in a header of IP.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(format!("`{text}` is no protocol: tcp or udp")),
        }
    }
}

/// A port of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Its number, not 0.
    pub number: u16,
    /// What it is of.
    pub protocol: Protocol,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

/// A port of a workload that the host is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publication {
    /// The workload's.
    pub port: Port,
    /// Address of the host; all of them if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<IpAddr>,
    /// The host's ports to choose from: first and last; (0, 0) for any that is free.
    pub host_ports: (u16, u16),
}

/// A port of a workload that the host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedPort {
    /// The workload's.
    pub port: Port,
    /// Address of the host; unspecified for all of a family.
    pub host: IpAddr,
    /// The host's port.
    pub host_port: u16,
}

impl fmt::Display for PublishedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = std::net::SocketAddr::new(self.host, self.host_port);
        write!(f, "{host}->{}", self.port)
    }
}

/// What a sandbox has of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// [`VERSION`].
    pub version: u32,
    /// Its id, for people.
    pub id: Id,
    /// The sandbox.
    pub sandbox: Id,
    /// Name of the workload: its first name in the network.
    pub name: String,
    /// Further names.
    pub aliases: Vec<String>,
    /// The network's name.
    pub network: String,
    /// What carries the network.
    #[serde(default, skip_serializing_if = "Driver::is_bridge")]
    pub driver: Driver,
    /// Its device in the sandbox.
    pub interface: String,
    /// The device on the host that goes with it; empty where plugins name none.
    pub host_interface: String,
    /// Its hardware address.
    pub hardware: HardwareAddress,
    /// Its addresses with the network's prefix, IPv4 first.
    pub addresses: Vec<Subnet>,
    /// Gateways that the sandbox uses; none where another network is the way out, or none is.
    pub gateways: Vec<IpAddr>,
    /// Ports of the host that lead here.
    pub ports: Vec<PublishedPort>,
    /// Servers that are asked for names which the network has not; the host's own if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<IpAddr>,
}

/// A device of a sandbox, as it is to be in the sandbox's network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its hardware address, by which a guest finds it.
    pub hardware: HardwareAddress,
    /// Its addresses with the network's prefix, IPv4 first.
    pub addresses: Vec<Subnet>,
    /// Gateways that are the way to everywhere else.
    pub gateways: Vec<IpAddr>,
}

impl From<&Endpoint> for Device {
    fn from(endpoint: &Endpoint) -> Self {
        Self {
            name: endpoint.interface.clone(),
            hardware: endpoint.hardware,
            addresses: endpoint.addresses.clone(),
            gateways: endpoint.gateways.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn blocks_of_addresses() {
        let block = subnet("10.1.2.3/24");
        assert_eq!(block.network().to_string(), "10.1.2.0/24");
        assert!(block.contains("10.1.2.255".parse().expect("an address")));
        assert!(!block.contains("10.1.3.0".parse().expect("an address")));
        assert!(!block.contains("::1".parse().expect("an address")));
        assert_eq!(block.nth(1).map(|address| address.to_string()), Some("10.1.2.1".into()));
        assert_eq!(block.nth(256), None);
        assert_eq!(block.offset("10.1.2.7".parse().expect("an address")), 7);
        assert_eq!(
            (block.size(), subnet("0.0.0.0/0").size(), subnet("::/0").size()),
            (256, 1 << 32, u128::MAX)
        );
        assert!(block.overlaps(&subnet("10.0.0.0/8")) && subnet("10.0.0.0/8").overlaps(&block));
        assert!(!block.overlaps(&subnet("10.1.3.0/24")) && !block.overlaps(&subnet("::/0")));
        assert!(subnet("0.0.0.0/0").overlaps(&block));
        let block = subnet("fd00::5/64");
        assert_eq!(block.network().to_string(), "fd00::/64");
        assert_eq!(block.nth(0x12).map(|address| address.to_string()), Some("fd00::12".into()));
        for text in ["10.1.2.0", "10.1.2.0/33", "10.1.2/24", "::/129", "", "/8", "a/8", "10.1.2.0/-1"] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }

    #[test]
    fn hardware_addresses() {
        let address: HardwareAddress = "02:42:ac:11:00:FE".parse().expect("an address");
        assert_eq!(address.to_string(), "02:42:ac:11:00:fe");
        for text in [
            "",
            "02:42:ac:11:00",
            "02:42:ac:11:00:02:03",
            "03:42:ac:11:00:02",
            "2:42:ac:11:0:2",
            "00:00:00:00:00:00",
        ] {
            assert!(text.parse::<HardwareAddress>().is_err(), "{text}");
        }
    }
}
