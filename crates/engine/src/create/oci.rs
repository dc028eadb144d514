//! The OCI runtime configuration of a workload: Docker's defaults, with what was asked over them.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use holm_spec::changes::Limits;
use holm_spec::runtime::{
    Linux, LinuxCapabilities, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, LinuxNamespace,
    LinuxNamespaceType, LinuxResources, Mount, Process, Root, Spec,
};
use holm_spec::workload::{INIT, INIT_TARGET, Isolation, NetworkMode};

use super::files::EtcFile;
use super::resolve::Resolved;
use crate::request::{CreateRequest, MountRequest};
use crate::{Error, Result};

/// Paths of procfs and sysfs that tell or do too much.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The paths that are masked, with those of each processor of this host that tell how warm it is.
fn masked() -> Vec<String> {
    let processors = std::fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
    let throttle = processors.map(|entry| entry.path().join("thermal_throttle")).filter(|path| path.exists());
    let mut throttle: Vec<String> = throttle.map(|path| path.display().to_string()).collect();
    throttle.sort_unstable();
    MASKED.iter().map(|path| (*path).to_owned()).chain(throttle).collect()
}

/// The configuration.
pub(super) fn specification(
    request: &CreateRequest,
    resolved: &Resolved,
    files: &[EtcFile],
    asked: Vec<Mount>,
) -> Result<Spec> {
    let mut root = Root::default();
    root.set_path("rootfs".into()).set_readonly(Some(request.read_only));
    let mut spec = Spec::default();
    spec.set_version("1.2.0".to_owned())
        .set_root(Some(root))
        .set_process(Some(process(request, resolved)))
        .set_hostname(
            (resolved.network.mode != NetworkMode::Host || request.hostname.is_some())
                .then(|| resolved.hostname.clone()),
        )
        .set_mounts(Some(mounts(request, files, asked)?))
        .set_linux(Some(linux(request, resolved)?));
    Ok(spec)
}

fn process(request: &CreateRequest, resolved: &Resolved) -> Process {
    let program = resolved.entrypoint.iter().chain(&resolved.command).cloned();
    let init = request.init.then(|| [INIT_TARGET.to_owned(), "--".to_owned()]).into_iter().flatten();
    let set = resolved.capabilities.to_oci();
    let mut capabilities = LinuxCapabilities::default();
    capabilities
        .set_bounding(Some(set.clone()))
        .set_effective(Some(set.clone()))
        .set_permitted(Some(set))
        .set_inheritable(None)
        .set_ambient(None);
    let mut process = Process::default();
    process
        .set_terminal(Some(request.tty))
        .set_args(Some(init.chain(program).collect()))
        .set_env(Some(resolved.env.clone()))
        .set_cwd(PathBuf::from(&resolved.workdir))
        .set_capabilities(Some(capabilities))
        .set_rlimits(None)
        .set_no_new_privileges(Some(request.no_new_privileges));
    process
}

fn mount(target: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(target.into())
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source.into()))
        .set_options(Some(options.iter().map(|&option| option.to_owned()).collect()));
    mount
}

/// A file system in memory.
pub(super) fn memory(target: &str, options: &str) -> Mount {
    let asked = options.split(',').filter(|option| !option.is_empty());
    let options: Vec<&str> = ["nosuid", "nodev", "noexec"].into_iter().chain(asked).collect();
    mount(target, "tmpfs", "tmpfs", &options)
}

fn mounts(request: &CreateRequest, files: &[EtcFile], asked: Vec<Mount>) -> Result<Vec<Mount>> {
    let writable = if request.privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", writable]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", writable]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ];
    // What the user mounts on one of these files replaces it.
    let is_bound = |target: &str| asked.iter().any(|mount| mount.destination() == Path::new(target));
    for file in files.iter().filter(|file| !is_bound(file.target)) {
        mounts.push(mount(
            file.target,
            "bind",
            &file.source.to_string_lossy(),
            if request.read_only { &["bind", "rprivate", "ro"] } else { &["bind", "rprivate"] },
        ));
    }
    mounts.extend(request.tmpfs.iter().map(|(target, options)| memory(target, options)));
    mounts.extend(asked);
    if request.init {
        let source = crate::host::helper(INIT)?;
        mounts.push(mount(
            INIT_TARGET,
            "bind",
            &source.to_string_lossy(),
            &["bind", "ro", "nosuid", "nodev"],
        ));
    }
    mounts.sort_by_key(|mount| mount.destination().components().count());
    Ok(mounts)
}

