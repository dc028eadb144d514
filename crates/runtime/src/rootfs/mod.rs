//! The root file system, prepared before the clone: detached mounts that the child only attaches.
//!
//! Whatever can be mounted without being inside the new namespaces is mounted here as a detached tree
//! (the overlay, tmpfs, devpts, bind mounts); `proc`, `sysfs`, `mqueue` and `cgroup2` show the
//! namespace of whoever mounts them, so the child does that. Nothing is attached to the host's tree:
//! if this process dies, the kernel forgets all of it.
//!
//! A bind source is a path of the host that the caller chose, unless it lies below the root itself
//! ([`InnerBind`]); every target is a path of the image and resolved inside the root only
//! (`RESOLVE_IN_ROOT`), see [`crate::child`].

mod cgroups;
mod copy_up;
mod devices;
mod idmapped;
mod inner_bind;
pub mod options;
pub mod overlay;
mod parameters;

use std::borrow::Cow;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use holm_spec::rootfs::RootFs;
use holm_spec::runtime::{Mount, Spec};
use holm_sys::mount::{AttributeChange, FsOption, clone_peer_tree, clone_tree, new_mount, set_attributes};
use holm_sys::rustix::fs::{CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, fstat, fstatfs, makedev, openat};
use holm_sys::rustix::mount::MountAttrFlags;

use crate::attributes;
use crate::cgroup::Group;
use crate::error::{Context, Error, Kind, Result};
use crate::maps::Maps;
pub(crate) use devices::NodePlan;
use idmapped::IdMap;
pub(crate) use inner_bind::InnerBind;
use options::MountOptions;

/// Where the root comes from.
#[derive(Clone, Copy, Debug)]
pub enum Root<'a> {
    /// Layers with a writable part.
    Layers(&'a RootFs),
    /// A directory of the host.
    Directory(&'a Path),
}

impl<'a> Root<'a> {
    /// Where the host has it, if that is one place.
    fn path(&self) -> Option<&'a Path> {
        match self {
            Self::Layers(_) => None,
            Self::Directory(path) => Some(path),
        }
    }
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
    /// Devices outside of `/dev`.
    pub devices: Vec<NodePlan>,
    /// The working directory of the first process.
    pub directory: Target,
    /// Paths to cover.
    pub masked: Vec<CString>,
    /// The host's `/dev/null`, which covers files: the image's own may be anything (CVE-2025-31133).
    pub null: Option<OwnedFd>,
    /// Paths to make read-only.
    pub read_only_paths: Vec<CString>,
    /// Kernel parameters: files below /proc/sys and values.
    pub parameters: Vec<(CString, Vec<u8>)>,
    /// Make the root itself read-only at the end.
    pub read_only: bool,
    /// Number of the mount of `/dev`, if that becomes read-only at the end.
    pub read_only_dev: Option<usize>,
    /// Propagation of the root at the end.
    pub propagation: Option<(u64, bool)>,
    /// Label of SELinux's of what is mounted.
    pub label: Option<CString>,
}

/// One mount.
#[derive(Debug)]
pub(crate) struct MountPlan {
    /// What is mounted.
    pub source: Source,
    /// Where; what is absent is created as what is mounted is: a directory or a file.
    pub target: Target,
    /// Propagation to set once it is attached, and whether for all below.
    pub propagation: Option<(AttributeChange, bool)>,
}

impl MountPlan {
    /// What of the root is mounted again, if that is what it is.
    pub fn inner_source(&self) -> Option<String> {
        match &self.source {
            Source::InRoot(plan) => Some(plan.source.to_string_lossy().into_owned()),
            _ => None,
        }
    }

    /// Whether the child hands what it mounts to the parent before.
    pub fn is_mapped_by_parent(&self) -> bool {
        matches!(&self.source, Source::InRoot(InnerBind { id_map: Some(_), .. }))
    }

    /// Whether it is the file system through which the kernel is spoken to.
    pub fn is_proc(&self) -> bool {
        matches!(&self.source, Source::InNamespace(plan) if plan.kind.as_c_str() == c"proc")
    }
}

/// What is mounted.
#[derive(Debug)]
pub(crate) enum Source {
    /// A detached tree.
    Ready(OwnedFd),
    /// A file system that shows the namespaces of its maker.
    InNamespace(NewPlan),
    /// What lies inside the root when its turn comes.
    InRoot(InnerBind),
}

/// A file system to make.
#[derive(Debug)]
pub(crate) struct NewPlan {
    pub kind: CString,
    pub options: Vec<(CString, Option<CString>)>,
    pub attributes: MountAttrFlags,
}

