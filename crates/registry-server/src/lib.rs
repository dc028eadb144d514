//! An image registry: the OCI distribution specification 1.1 over HTTP, kept as plain files.
//!
//! ```text
//! server (sockets, TLS, limits, end) --> handle (one request) --> storage (files)
//!                                          |  route, query, range, manifest, digest, name: pure
//!                                          |  access: who may do what
//!                                          |  mirror: what another registry has
//!                                          |  sessions: uploads between their requests
//!                                          `- body, outlet, receive: what goes out and comes in
//! ```
//!
//! Everything that comes from the network is parsed to a typed value before it becomes a path. Work that may wait for a
//! disk is done on threads that may. Memory is bounded by the number of connections, whatever the size of blobs.

pub mod access;
mod answer;
mod body;
pub mod digest;
mod failure;
mod handle;
mod log;
mod manifest;
mod mirror;
pub mod name;
mod outlet;
mod query;
mod range;
mod receive;
pub mod route;
mod server;
mod sessions;
mod storage;
mod stream;

pub use server::{Error, serve};

/// What a fuzzer calls with bytes that a client may send.
pub fn parse_untrusted(data: &[u8]) {
    drop(manifest::read(data, None).map(|facts| facts.blobs.len()));
    let Ok(text) = std::str::from_utf8(data) else { return };
    for method in ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"] {
        drop(route::parse(method, text));
    }
    let query = query::Query::parse(text);
    query.all("tag").for_each(drop);
    assert_eq!(query::decode(&query::encode(text)).as_deref(), Some(text));
    if let range::Asked::Part { start, end } = range::asked(Some(text), 1000) {
        assert!(start <= end && end < 1000);
    }
    let _ = range::of_chunk(text);
    drop(access::credentials(data));
    drop(access::users(text));
    drop(access::Access::new(None, Some(text)));
}
