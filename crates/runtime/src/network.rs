//! Network devices that a container takes over from the host (`linux.netDevices`, OCI runtime specification,
//! "Linux network devices").
//!
//! A device is moved by its descriptor of the namespace and gets its new name in the same order, so nobody sees it in
//! between. The kernel takes addresses away from a device that changes its namespace: those that are permanent and global
//! are given back. When the namespace ends, the kernel returns what is hardware and destroys what is not.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use holm_spec::runtime::{LinuxNamespaceType, Spec};
use holm_sys::Errno;
use holm_sys::netlink::{Answer, Netlink, Request, flags};
use holm_sys::rustix::fs::{Mode, OFlags, open};
use holm_sys::rustix::process::Pid;
use holm_sys::rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Context, Error, Result};

// linux/rtnetlink.h, linux/if_link.h and linux/if_addr.h.
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const LINK_NAME: u16 = 3;
const LINK_NAMESPACE: u16 = 28;
const ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ADDRESS_BROADCAST: u16 = 4;
const ADDRESS_FLAGS: u16 = 8;
const PERMANENT: u32 = 0x80;
const IS_UP: u32 = 1;
/// Lengths of `struct ifinfomsg` and `struct ifaddrmsg`.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
/// Longest name of a device with its end mark (`IFNAMSIZ`).
const NAME_LIMIT: usize = 16;

/// One device to move.
struct Device<'a> {
    name: &'a str,
    /// May hold one `%d`, for which the kernel finds a number.
    new_name: &'a str,
}

/// Checks what can be checked without looking at the host.
///
/// # Errors
/// What is no name of a device, or is one twice; devices without a network namespace to move them to.
pub(crate) fn check(spec: &Spec) -> Result<()> {
    let devices = devices(spec);
    let Some(linux) = spec.linux() else { return Ok(()) };
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    let isolated = namespaces.iter().any(|namespace| namespace.typ() == LinuxNamespaceType::Network);
    if !devices.is_empty() && !isolated {
        return Err(Error::invalid("unable to move network devices without a private NET namespace")
            .at_field("linux.netDevices"));
    }
    let mut seen: Vec<&str> = Vec::new();
    for device in &devices {
        let at =
            |error: Error| error.at_field(format!("linux.netDevices[\"{}\"]", device.name.escape_debug()));
        for name in [device.name, device.new_name] {
            if !is_name(name) {
                return Err(at(Error::invalid(format!(
                    "`{}` is no name of a network device",
                    name.escape_debug()
                ))));
            }
        }
        if !device.new_name.contains('%') && seen.contains(&device.new_name) {
            return Err(at(Error::invalid(format!("a second device is named `{}`", device.new_name))));
        }
        seen.push(device.new_name);
    }
    Ok(())
}

/// As the kernel's `dev_valid_name`, with a template for a number.
fn is_name(name: &str) -> bool {
    let template = name.matches('%').count() == name.matches("%d").count() && name.matches('%').count() <= 1;
    let letters = name.bytes().all(|byte| !byte.is_ascii_whitespace() && !b"/:\0".contains(&byte));
    !name.is_empty() && name.len() < NAME_LIMIT && name != "." && name != ".." && letters && template
}

/// In the order of their names.
fn devices(spec: &Spec) -> Vec<Device<'_>> {
    let asked = spec.linux().as_ref().and_then(|linux| linux.net_devices().as_ref());
    let mut devices: Vec<_> = asked
        .into_iter()
        .flatten()
        .map(|(name, device)| {
            let new_name = device.name().as_deref().filter(|new_name| !new_name.is_empty());
            Device { name, new_name: new_name.unwrap_or(name) }
        })
        .collect();
    devices.sort_by_key(|device| device.name);
    devices
}

/// Moves the devices that the configuration names into the network namespace of a process.
///
/// # Errors
/// A device that is not there, or cannot be moved; a name that is taken.
pub fn move_devices(spec: &Spec, process: Pid) -> Result<()> {
    let devices = devices(spec);
    if devices.is_empty() {
        return Ok(());
    }
    let namespace = open_namespace(&target(spec, process))?;
    let mut outside = Netlink::open().context(|| "open a netlink socket")?;
    let mut inside = open_inside(&namespace)?;
    devices.iter().try_for_each(|device| {
        device
            .give(&mut outside, &mut inside, &namespace)
            .map_err(|error| error.at_field(format!("linux.netDevices[\"{}\"]", device.name.escape_debug())))
    })
}

/// A namespace that is joined is known by its path; the process may not have got there yet.
fn target(spec: &Spec, process: Pid) -> PathBuf {
    let namespaces =
        spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    let network = namespaces.iter().find(|namespace| namespace.typ() == LinuxNamespaceType::Network);
    let joined =
        network.and_then(|network| network.path().clone()).filter(|path| !path.as_os_str().is_empty());
    joined.unwrap_or_else(|| format!("/proc/{}/ns/net", process.as_raw_nonzero()).into())
}

