//! Workloads in virtual machines: `holm-machine` in its jail stands where a container's first process does, so streams,
//! log, signals, exit code and adoption are the same. What differs: it runs before the workload does, so a start and an
//! exec wait for a notice (`crate::notices`).

use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use holm_network::{Membership, Tap};
use holm_runtime::cgroup::{Group, Hierarchies};
use holm_runtime::container::{self, Start, StartOptions};
use holm_runtime::rootfs::Root;
use holm_runtime::streams;
use holm_runtime::watched::{Newborn, Role};
use holm_runtime::workload::{self, Joined};
use holm_runtime::{Error, Event};
use holm_spec::agent::{GuestFile, GuestWorkload, INIT_PATH, SHARES};
use holm_spec::keeper::{ExecProcess, WindowSize};
use holm_spec::machine::{self, ExecPlan, Launch, Plan, VERSION, file};
use holm_spec::network::Device;
use holm_spec::runtime::{Mount, Spec};
use holm_spec::workload::{Config, SeccompSource};
use holm_sys::fail_point;
use holm_sys::file::read_limited;
use holm_sys::process::{Child, keep_over_exec};
use holm_sys::socket::packet_pair;
use rustix::fs::{FlockOperation, MemfdFlags, Mode, OFlags, flock, memfd_create, open};

use crate::jail::{self, INITRD, KERNEL, PROGRAM};
use crate::networks;
use crate::server::Server;
use crate::shares::Shares;
use crate::start::Begun;
use crate::task::{Task, group_path};

/// Longest file of the host that is made for a workload, in bytes: `/etc/hosts` and the like.
const FILE_LIMIT: u64 = 256 * 1024;
/// Longest description of a launch in bytes.
const LAUNCH_LIMIT: u64 = 64 * 1024;

/// What a process in a jail inherits: its plan, and where it says what happens.
struct Inherited {
    plan: OwnedFd,
    notices: OwnedFd,
    /// Everything else, kept open until the process has it.
    devices: Vec<OwnedFd>,
}

impl Inherited {
    /// The words for `holm-machine`.
    fn arguments(&self, mode: &str) -> Vec<String> {
        let numbers = [&self.plan, &self.notices].map(|descriptor| descriptor.as_raw_fd().to_string());
        [PROGRAM.to_owned(), mode.to_owned()].into_iter().chain(numbers).collect()
    }

