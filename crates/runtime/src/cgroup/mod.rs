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

mod freezer;
mod hierarchy;
mod limits;
mod out_of_memory;
mod remove;
mod settings;
mod usage;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use holm_spec::runtime::LinuxResources;
use holm_sys::rustix::fs::{Mode, OFlags, mkdir, open};
use holm_sys::rustix::process::{Pid, PidfdFlags, pidfd_open};
use holm_sys::{Errno, bpf};

use crate::device::{self, Rule};
use crate::error::{Context, Error, Kind, Result};
use crate::systemd::Unit;

pub use freezer::{freeze, freezer_directory, is_frozen, thaw};
pub use hierarchy::Hierarchies;
pub use limits::LimitsInForce;
pub use out_of_memory::{OutOfMemoryWatch, out_of_memory_kills};
use settings::Setting;
pub use usage::{Counted, Usage, usage};

/// A group below a container's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubGroup {
    /// Controllers of v1 that it is for; none for v2, and for those that have none of their own.
    pub controllers: Vec<String>,
    /// Relative to the container's group.
    pub path: PathBuf,
}

impl SubGroup {
    fn is_for(&self, controller: &str) -> bool {
        self.controllers.is_empty() || self.controllers.iter().any(|name| name == controller)
    }
}

/// One workload's groups in all hierarchies that it needs.
#[derive(Debug)]
pub struct Group {
    /// In v2: the directory to be born in.
    unified: Option<OwnedFd>,
    /// `tasks` files of the v1 groups, open for writing.
    entrances: Vec<OwnedFd>,
    /// On hybrid and v1 hosts: each hierarchy's folder name below `/sys/fs/cgroup`, and the group in it.
    folders: Vec<(&'static str, PathBuf)>,
    /// Moves processes in, where their user may not.
    porter: Option<Unit>,
    /// The process whose group of v2 is another way in.
    followed: Option<i32>,
}

impl Group {
    /// Makes the groups at `path` (relative to each hierarchy), limited before anything is in them.
    /// Without v2 the device rules are lines in the `devices` hierarchy and set here, too.
    ///
    /// # Errors
    /// A limit whose controller this host does not have; a value that the kernel refuses.
    pub fn create(
        hierarchies: &Hierarchies,
        path: &Path,
        resources: Option<&LinuxResources>,
        rules: &[Rule],
    ) -> Result<Self> {
        let mut group = Self::none();
        group.make(hierarchies, path)?;
        if let Some(resources) = resources {
            let mut enter = |controller, root: &Path| group.enter_legacy(controller, root, path);
            set_limits(hierarchies, path, resources, &mut enter, &mut |_, error| Err(error))?;
        }
        if group.unified.is_none() && !needs_no_guard(rules) {
            group.guard_devices_by_lines(hierarchies, path, rules)?;
        }
        Ok(group)
    }

    /// Enters what engines read figures from, whether limits were asked for or not: they find a container's groups of v1
    /// by its processes, and the files of v2 in its group. A controller that cannot be had is done without.
    ///
    /// # Errors
    /// A group of v1 that cannot be made.
    pub fn enter_for_figures(&mut self, hierarchies: &Hierarchies, path: &Path) -> Result<()> {
        if let Some(root) = hierarchies.unified().filter(|_| hierarchies.is_unified_alone()) {
            for controller in hierarchies.unified_controllers()? {
                let _ = enable_controller(root, path, &controller);
            }
        }
        // Not `cpu`: a new group of it has no real time, so that no process in it could be scheduled by that.
        for controller in ["memory", "pids", "cpuacct", "blkio"] {
            if let Some(root) = hierarchies.legacy(controller) {
                self.enter_legacy(controller, &root, path)?;
            }
        }
        Ok(())
    }

