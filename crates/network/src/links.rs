//! Devices, addresses and routes of a network namespace, by rtnetlink(7).
//!
//! A sandbox's pair of devices is made by one order: one end in the sandbox with its name, hardware address and state, the
//! other on the bridge. It goes with the sandbox's namespace, since to remove one takes the kernel 20 ms.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use holm_spec::network::{HardwareAddress, Subnet};
use holm_sys::netlink::{Answer, Attributes, Netlink, Request, flags};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Error, Result};

// linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h.
const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;
const LINK_ADDRESS: u16 = 1;
const LINK_NAME: u16 = 3;
const LINK_MTU: u16 = 4;
const LINK_MASTER: u16 = 10;
const LINK_INFO: u16 = 18;
const LINK_ALIAS: u16 = 20;
const LINK_NAMESPACE: u16 = 28;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_MEMBER_KIND: u16 = 4;
const INFO_MEMBER_DATA: u16 = 5;
const VETH_PEER: u16 = 1;
const BRIDGE_MEMBER_MODE: u16 = 4;
const FAMILY_INET: u8 = 2;
const FAMILY_INET6: u8 = 10;
const ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ADDRESS_BROADCAST: u16 = 4;
/// The address is used at once: nobody else can have it (`IFA_F_NODAD`).
const NO_DUPLICATES: u8 = 2;
const ROUTE_DESTINATION: u16 = 1;
const ROUTE_DEVICE: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;
const TABLE_MAIN: u8 = 254;
const PROTOCOL_BOOT: u8 = 3;
const TYPE_UNICAST: u8 = 1;
const IS_UP: u32 = 1;
/// Lengths of `struct ifinfomsg` and `struct rtmsg`.
const LINK_HEADER: usize = 16;
const ROUTE_HEADER: usize = 12;
const MAKE: u16 = flags::ACKNOWLEDGE | flags::CREATE | flags::EXCLUSIVE;
/// Longest name of a device (`IFNAMSIZ` without the end mark).
pub const NAME_LIMIT: usize = 15;

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in the namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What somebody wrote of it.
    pub alias: String,
}

/// A bridge to be made.
#[derive(Clone, Copy, Debug)]
pub struct Bridge<'a> {
    /// Its name.
    pub name: &'a str,
    /// What is written of it.
    pub alias: &'a str,
    /// Its hardware address: one that it has not been given changes with its members.
    pub hardware: HardwareAddress,
    /// Largest packet, if not the kernel's own.
    pub mtu: Option<u32>,
}

/// A pair of devices to be made: one on a bridge, one in another namespace.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// Name of the one on the bridge.
    pub name: &'a str,
    /// Number of the bridge.
    pub bridge: u32,
    /// The other one's namespace.
    pub namespace: BorrowedFd<'a>,
    /// Its name.
    pub inside: &'a str,
    /// Its hardware address.
    pub hardware: HardwareAddress,
    /// Largest packet, if not the kernel's own.
    pub mtu: Option<u32>,
}

/// A socket to one namespace's devices.
#[derive(Debug)]
pub struct Links(Netlink);

impl Links {
    /// To those of the caller's namespace.
    ///
    /// # Errors
    /// As socket(2).
    pub fn open() -> Result<Self> {
        Netlink::open()
            .map(Self)
            .map_err(|errno| Error::io("open a socket to the kernel's network devices", errno))
    }

    /// The device of a name.
    ///
    /// # Errors
    /// The kernel's.
    pub fn find(&mut self, name: &str) -> Result<Option<Link>> {
        let question = Request::new(GET_LINK, 0, &link_header(0)).attribute(LINK_NAME, &terminated(name));
        match self.0.ask_one(question) {
            Ok(answer) => Ok(answer.as_ref().map(link)),
            Err(Errno::NODEV) => Ok(None),
            Err(errno) => Err(Error::io(format!("look for network device `{name}`"), errno)),
        }
    }

    /// All devices.
    ///
    /// # Errors
    /// The kernel's.
    pub fn list(&mut self) -> Result<Vec<Link>> {
        let answers = self.0.ask(Request::new(GET_LINK, flags::DUMP, &link_header(0)));
        Ok(answers.map_err(|errno| Error::io("list the network devices", errno))?.iter().map(link).collect())
    }

    /// Blocks of addresses that routes lead to, the default ones left out.
    ///
    /// # Errors
    /// The kernel's.
    pub fn routes(&mut self) -> Result<Vec<Subnet>> {
        let answers = self.0.ask(Request::new(GET_ROUTE, flags::DUMP, &[0; ROUTE_HEADER]));
        Ok(answers
            .map_err(|errno| Error::io("list the routes", errno))?
            .iter()
            .filter_map(destination)
            .collect())
    }

