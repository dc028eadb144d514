//! Attaching mounts inside the new root.
//!
//! Every path is resolved below the root's descriptor with `RESOLVE_IN_ROOT`: whatever links the image
//! holds, a mount lands inside. Descriptors, not paths, are mounted on, so nothing can be exchanged
//! between the look and the mount.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_sys::mount::{self, AttributeChange, FsOption};
use holm_sys::rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, Uid, chmodat, chownat, fstat,
    fstatfs, makedev, mknodat, openat2, statat,
};
use holm_sys::rustix::io::{read, write};
use holm_sys::rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, mount_change,
};
use holm_sys::{Errno, in_root, socket};

use super::create::create;
use crate::rootfs::{InnerBind, MountPlan, NewPlan, NodePlan, RootPlan, Source, Target};
use crate::step::{At, Failure, IDS_MAPPED, PROCEED, Step, encode_tree};

/// Keeps what is mounted in this mount namespace from the host.
pub(super) fn part_from_host() -> Result<(), Failure> {
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change(c"/", slave).at(Step::Propagation)
}

/// Makes a detached tree a part of this mount namespace, on a directory of the host.
pub(super) fn attach_at(tree: BorrowedFd<'_>, place: &CStr) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = openat2(CWD, place, flags, Mode::empty(), ResolveFlags::empty()).at(Step::OpenRoot)?;
    mount::attach(tree, place.as_fd()).at(Step::AttachRoot)
}

/// What is known when all is mounted.
#[derive(Default)]
pub(super) struct Mounted {
    /// The mount of `proc`, if there is one.
    pub proc: Option<OwnedFd>,
    /// The word that the parent is done came while another one was waited for.
    pub has_word: bool,
}

/// Makes every mount of the plan below `root`. Without a `parent` to ask, ids are not mapped.
pub(super) fn make_all(
    plan: &RootPlan,
    root: BorrowedFd<'_>,
    parent: Option<BorrowedFd<'_>>,
) -> Result<Mounted, Failure> {
    let mut mounted = Mounted::default();
    for (index, planned) in plan.mounts.iter().enumerate() {
        let made = match &planned.source {
            Source::Ready(_) => None,
            Source::InNamespace(plan) => Some(make(plan).at_index(Step::MakeMount, index)?),
            Source::InRoot(plan) => Some(copy(root, plan, index)?),
        };
        let tree = match (&planned.source, &made) {
            (_, Some(tree)) | (Source::Ready(tree), None) => tree.as_fd(),
            (_, None) => return Err(Errno::IO).at_index(Step::MakeMount, index),
        };
        if let Some(parent) = parent.filter(|_| planned.is_mapped_by_parent()) {
            mounted.has_word |= ask_to_map_ids(parent, tree, index)?;
        }
        let target = open_target(root, &planned.target, tree, index)?;
        refuse_inside_proc(target.as_fd(), planned, index)?;
        mount::attach(tree, target.as_fd()).at_index(Step::AttachMount, index)?;
        if let Some((change, recursive)) = &planned.propagation {
            mount::set_attributes(tree, change, *recursive).at_index(Step::AttachMount, index)?;
        }
        if planned.is_proc() && mounted.proc.is_none() {
            mounted.proc = made;
        }
    }
    Ok(mounted)
}

/// A detached copy of what is at a place inside the root now.
fn copy(root: BorrowedFd<'_>, plan: &InnerBind, index: usize) -> Result<OwnedFd, Failure> {
    let source = open_inside(root, &plan.source, false).at_index(Step::BindSource, index)?;
    if plan.must_be_proc && !is_in_proc(source.as_fd()) {
        return Err(Errno::PERM).at_index(Step::CoverProc, index);
    }
    let tree = mount::clone_tree(source.as_fd(), c"", plan.recursive).at_index(Step::BindSource, index)?;
    for (change, recursive) in &plan.changes {
        mount::set_attributes(tree.as_fd(), change, *recursive).at_index(Step::BindSource, index)?;
    }
    Ok(tree)
}