    /// The numbers, ascending, each of which outlives `exec` from now on.
    fn numbers(&self) -> Result<Vec<i32>, Error> {
        let mut numbers = Vec::new();
        for descriptor in self.devices.iter().chain([&self.plan, &self.notices]) {
            keep_over_exec(descriptor).map_err(|errno| Error::system("hand on a descriptor", errno))?;
            numbers.push(descriptor.as_raw_fd());
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
}

impl Server {
    /// Starts the machine of a workload; the workload itself runs when the machine says so.
    pub(crate) fn start_machine(&self, config: &Config, window: Option<WindowSize>) -> Result<Begun, Error> {
        let machine = config.machine.as_ref().ok_or_else(|| Error::invalid("the workload has no machine"))?;
        let launch = self.read_launch()?;
        let spec = self.jail(config, &launch, Vec::new())?;
        let rules = workload::device_rules(&spec);
        let group =
            Group::create(&Hierarchies::detect()?, &group_path(config), workload::resources(&spec), &rules)?;
        fail_point::reached("machine-cgroup-made");
        // Before the files are read that say what it has.
        let membership = self.join_networks(config)?;
        let taps = networks::connect_machine(membership.as_ref())?;
        let mut disks = Disks::open(config, &self.layout.scratch(&config.id))?;
        let guest = GuestMounts::new(config, &launch, &self.layout.workload(&config.id).dir)?;
        let mut helpers = Vec::new();
        if !guest.shares.0.is_empty() {
            let (helper, socket) = guest.shares.serve(launch.virtiofsd.as_ref(), &self.paths.dir, &group)?;
            helpers.push(helper);
            disks.shares = Some(socket);
            fail_point::reached("machine-helpers-started");
        }
        let plan = Plan {
            version: VERSION,
            accelerator: launch.accelerator,
            emulator: launch.emulator.clone(),
            platform: machine.platform.clone(),
            cpus: machine.cpus,
            memory: machine.memory,
            kernel: KERNEL.into(),
            initrd: INITRD.into(),
            layers: disks.layers.iter().map(AsRawFd::as_raw_fd).collect(),
            scratch: Some(disks.scratch.as_raw_fd()),
            shares: disks.shares.as_ref().map(AsRawFd::as_raw_fd),
            taps: taps.iter().map(planned).collect(),
            volatile: config.auto_remove && config.visits.is_none(),
            visit: config.visits.is_some(),
            tty: config.tty,
            open_stdin: config.open_stdin,
            workload: guest.workload(config, membership.as_ref()),
        };
        let (notices, theirs) = packet_pair().map_err(|errno| Error::system("make a socket", errno))?;
        let taps = taps.into_iter().map(|tap| tap.descriptor);
        let devices = disks.into_vec().into_iter().chain(taps).collect();
        let inherited = Inherited { plan: in_memory(&plan)?, notices: theirs, devices };
        let spec = self.jail(config, &launch, inherited.arguments("run"))?;
        let process = self.start_jail(config, &spec, &group, &inherited, window)?;
        fail_point::reached("machine-jail-started");
        let ports = membership.map(Membership::keep).unwrap_or_default();
        Ok(Begun { process, group, layers: Vec::new(), helpers, ports, notices: Some(notices) })
    }

    fn read_launch(&self) -> Result<Launch, Error> {
        let path = self.paths.dir.join(file::LAUNCH);
        let failed = |cause: std::io::Error| Error::system(format!("read `{}`", path.display()), cause);
        let text = read_limited(&path, LAUNCH_LIMIT).map_err(failed)?;
        serde_json::from_slice(&text).map_err(|error| failed(error.into()))
    }

    /// The configuration of a jail. It is the same for all its processes.
    fn jail(&self, config: &Config, launch: &Launch, arguments: Vec<String>) -> Result<Spec, Error> {
        let machine = config.machine.as_ref().ok_or_else(|| Error::invalid("the workload has no machine"))?;
        let resources = workload::resources(&config.oci);
        Ok(jail::specification(&config.sandbox, machine, launch, resources, config.tty, arguments))
    }

    fn start_jail(
        &self,
        config: &Config,
        spec: &Spec,
        group: &Group,
        inherited: &Inherited,
        window: Option<WindowSize>,
    ) -> Result<Newborn, Error> {
        let root = self.paths.dir.join("jail");
        jail::make_root(&root)?;
        let directory = self.paths.workload(&config.id);
        let io = |error: std::io::Error| Error::system("make the standard streams", error);
        let ends =
            if config.tty { None } else { Some(streams::fifos(&directory, config.open_stdin).map_err(io)?) };
        let cache = self.layout.seccomp_cache();
        let start = Start {
            spec,
            root: Root::Directory(&root),
            bundle: Path::new("/"),
            group,
            user: None,
            seccomp: workload::seccomp_program(SeccompSource::Default, spec, Some(&cache))?,
            stdio: workload::stdio(ends.as_ref().map(|(_, ends)| ends), window),
            options: StartOptions {
                dies_with_parent: config.tty,
                preserved: inherited.numbers()?,
                ..StartOptions::default()
            },
        };
        let rules = workload::device_rules(spec);
        let started =
            container::start(start, &mut |event: Event, _: &Child| workload::answer(event, group, &rules))?;
        Newborn::of(Role::Main, started, ends.map(|(streams, _)| streams))
    }

    /// Starts what brings another process into a machine's workload.
    pub(crate) fn exec_in_machine(
        &self,
        task: &Task,
        asked: &ExecProcess,
        stdin: bool,
        window: Option<WindowSize>,
    ) -> Result<(Newborn, OwnedFd), Option<Error>> {
        let (config, first) = (&task.config, self.watched(task.main).ok_or(None)?);
        let plan = ExecPlan { version: VERSION, workload: config.id, process: asked.clone(), stdin, window };
        let (notices, theirs) = packet_pair().map_err(|errno| Some(Error::system("make a socket", errno)))?;
        let inherited = Inherited { plan: in_memory(&plan)?, notices: theirs, devices: Vec::new() };
        let launch = self.read_launch()?;
        let spec = self.jail(config, &launch, Vec::new())?;
        let user = jail::user(&config.sandbox);
        let user = format!("{user}:{user}");
        let cache = self.layout.seccomp_cache();
        let joined = Joined {
            spec: &spec,
            user: &user,
            seccomp: SeccompSource::Default,
            cache: Some(&cache),
            group: &task.group,
            first,
            preserved: &inherited.numbers()?,
        };
        let process = ExecProcess {
            args: inherited.arguments("exec"),
            env: Vec::new(),
            cwd: None,
            user: None,
            tty: asked.tty,
            privileged: false,
        };
        Ok((workload::exec(joined, &process, stdin, window)?, notices))
    }
}

/// A workload's disks.
struct Disks {
    layers: Vec<OwnedFd>,
    scratch: OwnedFd,
    /// A socket to what serves directories, which is no disk but goes the same way.
    shares: Option<OwnedFd>,
}

impl Disks {
    fn open(config: &Config, scratch: &Path) -> Result<Self, Error> {
        let layers = config.root.layers.iter().map(|layer| open_file(&layer.source, OFlags::RDONLY));
        let layers = layers.collect::<Result<_, _>>()?;
        let scratch = open_file(scratch, OFlags::RDWR)?;
        // Two machines that write to one disk destroy it. The lock goes with the last process that has this open.
        flock(&scratch, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| Error::system("take the workload's disk, which another machine has", errno))?;
        Ok(Self { layers, scratch, shares: None })
    }

    fn into_vec(self) -> Vec<OwnedFd> {
        self.layers.into_iter().chain([self.scratch]).chain(self.shares).collect()
    }
}

fn planned(tap: &Tap) -> machine::Tap {
    machine::Tap { descriptor: tap.descriptor.as_raw_fd(), hardware: tap.hardware, mtu: tap.mtu }
}

fn open_file(path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
    open(path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
        .map_err(|errno| Error::system(format!("open disk `{}`", path.display()), errno))
}

/// A file in memory with a document.
fn in_memory(document: &impl serde::Serialize) -> Result<OwnedFd, Error> {
    let text = serde_json::to_vec(document).expect("a plan is plain data");
    let make = || -> Result<OwnedFd, std::io::Error> {
        let mut file = std::fs::File::from(memfd_create("holm-plan", MemfdFlags::CLOEXEC)?);
        file.write_all(&text)?;
        Ok(file.into())
    };
    make().map_err(|error| Error::system("hold a plan in memory", error))
}

/// What is mounted in a workload, by where it comes from.
struct GuestMounts<'a> {
    /// As the guest gets them: no path of the host is in them.
    mounts: Vec<Mount>,
    /// Files that Holm made for the workload, which go along as what they hold.
    files: Vec<GuestFile>,
    /// What the user shares, in the order of their numbers.
    shares: Shares<'a>,
}

impl<'a> GuestMounts<'a> {
    fn new(config: &'a Config, launch: &Launch, own: &Path) -> Result<Self, Error> {
        let mut sorted = Self { mounts: Vec::new(), files: Vec::new(), shares: Shares(Vec::new()) };
        for mount in config.oci.mounts().iter().flatten() {
            let source = mount.source().clone().unwrap_or_default();
            if !matches!(mount.typ().as_deref(), Some("bind" | "overlay")) {
                sorted.mounts.push(mount.clone());
            } else if source == launch.init {
                sorted.mounts.push(with_source(mount, INIT_PATH.into()));
            } else if source.parent() == Some(own) {
                sorted.files.push(guest_file(&source, mount.destination())?);
            } else {
                let number = sorted.shares.0.len();
                sorted.mounts.push(of_share(mount, number));
                sorted.shares.0.push(mount);
            }
        }
        Ok(sorted)
    }

    /// The workload as its guest gets it.
    fn workload(self, config: &Config, membership: Option<&Membership>) -> GuestWorkload {
        let mut oci = config.oci.clone();
        oci.set_mounts(Some(self.mounts));
        GuestWorkload {
            id: config.visits.unwrap_or(config.id),
            sandbox: config.sandbox,
            layers: (1..).take(config.root.layers.len()).collect(),
            scratch: true,
            files: self.files,
            devices: membership
                .iter()
                .flat_map(|membership| membership.endpoints())
                .map(Device::from)
                .collect(),
            tty: config.tty,
            open_stdin: config.open_stdin,
            user: config.user.clone(),
            seccomp: config.seccomp,
            oci,
        }
    }
}

fn with_source(mount: &Mount, source: PathBuf) -> Mount {
    let mut mount = mount.clone();
    mount.set_source(Some(source));
    mount
}

/// A bind of what is shared, whatever that is on the host.
fn of_share(mount: &Mount, number: usize) -> Mount {
    let mut shared = with_source(mount, format!("{SHARES}/{number}").into());
    if mount.typ().as_deref() == Some("overlay") {
        let options = ["bind", "rprivate", "ro", "nosuid", "nodev"].map(str::to_owned).to_vec();
        shared.set_typ(Some("bind".to_owned())).set_options(Some(options));
    }
    shared
}

fn guest_file(source: &Path, target: &Path) -> Result<GuestFile, Error> {
    let failed = |error| Error::system(format!("read `{}` for the guest", source.display()), error);
    let content = read_limited(source, FILE_LIMIT).map_err(failed)?;
    let content = String::from_utf8_lossy(&content).into_owned();
    Ok(GuestFile { target: target.to_string_lossy().into_owned(), content })
}
