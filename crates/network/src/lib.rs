//! Networks of sandboxes: addresses, bridges, rules of packets, ports, names.
//!
//! ```text
//! <root>/networks/<name>.json      spec::network::Network: what was asked, resolved; immutable
//! <run>/networks/<name>/<address>  spec::network::Endpoint, a file with a name for each of its addresses
//! ```

mod error;

pub use error::{Error, Kind, Result};
