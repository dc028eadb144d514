//! One line for each request.

use std::net::SocketAddr;
use std::time::Instant;

use hyper::{Method, StatusCode};

/// What is known of a request before its answer has been sent.
pub struct Line {
    /// When it came.
    pub begun: Instant,
    /// Its method.
    pub method: Method,
    /// Its path, without parameters.
    pub path: String,
    /// The answer.
    pub status: StatusCode,
    /// Who asked, if somebody said so and proved it.
    pub user: Option<String>,
    /// From where.
    pub remote: SocketAddr,
}

impl Line {
    /// Writes it, with the number of bytes that were sent.
    pub fn write(self, bytes: u64) {
        let milliseconds = self.begun.elapsed().as_secs_f64() * 1e3;
        let user = self.user.as_deref().unwrap_or("-");
        let (method, path, status, remote) = (&self.method, &self.path, self.status.as_u16(), &self.remote);
        tracing::info!("{remote} {user} {method} {path:?} {status} {bytes} bytes {milliseconds:.1} ms");
    }
}
