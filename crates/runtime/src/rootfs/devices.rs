//! `/dev`: a tmpfs with the device nodes, links and folders that every container has.
//!
//! OCI runtime specification, "Default Devices" and "Dev symbolic links". The tmpfs is filled while
//! it is still detached: mknod on a descriptor that no other process can reach. A process that may not make
//! nodes, because it is in a user namespace itself, binds the host's over empty files.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use holm_spec::runtime::{LinuxDevice, LinuxDeviceType, Mount, Spec};
use holm_sys::Errno;
use holm_sys::mount::{FsOption, clone_tree, new_mount};
use holm_sys::rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, makedev, mkdirat, mknodat, openat,
    symlinkat,
};
use holm_sys::rustix::mount::MountAttrFlags;

use super::options::MountOptions;
use super::{Audience, MountPlan, Source, Target, attribute_bits, data_of, fs_options, path_string};
use crate::error::{Context, Error, Result};
use crate::maps::Maps;

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

/// Adds a detached tmpfs with everything in it, and what has to be bound into it.
pub(super) fn prepare(
    mounts: &mut Vec<MountPlan>,
    mount: &Mount,
    options: &MountOptions,
    spec: &Spec,
    audience: &Audience<'_>,
) -> Result<()> {
    let mut options = options.clone();
    if let Some(maps) = audience.maps {
        options.translate_ids(maps, true)?;
    }
    let data = data_of(mount, &options)?;
    let data: Vec<FsOption<'_>> = fs_options(&data).collect();
    // Nodes and mount points must be made first.
    let attributes = MountAttrFlags::from_bits_retain(attribute_bits(&options) & !RDONLY);
    let tmpfs = new_mount(c"tmpfs", &data, attributes).context(|| "make the file system for `/dev`")?;
    let root = open_root(&tmpfs).context(|| "open the file system for `/dev`")?;
    let mut folder = Folder { dev: root.as_fd(), maps: audience.maps, bound: Vec::new() };
    folder.fill(spec, audience.terminal)?;
    let bound = folder.bound;
    mounts.push(MountPlan {
        source: Source::Ready(tmpfs),
        target: Target::new(Path::new("/dev"))?,
        propagation: options.propagation_change(),
    });
    mounts.extend(bound);
    Ok(())
}

/// `MOUNT_ATTR_RDONLY`.
const RDONLY: u32 = 1;

