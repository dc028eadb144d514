//! The root file system of a workload as plain mount data: what the store hands to the runtime.
//!
//! A layer is mounted once a host and shared. Its users hold a shared `flock` on its lock file;
//! whoever is last takes the lock exclusively and unmounts (DESIGN section 5).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Read-only layers below an optional writable part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootFs {
    /// Lowest layer first; at least one.
    pub layers: Vec<LayerMount>,
    /// Directories of the writable part.
    pub writable: Writable,
    /// The writable part is thrown away with the workload: nothing of it needs to reach the disk
    /// (overlayfs option `volatile`).
    pub volatile: bool,
}

/// One layer and where it is mounted for everybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerMount {
    /// The EROFS image.
    pub source: PathBuf,
    /// Lock file of the shared mount.
    pub lock: PathBuf,
    /// Mount point of the shared mount.
    pub target: PathBuf,
}

/// What the name of a layer's directory ends with.
pub const UNPACKED: &str = "dir";

impl LayerMount {
    /// The directory with the files of the layer: where it is there, it is mounted in place of the image.
    pub fn unpacked(&self) -> PathBuf {
        self.source.with_extension(UNPACKED)
    }
}

/// Upper and work directory of an overlay mount, on one file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Writable {
    /// overlayfs `upperdir`.
    pub upper: PathBuf,
    /// overlayfs `workdir`.
    pub work: PathBuf,
}
