//! `/dev`: a tmpfs with the device nodes, links and folders that every container has.
//!
//! OCI runtime specification, "Default Devices" and "Dev symbolic links". The tmpfs is filled while
//! it is still detached: mknod on a descriptor that no other process can reach.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use holm_spec::runtime::{LinuxDevice, LinuxDeviceType, Spec};
use holm_sys::Errno;
use holm_sys::mount::{FsOption, new_mount};
use holm_sys::rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, chownat, makedev, mkdirat, mknodat, openat, symlinkat,
};
use holm_sys::rustix::mount::MountAttrFlags;

use super::options::MountOptions;
use super::{Source, attribute_bits, c_options, fs_options};
use crate::error::{Context, Error, Result};

/// Name, major, minor of the devices that are always there, mode 0666.
const DEFAULTS: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&CStr, &CStr); 6] = [
    (c"/proc/self/fd", c"fd"),
    (c"/proc/self/fd/0", c"stdin"),
    (c"/proc/self/fd/1", c"stdout"),
    (c"/proc/self/fd/2", c"stderr"),
    (c"/proc/kcore", c"core"),
    (c"pts/ptmx", c"ptmx"),
];

/// Mount points of the other file systems that belong here.
const FOLDERS: [&CStr; 3] = [c"pts", c"shm", c"mqueue"];

/// A detached tmpfs with everything in it.
pub(super) fn prepare(options: &MountOptions, spec: &Spec, terminal: bool) -> Result<Source> {
    let data = c_options(options)?;
    let data: Vec<FsOption<'_>> = fs_options(&data).collect();
    let attributes = MountAttrFlags::from_bits_retain(attribute_bits(options) & !RDONLY);
    let dev = new_mount(c"tmpfs", &data, attributes).context(|| "make the file system for `/dev`")?;
    let root = open_root(&dev).context(|| "open the file system for `/dev`")?;
    fill(root.as_fd(), spec, terminal)?;
    Ok(Source::Ready(dev))
}

/// Nodes must be made first; the workload's `/dev` is never read-only in Docker.
const RDONLY: u32 = 1;

/// A mount descriptor is `O_PATH`; creating needs a directory.
fn open_root(dev: &OwnedFd) -> Result<OwnedFd, Errno> {
    openat(dev, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn fill(dev: BorrowedFd<'_>, spec: &Spec, terminal: bool) -> Result<()> {
    let mode = Mode::from_raw_mode(0o666);
    for (name, major, minor) in DEFAULTS {
        mknodat(dev, name, FileType::CharacterDevice, mode, makedev(major, minor))
            .context(|| format!("make device `/dev/{name}`"))?;
    }
    for (target, name) in LINKS {
        symlinkat(target, dev, name).context(|| format!("make link `/dev/{}`", name.to_string_lossy()))?;
    }
    for name in FOLDERS {
        mkdirat(dev, name, Mode::from_raw_mode(0o755))
            .context(|| format!("make folder `/dev/{}`", name.to_string_lossy()))?;
    }
    if terminal {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(dev, c"console", flags, Mode::from_raw_mode(0o620)).context(|| "make file `/dev/console`")?;
    }
    let devices = spec.linux().as_ref().and_then(|linux| linux.devices().as_ref());
    devices.into_iter().flatten().try_for_each(|device| make_device(dev, device))
}

/// A device that the configuration asks for; below `/dev` only.
fn make_device(dev: BorrowedFd<'_>, device: &LinuxDevice) -> Result<()> {
    let path = device.path();
    let name = path
        .strip_prefix("/dev")
        .ok()
        .filter(|name| name.components().all(|part| matches!(part, std::path::Component::Normal(_))))
        .filter(|name| !name.as_os_str().is_empty())
        .ok_or_else(|| Error::invalid(format!("device `{}` does not lie below /dev", path.display())))?;
    make_folders(dev, name)?;
    let kind = match device.typ() {
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::P => FileType::Fifo,
        LinuxDeviceType::C | LinuxDeviceType::U | LinuxDeviceType::A => FileType::CharacterDevice,
    };
    let number = |value: i64| u32::try_from(value).unwrap_or(0);
    let mode = Mode::from_raw_mode(device.file_mode().unwrap_or(0o666) & 0o7777);
    let node = makedev(number(device.major()), number(device.minor()));
    match mknodat(dev, name, kind, mode, node) {
        // Asked for by name what is always there.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).context(|| format!("make device `{}`", path.display())),
    }
    let (uid, gid) = (device.uid().unwrap_or(0), device.gid().unwrap_or(0));
    if (uid, gid) != (0, 0) {
        chownat(dev, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::SYMLINK_NOFOLLOW)
            .context(|| format!("give device `{}` to {uid}:{gid}", path.display()))?;
    }
    Ok(())
}

fn make_folders(dev: BorrowedFd<'_>, name: &Path) -> Result<()> {
    let mut folders: Vec<&Path> =
        name.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()).collect();
    folders.reverse();
    for folder in folders {
        match mkdirat(dev, folder, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).context(|| format!("make folder `/dev/{}`", folder.display())),
        }
    }
    Ok(())
}
