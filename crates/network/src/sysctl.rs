//! Settings of the kernel's that networks need, in the caller's network namespace.

use std::io::ErrorKind;
use std::path::PathBuf;

use holm_spec::network::{Network, Subnet};

use crate::error::{Error, Result};

/// What a bridge needs of the host: packets pass from device to device, what begins at 127.0.0.1 may leave by the bridge,
/// and nobody on it tells the host of routers.
pub(crate) fn prepare_host(network: &Network) -> Result<()> {
    let bridge = &network.interface;
    set("ipv4/ip_forward", "1")?;
    set(&format!("ipv4/conf/{bridge}/route_localnet"), "1")?;
    if network.pool(false).is_some() {
        set("ipv6/conf/all/forwarding", "1")?;
        set(&format!("ipv6/conf/{bridge}/accept_dad"), "0")?;
    }
    set_if_there(&format!("ipv6/conf/{bridge}/accept_ra"), "0")
}

/// What a sandbox needs before it has devices: they are to have no IPv6 until it is known which ones do, or the kernel
/// begins to look for neighbours.
pub(crate) fn prepare_sandbox() -> Result<()> {
    set_if_there("ipv6/conf/default/disable_ipv6", "1")
}

/// What a sandbox's device needs: IPv6 where the network has it, and no routers but the gateway.
pub(crate) fn prepare_device(device: &str, addresses: &[Subnet]) -> Result<()> {
    if !addresses.iter().any(|address| address.address.is_ipv6()) {
        return Ok(());
    }
    set(&format!("ipv6/conf/{device}/accept_ra"), "0")?;
    set(&format!("ipv6/conf/{device}/disable_ipv6"), "0")
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