fn open_namespace(path: &Path) -> Result<OwnedFd> {
    open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .context(|| format!("open `{}`", path.display()))
}

/// A socket belongs to the namespace that its maker was in.
fn open_inside(namespace: &OwnedFd) -> Result<Netlink> {
    let own = open_namespace(Path::new("/proc/self/ns/net"))?;
    let enter = |namespace: &OwnedFd| {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .context(|| "enter the container's network namespace")
    };
    enter(namespace)?;
    let socket = Netlink::open().context(|| "open a netlink socket in the container");
    enter(&own)?;
    socket
}

impl Device<'_> {
    fn give(&self, outside: &mut Netlink, inside: &mut Netlink, namespace: &OwnedFd) -> Result<()> {
        let index = self.find(outside)?;
        let addresses = addresses(outside, index)?;
        let before = indexes(inside)?;
        self.change_namespace(outside, index, namespace)?;
        let moved = indexes(inside)?.into_iter().find(|index| !before.contains(index));
        let index = moved.ok_or_else(|| Error::invalid("the device has not arrived"))?;
        for address in &addresses {
            give_back(inside, index, address)?;
        }
        let up = Request::new(NEW_LINK, flags::ACKNOWLEDGE, &link_header(index, IS_UP));
        inside.order(up).context(|| "set the device up")
    }

    fn find(&self, outside: &mut Netlink) -> Result<i32> {
        let question = Request::new(GET_LINK, flags::ACKNOWLEDGE, &link_header(0, 0));
        let answer = outside.ask(question.attribute(LINK_NAME, &terminated(self.name)));
        let answers = answer.context(|| "find the device")?;
        answers.first().map(index_of).ok_or_else(|| Error::system("find the device", Errno::NODEV))
    }

    fn change_namespace(&self, outside: &mut Netlink, index: i32, namespace: &OwnedFd) -> Result<()> {
        let order = Request::new(NEW_LINK, flags::ACKNOWLEDGE, &link_header(index, 0))
            .attribute(LINK_NAMESPACE, &namespace.as_raw_fd().to_ne_bytes())
            .attribute(LINK_NAME, &terminated(self.new_name));
        outside.order(order).context(|| format!("move the device into the container as `{}`", self.new_name))
    }
}

/// `struct ifinfomsg` with the flags to set.
fn link_header(index: i32, flags: u32) -> [u8; LINK_HEADER] {
    let mut header = [0; LINK_HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

fn index_of(link: &Answer) -> i32 {
    let header = link.header::<LINK_HEADER>();
    i32::from_ne_bytes([header[4], header[5], header[6], header[7]])
}

fn terminated(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}

fn indexes(netlink: &mut Netlink) -> Result<Vec<i32>> {
    let links = netlink.ask(Request::new(GET_LINK, flags::DUMP, &link_header(0, 0)));
    Ok(links.context(|| "list the container's network devices")?.iter().map(index_of).collect())
}

/// Permanent addresses of the device that are valid everywhere (RFC 3549 section 2.3.3.2).
fn addresses(netlink: &mut Netlink, index: i32) -> Result<Vec<Answer>> {
    let all = netlink.ask(Request::new(GET_ADDRESS, flags::DUMP, &[0; ADDRESS_HEADER]));
    let all = all.context(|| "list the addresses of the device")?;
    let is_kept = |address: &Answer| {
        let [_, _, flags, scope, i0, i1, i2, i3] = address.header::<ADDRESS_HEADER>();
        let flags = address
            .attribute(ADDRESS_HEADER, ADDRESS_FLAGS)
            .and_then(<[u8]>::first_chunk)
            .map_or(u32::from(flags), |bytes| u32::from_ne_bytes(*bytes));
        i32::from_ne_bytes([i0, i1, i2, i3]) == index && scope == 0 && flags & PERMANENT != 0
    };
    Ok(all.into_iter().filter(is_kept).collect())
}

fn give_back(netlink: &mut Netlink, index: i32, address: &Answer) -> Result<()> {
    let mut header = address.header::<ADDRESS_HEADER>();
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let order = Request::new(NEW_ADDRESS, flags::ACKNOWLEDGE | flags::CREATE | flags::EXCLUSIVE, &header);
    let order = [ADDRESS, ADDRESS_LOCAL, ADDRESS_BROADCAST].into_iter().fold(order, |order, kind| {
        match address.attribute(ADDRESS_HEADER, kind) {
            Some(content) => order.attribute(kind, content),
            None => order,
        }
    });
    netlink.order(order).context(|| "give the device its address back")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_kernel() {
        for name in ["eth0", "a", "eth%d", "abcdefghijklmno"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "a:b", "a b", "abcdefghijklmnop", "eth%s", "%d%d", "a\0"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