    /// Makes a bridge and sets it up.
    ///
    /// # Errors
    /// The kernel's; `EEXIST` if there is a device of that name.
    pub fn make_bridge(&mut self, bridge: &Bridge<'_>) -> Result<(), Errno> {
        let mut request = Request::new(NEW_LINK, MAKE, &link_header(IS_UP))
            .attribute(LINK_NAME, &terminated(bridge.name))
            .attribute(LINK_ALIAS, bridge.alias.as_bytes())
            .attribute(LINK_ADDRESS, &bridge.hardware.0);
        if let Some(mtu) = bridge.mtu {
            request = request.attribute(LINK_MTU, &mtu.to_ne_bytes());
        }
        let info = Attributes::new().attribute(INFO_KIND, b"bridge\0");
        self.0.order(request.nested(LINK_INFO, &info))
    }

    /// Writes something of a device.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_alias(&mut self, index: u32, alias: &str) -> Result<(), Errno> {
        let mut header = [0; LINK_HEADER];
        header[4..8].copy_from_slice(&index.to_ne_bytes());
        self.0.order(
            Request::new(NEW_LINK, flags::ACKNOWLEDGE, &header).attribute(LINK_ALIAS, alias.as_bytes()),
        )
    }

    /// Sets a device up.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_up(&mut self, index: u32) -> Result<(), Errno> {
        let mut header = link_header(IS_UP);
        header[4..8].copy_from_slice(&index.to_ne_bytes());
        self.0.order(Request::new(NEW_LINK, flags::ACKNOWLEDGE, &header))
    }

    /// Makes a pair of devices; the one on the bridge is up.
    ///
    /// # Errors
    /// The kernel's; `EEXIST` if one of the names is taken.
    pub fn make_pair(&mut self, pair: &Pair<'_>) -> Result<(), Errno> {
        // It cannot be set up before the pair is one.
        let mut peer = Attributes::behind(&link_header(0))
            .attribute(LINK_NAME, &terminated(pair.inside))
            .attribute(LINK_ADDRESS, &pair.hardware.0)
            .attribute(LINK_NAMESPACE, &pair.namespace.as_raw_fd().to_ne_bytes());
        let mut request = Request::new(NEW_LINK, MAKE, &link_header(IS_UP))
            .attribute(LINK_NAME, &terminated(pair.name))
            .attribute(LINK_MASTER, &pair.bridge.to_ne_bytes());
        if let Some(mtu) = pair.mtu {
            peer = peer.attribute(LINK_MTU, &mtu.to_ne_bytes());
            request = request.attribute(LINK_MTU, &mtu.to_ne_bytes());
        }
        let info = Attributes::new()
            .attribute(INFO_KIND, b"veth\0")
            .nested(INFO_DATA, &Attributes::new().nested(VETH_PEER, &peer));
        self.0.order(request.nested(LINK_INFO, &info))
    }

    /// Number of the device with a hardware address.
    ///
    /// # Errors
    /// The kernel's.
    pub fn find_hardware(&mut self, hardware: HardwareAddress) -> Result<Option<u32>> {
        let answers = self.0.ask(Request::new(GET_LINK, flags::DUMP, &link_header(0)));
        let answers = answers.map_err(|errno| Error::io("list the network devices", errno))?;
        let is_it = |answer: &&Answer| answer.attribute(LINK_HEADER, LINK_ADDRESS) == Some(&hardware.0[..]);
        Ok(answers.iter().find(is_it).map(|answer| link(answer).index))
    }

    /// Moves a device into another namespace, where it has this name.
    ///
    /// # Errors
    /// The kernel's; `EEXIST` if there is one of that name.
    pub fn move_into(&mut self, index: u32, namespace: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
        let mut header = link_header(0);
        header[4..8].copy_from_slice(&index.to_ne_bytes());
        let request = Request::new(NEW_LINK, flags::ACKNOWLEDGE, &header)
            .attribute(LINK_NAME, &terminated(name))
            .attribute(LINK_NAMESPACE, &namespace.as_raw_fd().to_ne_bytes());
        self.0.order(request)
    }

    /// Sets a device up that is on a bridge.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_member_up(&mut self, name: &str, mtu: Option<u32>) -> Result<(), Errno> {
        let request = Request::new(NEW_LINK, flags::ACKNOWLEDGE, &link_header(IS_UP));
        let mut request = request.attribute(LINK_NAME, &terminated(name));
        if let Some(mtu) = mtu {
            request = request.attribute(LINK_MTU, &mtu.to_ne_bytes());
        }
        self.0.order(request)
    }

    /// Puts a device on a bridge.
    ///
    /// # Errors
    /// The kernel's; `ENODEV` if there is no such device.
    pub fn put_on(&mut self, name: &str, bridge: u32) -> Result<(), Errno> {
        let request = Request::new(NEW_LINK, flags::ACKNOWLEDGE, &link_header(0));
        let request = request.attribute(LINK_NAME, &terminated(name));
        self.0.order(request.attribute(LINK_MASTER, &bridge.to_ne_bytes()))
    }

    /// Lets a bridge send a packet back to the member that it came from.
    ///
    /// # Errors
    /// The kernel's.
    pub fn let_return(&mut self, member: &str) -> Result<(), Errno> {
        let mode = Attributes::new().attribute(BRIDGE_MEMBER_MODE, &[1]);
        let info = Attributes::new().attribute(INFO_MEMBER_KIND, b"bridge\0").nested(INFO_MEMBER_DATA, &mode);
        let request = Request::new(NEW_LINK, flags::ACKNOWLEDGE, &link_header(0));
        self.0.order(request.attribute(LINK_NAME, &terminated(member)).nested(LINK_INFO, &info))
    }

    /// Removes a device, and with it the other one of a pair.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&mut self, index: u32) -> Result<(), Errno> {
        let mut header = link_header(0);
        header[4..8].copy_from_slice(&index.to_ne_bytes());
        self.0.order(Request::new(DELETE_LINK, flags::ACKNOWLEDGE, &header))
    }

    /// Gives a device an address.
    ///
    /// # Errors
    /// The kernel's; `EEXIST` if it has it.
    pub fn add_address(&mut self, index: u32, address: Subnet) -> Result<(), Errno> {
        let bytes = octets(address.address);
        let (family, flags) = match address.address {
            IpAddr::V4(_) => (FAMILY_INET, 0),
            IpAddr::V6(_) => (FAMILY_INET6, NO_DUPLICATES),
        };
        let mut header = [family, address.prefix, flags, 0, 0, 0, 0, 0];
        header[4..8].copy_from_slice(&index.to_ne_bytes());
        let mut request = Request::new(NEW_ADDRESS, MAKE, &header)
            .attribute(ADDRESS_LOCAL, &bytes)
            .attribute(ADDRESS, &bytes);
        let last = address.network().nth(address.size() - 1);
        if let (IpAddr::V4(_), Some(last), true) = (address.address, last, address.prefix < 31) {
            request = request.attribute(ADDRESS_BROADCAST, &octets(last));
        }
        self.0.order(request)
    }

    /// Makes a gateway the way to everywhere else.
    ///
    /// # Errors
    /// The kernel's; `EEXIST` if there is such a way.
    pub fn add_default_route(&mut self, index: u32, gateway: IpAddr) -> Result<(), Errno> {
        let family = if gateway.is_ipv4() { FAMILY_INET } else { FAMILY_INET6 };
        let header = [family, 0, 0, 0, TABLE_MAIN, PROTOCOL_BOOT, 0, TYPE_UNICAST, 0, 0, 0, 0];
        let request = Request::new(NEW_ROUTE, MAKE, &header)
            .attribute(ROUTE_GATEWAY, &octets(gateway))
            .attribute(ROUTE_DEVICE, &index.to_ne_bytes());
        self.0.order(request)
    }
}

