//! A sandbox's devices, in its own network namespace. What a virtual machine has is made ready in the guest by the same code as
//! what a container has.

use std::os::fd::BorrowedFd;

use holm_spec::network::Device;
use rustix::io::Errno;

use crate::error::{Error, Kind, Result};
use crate::links::{Links, inside};
use crate::sysctl;

/// Moves devices of the caller's namespace into another one, by their hardware addresses, and makes them ready there.
///
/// # Errors
/// [`Kind::Unsupported`] for a device that is not there; what the kernel says.
pub fn give(devices: &[Device], namespace: BorrowedFd<'_>) -> Result<()> {
    let mut outside = Links::open()?;
    inside(namespace, || {
        sysctl::prepare_sandbox()?;
        devices.iter().try_for_each(|device| give_one(&mut outside, device, namespace))?;
        devices.iter().try_for_each(configure)
    })
}

fn give_one(outside: &mut Links, device: &Device, namespace: BorrowedFd<'_>) -> Result<()> {
    let about = format!("move network device {} into the workload as `{}`", device.hardware, device.name);
    let Some(index) = outside.find_hardware(device.hardware)? else {
        let text = format!("{about}: it is not there, or the kernel has no driver for it");
        return Err(Error::new(Kind::Unsupported, text));
    };
    outside.move_into(index, namespace, &device.name).map_err(|errno| Error::io(about, errno))
}

/// Addresses and routes of a device of the caller's namespace.
pub(crate) fn configure(device: &Device) -> Result<()> {
    let failed = |what: &str, errno: Errno| Error::io(format!("{what} of device `{}`", device.name), errno);
    let mut links = Links::open()?;
    let link = links.find(&device.name)?.ok_or_else(|| failed("look for the number", Errno::NODEV))?;
    sysctl::prepare_device(&device.name, &device.addresses)?;
    for address in &device.addresses {
        links.add_address(link.index, *address).map_err(|errno| failed("set the address", errno))?;
    }
    links.set_up(link.index).map_err(|errno| failed("set the state", errno))?;
    for gateway in &device.gateways {
        links.add_default_route(link.index, *gateway).map_err(|errno| failed("set the way out", errno))?;
    }
    Ok(())
}
