//! Attaching mounts inside the new root.
//!
//! Every path is resolved below the root's descriptor with `RESOLVE_IN_ROOT`: whatever links the image
//! holds, a mount lands inside. Descriptors, not paths, are mounted on, so nothing can be exchanged
//! between the look and the mount.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_sys::Errno;
use holm_sys::mount::{self, AttributeChange, FsOption};
use holm_sys::rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, makedev, mkdirat, openat, openat2};
use holm_sys::rustix::io::write;
use holm_sys::rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

use crate::rootfs::{MountPlan, RootPlan, Source, Target};
use crate::step::{At, Failure, Step};

/// Makes every mount of the plan; gives the mount of `proc` if there is one.
pub(super) fn make_all(plan: &RootPlan) -> Result<Option<OwnedFd>, Failure> {
    let mut proc = None;
    for (index, planned) in plan.mounts.iter().enumerate() {
        let made = make(planned).at_index(Step::MakeMount, index)?;
        let source = match (&planned.source, &made) {
            (Source::Ready(tree), _) => tree.as_fd(),
            (Source::InNamespace { .. }, Some(tree)) => tree.as_fd(),
            (Source::InNamespace { .. }, None) => return Err(Errno::IO).at_index(Step::MakeMount, index),
        };
        let target = open_target(plan.root.as_fd(), &planned.target, index)?;
        mount::attach(source, target.as_fd()).at_index(Step::AttachMount, index)?;
        if is_proc(planned) && proc.is_none() {
            proc = made;
        }
    }
    Ok(proc)
}

fn is_proc(planned: &MountPlan) -> bool {
    matches!(&planned.source, Source::InNamespace { kind, .. } if kind.as_c_str() == c"proc")
}

/// A detached mount of a file system that shows this process's namespaces.
fn make(planned: &MountPlan) -> Result<Option<OwnedFd>, Errno> {
    let Source::InNamespace { kind, options, attributes } = &planned.source else { return Ok(None) };
    let context = fsopen(kind.as_c_str(), FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(context.as_fd(), key.as_c_str(), value.as_c_str())?,
            None => fsconfig_set_flag(context.as_fd(), key.as_c_str())?,
        }
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, *attributes).map(Some)
}

/// Opens a path inside the root, without following links if the target forbids it.
fn open_inside(root: BorrowedFd<'_>, path: &CStr, no_symlinks: bool) -> Result<OwnedFd, Errno> {
    let links = if no_symlinks { ResolveFlags::NO_SYMLINKS } else { ResolveFlags::empty() };
    openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT | links)
}

fn open_target(root: BorrowedFd<'_>, target: &Target, index: usize) -> Result<OwnedFd, Failure> {
    match open_inside(root, &target.path, target.no_symlinks) {
        Err(Errno::NOENT) => {
            create(root, target).at_index(Step::MakeTarget, index)?;
            open_inside(root, &target.path, target.no_symlinks).at_index(Step::OpenTarget, index)
        }
        other => other.at_index(Step::OpenTarget, index),
    }
}

/// Creates what is absent of a path, from the top.
fn create(root: BorrowedFd<'_>, target: &Target) -> Result<(), Errno> {
    let mut parent =
        openat2(root, c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)?;
    let last = target.prefixes.len().saturating_sub(1);
    for (at, (prefix, name)) in target.prefixes.iter().enumerate() {
        parent = match open_inside(root, prefix, target.no_symlinks) {
            Err(Errno::NOENT) => {
                create_one(parent.as_fd(), name, at == last && target.is_file)?;
                open_inside(root, prefix, target.no_symlinks)?
            }
            other => other?,
        };
    }
    Ok(())
}

fn create_one(parent: BorrowedFd<'_>, name: &CStr, is_file: bool) -> Result<(), Errno> {
    let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
    let made = if is_file {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(parent, name, flags, mode & !(Mode::XUSR | Mode::XGRP | Mode::XOTH)).map(drop)
    } else {
        mkdirat(parent, name, mode)
    };
    match made {
        Err(Errno::EXIST) | Ok(()) => Ok(()),
        other => other,
    }
}

