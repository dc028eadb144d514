//! Whether layers can be mounted: an EROFS image of our own writer straight from its file, and overlayfs above it.
//!
//! In a thread with a mount namespace of its own, below a tmpfs; what is mounted there goes with the thread. The image
//! is a file without a name.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use holm_store::convert::{LayerFiles, Options, convert};
use holm_sys::mount::{FsOption, attach, new_mount};
use holm_sys::process::{Namespaces, unshare};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountPropagationFlags, mount_change};

use super::Check;
use super::Need::Containers;
use super::containers::told;

/// An archive of nothing: the two blocks of zeros that end one.
const EMPTY_TAR: [u8; 1024] = [0; 1024];
/// Bytes that are enough for the tmpfs.
const SIZE: &std::ffi::CStr = c"1m";

/// What the trials say.
struct Outcome {
    erofs: Result<(), Errno>,
    overlay: Result<(), Errno>,
}

pub(super) fn examine() -> [Check; 2] {
    let tried = std::thread::Builder::new().spawn(try_mounts).map_err(|_| Errno::AGAIN);
    let outcome = tried.and_then(|thread| thread.join().unwrap_or(Err(Errno::INTR)));
    let outcome = outcome.unwrap_or_else(|errno| Outcome { erofs: Err(errno), overlay: Err(errno) });
    [erofs(outcome.erofs), overlay(outcome.overlay)]
}

fn erofs(tried: Result<(), Errno>) -> Check {
    let check = |found: String| Check::ok("erofs", Containers, found);
    match tried {
        Ok(()) => check("mounts straight from files".to_owned()),
        Err(Errno::NOTBLK) => check("mounts from block devices only".to_owned())
            .limited("each layer takes a loop device, and its first mount is slower", "Linux 6.12 or later"),
        Err(Errno::NODEV) => check(told(Err(Errno::NODEV))).limited(
            "layers are unpacked to directories: they take their room twice, and their first start is slower",
            "modprobe erofs",
        ),
        Err(errno) => check(told(Err(errno)))
            .missing("no image can be mounted", "modprobe erofs, and root's rights to mount"),
    }
}

fn overlay(tried: Result<(), Errno>) -> Check {
    match tried {
        Ok(()) => Check::ok("overlay", Containers, "mounts"),
        Err(errno) => Check::ok("overlay", Containers, told(Err(errno))).missing(
            "no workload can have files of its own above an image",
            "modprobe overlay, and root's rights to mount",
        ),
    }
}

fn try_mounts() -> Result<Outcome, Errno> {
    let image = image()?;
    unshare(Namespaces::MOUNT)?;
    mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    // In this namespace nobody else sees that something lies above it.
    let place = Path::new("/proc");
    let tmpfs = new_mount(c"tmpfs", &[FsOption::Value(c"size", SIZE)], MountAttrFlags::empty())?;
    let source = PathBuf::from(format!("/proc/self/fd/{}", image.as_raw_fd()));
    // Opened while `/proc` is still to be seen.
    let erofs = mount_image(&source);
    mount_at(&tmpfs, place)?;
    for name in ["lower", "upper", "work"] {
        rustix::fs::mkdir(place.join(name), Mode::RWXU)?;
    }
    let overlay = try_overlay(erofs.as_ref().ok(), place);
    Ok(Outcome { erofs: erofs.map(drop), overlay })
}

/// An image of an empty layer.
fn image() -> Result<File, Errno> {
    let temporary = || {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        rustix::fs::open(std::env::temp_dir(), flags, Mode::RUSR | Mode::WUSR).map(File::from)
    };
    let (erofs, tarmeta) = (temporary()?, temporary()?);
    let files = LayerFiles { erofs: &erofs, tarmeta: &tarmeta };
    convert(&EMPTY_TAR[..], &files, &Options::default()).map_err(|_| Errno::IO)?;
    Ok(erofs)
}

fn mount_image(source: &Path) -> Result<OwnedFd, Errno> {
    let source = std::ffi::CString::new(source.as_os_str().as_encoded_bytes()).map_err(|_| Errno::INVAL)?;
    let options = [FsOption::Flag(c"ro"), FsOption::Value(c"source", &source)];
    new_mount(c"erofs", &options, MountAttrFlags::MOUNT_ATTR_RDONLY)
}

fn mount_at(mount: &OwnedFd, place: &Path) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = rustix::fs::open(place, flags, Mode::empty())?;
    attach(mount.as_fd(), place.as_fd())
}

/// Above the image where there is one, else above an empty directory: the two are told apart.
fn try_overlay(erofs: Option<&OwnedFd>, place: &Path) -> Result<(), Errno> {
    if let Some(erofs) = erofs {
        mount_at(erofs, &place.join("lower"))?;
    }
    let options = [
        FsOption::Value(c"lowerdir", c"/proc/lower"),
        FsOption::Value(c"upperdir", c"/proc/upper"),
        FsOption::Value(c"workdir", c"/proc/work"),
        FsOption::Value(c"redirect_dir", c"nofollow"),
        FsOption::Value(c"metacopy", c"off"),
    ];
    new_mount(c"overlay", &options, MountAttrFlags::empty()).map(drop)
}
