//! A workload of this guest: what it is made of, and its start.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use holm_files::{View, root_of};
use holm_network::open_namespace;
use holm_runtime::cgroup::{self, Group, Hierarchies};
use holm_runtime::container::{self, Start, StartOptions, Started};
use holm_runtime::device::Rule;
use holm_runtime::rootfs::Root;
use holm_runtime::streams::{self, ProcessEnds};
use holm_runtime::watched::{Newborn, Role, Watched};
use holm_runtime::workload::{self, Joined};
use holm_runtime::{Error, Event, Kind, Result};
use holm_spec::Id;
use holm_spec::agent::{GuestFile, GuestWorkload, SHARES};
use holm_spec::files::Task;
use holm_spec::keeper::{ExecProcess, WindowSize};
use holm_spec::network::Device;
use holm_spec::rootfs::RootFs;
use holm_spec::runtime::{Mount, PosixRlimitBuilder, PosixRlimitType, Spec};
use holm_sys::process::{Child, CloneOptions, clone, close_all_but};
use rustix::fs::{Mode, OFlags, openat};
use rustix::process::Pid;

use crate::console;
use crate::storage::{Place, Storage, seccomp_cache};

/// Parent of the groups of all workloads; the agent is in none of them.
const GROUPS: &str = "holm";
/// Limits of descriptors for a workload that asks for none: as systemd gives services, and not those of the agent.
const DESCRIPTORS: (u64, u64) = (1024, 524_288);

/// Whether a mount's source is something that the host shares.
fn is_shared(mount: &Mount) -> bool {
    mount.source().as_ref().is_some_and(|source| source.starts_with(SHARES))
}

/// A workload that may be started, or runs.
#[derive(Debug)]
pub struct Workload {
    config: GuestWorkload,
    root: RootFs,
    rules: Vec<Rule>,
    group: Group,
    /// Session of its first process, once it was started.
    pub main: Option<u32>,
    /// Goes last: nothing of the workload may be there any more.
    _place: Place,
}

impl Workload {
    /// Mounts what its root is made of, writes its files and makes its group.
    ///
    /// # Errors
    /// A disk or partition that is not there; a limit that the kernel refuses.
    pub fn create(storage: &mut Storage, mut config: GuestWorkload) -> Result<Self> {
        let (root, place) = storage.root(&config.id, &config.layers, config.scratch)?;
        if config.oci.mounts().iter().flatten().any(is_shared) {
            storage.mount_shares()?;
        }
        add_files(&mut config.oci, &config.files, &place)?;
        add_limits(&mut config.oci);
        let rules = workload::device_rules(&config.oci);
        let group = make_group(&config, &rules).inspect_err(|_| release(&config.id))?;
        Ok(Self { config, root, rules, group, main: None, _place: place })
    }

    /// Starts its first process.
    ///
    /// # Errors
    /// As [`container::start`], and if there are no more descriptors.
    pub fn start(&self, window: Option<WindowSize>) -> Result<Newborn> {
        let config = &self.config;
        let io = |error| Error::system("make the standard streams", error);
        let ends = if config.tty { None } else { Some(streams::pipes(config.open_stdin).map_err(io)?) };
        let start = Start {
            spec: &config.oci,
            root: Root::Layers(&self.root),
            bundle: Path::new("/"),
            group: &self.group,
            user: Some(&config.user),
            seccomp: workload::seccomp_program(config.seccomp, &config.oci, Some(seccomp_cache()))?,
            stdio: workload::stdio(ends.as_ref().map(|(_, ends)| ends), window),
            options: StartOptions {
                blocks_signals: workload::begins_with_init(&config.oci),
                ..StartOptions::default()
            },
        };
        let mut answer = |event: Event, child: &Child| {
            if matches!(event, Event::Made) {
                give_devices(&config.devices, child.pid)?;
            }
            workload::answer(event, &self.group, &self.rules)
        };
        let started = container::start(start, &mut answer)?;
        Newborn::of(Role::Main, started, ends.map(|(streams, _)| streams))
    }

    /// Runs another process beside the first.
    ///
    /// # Errors
    /// As [`workload::exec`].
    pub fn exec(
        &self,
        first: &Watched,
        asked: &ExecProcess,
        stdin: bool,
        window: Option<WindowSize>,
    ) -> Result<Newborn> {
        let config = &self.config;
        let joined = Joined {
            spec: &config.oci,
            user: &config.user,
            seccomp: config.seccomp,
            cache: Some(seccomp_cache()),
            group: &self.group,
            first,
            preserved: &[],
        };
        workload::exec(joined, asked, stdin, window)
    }
}

impl Workload {
    /// Starts a task on its files in a process of its own, which reads and writes its streams; `running` is the
    /// workload's first process.
    ///
    /// # Errors
    /// Its root cannot be had; there are no more processes or descriptors.
    pub fn files(&self, task: &Task, running: Option<i32>) -> Result<Newborn> {
        let failed = |error: holm_files::Error| Error::new(Kind::System, error.to_failure().message);
        // It is this process's child, and not waited for yet: its number is its own.
        let running = running.map(root_of).transpose().map_err(failed)?;
        let view = View::new(task, &self.root, running).map_err(failed)?;
        let io = |error| Error::system("make the standard streams", error);
        let (streams, ends) = streams::pipes(matches!(task, Task::Unpack { .. })).map_err(io)?;
        let work = || i32::from(carry_out(task, &view, &ends).is_err());
        let process = clone(&CloneOptions::default(), work)
            .map_err(|errno| Error::system("start a process for the files", errno))?;
        Newborn::of(Role::Exec, Started { process, terminal: None, word: None }, Some(streams))
    }
}

