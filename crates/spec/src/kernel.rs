//! Kernels of virtual machines as OCI artifacts.
//!
//! ```text
//! manifest   artifactType = KERNEL_TYPE
//!   config   CONFIG_TYPE: a `KernelConfig`
//!   layer 0  IMAGE_TYPE: the kernel as its package has it (`bzImage`, `vmlinux`, `Image`)
//!   layer 1  MODULES_TYPE: a cpio archive of the form "newc", uncompressed, with `lib/modules/NN-NAME.ko`
//! ```
//!
//! The number in front of a module's name is its place in the order of loading. The guest agent is no part of a
//! kernel: its archive is appended to the modules' at boot, so a new version of Holm strands no kernel.

use serde::{Deserialize, Serialize};

use crate::platform::Platform;

/// `artifactType` of a kernel's manifest.
pub const KERNEL_TYPE: &str = "application/vnd.holm.kernel.v1";
/// Media type of a kernel's configuration.
pub const CONFIG_TYPE: &str = "application/vnd.holm.kernel.config.v1+json";
/// Media type of the kernel itself.
pub const IMAGE_TYPE: &str = "application/vnd.holm.kernel.image.v1";
/// Media type of its modules.
pub const MODULES_TYPE: &str = "application/vnd.holm.kernel.modules.v1.cpio";

/// Version of [`KernelConfig`] that this code writes; it reads this one and none newer.
pub const VERSION: u32 = 1;

/// What is known of a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelConfig {
    /// [`VERSION`].
    pub version: u32,
    /// What `uname -r` says in the guest.
    pub release: String,
    /// What machine it is for.
    pub platform: Platform,
    /// How the image is to be booted.
    pub format: Format,
    /// Modules in the order of loading.
    pub modules: Vec<String>,
    /// Where it came from, for people: a package with its version, or a file name.
    pub origin: String,
}

/// Form of a kernel's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Compressed, for x86-64's boot protocol (`vmlinuz`).
    BzImage,
    /// ELF (`vmlinux`).
    Elf,
    /// arm64's own, compressed or not.
    Image,
}
