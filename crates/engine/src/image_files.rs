//! The files of images: two compared, or one mounted for people to look at.
//!
//! ```text
//! <run>/mounts/<key>/record.json    which image lies where; written before the mount, removed after it
//! <run>/mounts/<key>/root           where it is mounted if nobody named a directory
//! ```
//! The record is a lease: an image that is mounted is used, as by a workload. One whose mount is gone (by umount(8), or by
//! a crash) counts no more, and goes with the next repair. Whoever mounts holds the store's lock until it is done.
//!
//! An overlay keeps its layers; their shared mounts may go while it is there.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use holm_runtime::rootfs::overlay;
use holm_spec::digest::encode_hex;
use holm_spec::files::Change;
use holm_spec::rootfs::{LayerMount, RootFs, Writable};
use holm_spec::{Digest, Timestamp};
use holm_store::Image;
use holm_sys::fail_point;
use holm_sys::file::{Durability, ensure_directory, replace};
use holm_sys::mount::{self, AttributeChange};
use holm_sys::shared_mount::SharedMount;
use rustix::fs::{Mode, OFlags, open};
use rustix::mount::MountAttrFlags;
use serde::{Deserialize, Serialize};

use crate::find::read_document;
use crate::{Engine, Error, Kind, Result};

const VERSION: u32 = 1;
const RECORD: &str = "record.json";
const ROOT: &str = "root";

/// An image that is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageMount {
    version: u32,
    /// The image's id.
    pub image: Digest,
    /// As it was asked for.
    pub name: String,
    /// Where it is mounted.
    pub target: PathBuf,
    /// When that was done.
    pub created: Timestamp,
    /// The mount namespace that it is mounted in: others do not see it.
    namespace: u64,
}

/// An image's root, nowhere mounted, with its layers.
pub(crate) struct Root {
    root: OwnedFd,
    _layers: Vec<SharedMount>,
}

