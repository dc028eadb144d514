//! Volumes, and what a workload mounts: the documents that the volumes' crate and the engine keep.
//!
//! A [`Volume`] is a directory of data with a name of its own, which outlives workloads. A [`MountPoint`] is what a workload
//! shows of the host: a volume, a directory or file of the user's, or the files of an image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::rootfs::LayerMount;
use crate::{Digest, Timestamp};

/// Version that this code writes into [`Volume`]; it reads this one and none newer.
pub const VERSION: u32 = 1;
/// Longest name of a volume, in bytes: the longest name of a file.
pub const NAME_LIMIT: usize = 255;

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// [`VERSION`].
    pub version: u32,
    /// Its name: see [`is_valid_name`].
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Nobody named it: it was made for one workload.
    pub anonymous: bool,
    /// Options of Docker's `local` driver, as they were given.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How much it may hold, if that is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
}

/// A limit that the file system keeps which a volume lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Number of the project that its files belong to: no other volume of that file system has it.
    pub project: u32,
    /// Bytes that it may hold.
    pub bytes: u64,
}

impl Volume {
    /// The directory of the user's that it stands for (`type=none`, `o=bind`, `device=PATH`), if it has no data of its own.
    pub fn device(&self) -> Option<&Path> {
        self.is_of(&BIND).then(|| self.options.get("device").map(Path::new)).flatten()
    }

    /// Whether it is a file system of its own, which is mounted while somebody uses it.
    pub fn is_file_system(&self) -> bool {
        self.options.contains_key("type") && !self.is_of(&BIND)
    }

    fn is_of(&self, types: &[&str]) -> bool {
        self.options.get("type").is_some_and(|kind| types.contains(&kind.as_str()))
    }
}

/// Types of volumes that are no file systems: a directory is bound.
pub const BIND: [&str; 2] = ["none", "bind"];

/// Whether a volume may have this name: a letter or digit, and then at least one letter, digit, `_`, `.` or `-`, as with Docker.
pub fn is_valid_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let mut bytes = name.bytes();
    (2..=NAME_LIMIT).contains(&name.len())
        && bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && bytes.all(inner)
}

/// What kind of thing a workload mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A directory or file of the host.
    Bind,
    /// A volume.
    Volume,
    /// The files of an image.
    Image,
    /// A file system in memory, of the workload's own.
    Tmpfs,
}

/// What a workload mounts, resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountPoint {
    /// What kind of thing it is.
    pub kind: MountKind,
    /// Name of the volume; of an image what was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Nobody named the volume here: it was made for this workload.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nameless: bool,
    /// Where the host has it; empty for an image and for what is in memory.
    #[serde(default)]
    pub source: PathBuf,
    /// Where the workload sees it: absolute.
    pub target: String,
    /// What of it the workload sees: a path below it that is looked for at each start and leads out of it in no way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subpath: Option<String>,
    /// The workload cannot write there.
    pub read_only: bool,
    /// Options as they were asked for.
    #[serde(default)]
    pub mode: String,
    /// Propagation of later mounts, if one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagation: Option<String>,
    /// The image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
    /// Its layers, lowest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerMount>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        for name in ["ab", "a1", "0.9_x-y", &"a".repeat(255)] {
            assert!(is_valid_name(name), "{name}");
        }
        for name in ["", "a", ".a", "-a", "a/b", "a b", "ä1", "a\n", &"a".repeat(256)] {
            assert!(!is_valid_name(name), "{name}");
        }
    }
}
