//! The mount API by descriptors (fsopen(2) and its kin), and what surrounds it.
#![expect(unsafe_code, reason = "mount_setattr and loop devices have no safe wrapper")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_reconfigure, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, fspick, move_mount, open_tree,
};

use crate::process::last_errno;

/// An option of a file system: a flag, or a key with a value.
#[derive(Clone, Copy, Debug)]
pub enum FsOption<'a> {
    /// Present or absent.
    Flag(&'a CStr),
    /// Key and value.
    Value(&'a CStr, &'a CStr),
}

/// Makes a detached mount of a new file-system instance. May be called in a child.
pub fn new_mount(
    kind: &CStr,
    options: &[FsOption<'_>],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for option in options {
        match *option {
            FsOption::Flag(key) => fsconfig_set_flag(context.as_fd(), key)?,
            FsOption::Value(key, value) => fsconfig_set_string(context.as_fd(), key, value)?,
        }
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Makes a detached copy of the mount at `path` below `at` (recursively if asked): a bind mount that
/// is nowhere yet. What is mounted on the original later appears in the copy, and nothing goes the other way. May
/// be called in a child.
pub fn clone_tree(at: BorrowedFd<'_>, path: &CStr, recursive: bool) -> Result<OwnedFd, Errno> {
    let tree = clone_peer_tree(at, path, recursive)?;
    let change = AttributeChange { propagation: libc::MS_SLAVE, ..AttributeChange::default() };
    set_attributes(tree.as_fd(), &change, recursive)?;
    Ok(tree)
}

/// As [`clone_tree`], but of a shared mount the copy is a peer: what is mounted on either appears on both.
pub fn clone_peer_tree(at: BorrowedFd<'_>, path: &CStr, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if path.is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(at, path, flags)
}

/// Makes a detached read-only copy of the mount at `path` below `at`: whoever gets hold of a file through it cannot
/// write. An empty path names `at` itself.
pub fn clone_read_only(at: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    const RDONLY: u64 = 1;
    let tree = clone_peer_tree(at, path, false)?;
    let change = AttributeChange { set: RDONLY, propagation: libc::MS_SLAVE, ..AttributeChange::default() };
    set_attributes(tree.as_fd(), &change, false)?;
    Ok(tree)
}

/// Attaches a detached mount on the object behind `target`. May be called in a child.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", flags)
}

/// Attributes to change on a mount, `struct mount_attr` of mount_setattr(2).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct AttributeChange {
    /// `MOUNT_ATTR_*` bits to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` bits to clear.
    pub clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`; 0 leaves the propagation.
    pub propagation: u64,
    /// User namespace of an id-mapped mount.
    pub user_namespace: u64,
}

/// Changes attributes of the mount behind `mount`, and of all below it if asked. May be called in a
/// child.
pub fn set_attributes(mount: BorrowedFd<'_>, change: &AttributeChange, recursive: bool) -> Result<(), Errno> {
    const AT_RECURSIVE: libc::c_int = 0x8000;
    let flags = libc::AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: `change` is a valid mount_attr of the given size; the path is empty and terminated.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(change),
            size_of::<AttributeChange>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Gives the file system that is mounted at `path` these flags, and no others of its own.
pub fn reconfigure(path: &Path, flags: &[&str]) -> io::Result<()> {
    let context = fspick(rustix::fs::CWD, path, FsPickFlags::FSPICK_CLOEXEC)?;
    for flag in flags {
        fsconfig_set_flag(context.as_fd(), *flag)?;
    }
    Ok(fsconfig_reconfigure(context.as_fd())?)
}

/// Whether `path` is the root of a mount.
pub fn is_mount_point(path: &Path) -> io::Result<bool> {
    // A server that does not answer is not waited for.
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    match rustix::fs::statx(rustix::fs::CWD, path, flags, StatxFlags::empty()) {
        Ok(statx) => Ok(statx.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes a mount out of the tree at once; it goes when its last user goes. Follows no link.
pub fn detach(path: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?)
}

/// Mounts an EROFS image read-only on a directory.
///
/// First straight from the file; where the kernel wants a block device (`ENOTBLK`, before Linux
/// 6.12) through a loop device that goes with the mount.
pub fn mount_erofs(image: &Path, target: &Path) -> io::Result<()> {
    let path = c_string(image)?;
    let mount = match erofs_mount(&path) {
        Err(Errno::NOTBLK) => {
            let device = LoopDevice::attach(image)?;
            erofs_mount(&c_string(Path::new(&device.path))?)?
        }
        other => other?,
    };
    attach_at(&mount, target)
}

/// Mounts a directory read-only on another one, as [`mount_erofs`] does with an image: without devices, without the rights
/// of set-user-id files, and with nothing that is mounted below it.
pub fn mount_directory(directory: &Path, target: &Path) -> io::Result<()> {
    let tree = clone_tree(rustix::fs::CWD, &c_string(directory)?, false)?;
    let change = AttributeChange {
        set: u64::from(LAYER_ATTRIBUTES.bits()),
        propagation: MountPropagationFlags::PRIVATE.bits().into(),
        ..AttributeChange::default()
    };
    set_attributes(tree.as_fd(), &change, false)?;
    attach_at(&tree, target)
}

/// Whether the kernel knows EROFS, or has a module that does. Whoever may not mount anything is told that it does not.
pub fn knows_erofs() -> bool {
    fsopen(c"erofs", FsOpenFlags::FSOPEN_CLOEXEC).is_ok()
}

/// Attaches a detached mount on a directory; follows no link there.
pub fn attach_at(mount: &OwnedFd, target: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::open(target, flags, Mode::empty())?;
    Ok(attach(mount.as_fd(), target.as_fd())?)
}

fn erofs_mount(source: &CStr) -> Result<OwnedFd, Errno> {
    if source.count_bytes() > OPTION_LIMIT {
        let image = rustix::fs::open(source, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let short = std::ffi::CString::new(format!("/proc/self/fd/{}", image.as_raw_fd()))
            .map_err(|_| Errno::INVAL)?;
        return erofs_mount(&short);
    }
    new_mount(c"erofs", &[FsOption::Flag(c"ro"), FsOption::Value(c"source", source)], LAYER_ATTRIBUTES)
}

/// Attributes of the mount of a layer.
const LAYER_ATTRIBUTES: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY
    .union(MountAttrFlags::MOUNT_ATTR_NOSUID)
    .union(MountAttrFlags::MOUNT_ATTR_NODEV);

/// Longest value of one fsconfig(2) option, in bytes.
const OPTION_LIMIT: usize = 255;

fn c_string(path: &Path) -> io::Result<std::ffi::CString> {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// A loop device that the kernel frees with its last user (`LO_FLAGS_AUTOCLEAR`).
struct LoopDevice {
    path: String,
    /// Keeps the device until the mount holds it.
    _device: OwnedFd,
}

impl LoopDevice {
    /// Attempts before giving up on finding a free device in a race with others.
    const ATTEMPTS: usize = 32;

    fn attach(image: &Path) -> io::Result<Self> {
        let read_only = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(image, read_only, Mode::empty())?;
        let control = open_device("/dev/loop-control", OFlags::RDWR)?;
        for _ in 0..Self::ATTEMPTS {
            // SAFETY: LOOP_CTL_GET_FREE takes no argument.
            let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) };
            if number < 0 {
                return Err(last_errno().into());
            }
            let path = format!("/dev/loop{number}");
            let device = open_device(&path, OFlags::RDONLY)?;
            match configure_loop(device.as_fd(), file.as_fd()) {
                Ok(()) => return Ok(Self { path, _device: device }),
                Err(Errno::BUSY) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Errno::BUSY.into())
    }
}

/// The device is named in the error: its caller names the image only.
fn open_device(path: &str, access: OFlags) -> io::Result<OwnedFd> {
    rustix::fs::open(path, access | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| {
        let error = io::Error::from(errno);
        io::Error::new(error.kind(), format!("open loop device `{path}`: {error}"))
    })
}

const LOOP_CTL_GET_FREE: u32 = 0x4C82;
const LOOP_CONFIGURE: u32 = 0x4C0A;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_config` of linux/loop.h with its `struct loop_info64` laid flat.
#[repr(C)]
struct LoopConfig {
    file: u32,
    block_size: u32,
    numbers: [u64; 5],
    kinds: [u32; 3],
    flags: u32,
    names: [u8; 64 + 64 + 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

fn configure_loop(device: BorrowedFd<'_>, file: BorrowedFd<'_>) -> Result<(), Errno> {
    let config = LoopConfig {
        file: u32::try_from(file.as_raw_fd()).expect("a descriptor is not negative"),
        block_size: 0,
        numbers: [0; 5],
        kinds: [0; 3],
        flags: LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
        names: [0; 160],
        init: [0; 2],
        reserved: [0; 8],
    };
    // SAFETY: `config` has the layout and size that LOOP_CONFIGURE reads.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE as _, &raw const config) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loop_configuration_has_the_kernels_size() {
        assert_eq!(size_of::<LoopConfig>(), 304);
        assert_eq!(size_of::<AttributeChange>(), 32);
    }

    #[test]
    fn mount_points_are_told() {
        assert!(is_mount_point(Path::new("/proc")).expect("statx"));
        assert!(!is_mount_point(Path::new("/proc/self")).expect("statx"));
        assert!(!is_mount_point(Path::new("/proc/not-there")).expect("statx"));
    }
}
