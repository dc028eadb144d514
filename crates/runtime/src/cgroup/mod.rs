//! Control groups: the same relative path in every hierarchy that the host has.
//!
//! Three kinds of host: pure v2 (`/sys/fs/cgroup` is cgroup2), v1 (one hierarchy a controller) and
//! hybrid (v1 hierarchies and a cgroup2 at `/sys/fs/cgroup/unified`). On a hybrid host v2 does all
//! it can (birth in the group, kill, device program), and a v1 group is made only for a limit that
//! was asked for. A process enters its v1 groups by its own hand, through descriptors of their `tasks` files
//! that it inherits: nobody else can move it without the kernel waiting for a grace period (`docs/design/0007`).
//!
//! ```text
//! <hierarchy>/holm/keepers               v2 only, of all keepers; stays
//! <hierarchy>/holm/<sandbox>             v2 always, v1 where a limit lives: a workload in a sandbox of its own
//! <hierarchy>/holm/<sandbox>/<workload>  one of several in a sandbox
//! ```
//!
//! A group that is removed is killed first; a group is removed with everything below it.

mod hierarchy;
mod limits;
mod remove;
mod settings;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use holm_sys::rustix::fs::{Mode, OFlags, mkdir, open};
use holm_sys::{Errno, bpf};

use crate::device::{self, Rule};
use crate::error::{Context, Error, Kind, Result};

pub use hierarchy::Hierarchies;
pub use limits::{Limits, LimitsInForce};
use settings::Setting;

/// One workload's groups in all hierarchies that it needs.
#[derive(Debug)]
pub struct Group {
    /// In v2: the directory to be born in.
    unified: Option<OwnedFd>,
    /// `tasks` files of the v1 groups, open for writing.
    entrances: Vec<OwnedFd>,
    /// On hybrid and v1 hosts: each hierarchy's folder name below `/sys/fs/cgroup`, and the group in it.
    folders: Vec<(&'static str, PathBuf)>,
}

impl Group {
    /// Makes the groups at `path` (relative to each hierarchy), limited before anything is in them.
    /// Without v2 the device rules are lines in the `devices` hierarchy and set here, too.
    ///
    /// # Errors
    /// A limit whose controller this host does not have; a value that the kernel refuses.
    pub fn create(hierarchies: &Hierarchies, path: &Path, limits: &Limits, rules: &[Rule]) -> Result<Self> {
        let mut group = Self { unified: None, entrances: Vec::new(), folders: Vec::new() };
        if let Some(root) = hierarchies.unified() {
            let directory = root.join(path);
            make_directories(root, path)?;
            group.unified = Some(open_directory(&directory)?);
            if hierarchies.version() == "hybrid" {
                group.folders.push(("unified", directory));
            }
        }
        if !limits.is_empty() {
            group.set_limits(hierarchies, path, limits)?;
        }
        if group.unified.is_none() && !needs_no_guard(rules) {
            group.guard_devices_by_lines(hierarchies, path, rules)?;
        }
        Ok(group)
    }

    /// Finds the groups that are there at `path`, for a process that joins them.
    ///
    /// # Errors
    /// A group that cannot be opened.
    pub fn find(hierarchies: &Hierarchies, path: &Path) -> Result<Self> {
        let mut group = Self { unified: None, entrances: Vec::new(), folders: Vec::new() };
        if let Some(root) = hierarchies.unified() {
            group.unified = Some(open_directory(&root.join(path))?);
        }
        let legacy = hierarchies.all().map(|root| root.join(path)).filter(|directory| directory.exists());
        group.entrances = legacy
            .filter(|directory| hierarchies.unified().is_none_or(|root| !directory.starts_with(root)))
            .map(|directory| open_entrance(&directory))
            .collect::<Result<_>>()?;
        Ok(group)
    }

    fn set_limits(&mut self, hierarchies: &Hierarchies, path: &Path, limits: &Limits) -> Result<()> {
        let available = hierarchies.unified_controllers()?;
        for controller in limits.controllers() {
            if let Some(root) =
                hierarchies.unified().filter(|_| available.iter().any(|name| name == controller))
            {
                enable_controller(root, path, controller)?;
                apply(&root.join(path), &settings::unified(limits, controller))?;
            } else if let Some(root) = hierarchies.legacy(controller) {
                self.enter_legacy(controller, &root, path)?;
                apply(&root.join(path), &settings::legacy(limits, controller))?;
            } else {
                let message =
                    format!("limit `{controller}`: this host has no cgroup controller of that name");
                return Err(Error::new(Kind::Unsupported, message));
            }
        }
        Ok(())
    }

    fn enter_legacy(&mut self, controller: &'static str, root: &Path, path: &Path) -> Result<()> {
        make_directories(root, path)?;
        let directory = root.join(path);
        self.entrances.push(open_entrance(&directory)?);
        self.folders.push((controller, directory));
        Ok(())
    }

    /// Puts the v2 group under device rules, by an eBPF program. Takes a third of a millisecond, so it is
    /// done while the first process mounts, before it goes on.
    pub fn guard_devices(&self, rules: &[Rule]) -> Result<()> {
        let Some(group) = self.unified.as_ref().filter(|_| !needs_no_guard(rules)) else { return Ok(()) };
        let program =
            bpf::load_device_program(&device::program(rules)).context(|| "load the device program")?;
        bpf::attach_device_program(group.as_fd(), program.as_fd()).context(|| "attach the device program")
    }