/// Makes the working directory if it is absent, as Docker does, below the root and nowhere else. What
/// cannot be made is told when the process changes there.
pub(super) fn make_directory(plan: &RootPlan) -> Result<(), Failure> {
    let root = plan.root.as_fd();
    if open_inside(root, &plan.directory.path, false).err() == Some(Errno::NOENT) {
        let _ = create(root, &plan.directory);
    }
    Ok(())
}

/// Writes kernel parameters through the `proc` that was just mounted, never through a path.
pub(super) fn set_parameters(plan: &RootPlan, proc: Option<BorrowedFd<'_>>) -> Result<(), Failure> {
    for (index, (path, value)) in plan.parameters.iter().enumerate() {
        write_in_proc(proc, path, value).at_index(Step::Parameter, index)?;
    }
    Ok(())
}

/// Writes a file of the given `proc`; `path` begins with `/proc/`.
pub(super) fn write_in_proc(proc: Option<BorrowedFd<'_>>, path: &CStr, value: &[u8]) -> Result<(), Errno> {
    let proc = proc.ok_or(Errno::NODEV)?;
    let inside = path.to_bytes_with_nul().get(c"/proc/".count_bytes()..).ok_or(Errno::INVAL)?;
    let inside = CStr::from_bytes_with_nul(inside).map_err(|_| Errno::INVAL)?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(proc, inside, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    write(&file, value).map(drop)
}

/// Covers paths: a file with `/dev/null`, a folder with an empty read-only file system.
pub(super) fn cover_paths(plan: &RootPlan) -> Result<(), Failure> {
    let root = plan.root.as_fd();
    let mut empty = None;
    for (index, path) in plan.masked.iter().enumerate() {
        cover(root, path, &mut empty).at_index(Step::MaskPath, index)?;
    }
    Ok(())
}

fn cover(root: BorrowedFd<'_>, path: &CStr, empty: &mut Option<OwnedFd>) -> Result<(), Errno> {
    let target = match open_inside(root, path, false) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other?,
    };
    let is_folder = FileType::from_raw_mode(fstat(&target)?.st_mode) == FileType::Directory;
    let tree = if !is_folder {
        let null = open_inside(root, c"/dev/null", true)?;
        check_device(null.as_fd(), 1, 3)?;
        mount::clone_tree(null.as_fd(), c"", false)?
    } else if let Some(empty) = empty {
        mount::clone_tree(empty.as_fd(), c"", false)?
    } else {
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV;
        let options = [
            FsOption::Value(c"size", c"0"),
            FsOption::Value(c"nr_inodes", c"1"),
            FsOption::Value(c"mode", c"755"),
        ];
        mount::new_mount(c"tmpfs", &options, attributes)?
    };
    mount::attach(tree.as_fd(), target.as_fd())?;
    // The first empty file system, now attached, is what the others are copies of.
    if is_folder && empty.is_none() {
        *empty = Some(tree);
    }
    Ok(())
}

/// Whether a descriptor is the character device of that number: the image may hold anything there.
pub(super) fn check_device(file: BorrowedFd<'_>, major: u32, minor: u32) -> Result<(), Errno> {
    let stat = fstat(file)?;
    let is_it = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == makedev(major, minor);
    if is_it { Ok(()) } else { Err(Errno::NODEV) }
}

/// Makes paths read-only with everything below.
pub(super) fn protect_paths(plan: &RootPlan) -> Result<(), Failure> {
    for (index, path) in plan.read_only_paths.iter().enumerate() {
        protect(plan.root.as_fd(), path).at_index(Step::ReadOnlyPath, index)?;
    }
    Ok(())
}

fn protect(root: BorrowedFd<'_>, path: &CStr) -> Result<(), Errno> {
    const RDONLY: u64 = 1;
    let target = match open_inside(root, path, false) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other?,
    };
    let tree = mount::clone_tree(target.as_fd(), c"", true)?;
    mount::set_attributes(
        tree.as_fd(),
        &AttributeChange { set: RDONLY, ..AttributeChange::default() },
        true,
    )?;
    mount::attach(tree.as_fd(), target.as_fd())
}
