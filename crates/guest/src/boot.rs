//! From the kernel's first root to a system that workloads can run on.
//!
//! The kernel unpacks the machine's archives into a root that cannot be left by pivot_root(2), which every start of a
//! workload needs. So what the agent still needs moves to a root of its own; the rest is removed and its memory is free.
//!
//! ```text
//! /                     tmpfs, the agent's; no workload writes to it
//! /usr/lib/holm/        holm-init
//! /run/holm/            see `storage`
//! /dev /proc /sys       the kernel's
//! /sys/fs/cgroup        all controllers, for the groups of workloads; the agent is in none of those
//! ```

use std::ffi::CStr;
use std::fs;
use std::path::Path;

use holm_runtime::{Error, Result};
use holm_spec::agent::INIT_PATH;
use holm_sys::file::remove_tree;
use holm_sys::interface::set_loopback_up;
use rustix::mount::{MountFlags, mount, mount_move};
use rustix::process::{Resource, Rlimit, chdir, chroot, setrlimit};
use rustix::system::{finit_module, sethostname};

use crate::console;

const MODULES: &str = "/lib/modules";
const NEW_ROOT: &str = "/new";
const GROUPS: &str = "/sys/fs/cgroup";
/// What the first root has beside the kernel's own file systems.
const FIRST_ROOT: [&str; 4] = ["/init", "/lib", "/usr", "/root"];
/// Descriptors that the agent may have: a few for each process that it runs.
const DESCRIPTORS: u64 = 1 << 20;

/// Carries out all steps.
///
/// # Errors
/// The step that failed; there is no use in going on.
pub fn prepare() -> Result<()> {
    make("/dev")?;
    file_system(c"devtmpfs", "/dev", MountFlags::NOSUID, c"mode=0755")?;
    console::open();
    load_modules();
    leave_first_root()?;
    mount_kernel_file_systems()?;
    enable_controllers()?;
    prepare_process()
}

/// In the order of their names, which begin with their place. One that is not needed may fail.
fn load_modules() {
    let entries = fs::read_dir(MODULES).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let loaded =
            fs::File::open(&path).and_then(|file| finit_module(file, c"", 0).map_err(std::io::Error::from));
        if let Err(error) = loaded {
            console::say(&format!("load module `{}`: {error}", path.display()));
        }
    }
}

fn leave_first_root() -> Result<()> {
    make(NEW_ROOT)?;
    file_system(c"tmpfs", NEW_ROOT, MountFlags::empty(), c"mode=0755")?;
    for directory in ["dev", "proc", "run", "sys", "usr", "usr/lib", "usr/lib/holm"] {
        make(&format!("{NEW_ROOT}/{directory}"))?;
    }
    // A machine may come without it.
    let _ = fs::copy(INIT_PATH, format!("{NEW_ROOT}{INIT_PATH}"));
    for path in FIRST_ROOT {
        let _ = remove_tree(Path::new(path));
    }
    let failed = |errno| Error::system("leave the first root", errno);
    mount_move("/dev", format!("{NEW_ROOT}/dev")).map_err(failed)?;
    chdir(NEW_ROOT).map_err(failed)?;
    mount_move(".", "/").map_err(failed)?;
    chroot(".").map_err(failed)?;
    chdir("/").map_err(failed)
}

fn mount_kernel_file_systems() -> Result<()> {
    let hardened = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    file_system(c"proc", "/proc", hardened, c"")?;
    file_system(c"sysfs", "/sys", hardened, c"")?;
    file_system(c"cgroup2", GROUPS, hardened, c"nsdelegate")?;
    make("/dev/pts")?;
    file_system(c"devpts", "/dev/pts", MountFlags::NOSUID | MountFlags::NOEXEC, c"ptmxmode=0666,mode=0620")
}

/// The groups of workloads count and limit everything that this kernel can.
fn enable_controllers() -> Result<()> {
    let file = format!("{GROUPS}/cgroup.controllers");
    let controllers =
        fs::read_to_string(&file).map_err(|error| Error::system(format!("read `{file}`"), error))?;
    for controller in controllers.split_whitespace() {
        let enabled = fs::write(format!("{GROUPS}/cgroup.subtree_control"), format!("+{controller}"));
        if let Err(error) = enabled {
            console::say(&format!("enable controller `{controller}`: {error}"));
        }
    }
    Ok(())
}

fn prepare_process() -> Result<()> {
    // Every mode is meant as it is written.
    rustix::process::umask(rustix::fs::Mode::empty());
    let limit = Rlimit { current: Some(DESCRIPTORS), maximum: Some(DESCRIPTORS) };
    let step = |step: &'static str| move |errno| Error::system(step, errno);
    setrlimit(Resource::Nofile, limit).map_err(step("raise the limit of descriptors"))?;
    set_loopback_up().map_err(step("set the loopback interface up"))?;
    sethostname(b"holm").map_err(step("set the host name"))
}

fn make(directory: &str) -> Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::system(format!("make `{directory}`"), error))
        }
        _ => Ok(()),
    }
}

fn file_system(kind: &CStr, target: &str, flags: MountFlags, options: &CStr) -> Result<()> {
    mount(kind, target, kind, flags, options)
        .map_err(|errno| Error::system(format!("mount {} on `{target}`", kind.to_string_lossy()), errno))
}
