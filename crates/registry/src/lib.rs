//! The client of image registries (OCI distribution specification 1.1, and Docker's registry protocol).
//!
//! ```text
//! <scheme>://<host>/v2/<repository>/manifests/<tag or digest>    manifests and indexes
//!                                  /blobs/<digest>               configurations and layers
//! ```
//! | file | holds |
//! |---|---|
//! | `endpoint` | where a registry is: Docker's rules |
//! | `challenge` | what a registry asks of who asks |
//! | `configuration` | Docker's `config.json`: credentials |
//! | `registries` | `registries.toml`: mirrors, short names |
//! | `connections` | which registries a name leads to |
//! | `client` | requests: authentication, patience, what an answer means |
//! | `document` | images' manifests and indexes as registries have them |
//! | `node` | manifests of any kind |
//! | `repository` | what can be asked of a repository |
//! | `blob_reader` | a blob over as many connections as it takes |
//! | `spool`, `fetch` | a blob on its way into the store |
//! | `pull` | an image into the store |
//! | `push` | an image from the store |
//! | `packed` | layers of the store as others take them |
//! | `copy` | from one registry to another, or to files |
//! | `policy` | which manifests are taken |
//! | `web` | files of the web, for builds |
//! | `parallel` | a few things at a time |
//!
//! # Trust
//! A registry is believed nothing: every document and layer is hashed before it gets a name, sizes are bounds, and what
//! does not fit stays out. Credentials go to the registry and to the token server that it names over TLS, and are
//! not sent along when an answer leads elsewhere. A registry on the loopback device may speak plain HTTP.

mod blob_reader;
mod challenge;
mod client;
mod configuration;
mod connections;
pub mod copy;
pub mod document;
mod endpoint;
mod error;
mod fetch;
mod node;
mod packed;
mod parallel;
mod policy;
mod pull;
mod push;
mod registries;
mod repository;
mod spool;
pub mod web;

pub use challenge::{Challenge, parse as parse_challenges};
pub use client::{Call, Client};
pub use configuration::{Configuration, Credentials};
pub use connections::Connections;
pub use error::{Error, Kind, Result};
pub use policy::{Candidate, Policy, TakeAll};
pub use pull::{Observer, PullRequest, Pulled, Step, pull};
pub use push::{PushRequest, Pushed, push};
pub use registries::{Registries, Rules};
pub use repository::Repository;
