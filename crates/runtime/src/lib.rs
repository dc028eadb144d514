//! The OCI runtime: from a configuration to a process.
//!
//! ```text
//! cgroup::Group::create   groups made and limited, nothing in them yet
//! container::start        everything prepared -> one clone3 -> the child attaches, drops, executes
//! container::exec         another process into the same namespaces
//! checkpoint::dump        its processes as files, by CRIU
//! cgroup::remove          every process ended, every group gone
//! ```
//!
//! One thread, no daemon. The child allocates nothing (see `child`). What is worth remembering is in the caller's
//! hands: the keeper has its own files, the command-line runtime `holm-runtime` has [`state`].

mod attributes;
pub mod bundle;
pub mod capability;
pub mod cgroup;
pub mod checkpoint;
mod child;
pub mod container;
pub mod device;
pub mod error;
mod handshake;
pub mod hooks;
mod json_path;
pub mod landlock;
pub mod layers;
mod maps;
mod namespaces;
pub mod network;
mod process;
pub mod process_table;
pub mod release;
pub mod resctrl;
pub mod rootfs;
pub mod rootless;
pub mod seccomp;
pub mod state;
mod step;
pub mod streams;
pub mod systemd;
pub mod user;
pub mod watched;
pub mod workload;

pub use error::{Error, Kind, Result};
pub use handshake::{Answer, Event};
pub use process::{Affinity, Hold, KEEP_GROUPS, NewTerminal, Stdio, affinity as process_affinity};
