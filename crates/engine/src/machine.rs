//! Virtual machines of workloads: what is decided when one is created, and what when it is started.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use holm_spec::agent::{Command, Report};
use holm_spec::changes::cpus;
use holm_spec::keeper::PACKET_LIMIT;
use holm_spec::layout::SandboxPaths;
use holm_spec::machine::{
    DEFAULT_MEMORY, Facts, GUEST_OVERHEAD, KernelUse, Launch, Machine, SCRATCH_SIZE, SOCKET_PATH, VERSION,
    file,
};
use holm_spec::platform::Platform;
use holm_spec::workload::{Isolation, State};
use holm_spec::{Id, Reference};
use holm_store::Kernel;
use holm_sys::file::{Durability, ensure_directory, replace};
use holm_sys::process::open_pidfd;
use holm_sys::socket::{connect_packets_to, receive_packet, send_packet};
use holm_sys::{Errno, in_root};
use holm_vmm::host::{self as machines, Choice, Prober};
use holm_vmm::{disk, initrd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, ResolveFlags, open};

use crate::host::helper;
use crate::request::{CreateRequest, NetworkChoice};
use crate::{Engine, Error, Kind, Result, Workload};

/// Seconds that a guest may take for an answer.
const ANSWER_PATIENCE: i64 = 10;

impl Engine {
    /// The machine that a request asks for, of the image's platform; `None` for a container.
    pub(crate) fn resolve_machine(
        &self,
        request: &CreateRequest,
        platform: &Platform,
        needs_shares: bool,
    ) -> Result<Option<Machine>> {
        if request.isolation == Isolation::Container {
            return refuse_machine_settings(request).map(|()| None);
        }
        refuse_what_needs_the_host(request)?;
        if needs_shares {
            machines::require_virtiofsd()?;
        }
        let kernel = match &request.kernel {
            Some(name) => self.store.kernel(Some(name))?,
            None => self.store.default_kernel(platform)?,
        };
        if kernel.config.platform != *platform {
            let message = format!(
                "kernel `{}` is for {}, and image `{}` is for {platform}",
                kernel_name(request, &kernel),
                kernel.config.platform,
                request.image
            );
            return Err(Error::new(Kind::ForeignImage, message));
        }
        Ok(Some(Machine {
            hypervisor: request.hypervisor,
            platform: platform.clone(),
            cpus: request.nano_cpus.map_or(1, cpus),
            memory: request.memory.map_or(DEFAULT_MEMORY, |bytes| bytes.saturating_add(GUEST_OVERHEAD)),
            kernel: KernelUse {
                name: kernel_name(request, &kernel),
                id: kernel.id,
                release: kernel.config.release.clone(),
                image: kernel.image,
                modules: kernel.modules,
            },
        }))
    }

    /// Makes the disk that a workload in a machine writes to.
    pub(crate) fn make_scratch(&self, id: &Id) -> Result<()> {
        Ok(disk::scratch::make(&self.layout.scratch(id), SCRATCH_SIZE)?)
    }

    /// What is to run a machine on this host.
    pub(crate) fn choose_hypervisor(&self, machine: &Machine) -> Result<Choice> {
        let program = helper("holm-machine")?;
        let prober = Prober { program: &program, answers: &self.layout.kvm_answers() };
        Ok(machines::choose(machine.hypervisor, &machine.platform, &prober)?)
    }

    /// Writes down how the machine of a workload is started on this host, before its keeper is.
    pub(crate) fn prepare_launch(&self, machine: &Machine, sandbox: &SandboxPaths) -> Result<()> {
        let (program, choice) = (helper("holm-machine")?, self.choose_hypervisor(machine)?);
        let agent = guest_program("holm-agent", &machine.platform)?;
        let guest_init = guest_program("holm-init", &machine.platform)?;
        let initrds = self.layout.initrds();
        ensure_directory(&initrds, 0o700)
            .map_err(|error| Error::io(format!("make `{}`", initrds.display()), error))?;
        let launch = Launch {
            version: VERSION,
            accelerator: choice.accelerator,
            reason: choice.reason,
            emulator: choice.emulator,
            program,
            initrd: initrd::prepare(&initrds, &machine.kernel.modules, &agent, &guest_init)?,
            init: helper("holm-init")?,
            virtiofsd: machines::virtiofsd(),
        };
        show_to_jails(&machine.kernel.image)?;
        let path = sandbox.dir.join(file::LAUNCH);
        let text = serde_json::to_vec(&launch).expect("a launch is plain data");
        replace(&path, &text, Durability::Volatile)
            .map_err(|error| Error::io(format!("write `{}`", path.display()), error))
    }