    /// As [`Group::create`] for who is not the host's root: what it may not do is left out, and the controllers of
    /// limits that are not in force are named. Device rules are nothing that it could set, and its user namespace
    /// lets nobody make a device.
    ///
    /// # Errors
    /// A value that the kernel refuses.
    pub fn create_within_rights(
        hierarchies: &Hierarchies,
        path: &Path,
        resources: Option<&LinuxResources>,
    ) -> Result<(Option<Self>, Vec<&'static str>)> {
        let mut group = Self::none();
        let asked = || resources.map(asked_controllers).unwrap_or_default();
        match group.make(hierarchies, path) {
            Err(error) if is_beyond_rights(&error) => return Ok((None, asked())),
            other => other?,
        }
        let Some(resources) = resources else { return Ok((Some(group), Vec::new())) };
        let mut left_out = Vec::new();
        let mut forgive = |controller, error| {
            if !is_beyond_rights(&error) {
                return Err(error);
            }
            left_out.push(controller);
            Ok(())
        };
        let mut enter = |controller, root: &Path| group.enter_legacy(controller, root, path);
        set_limits(hierarchies, path, resources, &mut enter, &mut forgive)?;
        Ok((Some(group), left_out))
    }

    /// No group: the process stays where its parent is.
    pub fn none() -> Self {
        Self { unified: None, entrances: Vec::new(), folders: Vec::new(), porter: None, followed: None }
    }

    /// Processes are not born in the group but moved into it by systemd, whose unit it is.
    #[must_use]
    pub fn entered_through(mut self, unit: Unit) -> Self {
        self.porter = Some(unit);
        self
    }

    /// Whether a new process has to wait until it was moved into the group.
    pub(crate) fn needs_porter(&self) -> bool {
        self.porter.is_some()
    }

    /// Moves a new process into the group, where it could not be born.
    pub(crate) fn admit(&self, process: Pid) -> Result<()> {
        self.porter.as_ref().map_or(Ok(()), |unit| unit.attach(process))
    }

    fn make(&mut self, hierarchies: &Hierarchies, path: &Path) -> Result<()> {
        match hierarchies.unified() {
            Some(root) => self.enter_unified(root, path, hierarchies.version() == "hybrid"),
            None => self.enter_first(hierarchies, path),
        }
    }

    fn enter_unified(&mut self, root: &Path, path: &Path, hybrid: bool) -> Result<()> {
        let directory = root.join(path);
        make_directories(root, path)?;
        self.unified = Some(open_directory(&directory)?);
        if hybrid {
            self.folders.push(("unified", directory));
        }
        Ok(())
    }

    /// Where there is no v2 some v1 group must tell what belongs to the container, and hold it when it is paused.
    fn enter_first(&mut self, hierarchies: &Hierarchies, path: &Path) -> Result<()> {
        let tracking = ["freezer", "devices", "pids"];
        let found = tracking.iter().find_map(|name| hierarchies.legacy(name).map(|root| (*name, root)));
        let (controller, root) = found.ok_or_else(|| {
            Error::new(Kind::Unsupported, "this host has no cgroup controller to keep track of processes by")
        })?;
        self.enter_legacy(controller, &root, path)
    }

    /// Finds the groups that are there at `path`, for a process that joins them, or those below them that `below`
    /// names. With `followed` the process may be where that one is now if the group of v2 is gone or takes none.
    ///
    /// # Errors
    /// A group that cannot be opened; a controller that the container has no group of.
    pub fn find(
        hierarchies: &Hierarchies,
        path: &Path,
        below: &[SubGroup],
        followed: Option<i32>,
    ) -> Result<Self> {
        let mut group = Self { followed, ..Self::none() };
        let place = |directory: PathBuf, controller: &str| {
            let sub = below.iter().find(|sub| sub.is_for(controller));
            sub.map_or_else(|| directory.clone(), |sub| directory.join(&sub.path))
        };
        if let Some(root) = hierarchies.unified() {
            let opened = open_directory(&place(root.join(path), ""));
            group.unified = Some(match opened {
                Err(error) if is_absent(&error) => group.present(hierarchies).unwrap_or(Err(error)),
                other => other,
            }?);
        }
        let mut controllers = Vec::new();
        for (controller, directory) in hierarchies.groups(path).filter(|(name, _)| !name.is_empty()) {
            group.entrances.push(open_entrance(&place(directory, controller))?);
            controllers.push(controller);
        }
        let unknown =
            below.iter().flat_map(|sub| &sub.controllers).find(|name| !controllers.contains(&name.as_str()));
        match unknown {
            Some(name) => Err(Error::invalid(format!("unknown controller {name} in SubCgroupPaths"))),
            None => Ok(group),
        }
    }