fn kept(view: &View, ends: &ProcessEnds) -> Vec<i32> {
    let mut kept: Vec<i32> =
        ends.descriptors().iter().chain(&view.descriptors()).map(AsRawFd::as_raw_fd).collect();
    kept.sort_unstable();
    kept
}

fn carry_out(task: &Task, view: &View, ends: &ProcessEnds) -> std::io::Result<()> {
    // What belongs to other processes would stay open for as long as this one takes.
    close_all_but(&kept(view, ends))?;
    let [input, output, errors] = ends.descriptors().map(|end| end.try_clone_to_owned().map(File::from));
    let (mut input, mut output) = (input?, output?);
    let done = holm_files::perform(task, view, &mut input, &mut output);
    if matches!(task, Task::Unpack { .. }) && done.is_ok() {
        // Whoever copied may turn the machine off as soon as they hear of it.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::syncfs(openat(&view.root, ".", flags, Mode::empty())?)?;
    }
    done.or_else(|error| {
        let failure = serde_json::to_vec(&error.to_failure()).expect("plain data");
        errors?.write_all(&failure)?;
        Err(std::io::Error::other(error))
    })
}

/// Path of a workload's group.
pub fn group_path(id: &Id) -> PathBuf {
    Path::new(GROUPS).join(id.to_string())
}

/// Whether the kernel has killed a process of a workload for lack of memory: its own, or the guest's.
pub fn was_out_of_memory(id: &Id) -> bool {
    let kills = |hierarchies| cgroup::out_of_memory_kills(&hierarchies, &group_path(id));
    Hierarchies::detect().map_or(0, kills) > 0
}

/// Ends whatever still runs in a workload's group, and removes it.
pub fn release(id: &Id) {
    let removed = Hierarchies::detect().and_then(|hierarchies| cgroup::remove(&hierarchies, &group_path(id)));
    if let Err(error) = removed {
        // Processes that do not end: the workload is over all the same.
        console::say(&error.in_one_line());
    }
}

fn make_group(config: &GuestWorkload, rules: &[Rule]) -> Result<Group> {
    let (hierarchies, path) = (Hierarchies::detect()?, group_path(&config.id));
    let mut group = Group::create(&hierarchies, &path, workload::resources(&config.oci), rules)?;
    group.enter_for_figures(&hierarchies, &path)?;
    Ok(group)
}

/// Writes the files that the machine made and mounts them over the root, as the host does: read-only with it.
fn add_files(spec: &mut Spec, files: &[GuestFile], place: &Place) -> Result<()> {
    let read_only = spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false);
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    for (number, file) in files.iter().enumerate() {
        let source = place.write(number, &file.content)?;
        mounts.push(bind(&source, &file.target, read_only));
    }
    // What is mounted in another mount comes behind it.
    mounts.sort_by_key(|mount| mount.destination().components().count());
    spec.set_mounts(Some(mounts));
    Ok(())
}

fn bind(source: &Path, target: &str, read_only: bool) -> Mount {
    let options = ["bind", "rprivate"].into_iter().chain(read_only.then_some("ro"));
    let mut mount = Mount::default();
    mount
        .set_destination(target.into())
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(source.to_owned()))
        .set_options(Some(options.map(str::to_owned).collect()));
    mount
}

/// The machine's devices are the workload's alone, in its network namespace; the agent has no network.
fn give_devices(devices: &[Device], pid: Pid) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let path = format!("/proc/{}/ns/net", pid.as_raw_nonzero());
    let given = open_namespace(Path::new(&path))
        .and_then(|namespace| holm_network::give_devices(devices, namespace.as_fd()));
    given.map_err(|error| match std::error::Error::source(&error) {
        Some(cause) => Error::caused(Kind::System, error.to_string(), cause.to_string()),
        None => Error::new(Kind::System, error.to_string()),
    })
}

/// The agent's own limit is no workload's.
fn add_limits(spec: &mut Spec) {
    let Some(process) = spec.process_mut().as_mut() else { return };
    let mut limits = process.rlimits().clone().unwrap_or_default();
    if limits.iter().all(|limit| limit.typ() != PosixRlimitType::RlimitNofile) {
        let (soft, hard) = DESCRIPTORS;
        let builder = PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitNofile).soft(soft).hard(hard);
        limits.push(builder.build().expect("no field is missing"));
    }
    process.set_rlimits(Some(limits));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_limited_unless_the_workload_says_how() {
        let limits = |spec: &Spec| -> Vec<(u64, u64)> {
            let process = spec.process().as_ref().expect("the default has one");
            process.rlimits().iter().flatten().map(|limit| (limit.soft(), limit.hard())).collect()
        };
        let mut spec = Spec::default();
        spec.process_mut().as_mut().expect("the default has one").set_rlimits(None);
        add_limits(&mut spec);
        assert_eq!(limits(&spec), [DESCRIPTORS]);
        add_limits(&mut spec);
        assert_eq!(limits(&spec), [DESCRIPTORS]);
    }

    #[test]
    fn a_file_is_mounted_read_only_where_the_root_is() {
        let mount = bind(Path::new("/run/holm/memory/a/files/0"), "/etc/hosts", true);
        assert_eq!(mount.options().as_deref(), Some(&["bind", "rprivate", "ro"].map(str::to_owned)[..]));
        assert_eq!(mount.destination(), Path::new("/etc/hosts"));
    }
}
