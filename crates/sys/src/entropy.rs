//! Random numbers of the kernel, fed from outside: a guest has few sources of its own, and a twin has the same ones.
#![expect(unsafe_code, reason = "ioctls of the random device have no safe wrapper")]

use std::io;
use std::os::fd::AsRawFd;

use rustix::fs::{Mode, OFlags, open};

use crate::process::last_errno;

/// `_IOW('R', 0x03, int[2])` and `_IO('R', 0x07)` of linux/random.h.
const RNDADDENTROPY: u32 = 0x4008_5203;
const RNDRESEEDCRNG: u32 = 0x5207;

/// `struct rand_pool_info` with its bytes.
#[repr(C)]
struct PoolInfo {
    bits: i32,
    bytes: i32,
    seed: [u8; 32],
}

/// Stirs `seed` into the kernel's random numbers, counts all of it as random, and makes what is read from now on
/// depend on it.
///
/// # Errors
/// There is no `/dev/urandom`; the caller has not `CAP_SYS_ADMIN`.
pub fn add_entropy(seed: [u8; 32]) -> io::Result<()> {
    let device = open("/dev/urandom", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    let info = PoolInfo { bits: 256, bytes: 32, seed };
    // SAFETY: `info` is a rand_pool_info with as many bytes behind it as it says; the kernel copies them.
    let added = unsafe { libc::ioctl(device.as_raw_fd(), RNDADDENTROPY as _, &raw const info) };
    if added != 0 {
        return Err(last_errno().into());
    }
    // Refused where nothing was ever stirred in, which was just done.
    // SAFETY: this ioctl takes no argument.
    let renewed = unsafe { libc::ioctl(device.as_raw_fd(), RNDRESEEDCRNG as _) };
    if renewed == 0 { Ok(()) } else { Err(last_errno().into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_information_has_the_kernels_size() {
        assert_eq!(size_of::<PoolInfo>(), 8 + 32);
        assert_eq!(RNDADDENTROPY >> 16 & 0x3fff, 8);
    }
}