/// A bind mount that goes both ways needs a root that does.
fn root_propagation(request: &CreateRequest) -> Option<String> {
    let asked = |mount: &MountRequest| matches!(mount.propagation.as_deref(), Some("shared" | "rshared"));
    request.mounts.iter().any(asked).then(|| "shared".to_owned())
}

fn linux(request: &CreateRequest, resolved: &Resolved) -> Result<Linux> {
    let paths = |paths: &[&str]| Some(paths.iter().map(|&path| path.to_owned()).collect::<Vec<_>>());
    // A machine has devices of its own.
    let gets_devices = request.privileged && request.isolation == Isolation::Container;
    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(namespaces(&resolved.network.mode)))
        .set_resources(Some(resources(request)))
        .set_devices(if gets_devices { Some(host_devices()?) } else { None })
        .set_masked_paths(if request.privileged { None } else { Some(masked()) })
        .set_readonly_paths(if request.privileged { None } else { paths(&READ_ONLY) })
        .set_rootfs_propagation(root_propagation(request))
        .set_seccomp(resolved.seccomp.document.clone());
    Ok(linux)
}

fn namespaces(network: &NetworkMode) -> Vec<LinuxNamespace> {
    let kinds = [
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Cgroup,
    ];
    let own_network = (*network != NetworkMode::Host).then_some(LinuxNamespaceType::Network);
    let namespace = |kind| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind).set_path(None);
        namespace
    };
    kinds.into_iter().chain(own_network).map(namespace).collect()
}

fn resources(request: &CreateRequest) -> LinuxResources {
    let mut resources = LinuxResources::default();
    resources.set_devices(Some(device_rules(request.privileged)));
    let pids = request.pids_limit.and_then(|limit| i64::try_from(limit).ok());
    Limits { memory: request.memory, nano_cpus: request.nano_cpus, pids }.set(&mut resources);
    resources
}

fn device_rule(
    allow: bool,
    kind: LinuxDeviceType,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow)
        .set_typ(Some(kind))
        .set_major(major)
        .set_minor(minor)
        .set_access(Some(access.to_owned()));
    rule
}

/// Nothing, but making any node, and using the ones that every container has.
fn device_rules(privileged: bool) -> Vec<LinuxDeviceCgroup> {
    if privileged {
        return vec![device_rule(true, LinuxDeviceType::A, None, None, "rwm")];
    }
    let character = |major, minor| device_rule(true, LinuxDeviceType::C, Some(major), minor, "rwm");
    let mut rules = vec![
        device_rule(false, LinuxDeviceType::A, None, None, "rwm"),
        device_rule(true, LinuxDeviceType::C, None, None, "m"),
        device_rule(true, LinuxDeviceType::B, None, None, "m"),
    ];
    // null, zero, full, random, urandom; tty, console, ptmx; pseudo-terminals.
    rules.extend([3, 5, 7, 8, 9].map(|minor| character(1, Some(minor))));
    rules.extend([0, 1, 2].map(|minor| character(5, Some(minor))));
    rules.push(character(136, None));
    rules
}

/// The host's device nodes, for a privileged workload.
fn host_devices() -> Result<Vec<LinuxDevice>> {
    let mut devices = Vec::new();
    let mut folders = vec![PathBuf::from("/dev")];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .map_err(|error| Error::io(format!("list `{}`", folder.display()), error))?;
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(metadata) = path.symlink_metadata() else { continue };
            let kind = metadata.file_type();
            // These are file systems of their own in the workload.
            let skipped = ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/console"]
                .iter()
                .any(|own| path == Path::new(own));
            if kind.is_dir() && !skipped {
                folders.push(path);
            } else if (kind.is_char_device() || kind.is_block_device()) && !skipped {
                devices.push(host_device(path, &metadata));
            }
        }
    }
    devices.sort_by(|a, b| a.path().cmp(b.path()));
    Ok(devices)
}

fn host_device(path: PathBuf, metadata: &std::fs::Metadata) -> LinuxDevice {
    let kind = if metadata.file_type().is_block_device() { LinuxDeviceType::B } else { LinuxDeviceType::C };
    let mut device = LinuxDevice::default();
    device
        .set_path(path)
        .set_typ(kind)
        .set_major(i64::from(rustix::fs::major(metadata.rdev())))
        .set_minor(i64::from(rustix::fs::minor(metadata.rdev())))
        .set_file_mode(Some(metadata.mode() & 0o7777))
        .set_uid(Some(metadata.uid()))
        .set_gid(Some(metadata.gid()));
    device
}
