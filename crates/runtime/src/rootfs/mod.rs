//! The root file system, prepared before the clone: detached mounts that the child only attaches.
//!
//! Whatever can be mounted without being inside the new namespaces is mounted here as a detached tree
//! (the overlay, tmpfs, devpts, bind mounts); `proc`, `sysfs`, `mqueue` and `cgroup2` show the
//! namespace of whoever mounts them, so the child does that. Nothing is attached to the host's tree:
//! if this process dies, the kernel forgets all of it.
//!
//! A bind source is a path of the host that the caller chose; every target is a path of the image
//! and resolved inside the root only (`RESOLVE_IN_ROOT`), see [`crate::child`].

mod cgroups;
mod devices;
pub mod options;
mod overlay;

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use holm_spec::rootfs::RootFs;
use holm_spec::runtime::{Mount, Spec};
use holm_sys::mount::{AttributeChange, FsOption, clone_tree, new_mount, set_attributes};
use holm_sys::rustix::fs::{CWD, FileType, fstat};
use holm_sys::rustix::mount::MountAttrFlags;

use crate::cgroup::Group;
use crate::error::{Context, Error, Result};
use options::MountOptions;

/// Where the root comes from.
#[derive(Clone, Copy, Debug)]
pub enum Root<'a> {
    /// Layers with a writable part.
    Layers(&'a RootFs),
    /// A directory of the host.
    Directory(&'a Path),
}

/// Everything that the child does to its file systems.
#[derive(Debug)]
pub(crate) struct RootPlan {
    /// The root, detached.
    pub root: OwnedFd,
    /// A directory of the host to attach the root on for the moment before `pivot_root`.
    pub place: CString,
    /// Mounts in the order of the configuration.
    pub mounts: Vec<MountPlan>,
    /// The working directory of the first process.
    pub directory: Target,
    /// Paths to cover.
    pub masked: Vec<CString>,
    /// Paths to make read-only.
    pub read_only_paths: Vec<CString>,
    /// Kernel parameters: files below /proc/sys and values.
    pub parameters: Vec<(CString, Vec<u8>)>,
    /// Make the root itself read-only at the end.
    pub read_only: bool,
    /// Propagation of the root at the end.
    pub propagation: Option<(u64, bool)>,
}

/// One mount.
#[derive(Debug)]
pub(crate) struct MountPlan {
    /// What is mounted.
    pub source: Source,
    /// Where, one name a component; created where absent.
    pub target: Target,
}

/// What is mounted.
#[derive(Debug)]
pub(crate) enum Source {
    /// A detached tree.
    Ready(OwnedFd),
    /// A file system that shows the namespaces of its maker.
    InNamespace { kind: CString, options: Vec<(CString, Option<CString>)>, attributes: MountAttrFlags },
}

/// A place inside the root.
#[derive(Debug)]
pub(crate) struct Target {
    /// The whole path.
    pub path: CString,
    /// Each prefix of the path with its last name, from the top, to create what is absent.
    pub prefixes: Vec<(CString, CString)>,
    /// Create a file and not a directory.
    pub is_file: bool,
    /// The path must not lead through a symbolic link of the image: what is mounted here is trusted
    /// by path later.
    pub no_symlinks: bool,
}

impl RootPlan {
    /// Prepares everything that `spec` says about file systems.
    pub fn prepare(spec: &Spec, root: Root<'_>, group: Option<&Group>, terminal: bool) -> Result<Self> {
        let linux = spec.linux().as_ref();
        let (root, place) = mount_root(root)?;
        let mut mounts = Vec::new();
        for mount in spec.mounts().iter().flatten() {
            prepare_mount(&mut mounts, mount, spec, group, terminal)?;
        }
        let paths = |paths: Option<&Vec<String>>| -> Result<Vec<CString>> {
            paths.into_iter().flatten().map(|path| c_string(path)).collect()
        };
        Ok(Self {
            root,
            place,
            mounts,
            directory: Target::new(
                spec.process().as_ref().map_or(Path::new("/"), |process| process.cwd()),
                false,
            )?,
            masked: paths(linux.and_then(|linux| linux.masked_paths().as_ref()))?,
            read_only_paths: paths(linux.and_then(|linux| linux.readonly_paths().as_ref()))?,
            parameters: parameters(spec)?,
            read_only: spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false),
            propagation: propagation(spec)?,
        })
    }
}

impl RootPlan {
    /// Descriptors that the child needs.
    pub fn descriptors(&self) -> impl Iterator<Item = i32> + '_ {
        let sources = self.mounts.iter().filter_map(|mount| match &mount.source {
            Source::Ready(tree) => Some(tree.as_raw_fd()),
            Source::InNamespace { .. } => None,
        });
        sources.chain([self.root.as_raw_fd()])
    }
}

fn mount_root(root: Root<'_>) -> Result<(OwnedFd, CString)> {
    match root {
        Root::Layers(layers) => Ok((overlay::mount(layers)?, path_string(overlay::place(layers))?)),
        Root::Directory(path) => {
            let place = path_string(path)?;
            let tree = clone_tree(CWD, &place, true)
                .context(|| format!("open root file system `{}`", path.display()))?;
            Ok((tree, place))
        }
    }
}