impl Root {
    /// The root for who reads of it while this is there.
    pub(crate) fn descriptor(&self) -> Result<OwnedFd> {
        self.root.try_clone().map_err(|error| Error::io("copy a descriptor", error))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

impl Engine {
    /// What the image `after` has, lacks, or has otherwise than the image `before`, in the order of the paths.
    ///
    /// # Errors
    /// [`Kind::NoSuchImage`], [`Kind::Corrupt`]; what reading reports.
    pub fn compare_images(&self, before: &str, after: &str) -> Result<Vec<Change>> {
        let in_use = self.store.in_use()?;
        let [before, after] = [before, after].map(|name| self.image_root(&self.store.resolve(name)?));
        let (before, after) = (before?, after?);
        drop(in_use);
        Ok(holm_files::compare(before.root.as_fd(), after.root.as_fd())?)
    }

    pub(crate) fn image_root(&self, image: &Image) -> Result<Root> {
        self.mount_layers(self.store.layer_mounts(image)?)
    }

    /// The root of layers, by their diff-ids, lowest first.
    pub(crate) fn layers_root(&self, diff_ids: &[Digest]) -> Result<Root> {
        let _in_use = self.store.in_use()?;
        self.mount_layers(self.store.mounts_of_layers(diff_ids)?)
    }

    fn mount_layers(&self, layers: Vec<LayerMount>) -> Result<Root> {
        let nothing = Writable { upper: PathBuf::new(), work: PathBuf::new() };
        let root = RootFs { layers, writable: nothing, volatile: false };
        self.store.prepare_layers(&root.layers)?;
        let layers = holm_runtime::layers::mount(&root)?;
        let root = holm_runtime::layers::mounted(&root, &layers);
        Ok(Root { root: overlay::mount_read_only(&root, false)?, _layers: layers })
    }

    /// Mounts an image read-only, on a directory that is there, or on one of ours.
    ///
    /// # Errors
    /// [`Kind::NoSuchImage`], [`Kind::Corrupt`]; [`Kind::NoSuchPath`] if there is no such directory; [`Kind::InUse`] if
    /// something is mounted there.
    pub fn mount_image(&self, name: &str, directory: Option<&Path>) -> Result<ImageMount> {
        let _in_use = self.store.in_use()?;
        let image = self.store.resolve(name)?;
        let target = match directory {
            Some(directory) => directory.canonicalize().map_err(|error| {
                Error::caused(Kind::NoSuchPath, format!("mount on `{}`", directory.display()), error)
            })?,
            None => self.mount_directory(&image.id.to_string()).join(ROOT),
        };
        if is_mounted(&target)? {
            let text =
                format!("mount image `{name}`: something is mounted on `{}` already", target.display());
            return Err(Error::new(Kind::InUse, text));
        }
        let place = match directory {
            Some(_) => self.mount_directory(&target.to_string_lossy()),
            None => self.mount_directory(&image.id.to_string()),
        };
        let mount = ImageMount {
            version: VERSION,
            image: image.id,
            name: name.to_owned(),
            target,
            created: Timestamp::from_nanos(holm_sys::process::now()),
            namespace: namespace()?,
        };
        record(&place, &mount, directory.is_none())?;
        fail_point::reached("mount-recorded");
        self.attach_image(&image, &mount.target).inspect_err(|_| forget(&place))?;
        Ok(mount)
    }

    fn mount_directory(&self, text: &str) -> PathBuf {
        let key = Digest::of(text.as_bytes());
        self.layout.image_mounts().join(encode_hex(&key.as_bytes()[..16]))
    }

    fn attach_image(&self, image: &Image, target: &Path) -> Result<()> {
        let context = || format!("mount image {} on `{}`", image.id.short(), target.display());
        let failed = |errno| Error::io(context(), errno);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place = open(target, flags, Mode::empty()).map_err(failed)?;
        let root = self.image_root(image)?;
        let tree = mount::clone_tree(root.root.as_fd(), c".", false).map_err(failed)?;
        let set = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV;
        let change = AttributeChange { set: u64::from(set.bits()), ..AttributeChange::default() };
        mount::set_attributes(tree.as_fd(), &change, false).map_err(failed)?;
        mount::attach(tree.as_fd(), place.as_fd()).map_err(failed)
    }

    /// The images that are mounted, by where.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn image_mounts(&self) -> Result<Vec<ImageMount>> {
        let mut mounts: Vec<_> = self.mount_records()?.into_iter().map(|(_, mount)| mount).collect();
        mounts.retain(is_alive);
        mounts.sort_by(|a, b| a.target.cmp(&b.target));
        Ok(mounts)
    }

    fn mount_records(&self) -> Result<Vec<(PathBuf, ImageMount)>> {
        let directory = self.layout.image_mounts();
        let failed = |error| Error::io(format!("list `{}`", directory.display()), error);
        let entries = match std::fs::read_dir(&directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut records = Vec::new();
        for entry in entries {
            let place = entry.map_err(failed)?.path();
            records.extend(read_document(&place.join(RECORD))?.map(|mount| (place, mount)));
        }
        Ok(records)
    }

    /// Unmounts an image, by the directory or by the image if that is mounted once. Who has a file open keeps it.
    ///
    /// # Errors
    /// [`Kind::NoSuchPath`] if no such image is mounted; [`Kind::Ambiguous`].
    pub fn unmount_image(&self, text: &str) -> Result<ImageMount> {
        let records = self.mount_records()?;
        let path = Path::new(text).canonicalize().ok();
        let image = self.store.resolve(text).ok().map(|image| image.id);
        let is_there = |mount: &ImageMount| Some(&mount.target) == path.as_ref();
        let is_it = |mount: &ImageMount| Some(mount.image) == image || mount.name == text;
        let mut found =
            records.iter().filter(|(_, mount)| is_alive(mount) && is_there(mount)).collect::<Vec<_>>();
        if found.is_empty() {
            found = records.iter().filter(|(_, mount)| is_alive(mount) && is_it(mount)).collect();
        }
        let (place, mount) = match found.as_slice() {
            [one] => one,
            [] => return Err(Error::new(Kind::NoSuchPath, format!("no image is mounted as `{text}`"))),
            _ => {
                return Err(Error::new(
                    Kind::Ambiguous,
                    format!("image `{text}` is mounted on several directories"),
                ));
            }
        };
        mount::detach(&mount.target)
            .map_err(|error| Error::io(format!("unmount `{}`", mount.target.display()), error))?;
        forget(place);
        Ok(mount.clone())
    }

    /// Removes the records of mounts that are gone. The caller holds the store's lock alone, so nobody is mounting.
    pub(crate) fn forget_mounts(&self) {
        for (place, mount) in self.mount_records().unwrap_or_default() {
            if !is_alive(&mount) {
                forget(&place);
            }
        }
    }
}

/// Writes down what is about to be mounted.
fn record(place: &Path, mount: &ImageMount, with_root: bool) -> Result<()> {
    let failed = |error| Error::io(format!("write `{}`", place.join(RECORD).display()), error);
    ensure_directory(place, 0o700).map_err(failed)?;
    if with_root {
        ensure_directory(&mount.target, 0o700).map_err(failed)?;
    }
    let text = serde_json::to_vec(mount).expect("a record is plain data");
    replace(&place.join(RECORD), &text, Durability::Volatile).map_err(failed)
}

/// Removes a record, and the directory of ours, which nothing is mounted on: what cannot be removed goes another time.
fn forget(place: &Path) {
    let _ = std::fs::remove_dir(place.join(ROOT));
    let _ = std::fs::remove_file(place.join(RECORD));
    let _ = std::fs::remove_dir(place);
}

/// One of another mount namespace cannot be seen from here, and counts.
fn is_alive(mount: &ImageMount) -> bool {
    let elsewhere = namespace().is_ok_and(|namespace| namespace != mount.namespace);
    elsewhere || is_mounted(&mount.target).unwrap_or(true)
}

fn is_mounted(target: &Path) -> Result<bool> {
    mount::is_mount_point(target).map_err(|error| Error::io(format!("look at `{}`", target.display()), error))
}

fn namespace() -> Result<u64> {
    let namespace = std::fs::metadata("/proc/self/ns/mnt");
    namespace
        .map(|namespace| namespace.ino())
        .map_err(|error| Error::io("look at the mount namespace", error))
}
