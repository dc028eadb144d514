//! The jail of a machine: the container that `holm-machine` and its emulator run in.
//!
//! A user that nothing else has, no capabilities, no way to gain any; namespaces of all kinds but that of users; Holm's
//! filter of system calls; a root with nothing but the emulator's files. Disks come as descriptors. A guest that
//! breaks out of the emulator finds an empty room.

use std::collections::HashSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::{fs, io};

use holm_runtime::Error;
use holm_spec::Id;
use holm_spec::machine::{Accelerator, Launch, Machine};
use holm_spec::runtime::{
    Linux, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, LinuxNamespace, LinuxNamespaceType, LinuxPids,
    LinuxResources, Mount, Process, Root, Spec,
};
use holm_sys::file::ensure_directory;

/// Where the jail has what it is for.
pub const PROGRAM: &str = "/holm-machine";
/// The kernel.
pub const KERNEL: &str = "/kernel";
/// The guest's first root.
pub const INITRD: &str = "/initrd";
/// Directories that the emulator and its libraries lie in.
const SYSTEM: [&str; 5] = ["usr", "bin", "lib", "lib64", "lib32"];
/// `/dev/kvm`.
const KVM: (i64, i64) = (10, 232);
/// The first of the users of machines; each has one of its own by the first bytes of its sandbox's id. No range that
/// tools hand out reaches so high.
const FIRST_USER: u32 = 0x6000_0000;

/// Processes and threads of a jail: a process for each that runs beside the workload's first one, and what the emulator
/// has for processors and disks.
const PROCESSES_LIMIT: i64 = 2048;

/// The user of a sandbox's jail.
pub fn user(sandbox: &Id) -> u32 {
    let digits = sandbox.short();
    FIRST_USER + u32::from_str_radix(&digits[..7], 16).unwrap_or(0)
}

/// Makes the directory of a jail's root, with the links that the host has at the same places.
pub fn make_root(directory: &Path) -> Result<(), Error> {
    let failed = |error| Error::system(format!("make jail `{}`", directory.display()), error);
    ensure_directory(directory, 0o755).map_err(failed)?;
    for name in SYSTEM {
        if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
            match symlink(target, directory.join(name)) {
                // Of the run before, if this one was started again.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made.map_err(failed)?,
            }
        }
    }
    Ok(())
}

/// The OCI configuration of a jail; its first process gets `arguments`.
pub fn specification(
    sandbox: &Id,
    machine: &Machine,
    launch: &Launch,
    resources: Option<&LinuxResources>,
    tty: bool,
    arguments: Vec<String>,
) -> Spec {
    let user = user(sandbox);
    let mut root = Root::default();
    root.set_path("root".into()).set_readonly(Some(true));
    let kvm = launch.accelerator == Accelerator::Kvm;
    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(namespaces()))
        .set_resources(Some(limits(resources, kvm)))
        .set_devices(kvm.then(|| vec![kvm_device(user)]))
        .set_masked_paths(Some(["/proc/kcore", "/proc/keys", "/proc/timer_list"].map(str::to_owned).into()))
        .set_readonly_paths(Some(["/proc/sys", "/proc/irq", "/proc/bus"].map(str::to_owned).into()));
    let mut spec = Spec::default();
    spec.set_version("1.2.0".to_owned())
        .set_root(Some(root))
        .set_hostname(Some("machine".to_owned()))
        .set_process(Some(process(user, tty, arguments)))
        .set_mounts(Some(mounts(user, machine, launch)))
        .set_linux(Some(linux));
    spec
}

fn process(user: u32, tty: bool, arguments: Vec<String>) -> Process {
    let mut ids = holm_spec::runtime::User::default();
    ids.set_uid(user).set_gid(user);
    let mut process = Process::default();
    process
        .set_terminal(Some(tty))
        .set_user(ids)
        .set_args(Some(arguments))
        .set_env(Some(Vec::new()))
        .set_cwd("/".into())
        .set_no_new_privileges(Some(true))
        .set_capabilities(Some(none()));
    process
}

/// No capability in any set.
fn none() -> holm_spec::runtime::LinuxCapabilities {
    let mut none = holm_spec::runtime::LinuxCapabilities::default();
    none.set_bounding(Some(HashSet::new()))
        .set_effective(Some(HashSet::new()))
        .set_permitted(Some(HashSet::new()))
        .set_inheritable(Some(HashSet::new()))
        .set_ambient(Some(HashSet::new()));
    none
}

