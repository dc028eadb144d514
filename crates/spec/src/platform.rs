//! What an image is made for, as the OCI image index writes it (`os`, `architecture`, `variant`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Operating system and processor in Go's names (`linux`, `amd64`), as OCI documents use them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// For example `linux` or `windows`.
    pub os: String,
    /// For example `amd64`, `arm64`, `riscv64`.
    pub architecture: String,
}

impl Platform {
    /// The platform that this program was built for.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self { os: std::env::consts::OS.to_owned(), architecture: architecture.to_owned() }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}