/// Has the parent map the ids of a tree. Whether the word that it is done came meanwhile.
fn ask_to_map_ids(parent: BorrowedFd<'_>, tree: BorrowedFd<'_>, index: usize) -> Result<bool, Failure> {
    let asked = u16::try_from(index).map_err(|_| Errno::NFILE).map(encode_tree);
    asked.and_then(|packet| socket::send_descriptor(parent, &packet, tree)).at_index(Step::MapIds, index)?;
    let mut has_word = false;
    let mut packet = [0; 8];
    loop {
        match read(parent, &mut packet) {
            Err(Errno::INTR) => {}
            Ok(length) if packet.get(..length) == Some(IDS_MAPPED) => return Ok(has_word),
            Ok(length) if packet.get(..length) == Some(PROCEED) => has_word = true,
            Ok(_) => return Err(Errno::CANCELED).at_index(Step::MapIds, index),
            Err(errno) => return Err(errno).at_index(Step::MapIds, index),
        }
    }
}

/// A detached mount of a file system that shows this process's namespaces.
fn make(plan: &NewPlan) -> Result<OwnedFd, Errno> {
    let context = fsopen(plan.kind.as_c_str(), FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in &plan.options {
        match value {
            Some(value) => fsconfig_set_string(context.as_fd(), key.as_c_str(), value.as_c_str())?,
            None => fsconfig_set_flag(context.as_fd(), key.as_c_str())?,
        }
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, plan.attributes)
}

/// Opens a path inside the root, without following links if the target forbids it.
pub(super) fn open_inside(root: BorrowedFd<'_>, path: &CStr, no_symlinks: bool) -> Result<OwnedFd, Errno> {
    let links = if no_symlinks { ResolveFlags::NO_SYMLINKS } else { ResolveFlags::empty() };
    in_root::open(root, path, OFlags::PATH, links)
}

fn open_target(
    root: BorrowedFd<'_>,
    target: &Target,
    tree: BorrowedFd<'_>,
    index: usize,
) -> Result<OwnedFd, Failure> {
    match open_inside(root, &target.path, target.no_symlinks) {
        Err(Errno::NOENT) if target.path.to_bytes().starts_with(b"/proc/") => {
            Err(Errno::PERM).at_index(Step::InsideProc, index)
        }
        Err(Errno::NOENT) => {
            let is_file = !is_directory(tree).at_index(Step::MakeTarget, index)?;
            create(root, target, is_file).at_index(Step::MakeTarget, index)?;
            open_inside(root, &target.path, target.no_symlinks).at_index(Step::OpenTarget, index)
        }
        Err(errno @ (Errno::LOOP | Errno::NOTDIR)) if target.no_symlinks => {
            Err(errno).at_index(Step::NoPlainDirectory, index)
        }
        other => other.at_index(Step::OpenTarget, index),
    }
}

/// Whatever is written to `/proc` later must reach the kernel: nothing may be mounted over a part of it but the
/// few files that emulations of it replace.
fn refuse_inside_proc(target: BorrowedFd<'_>, planned: &MountPlan, index: usize) -> Result<(), Failure> {
    if !is_in_proc(target) || planned.target.may_cover_proc {
        return Ok(());
    }
    Err(Errno::PERM).at_index(Step::InsideProc, index)
}

fn is_in_proc(file: BorrowedFd<'_>) -> bool {
    fstatfs(file).is_ok_and(|stat| stat.f_type == PROC_SUPER_MAGIC)
}

fn is_directory(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(FileType::from_raw_mode(fstat(file)?.st_mode) == FileType::Directory)
}

/// Makes the devices that do not lie in the `/dev` that was prepared.
pub(super) fn make_devices(plan: &RootPlan, root: BorrowedFd<'_>) -> Result<(), Failure> {
    for (index, node) in plan.devices.iter().enumerate() {
        make_device(root, node).at_index(Step::MakeDevice, index)?;
    }
    Ok(())
}

fn make_device(root: BorrowedFd<'_>, node: &NodePlan) -> Result<(), Errno> {
    create(root, &node.parent, false)?;
    let parent = open_inside(root, &node.parent.path, false)?;
    let name = node.name.as_c_str();
    match mknodat(&parent, name, node.kind, Mode::from_raw_mode(node.mode), node.number) {
        // The same one from a start before is as good.
        Err(Errno::EXIST) => {
            let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let same = FileType::from_raw_mode(stat.st_mode) == node.kind
                && (node.kind == FileType::Fifo || stat.st_rdev == node.number);
            return if same { Ok(()) } else { Err(Errno::EXIST) };
        }
        other => other?,
    }
    chownat(
        &parent,
        name,
        Some(Uid::from_raw(node.uid)),
        Some(Gid::from_raw(node.gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    // Nobody else can have put a link here: the container has no other process yet.
    chmodat(&parent, name, Mode::from_raw_mode(node.mode), AtFlags::empty())
}

/// Makes the working directory if it is absent, as Docker does, below the root and nowhere else. What
/// cannot be made is told when the process changes there.
pub(super) fn make_directory(plan: &RootPlan, root: BorrowedFd<'_>) -> Result<(), Failure> {
    if open_inside(root, &plan.directory.path, false).err() == Some(Errno::NOENT) {
        let _ = create(root, &plan.directory, false);
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
pub(super) fn cover_paths(plan: &RootPlan, root: BorrowedFd<'_>) -> Result<(), Failure> {
    let mut covers = Covers { label: plan.label.as_deref(), ..Covers::default() };
    for (index, path) in plan.masked.iter().enumerate() {
        covers.cover(root, path, plan.null.as_ref()).at_index(Step::MaskPath, index)?;
    }
    Ok(())
}

/// The first cover of each kind, once it is attached: the others are copies of it. What is attached nowhere
/// cannot be copied by another mount namespace than its maker's.
#[derive(Default)]
struct Covers<'a> {
    /// Of SELinux's.
    label: Option<&'a CStr>,
    null: Option<&'a OwnedFd>,
    empty: Option<OwnedFd>,
}

impl<'a> Covers<'a> {
    fn cover(&mut self, root: BorrowedFd<'_>, path: &CStr, null: Option<&'a OwnedFd>) -> Result<(), Errno> {
        let target = match open_inside(root, path, false) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            other => other?,
        };
        let target = target.as_fd();
        if is_directory(target)? {
            self.cover_folder(target)
        } else {
            self.cover_file(target, null.ok_or(Errno::NODEV)?)
        }
    }

    fn cover_file(&mut self, target: BorrowedFd<'_>, null: &'a OwnedFd) -> Result<(), Errno> {
        if let Some(null) = self.null {
            return mount::attach(mount::clone_tree(null.as_fd(), c"", false)?.as_fd(), target);
        }
        mount::attach(null.as_fd(), target)?;
        self.null = Some(null);
        Ok(())
    }

    fn cover_folder(&mut self, target: BorrowedFd<'_>) -> Result<(), Errno> {
        if let Some(empty) = &self.empty {
            return mount::attach(mount::clone_tree(empty.as_fd(), c"", false)?.as_fd(), target);
        }
        let empty = empty_folder(self.label)?;
        mount::attach(empty.as_fd(), target)?;
        self.empty = Some(empty);
        Ok(())
    }
}

fn empty_folder(label: Option<&CStr>) -> Result<OwnedFd, Errno> {
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV;
    let options = [
        FsOption::Value(c"size", c"0"),
        FsOption::Value(c"nr_inodes", c"1"),
        FsOption::Value(c"mode", c"755"),
        FsOption::Value(c"context", label.unwrap_or_default()),
    ];
    let count = if label.is_some() { options.len() } else { options.len() - 1 };
    mount::new_mount(c"tmpfs", &options[..count], attributes)
}

/// Whether a descriptor is the character device of that number: the image may hold anything there.
pub(super) fn check_device(file: BorrowedFd<'_>, major: u32, minor: u32) -> Result<(), Errno> {
    let stat = fstat(file)?;
    let is_it = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == makedev(major, minor);
    if is_it { Ok(()) } else { Err(Errno::NODEV) }
}

/// Makes paths read-only with everything below.
pub(super) fn protect_paths(plan: &RootPlan, root: BorrowedFd<'_>) -> Result<(), Failure> {
    for (index, path) in plan.read_only_paths.iter().enumerate() {
        protect(root, path).at_index(Step::ReadOnlyPath, index)?;
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
