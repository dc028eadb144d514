//! Virtual machines: what one is made of, and what runs it.
//!
//! ```text
//! machine   the trait that every back end implements, and what it is given: a `Description`
//! qemu      the back end that runs an emulator as a child process
//! disk      many layer files as one disk, without copying; disks for what workloads write
//! initrd    the guest's first root
//! snapshot  the form of a machine in a file
//! host      which emulator and which accelerator this host has
//! ```
//!
//! `holm-machine` is a machine's process on the host: it runs in a jail, owns the machine, and relays the standard
//! streams, signals and exit code of what runs inside (`holm_spec::machine`).

pub mod disk;
mod error;
pub mod host;
pub mod initrd;
pub mod machine;
pub mod probe;
pub mod qemu;
pub mod snapshot;

pub use error::{Error, Result};
