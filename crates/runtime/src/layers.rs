//! The layers of a workload's root, mounted for as long as somebody needs them.

use holm_spec::rootfs::{LayerMount, RootFs};
use holm_sys::shared_mount::SharedMount;

use crate::error::{Error, Kind, Result};

/// Takes a share of each layer's mount.
///
/// # Errors
/// [`Kind::System`]: a layer cannot be mounted.
pub fn mount(root: &RootFs) -> Result<Vec<SharedMount>> {
    root.layers.iter().map(share).collect()
}

/// Takes a share of one layer's mount.
///
/// # Errors
/// As [`mount`].
pub fn share(layer: &LayerMount) -> Result<SharedMount> {
    let unpacked = layer.unpacked();
    let source = if unpacked.is_dir() { &unpacked } else { &layer.source };
    SharedMount::acquire(source, &layer.lock, &layer.target)
        .map_err(|error| Error::caused(Kind::System, "mount the image", error))
}

/// The root with its layers where they are mounted for this process's mount namespace.
pub fn mounted(root: &RootFs, layers: &[SharedMount]) -> RootFs {
    let mut root = root.clone();
    for (layer, mount) in root.layers.iter_mut().zip(layers) {
        mount.target().clone_into(&mut layer.target);
    }
    root
}
