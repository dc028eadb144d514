//! OCI runtimes with Docker's configuration: holm-runtime, crun and runc from Debian, and the floor.
//!
//! Debian's crun refuses hybrid hosts, so there all of them run in mount namespaces that show one kind of control
//! groups only. State is on a tmpfs, as it is in `/run`: making a file on a disk can take half a millisecond, and none of
//! that is the runtimes'.

mod bundle;
mod floor;

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{Pid, Resource};
use rustix::thread::CapabilitySet;

use super::image::TestImage;
use crate::driver::host::StandingGroups;
use crate::driver::process::{self, Launch, MountNamespace};
use bundle::Bundles;
pub use bundle::Program;
pub use floor::OciFloor;

/// The runtime of this project.
pub const OURS: &str = "holm-runtime";
/// All of them.
pub const RUNTIMES: [&str; 3] = [OURS, "crun", "runc"];

const HYBRID: &str = "/sys/fs/cgroup/unified";
/// How long a program that ends at once may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which control groups are seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// What the host has.
    Host,
    /// v1 only.
    V1,
    /// v2 only.
    V2,
}

/// Under which circumstances runtimes are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Which control groups are seen.
    pub view: View,
    /// In a user namespace.
    pub user_namespace: bool,
}

impl fmt::Display for Setting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.view {
            View::Host => "the host's groups",
            View::V1 => "v1 groups",
            View::V2 => "v2 groups",
        })?;
        formatter.write_str(if self.user_namespace { ", user namespace" } else { "" })
    }
}

/// The runtimes' bundles, state and views of the host.
pub struct OciRuntimes {
    holm: PathBuf,
    root: PathBuf,
    bundles: Bundles,
    state: Memory,
    legacy: Option<Rc<MountNamespace>>,
    unified: Option<Rc<MountNamespace>>,
    _groups: [StandingGroups; 2],
}

impl OciRuntimes {
    /// Makes what all settings share.
    ///
    /// # Errors
    /// When holm-runtime or the profile is not there.
    pub fn prepare(base: &Path, image: &TestImage, bin_dir: Option<&Path>) -> Result<Self> {
        let holm = bin_dir.map_or_else(|| PathBuf::from(OURS), |directory| directory.join(OURS));
        // The root of a user namespace must get to the root file system.
        std::fs::set_permissions(base, PermissionsExt::from_mode(0o711))?;
        let bundles = Bundles::prepare(base.join("bundles"), &holm, &image.folder)?;
        // Before the namespaces, which get a copy of it.
        let state = Memory::mount(base.join("oci-state"))?;
        let view = |commands: &str| {
            let hybrid = Path::new(HYBRID).exists();
            hybrid.then(|| MountNamespace::made_by(commands).map(Rc::new)).transpose()
        };
        Ok(Self {
            legacy: view(&format!("umount {HYBRID}"))?,
            // Not a mount of its own: made outside of a cgroup namespace, that would change the host's options.
            unified: view(&format!("mount --bind {HYBRID} /sys/fs/cgroup"))?,
            _groups: [OURS, floor::GROUP].map(StandingGroups::named),
            root: image.folder.clone(),
            holm,
            bundles,
            state,
        })
    }

    /// A runtime under circumstances.
    ///
    /// # Errors
    /// When this host cannot show these groups, or a bundle cannot be written.
    pub fn runtime(&self, name: &'static str, setting: Setting) -> Result<Runtime> {
        Ok(Runtime {
            name,
            program: if name == OURS { self.holm.clone() } else { name.into() },
            state: self.state.0.join(name),
            brief: self.bundles.get(setting, Program::True)?,
            lasting: self.bundles.get(setting, Program::Sleep)?,
            namespace: self.namespace(setting.view)?,
        })
    }

    /// The floor `program` under circumstances.
    ///
    /// # Errors
    /// When this host cannot show these groups.
    pub fn floor(&self, program: &Path, setting: Setting) -> Result<OciFloor> {
        Ok(OciFloor {
            program: program.to_owned(),
            root: self.root.clone(),
            fifo: self.state.0.join("floor"),
            user_namespace: setting.user_namespace,
            namespace: self.namespace(setting.view)?,
        })
    }

    /// Where holm-runtime keeps its state.
    pub fn state(&self) -> PathBuf {
        self.state.0.join(OURS)
    }

    fn namespace(&self, view: View) -> Result<Option<Rc<MountNamespace>>> {
        let hybrid = self.legacy.is_some();
        let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        match view {
            View::Host => Ok(None),
            View::V1 if hybrid || !unified => Ok(self.legacy.clone()),
            View::V2 if hybrid || unified => Ok(self.unified.clone()),
            View::V1 | View::V2 => bail!("this host has no such control groups"),
        }
    }
}