fn prepare_mount(
    mounts: &mut Vec<MountPlan>,
    mount: &Mount,
    spec: &Spec,
    group: Option<&Group>,
    terminal: bool,
) -> Result<()> {
    let options = MountOptions::parse(mount.options().iter().flatten());
    let destination = mount.destination();
    let kind = if options.bind { "bind" } else { mount.typ().as_deref().unwrap_or("none") };
    let source = match kind {
        "bind" | "none" => bind(mount, &options)?,
        "cgroup" => return cgroups::prepare(mounts, destination, &options, group),
        "proc" | "sysfs" | "mqueue" | "cgroup2" => in_namespace(kind, &options)?,
        "tmpfs" if destination == Path::new("/dev") => devices::prepare(&options, spec, terminal)?,
        _ => Source::Ready(new_file_system(kind, mount, &options)?),
    };
    let is_file = matches!(&source, Source::Ready(tree) if !is_directory(tree.as_fd())?);
    let no_symlinks = matches!(kind, "proc" | "sysfs");
    mounts.push(MountPlan { source, target: Target { no_symlinks, ..Target::new(destination, is_file)? } });
    Ok(())
}

fn is_directory(tree: BorrowedFd<'_>) -> Result<bool> {
    let stat = fstat(tree).context(|| "look at the source of a mount")?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// A copy of a tree of the host, with attributes and propagation of its own.
fn bind(mount: &Mount, options: &MountOptions) -> Result<Source> {
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    let destination = mount.destination().display();
    if !source.is_absolute() {
        let message = format!("mount on `{destination}`: source `{}` is no absolute path", source.display());
        return Err(Error::invalid(message));
    }
    let tree = clone_tree(CWD, &path_string(source)?, options.recursive_bind)
        .context(|| format!("bind `{}` on `{destination}`", source.display()))?;
    change_attributes(tree.as_fd(), options, true)
        .context(|| format!("set options of the bind mount on `{destination}`"))?;
    Ok(Source::Ready(tree))
}

fn change_attributes(
    tree: BorrowedFd<'_>,
    options: &MountOptions,
    propagate: bool,
) -> Result<(), holm_sys::Errno> {
    if !options.recursive.is_empty() {
        set_attributes(tree, &options.recursive.change(), true)?;
    }
    if !options.attributes.is_empty() {
        set_attributes(tree, &options.attributes.change(), false)?;
    }
    if propagate && options.propagation != 0 {
        let change = AttributeChange { propagation: options.propagation, ..AttributeChange::default() };
        set_attributes(tree, &change, options.recursive_propagation)?;
    }
    Ok(())
}

fn in_namespace(kind: &str, options: &MountOptions) -> Result<Source> {
    Ok(Source::InNamespace {
        kind: c_string(kind)?,
        options: c_options(options)?,
        attributes: MountAttrFlags::from_bits_retain(attribute_bits(options)),
    })
}

/// All attributes that a fresh mount starts with: recursive ones are its own, too.
fn attribute_bits(options: &MountOptions) -> u32 {
    let set = (options.recursive.set & !options.attributes.clear) | options.attributes.set;
    u32::try_from(set).expect("MOUNT_ATTR bits are small")
}

fn c_options(options: &MountOptions) -> Result<Vec<(CString, Option<CString>)>> {
    let pair = |(key, value): &(String, Option<String>)| {
        Ok((c_string(key)?, value.as_deref().map(c_string).transpose()?))
    };
    options.data.iter().map(pair).collect()
}

/// Options in the form that the mount call takes.
pub(crate) fn fs_options(options: &[(CString, Option<CString>)]) -> impl Iterator<Item = FsOption<'_>> {
    options.iter().map(|(key, value)| match value {
        Some(value) => FsOption::Value(key, value),
        None => FsOption::Flag(key),
    })
}

fn new_file_system(kind: &str, mount: &Mount, options: &MountOptions) -> Result<OwnedFd> {
    let mut data = c_options(options)?;
    if let Some(source) = mount.source().as_deref().filter(|source| !source.as_os_str().is_empty()) {
        data.push((c"source".to_owned(), Some(path_string(source)?)));
    }
    let data: Vec<FsOption<'_>> = fs_options(&data).collect();
    let attributes = MountAttrFlags::from_bits_retain(attribute_bits(options));
    new_mount(&c_string(kind)?, &data, attributes)
        .context(|| format!("make file system `{kind}` for `{}`", mount.destination().display()))
}

impl Target {
    fn new(path: &Path, is_file: bool) -> Result<Self> {
        let mut prefixes = Vec::new();
        let mut prefix = std::path::PathBuf::from("/");
        for component in path.components() {
            if let std::path::Component::Normal(name) = component {
                prefix.push(name);
                prefixes.push((path_string(&prefix)?, path_string(Path::new(name))?));
            }
        }
        Ok(Self { path: path_string(path)?, prefixes, is_file, no_symlinks: false })
    }
}

fn parameters(spec: &Spec) -> Result<Vec<(CString, Vec<u8>)>> {
    let sysctl = spec.linux().as_ref().and_then(|linux| linux.sysctl().as_ref());
    let mut parameters = Vec::new();
    for (name, value) in sysctl.into_iter().flatten() {
        if name.contains("..") || name.starts_with('/') {
            return Err(Error::invalid(format!("sysctl `{name}` is no name of a kernel parameter")));
        }
        parameters
            .push((c_string(&format!("/proc/sys/{}", name.replace('.', "/")))?, value.clone().into_bytes()));
    }
    parameters.sort();
    Ok(parameters)
}

fn propagation(spec: &Spec) -> Result<Option<(u64, bool)>> {
    let Some(text) = spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().as_deref()) else {
        return Ok(None);
    };
    let known = options::root_propagation(text);
    known.map(Some).ok_or_else(|| Error::invalid(format!("rootfsPropagation `{text}` is unknown")))
}

pub(crate) fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::invalid(format!("`{}` holds a NUL byte", text.escape_debug())))
}

pub(crate) fn path_string(path: &Path) -> Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::invalid(format!("path `{}` holds a NUL byte", path.display())))
}