/// A place inside the root.
#[derive(Debug)]
pub(crate) struct Target {
    /// The whole path.
    pub path: CString,
    /// The path must not lead through a symbolic link of the image: what is mounted here is trusted
    /// by path later.
    pub no_symlinks: bool,
    /// It may lie inside `/proc`.
    pub may_cover_proc: bool,
}

/// For whom a root is prepared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Audience<'a> {
    /// Control groups of the container.
    pub group: Option<&'a Group>,
    /// It has a cgroup namespace of its own.
    pub cgroup_namespace: bool,
    /// It has a terminal.
    pub terminal: bool,
    /// The maps of its user namespace.
    pub maps: Option<&'a Maps>,
    /// The user namespace that it joins.
    pub user_namespace: Option<BorrowedFd<'a>>,
    /// The bundle, which relative sources are meant from.
    pub bundle: &'a Path,
}

impl RootPlan {
    /// Prepares everything that `spec` says about file systems.
    pub fn prepare(spec: &Spec, root: Root<'_>, audience: &Audience<'_>) -> Result<Self> {
        let linux = spec.linux().as_ref();
        let propagation = propagation(spec)?;
        let path = root.path();
        let (root, place) = mount_root(root, propagation)?;
        let label = attributes::mount_label(spec)?;
        let mounts = Vec::new();
        let mut preparation =
            Preparation { root: root.as_fd(), path, spec, audience, label, mounts, read_only_dev: None };
        for (index, mount) in spec.mounts().iter().flatten().enumerate() {
            let mount = named_from_inside(mount, path);
            preparation.add(&mount).map_err(|error| error.at_field(format!("mounts[{index}]")))?;
        }
        let Preparation { mounts, read_only_dev, .. } = preparation;
        let masked = linux.and_then(|linux| linux.masked_paths().as_ref());
        let null = masked.filter(|paths| !paths.is_empty()).map(|_| null_device()).transpose()?;
        let paths = |paths: Option<&Vec<String>>| -> Result<Vec<CString>> {
            paths.into_iter().flatten().map(|path| c_string(path)).collect()
        };
        Ok(Self {
            root,
            place,
            mounts,
            devices: devices::elsewhere(spec)?,
            directory: Target::new(spec.process().as_ref().map_or(Path::new("/"), |process| process.cwd()))?,
            masked: without_repetitions(paths(masked)?),
            null,
            read_only_paths: paths(linux.and_then(|linux| linux.readonly_paths().as_ref()))?,
            parameters: parameters::prepare(spec)?,
            read_only: spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false),
            read_only_dev,
            propagation,
            label: label.map(c_string).transpose()?,
        })
    }

    /// Maps the ids of a tree that the child has copied, for the mount with that number.
    pub fn map_ids(&self, index: usize, tree: BorrowedFd<'_>) -> Result<()> {
        match self.mounts.get(index).map(|mount| (&mount.source, &mount.target)) {
            Some((Source::InRoot(plan), target)) => plan.map_ids(tree, target),
            _ => Ok(()),
        }
    }

    /// Descriptors that the child needs.
    pub fn descriptors(&self) -> impl Iterator<Item = i32> + '_ {
        let sources = self.mounts.iter().filter_map(|mount| match &mount.source {
            Source::Ready(tree) => Some(tree.as_raw_fd()),
            Source::InNamespace(_) | Source::InRoot(_) => None,
        });
        sources.chain([self.root.as_raw_fd()]).chain(self.null.as_ref().map(AsRawFd::as_raw_fd))
    }
}

/// A destination may be written as the host sees it: with the root's own path in front.
fn named_from_inside<'a>(mount: &'a Mount, root: Option<&Path>) -> Cow<'a, Mount> {
    let inside = root.and_then(|root| below(mount.destination(), root));
    match inside.map(|inside| Path::new("/").join(inside)) {
        None => Cow::Borrowed(mount),
        Some(destination) => {
            let mut mount = mount.clone();
            mount.set_destination(destination);
            Cow::Owned(mount)
        }
    }
}

/// The rest of a path that leads below a directory, as it is written.
fn below<'a>(path: &'a Path, directory: &Path) -> Option<&'a Path> {
    let rest = path.strip_prefix(directory).ok()?;
    rest.components().all(|part| part != Component::ParentDir).then_some(rest)
}

/// A path that is named twice is covered once.
fn without_repetitions(paths: Vec<CString>) -> Vec<CString> {
    let mut once: Vec<CString> = Vec::with_capacity(paths.len());
    for path in paths {
        if !once.contains(&path) {
            once.push(path);
        }
    }
    once
}