/// Whether Debian's crun can load a device program: it raises the limit of locked memory first, needed or not.
pub fn crun_can_use_v2() -> bool {
    let unlimited = rustix::process::getrlimit(Resource::Memlock).maximum.is_none();
    let own = rustix::thread::capabilities(None);
    unlimited || own.is_ok_and(|own| own.effective.contains(CapabilitySet::SYS_RESOURCE))
}

/// A directory that lies in memory.
struct Memory(PathBuf);

impl Memory {
    fn mount(directory: PathBuf) -> Result<Self> {
        std::fs::create_dir(&directory)?;
        rustix::mount::mount("holm-bench", &directory, "tmpfs", MountFlags::empty(), None)
            .with_context(|| format!("mounting a tmpfs at `{}`", directory.display()))?;
        Ok(Self(directory))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // The driver looks for mounts that are left.
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// One runtime under certain circumstances.
#[derive(Clone)]
pub struct Runtime {
    /// Name of the program.
    pub name: &'static str,
    program: PathBuf,
    state: PathBuf,
    brief: PathBuf,
    lasting: PathBuf,
    namespace: Option<Rc<MountNamespace>>,
}

impl Runtime {
    fn command(&self, verb: &str) -> Launch {
        Launch::new(&self.program)
            .with(["--root"])
            .with([&self.state])
            .with([verb])
            .inside(self.namespace.clone())
    }

    fn bundle(&self, program: Program) -> &Path {
        if program == Program::True { &self.brief } else { &self.lasting }
    }

    /// `run` of a program that ends at once.
    pub fn run(&self, id: &str) -> Launch {
        self.command("run").with(["--bundle"]).with([self.bundle(Program::True)]).with([id])
    }

    /// `create` as engines call it, with a file for the process's number; the process stays.
    pub fn create(&self, id: &str, program: Program) -> Launch {
        let create = self.command("create").with(["--bundle"]).with([self.bundle(program)]);
        create.with(["--pid-file"]).with([self.pid_file(id)]).with([id]).leaving()
    }

    /// `start`.
    pub fn start(&self, id: &str) -> Launch {
        self.command("start").with([id])
    }

    /// `state`.
    pub fn state(&self, id: &str) -> Launch {
        self.command("state").with([id])
    }

    /// `kill` with a signal by its name.
    pub fn kill(&self, id: &str, signal: &str) -> Launch {
        self.command("kill").with([id, signal])
    }

    /// `delete`.
    pub fn delete(&self, id: &str) -> Launch {
        self.command("delete").with([id])
    }

    /// `exec` of a program that ends at once.
    pub fn exec(&self, id: &str) -> Launch {
        self.command("exec").with([id, "/bin/true"])
    }

    /// Makes a container that has ended.
    ///
    /// # Errors
    /// When a command fails; when the program does not end.
    pub fn leave_stopped(&self, id: &str) -> Result<()> {
        let before = process::children()?;
        self.create(id, Program::True).time_and_leave()?;
        self.start(id).time_and_leave()?;
        process::reap_orphans(&before, Instant::now() + PATIENCE)
    }

    /// Takes a container away, whatever it does.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, id: &str) -> Result<()> {
        self.command("delete").with(["--force", id]).output()?;
        process::reap_ended();
        Ok(())
    }

    /// A container that runs until this is dropped.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn hold(&self, id: &str) -> Result<Held> {
        // Removes it whatever fails from here on.
        let mut held = Held { runtime: self.clone(), id: id.to_owned(), pid: Pid::INIT, gone: false };
        self.create(id, Program::Sleep).time_and_leave()?;
        let file = self.pid_file(id);
        held.pid = read_pid(&file).with_context(|| format!("reading `{}`", file.display()))?;
        self.start(id).time_and_leave()?;
        Ok(held)
    }

    /// Beside the directory of its state, which is all the runtime's.
    fn pid_file(&self, id: &str) -> PathBuf {
        self.state.with_file_name(format!("{id}.pid"))
    }
}

fn read_pid(file: &Path) -> Option<Pid> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok().and_then(Pid::from_raw)
}

/// A container that runs.
pub struct Held {
    runtime: Runtime,
    /// Its id.
    pub id: String,
    /// Its first process, as the host numbers it.
    pub pid: Pid,
    gone: bool,
}

impl Held {
    /// Somebody has deleted it.
    pub fn forget(mut self) {
        self.gone = true;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.gone {
            // What is left is found by the driver at its end.
            drop(self.runtime.remove(&self.id));
        }
    }
}
