//! Pure data shared by every part of Holm: identifiers, image references, platforms, mounts, the
//! workload's configuration and state, and the messages between a keeper and its clients, and between a machine
//! and the agent in its guest.
//!
//! Nothing here does I/O: a parser takes text or bytes, a layout computes paths, another crate
//! reads and writes. Formats of our own carry a version and refuse unknown fields; OCI documents
//! ignore them, as their specifications demand.

pub mod agent;
pub mod changes;
pub mod cpio;
pub mod digest;
pub mod event;
pub mod files;
pub mod id;
pub mod keeper;
pub mod kernel;
pub mod layout;
pub mod life;
pub mod log;
pub mod machine;
pub mod network;
pub mod platform;
pub mod reference;
pub mod registry;
pub mod rootfs;
pub mod runtime;
pub mod signal;
pub mod size;
pub mod spelling;
pub mod time;
pub mod volume;
pub mod workload;

pub use oci_spec::image;

pub use digest::Digest;
pub use id::Id;
pub use reference::Reference;
pub use time::Timestamp;