/// The root, detached, and where it is attached for the moment before `pivot_root`.
pub(crate) fn mount_root(root: Root<'_>, propagation: Option<(u64, bool)>) -> Result<(OwnedFd, CString)> {
    match root {
        Root::Layers(layers) => Ok((overlay::mount(layers)?, path_string(overlay::place(layers))?)),
        Root::Directory(path) => {
            let place = path_string(path)?;
            let tree = clone_tree(CWD, &place, true)
                .context(|| format!("open root file system `{}`", path.display()))?;
            // What the host mounts there later is not for the container, unless it is asked for.
            if propagation.is_none_or(|(kind, _)| kind != options::MS_SLAVE) {
                let change =
                    AttributeChange { propagation: options::MS_PRIVATE, ..AttributeChange::default() };
                set_attributes(tree.as_fd(), &change, false).context(|| "set the propagation of the root")?;
            }
            Ok((tree, place))
        }
    }
}

/// The host's `/dev/null` as a detached mount, if it is what it should be.
fn null_device() -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = openat(CWD, "/dev/null", flags, Mode::empty()).context(|| "open `/dev/null`")?;
    let stat = fstat(&null).context(|| "look at `/dev/null`")?;
    let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if !is_device || stat.st_rdev != makedev(1, 3) {
        return Err(Error::new(Kind::Unsupported, "the host's `/dev/null` is not the null device"));
    }
    clone_tree(null.as_fd(), c"", false).context(|| "bind `/dev/null`")
}

/// Option by which a file system gets a label of SELinux's.
const CONTEXT: &str = "context";
/// What gets none: what is there already, and what the kernel has made, with labels that its policy says.
const UNLABELLED: [&str; 7] = ["bind", "none", "proc", "sysfs", "mqueue", "cgroup", "cgroup2"];

/// Mounts being prepared.
struct Preparation<'a> {
    root: BorrowedFd<'a>,
    /// Where the host has it.
    path: Option<&'a Path>,
    spec: &'a Spec,
    audience: &'a Audience<'a>,
    /// Label of SELinux's.
    label: Option<&'a str>,
    mounts: Vec<MountPlan>,
    read_only_dev: Option<usize>,
}

impl Preparation<'_> {
    fn add(&mut self, mount: &Mount) -> Result<()> {
        let mut options = MountOptions::parse(mount.options().iter().flatten());
        let destination = mount.destination();
        let kind = if options.bind { "bind" } else { mount.typ().as_deref().unwrap_or("none") };
        if let Some(label) = self.label.filter(|_| !UNLABELLED.contains(&kind)) {
            options.data.push((CONTEXT.to_owned(), Some(label.to_owned())));
        }
        let source = match kind {
            "bind" | "none" => self.bind(mount, &options)?,
            "cgroup" => {
                return cgroups::prepare(&mut self.mounts, mount, &options, self.audience, self.label);
            }
            "cgroup2" => cgroups::unified(mount, &options, self.audience)?,
            "proc" | "sysfs" | "mqueue" => in_namespace(kind, mount, &options)?,
            "tmpfs" if destination == Path::new("/dev") => {
                let is_read_only = attribute_bits(&options) & RDONLY != 0;
                self.read_only_dev = is_read_only.then_some(self.mounts.len());
                return devices::prepare(&mut self.mounts, mount, &options, self.spec, self.audience);
            }
            _ => Source::Ready(self.new_file_system(kind, mount, &options)?),
        };
        refuse_over_proc(destination, kind, &source)?;
        let no_symlinks = matches!(kind, "proc" | "sysfs");
        let propagation = options.propagation_change().filter(|_| kind != "bind" && kind != "none");
        self.mounts.push(MountPlan {
            source,
            target: Target { no_symlinks, ..Target::new(destination)? },
            propagation,
        });
        Ok(())
    }

    /// A copy of a tree of the host, or of one that will be in the root, with attributes and propagation of its own.
    fn bind(&self, mount: &Mount, options: &MountOptions) -> Result<Source> {
        let source = mount.source().as_deref().unwrap_or(Path::new(""));
        let destination = mount.destination().display();
        if source.as_os_str().is_empty() {
            return Err(Error::invalid(format!("the mount on `{destination}` has no source")));
        }
        if let Some((option, _)) = options.data.first() {
            let message = format!(
                "bind mounts cannot have any filesystem-specific options applied: `{option}` on `{destination}`"
            );
            return Err(Error::invalid(message));
        }
        let source = self.audience.bundle.join(source);
        if let Some(inside) = self.path.and_then(|root| below(&source, root)) {
            return InnerBind::prepare(inside, mount, options, self.audience).map(Source::InRoot);
        }
        let clone = if self.shares_with_host(options) { clone_peer_tree } else { clone_tree };
        let tree = clone(CWD, &path_string(&source)?, options.recursive_bind)
            .context(|| format!("bind `{}` on `{destination}`", source.display()))?;
        if let Some(map) = IdMap::of(mount, options, self.audience)? {
            map.apply(tree.as_fd(), &destination)?;
        }
        for (change, recursive) in options.changes() {
            set_attributes(tree.as_fd(), &change, recursive)
                .context(|| format!("set options of the bind mount on `{destination}`"))?;
        }
        Ok(Source::Ready(tree))
    }

    /// What a container mounts in a bind mount reaches the host only if both the mount and the root are to be shared.
    fn shares_with_host(&self, options: &MountOptions) -> bool {
        let root = self.spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().as_deref());
        options.is_shared() && matches!(root, Some("shared" | "rshared"))
    }

    fn new_file_system(&self, kind: &str, mount: &Mount, options: &MountOptions) -> Result<OwnedFd> {
        let mut options = options.clone();
        if let Some(maps) = self.audience.maps.filter(|_| matches!(kind, "tmpfs" | "devpts")) {
            options.translate_ids(maps, kind == "tmpfs")?;
        }
        if kind == "tmpfs" {
            options.adopt_mode(self.root, mount.destination());
        }
        let read_only_later = options.copy_up && attribute_bits(&options) & RDONLY != 0;
        let attributes = attribute_bits(&options) & if read_only_later { !RDONLY } else { !0 };
        let tree = new_tree(kind, mount, &options, attributes)?;
        if options.copy_up {
            copy_up::copy(self.root, mount.destination(), tree.as_fd())?;
        }
        if read_only_later {
            let change = AttributeChange { set: u64::from(RDONLY), ..AttributeChange::default() };
            set_attributes(tree.as_fd(), &change, false).context(|| {
                format!("make the file system on `{}` read-only", mount.destination().display())
            })?;
        }
        Ok(tree)
    }
}

