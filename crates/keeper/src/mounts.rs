//! What a workload mounts that is found only when it starts: the files of images, and parts of what lies on the host.
//!
//! A part is looked for below its source, whatever links others have put there, and handed on as the descriptor that was
//! found: between the look and the mount nothing can be put in its place.

use std::borrow::Cow;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use holm_runtime::rootfs::overlay;
use holm_runtime::{Error, layers};
use holm_spec::rootfs::{RootFs, Writable};
use holm_spec::runtime::Mount;
use holm_spec::volume::{MountKind, MountPoint};
use holm_spec::workload::Config;
use holm_sys::in_root;
use holm_sys::shared_mount::SharedMount;
use rustix::fs::{Mode, OFlags, ResolveFlags, open};

/// A configuration with the mounts that were found.
pub(crate) struct Found<'a> {
    /// It makes sense to this process only, and while this is there.
    pub config: Cow<'a, Config>,
    /// Layers of images, for as long as the workload runs.
    pub layers: Vec<SharedMount>,
    _open: Vec<OwnedFd>,
}

/// Finds what a workload mounts.
///
/// # Errors
/// A part that is not there; an image that cannot be mounted.
pub(crate) fn find(config: &Config) -> Result<Found<'_>, Error> {
    let mut found = Found { config: Cow::Borrowed(config), layers: share_images(config)?, _open: Vec::new() };
    let mut shares = found.layers.iter();
    for point in &config.settings.mounts {
        if point.kind == MountKind::Image {
            let mounted: Vec<&SharedMount> = shares.by_ref().take(point.layers.len()).collect();
            let (mount, open) = overlay::describe(&root_of(point, &mounted), Path::new(&point.target))?;
            add(mounts_of(&mut found.config), mount);
            found._open.extend(open);
        } else if let Some(part) = &point.subpath {
            let part = open_part(point, part)?;
            let source = PathBuf::from(format!("/proc/self/fd/{}", part.as_raw_fd()));
            let is_it = |mount: &&mut Mount| mount.destination() == Path::new(&point.target);
            if let Some(mount) = mounts_of(&mut found.config).iter_mut().find(is_it) {
                mount.set_source(Some(source));
            }
            found._open.push(part);
        }
    }
    Ok(found)
}

/// Takes a share of the layers of every image that a workload mounts, in their order.
///
/// # Errors
/// A layer cannot be mounted.
pub(crate) fn share_images(config: &Config) -> Result<Vec<SharedMount>, Error> {
    config.settings.mounts.iter().flat_map(|point| &point.layers).map(layers::share).collect()
}

fn root_of(point: &MountPoint, mounted: &[&SharedMount]) -> RootFs {
    let mut layers = point.layers.clone();
    for (layer, share) in layers.iter_mut().zip(mounted) {
        share.target().clone_into(&mut layer.target);
    }
    let nothing = Writable { upper: PathBuf::new(), work: PathBuf::new() };
    RootFs { layers, writable: nothing, volatile: false }
}

fn mounts_of<'a>(config: &'a mut Cow<'_, Config>) -> &'a mut Vec<Mount> {
    config.to_mut().oci.mounts_mut().get_or_insert_with(Vec::new)
}

/// After all that are no deeper.
fn add(mounts: &mut Vec<Mount>, mount: Mount) {
    let depth = |mount: &Mount| mount.destination().components().count();
    let place = mounts.iter().position(|other| depth(other) > depth(&mount)).unwrap_or(mounts.len());
    mounts.insert(place, mount);
}

fn open_part(point: &MountPoint, part: &str) -> Result<OwnedFd, Error> {
    let what = || format!("find `{part}` in `{}` for `{}`", point.source.display(), point.target);
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let whole = open(&point.source, flags, Mode::empty()).map_err(|errno| Error::system(what(), errno))?;
    in_root::open(whole.as_fd(), part, flags, ResolveFlags::empty())
        .map_err(|errno| Error::system(what(), errno))
}
