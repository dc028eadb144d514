//! Kernels of virtual machines: OCI artifacts beside the images (see `holm_spec::kernel`).
//!
//! ```text
//! blobs/sha256/<hex>     manifest, configuration, the kernel, the archive of its modules
//! refs/<name>            as of an image; by default `localhost/kernel:<release>`
//! kernels.json           names of the kernels that guests get without being asked, by platform
//! ```
//! The kernel and the archive are files that a machine can be given as they are. An import writes them, the
//! configuration and the manifest, each durably, and the name last; so whatever a name reaches is complete.
//!
//! | file | holds |
//! |---|---|
//! | `ar`, `package` | Debian packages |
//! | `image` | which kernel an image is |
//! | `elf` | what a module says of itself |
//! | `modules` | which modules, in which order |
//! | `import` | all of it together, into the store |
//! | `find` | names, the list, the default |

pub mod ar;
pub mod elf;
mod find;
pub mod image;
mod import;
pub mod modules;
pub mod package;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use holm_spec::image::ImageManifest;
use holm_spec::kernel::{CONFIG_TYPE, KERNEL_TYPE, KernelConfig};
use holm_spec::{Digest, Reference, Timestamp};

pub use import::{ImportKernel, ImportedKernel};

use crate::image::Name;

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its id: digest of the manifest. The configuration's would not tell two builds of one release apart.
    pub id: Digest,
    /// What the name resolved to: digest of the manifest, or of an index that lists it.
    pub digest: Digest,
    /// The name that it was found by, or has been given; none for a kernel found by its id.
    pub reference: Option<Reference>,
    /// What is known of it.
    pub config: KernelConfig,
    /// The kernel itself.
    pub image: PathBuf,
    /// Size of that in bytes.
    pub image_size: u64,
    /// The archive of its modules.
    pub modules: PathBuf,
    /// Size of that in bytes.
    pub modules_size: u64,
}

/// A row of the list of kernels.
#[derive(Clone, Debug)]
pub struct KernelSummary {
    /// The kernel.
    pub kernel: Kernel,
    /// Its names, sorted; none where all of them moved on.
    pub names: Vec<Name>,
    /// When a name last got this meaning.
    pub imported: Timestamp,
    /// Whether guests of its platform get it without being asked.
    pub default: bool,
}

/// Whether a manifest is that of a kernel.
pub(crate) fn is_kernel(manifest: &ImageManifest) -> bool {
    let artifact = manifest.artifact_type().as_ref().map(ToString::to_string);
    artifact.as_deref() == Some(KERNEL_TYPE) || manifest.config().media_type().to_string() == CONFIG_TYPE
}