/// `MOUNT_ATTR_RDONLY`.
const RDONLY: u32 = 1;

/// Nothing but what speaks with the kernel may stand where programs, and this runtime, do so.
fn refuse_over_proc(destination: &Path, kind: &str, source: &Source) -> Result<()> {
    let is_proc = match source {
        Source::InNamespace(_) => kind == "proc",
        Source::Ready(tree) => fstatfs(tree).is_ok_and(|stat| stat.f_type == PROC_SUPER_MAGIC),
        // The child looks.
        Source::InRoot(_) => true,
    };
    if is_proc_place(destination) && !is_proc {
        return Err(over_proc());
    }
    Ok(())
}

pub(crate) fn over_proc() -> Error {
    Error::invalid("\"/proc\" cannot be mounted because it is not of type proc")
}

fn is_proc_place(destination: &Path) -> bool {
    Path::new("/").join(destination).components().eq(Path::new("/proc").components())
}

fn in_namespace(kind: &str, mount: &Mount, options: &MountOptions) -> Result<Source> {
    Ok(Source::InNamespace(NewPlan {
        kind: c_string(kind)?,
        options: data_of(mount, options)?,
        attributes: MountAttrFlags::from_bits_retain(attribute_bits(options)),
    }))
}

/// All attributes that a fresh mount starts with: recursive ones are its own, too.
fn attribute_bits(options: &MountOptions) -> u32 {
    let set = (options.recursive.set & !options.attributes.clear) | options.attributes.set;
    u32::try_from(set).expect("MOUNT_ATTR bits are small")
}

/// The options of a file system, and the name that the list of mounts shows as its source.
fn data_of(mount: &Mount, options: &MountOptions) -> Result<Vec<(CString, Option<CString>)>> {
    let mut data = c_options(options)?;
    if let Some(source) = mount.source().as_deref().filter(|source| !source.as_os_str().is_empty()) {
        data.push((c"source".to_owned(), Some(path_string(source)?)));
    }
    Ok(data)
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

fn new_tree(kind: &str, mount: &Mount, options: &MountOptions, attributes: u32) -> Result<OwnedFd> {
    let data = data_of(mount, options)?;
    let data: Vec<FsOption<'_>> = fs_options(&data).collect();
    new_mount(&c_string(kind)?, &data, MountAttrFlags::from_bits_retain(attributes))
        .context(|| format!("make file system `{kind}` for `{}`", mount.destination().display()))
}

/// Files inside `/proc` that may be replaced: emulations show a container its own limits there.
const PROC_EMULATED: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

impl Target {
    fn new(path: &Path) -> Result<Self> {
        let path = Path::new("/").join(path);
        let may_cover_proc = PROC_EMULATED.iter().any(|file| path == Path::new(file));
        Ok(Self { path: path_string(&path)?, no_symlinks: false, may_cover_proc })
    }
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
