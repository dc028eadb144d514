//! Which hierarchies the host has.

use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock};

use holm_sys::Errno;
use holm_sys::rustix::fs::statfs;

use crate::error::{Context, Error, Kind, Result};

const ROOT: &str = "/sys/fs/cgroup";
/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const UNIFIED_MAGIC: u64 = 0x6367_7270;
/// `CGROUP_SUPER_MAGIC` of linux/magic.h.
const LEGACY_MAGIC: u64 = 0x0027_e0eb;
/// Controllers of v1 that Holm makes groups in.
const LEGACY_CONTROLLERS: [&str; 12] = [
    "memory", "cpu", "cpuset", "pids", "devices", "blkio", "cpuacct", "freezer", "hugetlb", "rdma",
    "net_cls", "net_prio",
];

/// How the host's hierarchies are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Only cgroup2.
    V2,
    /// v1 hierarchies and a cgroup2 beside them.
    Hybrid,
    /// Only v1.
    V1,
}

/// The hierarchies of the host, where systemd and every distribution put them.
#[derive(Clone, Debug)]
pub struct Hierarchies {
    version: Version,
    unified: Option<PathBuf>,
    /// Which of [`LEGACY_CONTROLLERS`] have a hierarchy, as far as somebody has asked.
    legacy: Arc<[OnceLock<bool>; LEGACY_CONTROLLERS.len()]>,
}

impl Hierarchies {
    /// Looks at `/sys/fs/cgroup` with one or two system calls, once: a host's hierarchies stay as they are, and so
    /// what was found is shared by all that this process asks later.
    ///
    /// # Errors
    /// No control groups are mounted there.
    pub fn detect() -> Result<Self> {
        static FOUND: OnceLock<Hierarchies> = OnceLock::new();
        match FOUND.get() {
            Some(found) => Ok(found.clone()),
            None => Self::look().map(|found| FOUND.get_or_init(|| found).clone()),
        }
    }

    fn look() -> Result<Self> {
        let root = kind(Path::new(ROOT)).context(|| format!("look for control groups at `{ROOT}`"))?;
        if root == UNIFIED_MAGIC {
            return Ok(Self::new(Version::V2, Some(ROOT.into())));
        }
        let beside = Path::new(ROOT).join("unified");
        if kind(&beside) == Ok(UNIFIED_MAGIC) {
            return Ok(Self::new(Version::Hybrid, Some(beside)));
        }
        let v1 = Self::new(Version::V1, None);
        if v1.all().next().is_none() {
            return Err(Error::new(Kind::Unsupported, format!("no control groups are mounted at `{ROOT}`")));
        }
        Ok(v1)
    }

    fn new(version: Version, unified: Option<PathBuf>) -> Self {
        Self { version, unified, legacy: Arc::default() }
    }

    /// `v2`, `hybrid` or `v1`.
    pub fn version(&self) -> &'static str {
        match self.version {
            Version::V2 => "v2",
            Version::Hybrid => "hybrid",
            Version::V1 => "v1",
        }
    }

    /// Whether cgroup2 is all there is.
    pub fn is_unified_alone(&self) -> bool {
        self.version == Version::V2
    }

    /// Root of the cgroup2 hierarchy.
    pub fn unified(&self) -> Option<&Path> {
        self.unified.as_deref()
    }

    /// Root of a v1 controller's hierarchy.
    pub fn legacy(&self, controller: &str) -> Option<PathBuf> {
        if self.version == Version::V2 {
            return None;
        }
        let index = LEGACY_CONTROLLERS.iter().position(|name| *name == controller)?;
        let path = Path::new(ROOT).join(controller);
        let is_root = || kind(&path) == Ok(LEGACY_MAGIC);
        self.legacy[index].get_or_init(is_root).then_some(path)
    }

    /// Controllers that the cgroup2 hierarchy has.
    pub fn unified_controllers(&self) -> Result<Vec<String>> {
        let Some(root) = &self.unified else { return Ok(Vec::new()) };
        let file = root.join("cgroup.controllers");
        let text = std::fs::read_to_string(&file).context(|| format!("read `{}`", file.display()))?;
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    /// The group that this process is in: of cgroup2 if the host has it.
    pub fn own_group(&self) -> Option<PathBuf> {
        group_in("/proc/self/cgroup")
    }

    /// Directory of the group of cgroup2 that a process is in now, if this process can see it.
    pub(super) fn present_group(&self, pid: i32) -> Option<PathBuf> {
        let path = group_in(&format!("/proc/{pid}/cgroup"))?;
        let is_below = path.components().all(|part| part != Component::ParentDir);
        self.unified().filter(|_| is_below).map(|root| root.join(path))
    }

    /// The groups that are there at `path`, cgroup2 first, each with its controller of v1 (none for cgroup2).
    ///
    /// One call a hierarchy tells: a directory that is not there has no file system, and one that is there has that of
    /// control groups unless nothing is mounted above it.
    pub fn groups<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = (&'static str, PathBuf)> + 'a {
        let unified = self.unified.iter().map(move |root| (UNIFIED_MAGIC, "", root.join(path)));
        let legacy = LEGACY_CONTROLLERS
            .iter()
            .map(move |name| (LEGACY_MAGIC, *name, Path::new(ROOT).join(name).join(path)));
        let legacy = legacy.filter(|_| self.version != Version::V2);
        let there = unified.chain(legacy).filter(|(magic, _, directory)| kind(directory) == Ok(*magic));
        there.map(|(_, name, directory)| (name, directory))
    }

    /// Roots of all hierarchies, cgroup2 first.
    pub fn all(&self) -> impl Iterator<Item = PathBuf> + '_ {
        let legacy = LEGACY_CONTROLLERS.iter().filter_map(|controller| self.legacy(controller));
        self.unified.clone().into_iter().chain(legacy)
    }
}

/// The magic number of the file system at `path`.
fn kind(path: &Path) -> Result<u64, Errno> {
    statfs(path).map(|stat| stat.f_type as u64)
}

/// The path in cgroup2 that a table of a process's groups names (cgroups(7), "/proc files").
fn group_in(file: &str) -> Option<PathBuf> {
    let table = std::fs::read_to_string(file).ok()?;
    table.lines().find_map(|line| line.strip_prefix("0::/")).map(PathBuf::from)
}
