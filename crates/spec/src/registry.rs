//! What `holm registry serve` tells `holm-registry`: one JSON document, its only argument behind the verb.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How a registry is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Where it listens; port 0 is any.
    pub address: SocketAddr,
    /// What it keeps.
    pub storage: PathBuf,
    /// Certificate and key, both PEM; plain HTTP if absent.
    pub tls: Option<Tls>,
    /// Users.
    pub htpasswd: Option<PathBuf>,
    /// Rights.
    pub access: Option<PathBuf>,
    /// Blobs of Holm's images, which whoever may push may take from there by their digests.
    pub images: Option<PathBuf>,
    /// Whether nothing can be pushed or removed.
    pub read_only: bool,
    /// The registry that is mirrored, by its name or address.
    pub mirror: Option<String>,
    /// Whether passwords may come over plain HTTP from other machines.
    pub insecure_passwords: bool,
    /// Seconds after which an upload that nobody goes on with is removed.
    pub upload_age: u64,
    /// Whether requests are not logged.
    pub quiet: bool,
}

/// Files of a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The chain of certificates, the server's own first.
    pub certificate: PathBuf,
    /// The key of the first.
    pub key: PathBuf,
}
