//! Settings of the kernel's that networks need, in the caller's network namespace.

use std::io::ErrorKind;
use std::path::PathBuf;

use holm_spec::network::{Endpoint, Network, Subnet};

use crate::error::{Error, Result};

/// Where devices have their settings of IPv6.
const DEVICES6: &str = "/proc/sys/net/ipv6/conf";

/// Whether the host passes on packets of each family that a network has.
pub(crate) fn is_router(network: &Network) -> bool {
    passes_on() && (network.pool(false).is_none() || says("ipv6/conf/all/forwarding", "1"))
}

/// What a network needs of the host: packets pass from device to device, and nobody on its bridge tells the host of routers.
pub(crate) fn prepare_host(network: &Network) -> Result<()> {
    let bridge = &network.interface;
    set("ipv4/ip_forward", "1")?;
    if network.pool(false).is_some() {
        keep_routers()?;
        set("ipv6/conf/all/forwarding", "1")?;
        set(&format!("ipv6/conf/{bridge}/disable_ipv6"), "0")?;
        set(&format!("ipv6/conf/{bridge}/accept_dad"), "0")?;
    }
    set_if_there(&format!("ipv6/conf/{bridge}/accept_ra"), "0")
}

/// Whether the host passes packets on.
pub(crate) fn passes_on() -> bool {
    says("ipv4/ip_forward", "1")
}

/// Whether something that begins at 127.0.0.1 is to leave by the bridge. Only then it may: the rule that keeps others from
/// the host's loopback is in a table that somebody may flush.
pub(crate) fn begins_at_loopback(endpoint: &Endpoint) -> bool {
    endpoint.ports.iter().any(|port| port.host.is_unspecified() || port.host.is_loopback())
}

/// Lets what begins at 127.0.0.1 leave by a bridge.
pub(crate) fn let_loopback_leave(bridge: &str) -> Result<()> {
    set(&format!("ipv4/conf/{bridge}/route_localnet"), "1")
}

/// A host that passes packets on hears no routers any more, unless its devices are told to.
fn keep_routers() -> Result<()> {
    let devices = std::fs::read_dir(DEVICES6)
        .map_err(|error| Error::io(format!("list `{DEVICES6}`"), error))?
        .flatten()
        .map(|device| device.file_name().to_string_lossy().into_owned());
    let hears = |device: &String| {
        says(&format!("ipv6/conf/{device}/forwarding"), "0")
            && says(&format!("ipv6/conf/{device}/accept_ra"), "1")
    };
    for device in devices.filter(hears) {
        set(&format!("ipv6/conf/{device}/accept_ra"), "2")?;
    }
    Ok(())
}

/// What a sandbox needs before it has devices: they are to have no IPv6 until it is known which ones do, or the kernel
/// begins to look for neighbours.
pub(crate) fn prepare_sandbox() -> Result<()> {
    set_if_there("ipv6/conf/default/disable_ipv6", "1")
}

/// What a sandbox's device needs: IPv6 where the network has it, and no routers but the gateway. Its address is announced
/// when it comes up: whoever had that before may have had another hardware address, and others remember that for half a
/// minute.
pub(crate) fn prepare_device(device: &str, addresses: &[Subnet]) -> Result<()> {
    set(&format!("ipv4/conf/{device}/arp_notify"), "1")?;
    if !addresses.iter().any(|address| address.address.is_ipv6()) {
        return Ok(());
    }
    set(&format!("ipv6/conf/{device}/accept_ra"), "0")?;
    set(&format!("ipv6/conf/{device}/disable_ipv6"), "0")
}

/// Whether a setting has a value.
fn says(name: &str, value: &str) -> bool {
    std::fs::read_to_string(PathBuf::from("/proc/sys/net").join(name))
        .is_ok_and(|text| text.trim_end() == value)
}

/// Sets it unless it has the value.
fn set(name: &str, value: &str) -> Result<()> {
    let path = PathBuf::from("/proc/sys/net").join(name);
    let failed = |error| Error::io(format!("set `{}` to {value}", path.display()), error);
    let present = std::fs::read_to_string(&path).map_err(failed)?;
    if present.trim_end() == value {
        return Ok(());
    }
    std::fs::write(&path, value).map_err(failed)
}

/// The same where the kernel has IPv6.
fn set_if_there(name: &str, value: &str) -> Result<()> {
    match set(name, value) {
        Err(error) if is_missing(&error) => Ok(()),
        done => done,
    }
}

fn is_missing(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| cause.kind() == ErrorKind::NotFound)
}
