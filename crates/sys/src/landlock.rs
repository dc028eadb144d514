//! Landlock: a process gives up access to files that nothing allows it (landlock(7)).
#![expect(unsafe_code, reason = "the three calls have no safe wrapper")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::process::last_errno;

/// Version of the interface that the kernel has.
///
/// # Errors
/// `ENOSYS` where the kernel has no Landlock, `EOPNOTSUPP` where it is switched off.
pub fn version() -> Result<u32, Errno> {
    const VERSION: libc::c_int = 1;
    // SAFETY: without attributes nothing is read.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0, VERSION)
    };
    u32::try_from(version).map_err(|_| last_errno())
}

/// Makes a set of rules that handles these kinds of access to files (`LANDLOCK_ACCESS_FS_*`); close-on-exec. May be
/// called in a child.
pub fn create_ruleset(handled: u64) -> Result<OwnedFd, Errno> {
    // SAFETY: the kernel reads eight bytes, a `landlock_ruleset_attr` of the first version; what comes back is a
    // descriptor of our own.
    unsafe {
        let length = size_of::<u64>();
        let ruleset = libc::syscall(libc::SYS_landlock_create_ruleset, &raw const handled, length, 0);
        match i32::try_from(ruleset) {
            Ok(ruleset) if ruleset >= 0 => Ok(OwnedFd::from_raw_fd(ruleset)),
            _ => Err(last_errno()),
        }
    }
}

/// Allows kinds of access to a file, or to everything below a directory. May be called in a child.
pub fn allow_beneath(ruleset: BorrowedFd<'_>, allowed: u64, path: BorrowedFd<'_>) -> Result<(), Errno> {
    /// `struct landlock_path_beneath_attr`.
    #[repr(C, packed)]
    struct PathBeneath {
        allowed: u64,
        parent: i32,
    }
    const PATH_BENEATH: libc::c_int = 1;
    let rule = PathBeneath { allowed, parent: path.as_raw_fd() };
    // SAFETY: the kernel reads the rule, which has its layout.
    let result = unsafe {
        libc::syscall(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), PATH_BENEATH, &raw const rule, 0)
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Puts the rules in force for this thread and all its children, for ever. May be called in a child.
///
/// # Errors
/// `EPERM` without `no_new_privs` and `CAP_SYS_ADMIN`.
pub fn restrict_self(ruleset: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: the call takes two numbers.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}
