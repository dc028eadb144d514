//! Network interfaces of the calling process's network namespace.
#![expect(unsafe_code, reason = "interface flags are set by ioctl")]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::process::last_errno;

/// Sets the loopback interface up, which gives it 127.0.0.1 and ::1. May be called in a child.
pub fn set_loopback_up() -> Result<(), Errno> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all-zero is a valid ifreq; the name `lo` fits and is terminated by the zeros; the
    // kernel reads and writes nothing beyond the structure.
    let result = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request)
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Binds a socket to an interface, so that it hears only what comes in there (socket(7), `SO_BINDTODEVICE`).
///
/// # Errors
/// `ENODEV` if there is no such interface; `EPERM` where the socket is bound to one and rights are missing.
pub fn bind_to_device(socket: impl AsFd, interface: &str) -> Result<(), Errno> {
    // SAFETY: the kernel reads as many bytes of the name as it is told, and they outlive the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            interface.as_ptr().cast(),
            u32::try_from(interface.len()).map_err(|_| Errno::NODEV)?,
        )
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Makes a TAP device (the kernel's `Documentation/networking/tuntap.rst`): what is written to the descriptor comes out of
/// the device and the other way round, frames of Ethernet, each behind a `struct virtio_net_hdr`. It goes when the
/// descriptor is closed, whoever had it last.
///
/// # Errors
/// `ENOENT` where the kernel has no such devices; `EBUSY` if there is one of that name; `EINVAL` for what is no name.
pub fn make_tap(name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let device = open("/dev/net/tun", flags, Mode::empty())?;
    // SAFETY: all-zero is a valid ifreq; the kernel reads and writes nothing beyond the structure. The last byte of the
    // name stays zero, since the pairs end one before it.
    let result = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        let room = request.ifr_name.len() - 1;
        if name.is_empty() || name.len() > room {
            return Err(Errno::INVAL);
        }
        for (place, byte) in request.ifr_name[..room].iter_mut().zip(name.bytes()) {
            *place = byte as libc::c_char;
        }
        let kind = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_TUN_EXCL;
        request.ifr_ifru.ifru_flags = kind as libc::c_short;
        libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request)
    };
    if result == 0 { Ok(device) } else { Err(last_errno()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_bound_to_an_interface_that_is_there() {
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
            .expect("a socket");
        assert_eq!(bind_to_device(&socket, "no-such-device"), Err(Errno::NODEV));
        assert_eq!(bind_to_device(&socket, "lo"), Ok(()));
    }
}