    /// Asks the machine of a running workload something that its guest answers.
    pub(crate) fn ask_machine(&self, state: &State, question: &Command) -> Result<Report> {
        let socket = send_to_machine(state, question)?;
        let patience = Timespec { tv_sec: ANSWER_PATIENCE, tv_nsec: 0 };
        if poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&patience)) == Ok(0) {
            let message =
                format!("ask the machine: the guest does not answer within {ANSWER_PATIENCE} seconds");
            return Err(Error::new(Kind::Failed, message));
        }
        receive_answer(socket.as_fd())
    }

    /// Sets the clock of a guest that was paused. There is no answer, and one whose machine has just ended needs none.
    pub(crate) fn set_guest_clock(&self, workload: &Workload) {
        let clock = u64::try_from(holm_sys::process::now()).unwrap_or(0);
        if let Err(error) = send_to_machine(&workload.state, &Command::Time { clock }) {
            tracing::warn!("set the clock of workload {}: {error}", workload.config.id);
        }
    }

    /// What the machine of a running workload is, and why it is run that way; `None` where there is none.
    pub fn machine_facts(&self, id: &Id) -> Option<(Facts, String)> {
        let sandbox = self.layout.sandbox(id);
        let read = |name: &str| std::fs::read(sandbox.dir.join(name)).ok();
        let facts = serde_json::from_slice(&read(file::FACTS)?).ok()?;
        let launch: Launch = serde_json::from_slice(&read(file::LAUNCH)?).ok()?;
        Some((facts, launch.reason))
    }
}

/// Sends a command to a machine; an answer comes to the socket.
pub(crate) fn send_to_machine(state: &State, command: &Command) -> Result<OwnedFd> {
    let packet = serde_json::to_vec(command).expect("a command is plain data");
    let sent = connect(state).and_then(|socket| send_packet(socket.as_fd(), &packet, &[]).map(|()| socket));
    sent.map_err(not_asked)
}

/// Reads an answer that has come.
pub(crate) fn receive_answer(socket: BorrowedFd<'_>) -> Result<Report> {
    let mut buffer = vec![0; PACKET_LIMIT];
    let (length, _) = receive_packet(socket, &mut buffer).map_err(not_asked)?;
    match serde_json::from_slice(&buffer[..length]) {
        Ok(Report::Refused { message, .. }) => Err(Error::new(Kind::Failed, message)),
        Ok(report) => Ok(report),
        Err(error) => Err(Error::caused(Kind::Failed, "ask the machine", error)),
    }
}

fn not_asked(errno: Errno) -> Error {
    Error::io("ask the machine", errno)
}

/// Connects to a machine's process through the root of its jail. A guest that broke out of the emulator may have put
/// anything there: no link is followed, and nothing outside is reached.
pub(crate) fn connect(state: &State) -> std::result::Result<OwnedFd, Errno> {
    let _process = open_pidfd(state.pid, state.pid_start).ok_or(Errno::SRCH)?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = open(format!("/proc/{}/root", state.pid), flags | OFlags::DIRECTORY, Mode::empty())?;
    let socket = in_root::open(root.as_fd(), SOCKET_PATH, flags, ResolveFlags::NO_SYMLINKS)?;
    connect_packets_to(socket.as_fd())
}

/// A program of ours for a guest: for another processor than the host's its name says which.
fn guest_program(name: &str, platform: &Platform) -> Result<PathBuf> {
    if *platform == Platform::host() {
        return helper(name);
    }
    let name = format!("{name}-{}", platform.architecture);
    helper(&name).map_err(|_| {
        let message = format!("run a machine of {platform}: `{name}` is not installed beside `holm`");
        Error::new(Kind::Unsupported, message)
    })
}

fn kernel_name(request: &CreateRequest, kernel: &Kernel) -> String {
    let name = request.kernel.clone().or_else(|| kernel.reference.as_ref().map(Reference::to_string));
    name.unwrap_or_else(|| kernel.digest.to_string())
}

/// A jail's user has no rights; what it reads must be readable by all. The directories around let nobody else in.
fn show_to_jails(path: &Path) -> Result<()> {
    const READABLE: u32 = 0o444;
    let failed = |error| Error::io(format!("make `{}` readable", path.display()), error);
    let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & READABLE == READABLE {
        return Ok(());
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode | READABLE)).map_err(failed)
}

fn refuse_machine_settings(request: &CreateRequest) -> Result<()> {
    let set = [
        ("--kernel", request.kernel.is_some()),
        ("--hypervisor", request.hypervisor != holm_spec::machine::Hypervisor::Auto),
    ];
    match set.into_iter().find(|(_, set)| *set) {
        Some((flag, _)) => {
            let message = format!("{flag} is of virtual machines, and this is a container: say --vm, too");
            Err(Error::new(Kind::InvalidRequest, message))
        }
        None => Ok(()),
    }
}

/// What a machine cannot have, by the flag that asked for it.
fn refuse_what_needs_the_host(request: &CreateRequest) -> Result<()> {
    let wanted = [(
        "--network host",
        "a machine has a network stack of its own",
        request.network == NetworkChoice::Host,
    )];
    match wanted.into_iter().find(|(.., wanted)| *wanted) {
        Some((flag, why, _)) => Err(Error::new(
            Kind::Unsupported,
            format!("run `{}` as a virtual machine with {flag}: {why}", request.image),
        )),
        None => Ok(()),
    }
}

impl From<holm_vmm::Error> for Error {
    fn from(error: holm_vmm::Error) -> Self {
        Self::new(Kind::Failed, error.to_string()).with_hint(error.hint())
    }
}
