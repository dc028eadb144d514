//! What a workload mounts that is found only when it starts: the files of images, volumes that are file systems, and parts of
//! what lies on the host.
//!
//! A part is looked for below its source, whatever links others have put there, and handed on as the descriptor that was
//! found: between the look and the mount nothing can be put in its place.

use std::borrow::Cow;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use holm_runtime::rootfs::overlay;
use holm_runtime::{Error, Kind, layers};
use holm_spec::layout::Layout;
use holm_spec::rootfs::{RootFs, Writable};
use holm_spec::runtime::Mount;
use holm_spec::volume::{MountKind, MountPoint};
use holm_spec::workload::Config;
use holm_sys::file::ensure_directory;
use holm_sys::in_root;
use holm_sys::shared_mount::SharedMount;
use holm_volume::{Share, Volumes};
use rustix::fs::{Mode, OFlags, ResolveFlags, open};

/// A configuration with the mounts that were found.
pub(crate) struct Found<'a> {
    /// It makes sense to this process only, and while this is there.
    pub config: Cow<'a, Config>,
    /// Layers of images, for as long as the workload runs.
    pub layers: Vec<SharedMount>,
    /// Volumes that are mounted, for as long.
    pub volumes: Vec<Share>,
    _open: Vec<OwnedFd>,
}

/// Finds what a workload mounts.
///
/// # Errors
/// A part that is not there; an image or a volume that cannot be mounted.
pub(crate) fn find<'a>(config: &'a Config, layout: &Layout) -> Result<Found<'a>, Error> {
    let mut found =
        Found { config: Cow::Borrowed(config), layers: Vec::new(), volumes: Vec::new(), _open: Vec::new() };
    for point in &config.settings.mounts {
        if point.kind == MountKind::Image {
            find_image(&mut found, point, layout)?;
            continue;
        }
        found.volumes.extend(share_volume(point, layout)?);
        if let Some(part) = &point.subpath {
            let part = open_part(&point.source, point, part)?;
            let is_it = |mount: &&mut Mount| mount.destination() == Path::new(&point.target);
            if let Some(mount) = mounts_of(&mut found.config).iter_mut().find(is_it) {
                mount.set_source(Some(path_of(&part)));
            }
            found._open.push(part);
        }
    }
    Ok(found)
}

/// The images of a workload that runs already, as far as they are mounted.
pub(crate) fn share_images_again(config: &Config, layout: &Layout) -> Vec<SharedMount> {
    let share = |point: &MountPoint| {
        let layers = point.layers.iter().filter_map(|layer| layers::share(layer).ok());
        let whole = point.image.filter(|_| point.subpath.is_some()).and_then(|image| {
            let paths = layout.whole_image(&image);
            paths.dir.exists().then(|| SharedMount::rejoin(&paths.lock(), &paths.root())).flatten()
        });
        layers.chain(whole).collect::<Vec<_>>()
    };
    config.settings.mounts.iter().flat_map(share).collect()
}

/// The volumes of a workload that runs already, as far as they are mounted.
pub(crate) fn share_volumes_again(config: &Config, layout: &Layout) -> Vec<Share> {
    let volumes = config.settings.mounts.iter().filter(|point| point.kind == MountKind::Volume);
    volumes.filter_map(|point| Volumes::new(layout).share_again(point.name.as_ref()?)).collect()
}

/// A share of a volume's mount, if it is one that is mounted. Another one must keep its size.
fn share_volume(point: &MountPoint, layout: &Layout) -> Result<Option<Share>, Error> {
    let Some(name) = point.name.as_ref().filter(|_| point.kind == MountKind::Volume) else { return Ok(None) };
    let volumes = Volumes::new(layout);
    let is_mounted = point.source == layout.volume_mount(name).root();
    let share = volumes.find(name).and_then(|volume| match is_mounted {
        true => volumes.share(&volume),
        false => volumes.keep_size(&volume).map(|()| None),
    });
    share.map_err(|error| Error::caused(Kind::System, format!("mount on `{}`", point.target), error))
}

fn find_image(found: &mut Found<'_>, point: &MountPoint, layout: &Layout) -> Result<(), Error> {
    let shares: Vec<SharedMount> = point.layers.iter().map(layers::share).collect::<Result<_, _>>()?;
    let root = root_of(point, &shares);
    match &point.subpath {
        None => {
            let (mount, open) = overlay::describe(&root, Path::new(&point.target))?;
            add(mounts_of(&mut found.config), mount);
            found._open.extend(open);
        }
        Some(part) => {
            let whole = share_whole(point, &root, layout)?;
            let one = root.layers.first().map(|layer| layer.target.as_path());
            let place = whole.as_ref().map(SharedMount::target).or(one);
            let nothing = || Error::invalid(format!("mount on `{}`: the image has no files", point.target));
            let part = open_part(place.ok_or_else(nothing)?, point, part)?;
            add(mounts_of(&mut found.config), part_mount(point, path_of(&part)));
            found._open.push(part);
            found.layers.extend(whole);
        }
    }
    found.layers.extend(shares);
    Ok(())
}

/// The layers of an image as one, mounted for whoever uses a part of it; none if it has one layer, which is mounted already.
/// A part of a mount that is nowhere attached cannot be bound, before Linux 6.15.
fn share_whole(point: &MountPoint, root: &RootFs, layout: &Layout) -> Result<Option<SharedMount>, Error> {
    let image = point.image.filter(|_| root.layers.len() > 1);
    let Some(image) = image else { return Ok(None) };
    let paths = layout.whole_image(&image);
    ensure_directory(&paths.dir, 0o700)
        .map_err(|error| Error::system(format!("make `{}`", paths.dir.display()), error))?;
    let make = || overlay::mount_read_only(root, false).map_err(std::io::Error::other);
    SharedMount::acquire_made(&format!("image {}", image.short()), &paths.lock(), &paths.root(), &make)
        .map(Some)
        .map_err(|error| Error::caused(Kind::System, "mount the image", error))
}

fn part_mount(point: &MountPoint, source: PathBuf) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(point.target.clone().into())
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(source))
        .set_options(Some(["bind", "rprivate", "ro", "nosuid", "nodev"].map(str::to_owned).to_vec()));
    mount
}

fn path_of(open: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", open.as_raw_fd()).into()
}

fn root_of(point: &MountPoint, mounted: &[SharedMount]) -> RootFs {
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

fn open_part(place: &Path, point: &MountPoint, part: &str) -> Result<OwnedFd, Error> {
    let source = match point.kind {
        MountKind::Image => point.name.as_deref().unwrap_or_default().into(),
        _ => point.source.display().to_string(),
    };
    let what = || format!("find `{part}` in `{source}` for `{}`", point.target);
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let whole = open(place, flags, Mode::empty()).map_err(|errno| Error::system(what(), errno))?;
    in_root::open(whole.as_fd(), part, flags, ResolveFlags::empty())
        .map_err(|errno| Error::system(what(), errno))
}