/// A mount descriptor is `O_PATH`; creating needs a directory.
fn open_root(dev: &OwnedFd) -> Result<OwnedFd, Errno> {
    openat(dev, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// `/dev` being filled.
struct Folder<'a> {
    dev: BorrowedFd<'a>,
    maps: Option<&'a Maps>,
    /// What cannot be made and is bound from the host.
    bound: Vec<MountPlan>,
}

/// A device to make.
struct Node<'a> {
    /// Below `/dev`.
    name: &'a Path,
    kind: FileType,
    number: u64,
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Folder<'_> {
    fn fill(&mut self, spec: &Spec, terminal: bool) -> Result<()> {
        let asked = spec.linux().as_ref().and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
        let is_asked = |name: &str| asked.iter().any(|device| *device.path() == Path::new("/dev").join(name));
        for (name, major, minor) in DEFAULTS.into_iter().filter(|(name, ..)| !is_asked(name)) {
            let number = makedev(major, minor);
            let kind = FileType::CharacterDevice;
            self.make(&Node { name: Path::new(name), kind, number, mode: 0o666, uid: 0, gid: 0 })?;
        }
        for (target, name) in LINKS {
            symlinkat(target, self.dev, name)
                .context(|| format!("make link `/dev/{}`", name.to_string_lossy()))?;
        }
        for name in FOLDERS {
            mkdirat(self.dev, name, Mode::from_raw_mode(0o755))
                .context(|| format!("make folder `/dev/{}`", name.to_string_lossy()))?;
        }
        if terminal {
            self.make_file(Path::new("console"))?;
        }
        for (index, device) in asked.iter().enumerate() {
            self.make_asked(device).map_err(|error| error.at_field(format!("linux.devices[{index}]")))?;
        }
        Ok(())
    }

    /// A device that the configuration asks for; what does not lie below `/dev` is made by the container's process.
    fn make_asked(&mut self, device: &LinuxDevice) -> Result<()> {
        let path = device.path();
        if !path.starts_with("/dev") {
            return Ok(());
        }
        let name = path
            .strip_prefix("/dev")
            .ok()
            .filter(|name| name.components().all(|part| matches!(part, std::path::Component::Normal(_))))
            .filter(|name| !name.as_os_str().is_empty())
            .ok_or_else(|| Error::invalid(format!("device `{}` does not lie below /dev", path.display())))?;
        if name == Path::new("ptmx") {
            return Ok(());
        }
        let (kind, number, mode) = kind_number_mode(device)?;
        self.make_folders(name)?;
        let (uid, gid) = (device.uid().unwrap_or(0), device.gid().unwrap_or(0));
        self.make(&Node { name, kind, number, mode, uid, gid })
    }

    fn make(&mut self, node: &Node<'_>) -> Result<()> {
        let path = || format!("/dev/{}", node.name.display());
        match mknodat(self.dev, node.name, node.kind, Mode::from_raw_mode(node.mode), node.number) {
            Ok(()) => {}
            Err(Errno::PERM) => return self.bind(node),
            Err(errno) => return Err(errno).context(|| format!("make device `{}`", path())),
        }
        // The process's mask does not apply to what was asked for.
        chmodat(self.dev, node.name, Mode::from_raw_mode(node.mode), AtFlags::empty())
            .context(|| format!("set the mode of device `{}`", path()))?;
        let (uid, gid) = self.owner(node)?;
        if (uid, gid) != (0, 0) {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            chownat(self.dev, node.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .context(|| format!("give device `{}` to {uid}:{gid}", path()))?;
        }
        Ok(())
    }

    fn owner(&self, node: &Node<'_>) -> Result<(u32, u32)> {
        let Some(maps) = self.maps else { return Ok((node.uid, node.gid)) };
        maps.uids.to_host(node.uid).zip(maps.gids.to_host(node.gid)).ok_or_else(|| {
            Error::invalid(format!(
                "its owner {}:{} is not mapped into the user namespace",
                node.uid, node.gid
            ))
        })
    }

    /// The host's device of that name, over an empty file.
    fn bind(&mut self, node: &Node<'_>) -> Result<()> {
        let path = Path::new("/dev").join(node.name);
        let tree = clone_tree(CWD, &path_string(&path)?, false)
            .context(|| format!("bind the host's device `{}`", path.display()))?;
        self.make_file(node.name)?;
        self.bound.push(MountPlan {
            source: Source::Ready(tree),
            target: Target::new(&path)?,
            propagation: None,
        });
        Ok(())
    }

    fn make_file(&self, name: &Path) -> Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(self.dev, name, flags, Mode::from_raw_mode(0o620))
            .map(drop)
            .context(|| format!("make file `/dev/{}`", name.display()))
    }

    fn make_folders(&self, name: &Path) -> Result<()> {
        let mut folders: Vec<&Path> =
            name.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()).collect();
        folders.reverse();
        for folder in folders {
            match mkdirat(self.dev, folder, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => {
                    return Err(errno).context(|| format!("make folder `/dev/{}`", folder.display()));
                }
            }
        }
        Ok(())
    }
}

fn kind_number_mode(device: &LinuxDevice) -> Result<(FileType, u64, u32)> {
    let kind = match device.typ() {
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::P => FileType::Fifo,
        LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
        LinuxDeviceType::A => return Err(Error::invalid("type `a` is for rules of devices only")),
    };
    let number = |value: i64| u32::try_from(value).unwrap_or(0);
    let number = makedev(number(device.major()), number(device.minor()));
    Ok((kind, number, device.file_mode().unwrap_or(0o666) & 0o7777))
}

/// A device outside of `/dev`, which the container's process makes in its root.
#[derive(Debug)]
pub(crate) struct NodePlan {
    /// Its directory.
    pub parent: Target,
    pub name: CString,
    pub kind: FileType,
    pub number: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// The devices of a configuration that do not lie below `/dev`.
pub(super) fn elsewhere(spec: &Spec) -> Result<Vec<NodePlan>> {
    let asked = spec.linux().as_ref().and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
    let mut nodes = Vec::new();
    for (index, device) in asked.iter().enumerate().filter(|(_, device)| !device.path().starts_with("/dev")) {
        let at = |error: Error| error.at_field(format!("linux.devices[{index}]"));
        let path = device.path();
        let wrong = || at(Error::invalid(format!("`{}` is no place for a device", path.display())));
        let plain = |part| !matches!(part, std::path::Component::ParentDir);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(wrong()) };
        if !path.is_absolute() || !path.components().all(plain) {
            return Err(wrong());
        }
        let (kind, number, mode) = kind_number_mode(device).map_err(at)?;
        nodes.push(NodePlan {
            parent: Target::new(parent)?,
            name: path_string(Path::new(name))?,
            kind,
            number,
            mode,
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
        });
    }
    Ok(nodes)
}
