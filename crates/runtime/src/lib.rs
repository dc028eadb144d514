//! The OCI runtime: from a configuration to a process.
//!
//! ```text
//! cgroup::Group::create   groups made and limited, nothing in them yet
//! container::start        everything prepared -> one clone3 -> the child attaches, drops, executes
//! container::exec         another process into the same namespaces
//! cgroup::remove          every process ended, every group gone
//! ```
//!
//! One thread, no daemon, no state of its own: what is worth remembering is in the caller's hands. The
//! child allocates nothing (see `child`). The state on disk of a command-line runtime belongs to the
//! `holm-runtime` binary and comes with it.

pub mod capability;
pub mod cgroup;
mod child;
pub mod container;
pub mod device;
pub mod error;
mod process;
pub mod release;
pub mod rootfs;
pub mod seccomp;
mod step;
pub mod user;

pub use error::{Error, Kind, Result};
pub use process::Stdio;