fn mounts(user: u32, machine: &Machine, launch: &Launch) -> Vec<Mount> {
    let own = format!("uid={user}");
    let mut mounts = kernel_file_systems();
    mounts.extend([
        mount(
            "/run",
            "tmpfs",
            Path::new("tmpfs"),
            &["nosuid", "noexec", "nodev", "mode=700", "size=1m", &own],
        ),
        mount(
            "/tmp",
            "tmpfs",
            Path::new("tmpfs"),
            &["nosuid", "noexec", "nodev", "mode=700", "size=16m", &own],
        ),
        read_only(PROGRAM, &launch.program),
        read_only(KERNEL, &machine.kernel.image),
        read_only(INITRD, &launch.initrd),
    ]);
    mounts.extend(system(&launch.emulator));
    mounts
}

/// `/proc` and `/dev` as the namespaces of a jail show them.
pub fn kernel_file_systems() -> Vec<Mount> {
    let terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    vec![
        mount("/proc", "proc", Path::new("proc"), &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", Path::new("tmpfs"), &["nosuid", "noexec", "mode=755", "size=64k"]),
        mount("/dev/pts", "devpts", Path::new("devpts"), &terminals),
    ]
}

/// The host's programs and libraries, read-only; `program` must be among them.
pub fn system(program: &Path) -> Vec<Mount> {
    let directories = SYSTEM.iter().map(|name| Path::new("/").join(name));
    let real = directories.filter(|path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()));
    let mut system: Vec<PathBuf> = real.collect();
    if !program.starts_with("/usr") {
        system.push(program.to_owned());
    }
    system.iter().map(|path| read_only(&path.to_string_lossy(), path)).collect()
}

fn read_only(target: &str, source: &Path) -> Mount {
    mount(target, "bind", source, &["rbind", "ro", "rro", "nosuid", "nodev", "rprivate"])
}

/// A mount of an OCI configuration.
pub fn mount(target: &str, kind: &str, source: &Path, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(target.into())
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source.to_owned()))
        .set_options(Some(options.iter().map(|&option| option.to_owned()).collect()));
    mount
}

/// All namespaces but that of users.
pub fn namespaces() -> Vec<LinuxNamespace> {
    let kinds = [
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Cgroup,
        LinuxNamespaceType::Network,
    ];
    let namespace = |kind| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind).set_path(None);
        namespace
    };
    kinds.into_iter().map(namespace).collect()
}

/// The processor's limit of the workload, which the host keeps; its memory is the guest's own size, and what else is
/// limited is limited in the guest.
fn limits(resources: Option<&LinuxResources>, kvm: bool) -> LinuxResources {
    let mut pids = LinuxPids::default();
    pids.set_limit(PROCESSES_LIMIT);
    let mut limits = LinuxResources::default();
    limits
        .set_pids(Some(pids))
        .set_cpu(resources.and_then(|resources| resources.cpu().clone()))
        .set_devices(Some(device_rules(kvm)));
    limits
}

/// Nodes that every process may use, and KVM.
pub fn device_rules(kvm: bool) -> Vec<LinuxDeviceCgroup> {
    let character = |major, minor| rule(true, LinuxDeviceType::C, Some(major), minor);
    let mut rules = vec![rule(false, LinuxDeviceType::A, None, None)];
    // null, zero, full, random, urandom; tty, ptmx; pseudo-terminals.
    rules.extend([3, 5, 7, 8, 9].map(|minor| character(1, Some(minor))));
    rules.extend([0, 2].map(|minor| character(5, Some(minor))));
    rules.push(character(136, None));
    rules.extend(kvm.then(|| character(KVM.0, Some(KVM.1))));
    rules
}

fn rule(allow: bool, kind: LinuxDeviceType, major: Option<i64>, minor: Option<i64>) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow)
        .set_typ(Some(kind))
        .set_major(major)
        .set_minor(minor)
        .set_access(Some("rwm".to_owned()));
    rule
}

fn kvm_device(user: u32) -> LinuxDevice {
    let mut device = LinuxDevice::default();
    device
        .set_path("/dev/kvm".into())
        .set_typ(LinuxDeviceType::C)
        .set_major(KVM.0)
        .set_minor(KVM.1)
        .set_file_mode(Some(0o600))
        .set_uid(Some(user))
        .set_gid(Some(user));
    device
}