/// Does something in another network namespace and comes back.
///
/// # Errors
/// Those of `action`; entering. Whoever cannot come back is ended: it would go on in the wrong place.
pub fn inside<T>(namespace: BorrowedFd<'_>, action: impl FnOnce() -> Result<T>) -> Result<T> {
    let own = open_namespace(Path::new("/proc/thread-self/ns/net"))?;
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
        .map_err(|errno| Error::io("enter a network namespace", errno))?;
    let done = action();
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Network))
        .expect("the namespace is held by its descriptor, and who could leave it may return");
    done
}

/// Opens a network namespace.
///
/// # Errors
/// As open(2).
pub fn open_namespace(path: &Path) -> Result<OwnedFd> {
    openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::io(format!("open the network namespace `{}`", path.display()), errno))
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(octets).ok().map(IpAddr::from);
    <[u8; 16]>::try_from(octets).ok().map(IpAddr::from).or_else(v4)
}

fn destination(route: &Answer) -> Option<Subnet> {
    let [_, length, ..] = route.header::<ROUTE_HEADER>();
    let address = address(route.attribute(ROUTE_HEADER, ROUTE_DESTINATION)?)?;
    Subnet::new(address, length)
}

/// `struct ifinfomsg`, to which these flags are given.
fn link_header(flags: u32) -> [u8; LINK_HEADER] {
    let mut header = [0; LINK_HEADER];
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

fn link(answer: &Answer) -> Link {
    let header = answer.header::<LINK_HEADER>();
    let text = |kind| {
        let bytes = answer.attribute(LINK_HEADER, kind).unwrap_or_default();
        String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
    };
    Link {
        index: u32::from_ne_bytes([header[4], header[5], header[6], header[7]]),
        name: text(LINK_NAME),
        alias: text(LINK_ALIAS),
    }
}

fn terminated(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}
