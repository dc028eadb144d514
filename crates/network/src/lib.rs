//! Networks of sandboxes: addresses, bridges, rules of packets, ports, names; networks of CNI plugins.
//!
//! ```text
//! <root>/networks/<name>.json      spec::network::Network: what was asked, resolved; immutable
//! <run>/networks/<name>/<address>  spec::network::Endpoint, a file with a name for each of its addresses
//! ```

mod addresses;
mod bridges;
mod cni;
mod connections;
mod device;
mod document;
mod error;
pub mod etc;
mod holder;
mod links;
mod membership;
mod networks;
mod plan;
mod ports;
mod relay;
mod repair;
mod rules;
mod sysctl;
mod watch;

pub use cni::NewPlugins;
pub use device::give as give_devices;
pub use error::{Error, Kind, Result};
pub use links::open_namespace;
pub use membership::{Membership, Tap, Wanted};
pub use networks::Networks;
pub use plan::NewNetwork;
pub use ports::Ports;
pub use relay::{Relay, Relayed};
pub use rules::{Chain, Passage};
pub use watch::Watch;

/// Removes all rules, as somebody does who flushes what is not theirs; for tests.
///
/// # Errors
/// The kernel's.
#[doc(hidden)]
pub fn forget_rules(networks: &Networks) -> Result<()> {
    rules::Rules::open(&networks.table())?.write(&rules::Wanted::default())
}