    fn guard_devices_by_lines(
        &mut self,
        hierarchies: &Hierarchies,
        path: &Path,
        rules: &[Rule],
    ) -> Result<()> {
        let root = hierarchies.legacy("devices").ok_or_else(|| {
            Error::new(Kind::Unsupported, "device rules: this host has no `devices` controller")
        })?;
        self.enter_legacy("devices", &root, path)?;
        for (allow, line) in rules.iter().map(|rule| rule.to_v1()) {
            let file = root.join(path).join(if allow { "devices.allow" } else { "devices.deny" });
            write_setting(&file, &line)?;
        }
        Ok(())
    }

    /// The v2 group to be born in, if the host has v2.
    pub fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// The `tasks` files of the v1 groups, which a process enters by writing `0` to each while it has no
    /// other thread.
    pub fn entrances(&self) -> &[OwnedFd] {
        &self.entrances
    }

    /// On hybrid and v1 hosts: each hierarchy's folder name below `/sys/fs/cgroup`, and the group in
    /// it. Empty on pure v2, where the hierarchy is the root.
    pub fn folders(&self) -> &[(&'static str, PathBuf)] {
        &self.folders
    }
}

fn needs_no_guard(rules: &[Rule]) -> bool {
    rules.is_empty() || device::allow_everything(rules)
}

/// Makes the group of all keepers and opens it; `None` without v2.
pub fn open_keepers_group(hierarchies: &Hierarchies, path: &Path) -> Result<Option<OwnedFd>> {
    let Some(root) = hierarchies.unified() else { return Ok(None) };
    make_directories(root, path)?;
    open_directory(&root.join(path)).map(Some)
}

/// Removes the group at `path` from every hierarchy, ending every process in it; says whether one
/// was there.
///
/// # Errors
/// Processes that do not end within two seconds of SIGKILL.
pub fn remove(hierarchies: &Hierarchies, path: &Path) -> Result<bool> {
    let mut removed = false;
    for root in hierarchies.all() {
        removed |= remove::remove_group(&root.join(path))?;
    }
    Ok(removed)
}

/// Limits in force at `path`, read back from wherever they live.
pub fn limits_in_force(hierarchies: &Hierarchies, path: &Path) -> LimitsInForce {
    let directories: Vec<PathBuf> = hierarchies.all().map(|root| root.join(path)).collect();
    LimitsInForce::read(&directories)
}

/// How many processes of the group the kernel killed for lack of memory.
pub fn out_of_memory_kills(hierarchies: &Hierarchies, path: &Path) -> u64 {
    let legacy = hierarchies.legacy("memory").map(|root| root.join(path).join("memory.oom_control"));
    let unified = hierarchies.unified().map(|root| root.join(path).join("memory.events"));
    legacy.into_iter().chain(unified).filter_map(|file| count_of_kills(&file)).max().unwrap_or(0)
}

fn count_of_kills(file: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// Processes in the group and below, by the host's numbers, in no order.
pub fn processes(hierarchies: &Hierarchies, path: &Path) -> Vec<i32> {
    let Some(root) = hierarchies.unified().map(Path::to_owned).or_else(|| hierarchies.all().next()) else {
        return Vec::new();
    };
    let mut pids = Vec::new();
    let mut directories = vec![root.join(path)];
    while let Some(directory) = directories.pop() {
        let text = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        directories.extend(remove::subgroups(&directory));
    }
    pids
}

fn make_directories(root: &Path, path: &Path) -> Result<()> {
    let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
    let mut directory = root.to_owned();
    for component in path.components() {
        directory.push(component);
        match mkdir(&directory, mode) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).context(|| format!("make cgroup `{}`", directory.display())),
        }
    }
    Ok(())
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .context(|| format!("open cgroup `{}`", path.display()))
}

fn open_entrance(directory: &Path) -> Result<OwnedFd> {
    let file = directory.join("tasks");
    open(&file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .context(|| format!("open cgroup file `{}`", file.display()))
}

/// Lets the children of every group above `path` use a controller (cgroup v2, "subtree control").
fn enable_controller(root: &Path, path: &Path, controller: &str) -> Result<()> {
    let mut directory = root.to_owned();
    for component in path.components() {
        let file = directory.join("cgroup.subtree_control");
        let enabled = std::fs::read_to_string(&file).unwrap_or_default();
        if !enabled.split_whitespace().any(|name| name == controller) {
            write_setting(&file, &format!("+{controller}"))?;
        }
        directory.push(component);
    }
    Ok(())
}

fn apply(directory: &Path, settings: &[Setting]) -> Result<()> {
    for setting in settings {
        let file = directory.join(setting.file);
        if setting.optional && !file.exists() {
            continue;
        }
        write_setting(&file, &setting.value)?;
    }
    Ok(())
}

/// One `write`, since the kernel takes each as a whole value.
fn write_setting(file: &Path, value: &str) -> Result<()> {
    let write = || File::options().write(true).open(file)?.write_all(value.as_bytes());
    write().context(|| format!("write `{value}` to cgroup file `{}`", file.display()))
}
