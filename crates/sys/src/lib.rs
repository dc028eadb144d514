//! Safe wrappers over Linux system calls that no maintained crate wraps, and the small file-system
//! primitives that every part of Holm builds on. The home of `unsafe`.
//!
//! Functions that a child may call between `clone` and `exec` say so: they allocate nothing, take no
//! lock and touch no global state.

pub mod allocator;
pub mod appended;
pub mod attributes;
pub mod bpf;
pub mod dbus;
pub mod entropy;
pub mod exec;
pub mod fail_point;
pub mod file;
pub mod file_system;
pub mod in_root;
pub mod interface;
pub mod landlock;
pub mod lock;
pub mod mount;
pub mod netlink;
pub mod process;
pub mod quota;
pub mod seccomp;
pub mod shared_mount;
pub mod signals;
pub mod socket;
pub mod usage;

pub use rustix;
pub use rustix::io::Errno;

/// The error number that somebody else sent, if the kernel has such numbers: others make [`Errno`] panic.
pub fn error_number(number: i32) -> Option<Errno> {
    (1..4096).contains(&number).then(|| Errno::from_raw_os_error(number))
}
