//! The layer formats: tar archives become EROFS images that the kernel mounts and `fsck.erofs` accepts,
//! mean what the OCI image specification says, and give the archive back bit for bit.
//!
//! Needs root (mounts, device nodes), `fsck.erofs`, `tar`, `python3`, `gzip`, `zstd` and `xz`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod archive;
mod damage;
mod headers;
mod layer;
mod meaning;
mod scale;
mod tools;