    /// The group of v2 that the followed process is in now.
    fn present(&self, hierarchies: &Hierarchies) -> Option<Result<OwnedFd>> {
        hierarchies.present_group(self.followed?).map(|directory| open_directory(&directory))
    }

    /// Where else a process may be born if the group takes none: groups below it have controllers.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn other_birthplace(&self) -> Result<Option<OwnedFd>> {
        self.present(&Hierarchies::detect()?).transpose()
    }

    fn enter_legacy(&mut self, controller: &'static str, root: &Path, path: &Path) -> Result<()> {
        if self.folders.iter().any(|(folder, _)| *folder == controller) {
            return Ok(());
        }
        make_directories(root, path)?;
        if controller == "cpuset" {
            inherit_cpuset(root, path)?;
        }
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
        let directory = root.join(path);
        let open = |name: &str| {
            let file = directory.join(name);
            let opened = File::options().write(true).open(&file);
            opened.context(|| format!("open cgroup file `{}`", file.display()))
        };
        let (mut allow, mut deny) = (open("devices.allow")?, open("devices.deny")?);
        for (allows, line) in rules.iter().map(|rule| rule.to_v1()) {
            let file = if allows { &mut allow } else { &mut deny };
            // The kernel takes one line a call.
            file.write_all(line.as_bytes())
                .context(|| format!("write device rule `{line}` to cgroup `{}`", directory.display()))?;
        }
        Ok(())
    }

    /// The v2 group to be born in, if the host has v2 and the caller may.
    pub fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().filter(|_| self.porter.is_none()).map(AsFd::as_fd)
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

/// Where a controller lives.
enum Place {
    /// Root of v2, and the controller's name there.
    Unified(PathBuf, &'static str),
    /// Root of its hierarchy.
    Legacy(PathBuf),
}

fn place(hierarchies: &Hierarchies, available: &[String], controller: &'static str) -> Result<Place> {
    let unified =
        settings::unified_name(controller).filter(|name| available.iter().any(|known| known == name));
    if let (Some(root), Some(name)) = (hierarchies.unified(), unified) {
        return Ok(Place::Unified(root.to_owned(), name));
    }
    hierarchies.legacy(controller).map(Place::Legacy).ok_or_else(|| {
        let message = format!("limit `{controller}`: this host has no cgroup controller of that name");
        Error::new(Kind::Unsupported, message)
    })
}

/// Changes the limits of the groups at `path`; a running container that has no group of v1 for one gets it.
///
/// # Errors
/// A limit whose controller this host does not have; a value that the kernel refuses.
pub fn update(hierarchies: &Hierarchies, path: &Path, resources: &LinuxResources) -> Result<()> {
    let mut enter = |_, root: &Path| join_later(root, path, &processes(hierarchies, path));
    set_limits(hierarchies, path, resources, &mut enter, &mut |_, error| Err(error))
}

/// Names of files and values of all settings that limits are on this host.
pub(crate) fn settings_of(
    hierarchies: &Hierarchies,
    resources: &LinuxResources,
) -> Result<Vec<(String, String)>> {
    let available = hierarchies.unified_controllers()?;
    let mut settings = Vec::new();
    for controller in asked_controllers(resources) {
        settings.extend(match place(hierarchies, &available, controller)? {
            Place::Unified(..) => settings::unified(resources, controller)?,
            Place::Legacy(_) => settings::legacy(resources, controller),
        });
    }
    settings.extend(settings::verbatim(resources)?);
    Ok(settings.into_iter().map(|setting| (setting.file.into_owned(), setting.value)).collect())
}

/// Controllers that have something to set.
fn asked_controllers(resources: &LinuxResources) -> Vec<&'static str> {
    let asked = settings::CONTROLLERS.into_iter();
    asked.filter(|controller| !settings::legacy(resources, controller).is_empty()).collect()
}

fn is_absent(error: &Error) -> bool {
    error.os_error() == Some(Errno::NOENT.raw_os_error())
}

/// Whether somebody with more rights would not have failed.
fn is_beyond_rights(error: &Error) -> bool {
    let refused = [Errno::ACCESS, Errno::PERM, Errno::ROFS, Errno::NOENT].map(Errno::raw_os_error);
    error.kind() == Kind::Unsupported || error.os_error().is_some_and(|number| refused.contains(&number))
}

/// Sets limits wherever their controllers live. `enter` sees to it that there is a group of v1 below a root; `forgive`
/// decides what becomes of a controller's failure.
fn set_limits(
    hierarchies: &Hierarchies,
    path: &Path,
    resources: &LinuxResources,
    enter: &mut dyn FnMut(&'static str, &Path) -> Result<()>,
    forgive: &mut dyn FnMut(&'static str, Error) -> Result<()>,
) -> Result<()> {
    let available = hierarchies.unified_controllers()?;
    for controller in asked_controllers(resources) {
        let set = place(hierarchies, &available, controller).and_then(|place| match place {
            Place::Unified(root, name) => {
                enable_controller(&root, path, name)?;
                apply(&root.join(path), &settings::unified(resources, controller)?)
            }
            Place::Legacy(root) => {
                enter(controller, &root)?;
                apply(&root.join(path), &settings::legacy(resources, controller))
            }
        });
        set.or_else(|error| forgive(controller, error))?;
    }
    apply_verbatim(hierarchies, &available, path, resources).or_else(|error| forgive("unified", error))
}

/// Makes a v1 group for a container that runs already and moves its processes there; this takes a grace period
/// of the kernel each, which only an update pays.
fn join_later(root: &Path, path: &Path, pids: &[i32]) -> Result<()> {
    let directory = root.join(path);
    if directory.exists() {
        return Ok(());
    }
    make_directories(root, path)?;
    if root.ends_with("cpuset") {
        inherit_cpuset(root, path)?;
    }
    for pid in pids {
        match write_setting(&directory.join("cgroup.procs"), &pid.to_string()) {
            Err(_) if !Path::new(&format!("/proc/{pid}")).exists() => {}
            other => other?,
        }
    }
    Ok(())
}

fn apply_verbatim(
    hierarchies: &Hierarchies,
    available: &[String],
    path: &Path,
    resources: &LinuxResources,
) -> Result<()> {
    let settings = settings::verbatim(resources)?;
    let Some(first) = settings.first() else { return Ok(()) };
    let Some(root) = hierarchies.unified() else {
        let error = Error::new(Kind::Unsupported, "this host has no cgroup v2");
        return Err(error.at_field(format!("linux.resources.unified[\"{}\"]", first.file)));
    };
    for setting in &settings {
        let controller = setting.file.split('.').next().unwrap_or_default();
        if controller != "cgroup" {
            if !available.iter().any(|known| known == controller) {
                let error = format!("invalid configuration: controller \"{controller}\" not available");
                let error = Error::new(Kind::Unsupported, error);
                return Err(error.at_field(format!("linux.resources.unified[\"{}\"]", setting.file)));
            }
            enable_controller(root, path, controller)?;
        }
        apply(&root.join(path), std::slice::from_ref(setting))?;
    }
    Ok(())
}

/// A new group of `cpuset` has no processors and takes no process: it begins with its parent's, from the top.
fn inherit_cpuset(root: &Path, path: &Path) -> Result<()> {
    let mut directory = root.to_owned();
    for component in path.components() {
        let parent = directory.clone();
        directory.push(component);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let read = |directory: &Path| std::fs::read_to_string(directory.join(file)).unwrap_or_default();
            if read(&directory).trim().is_empty() {
                write_setting(&directory.join(file), read(&parent).trim())?;
            }
        }
    }
    Ok(())
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
    let mut failure = None;
    for (_, directory) in hierarchies.groups(path) {
        match remove::remove_group(&directory) {
            Ok(there) => removed |= there,
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(removed), Err)
}

/// Limits in force at `path`, read back from wherever they live.
pub fn limits_in_force(hierarchies: &Hierarchies, path: &Path) -> LimitsInForce {
    let directories: Vec<PathBuf> = hierarchies.all().map(|root| root.join(path)).collect();
    LimitsInForce::read(&directories)
}

/// Processes in the group and below, by the host's numbers, in no order.
pub fn processes(hierarchies: &Hierarchies, path: &Path) -> Vec<i32> {
    let Some((_, directory)) = hierarchies.groups(path).next() else { return Vec::new() };
    members(directory, "cgroup.procs")
}

/// How many processes and threads the group and those below it have.
pub fn tasks(hierarchies: &Hierarchies, path: &Path) -> u64 {
    let Some((controller, directory)) = hierarchies.groups(path).next() else { return 0 };
    let file = if controller.is_empty() { "cgroup.threads" } else { "tasks" };
    members(directory, file).len() as u64
}

/// Numbers in a file of a group and of those below it.
fn members(directory: PathBuf, file: &str) -> Vec<i32> {
    let mut numbers = Vec::new();
    let mut directories = vec![directory];
    while let Some(directory) = directories.pop() {
        let text = std::fs::read_to_string(directory.join(file)).unwrap_or_default();
        numbers.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        directories.extend(remove::subgroups(&directory));
    }
    numbers
}

/// Sends a signal to every process of the group; SIGKILL to all at once where the kernel can.
pub fn signal_all(hierarchies: &Hierarchies, path: &Path, signal: i32) {
    let unified = hierarchies.unified().map(|root| root.join(path).join("cgroup.kill"));
    if signal == 9 && unified.is_some_and(|file| std::fs::write(file, "1").is_ok()) {
        return;
    }
    for pid in processes(hierarchies, path).into_iter().filter_map(Pid::from_raw) {
        if let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) {
            let _ = holm_sys::process::signal(pidfd.as_fd(), signal);
        }
    }
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

/// Some values are only valid beside others, and which has to go first depends on what is set now: what is
/// refused is tried again behind the rest.
fn apply(directory: &Path, settings: &[Setting]) -> Result<()> {
    let write = |setting: &Setting| {
        let setting = &setting.beside_what_is_there(directory);
        let mut file = directory.join(&*setting.file);
        if !setting.instead.is_empty() && !file.exists() {
            file = directory.join(setting.instead);
        }
        if setting.optional && !file.exists() {
            return Ok(());
        }
        write_setting(&file, &setting.value).map_err(|error| about_real_time(error, setting, directory))
    };
    let refused: Vec<&Setting> = settings.iter().filter(|setting| write(setting).is_err()).collect();
    refused.into_iter().try_for_each(write)
}

/// A group has as much real time to give as was set, which is none in one that nobody has set anything in, and the
/// kernel's answer does not say so.
fn about_real_time(error: Error, setting: &Setting, directory: &Path) -> Error {
    if setting.file != "cpu.rt_runtime_us" || error.os_error() != Some(Errno::INVAL.raw_os_error()) {
        return error;
    }
    let above = directory.parent().unwrap_or(directory).join(&*setting.file);
    let there = std::fs::read_to_string(&above).unwrap_or_default();
    let cause = format!(
        "the group above has {} microseconds of real time for all groups in it (hint: write more to `{}`, or name \
         another group in linux.cgroupsPath)",
        there.trim(),
        above.display()
    );
    Error::caused(Kind::System, cause, error).at_field("linux.resources.cpu.realtimeRuntime")
}

/// One `write`, since the kernel takes each as a whole value.
fn write_setting(file: &Path, value: &str) -> Result<()> {
    let write = || File::options().write(true).open(file)?.write_all(value.as_bytes());
    write().context(|| format!("write `{value}` to cgroup file `{}`", file.display()))
}
