//! Virtual machines as data: what is asked, how it is started, and what the machine's process says.
//!
//! ```text
//! holm            chooses hypervisor and kernel, writes `Launch` into the sandbox's directory
//! holm-keeper     makes a jail by the code that makes containers; its process is
//!   holm-machine  reads a `Plan`, starts the emulator as its child, speaks to the guest's agent, and behaves towards
//!                 the keeper as the workload's process: standard streams, signals, exit code; says `Notice`s
//!     qemu        the machine
//! ```

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::agent::GuestWorkload;
use crate::keeper::{ExecProcess, FailureKind, WindowSize};
use crate::network::HardwareAddress;
use crate::platform::Platform;
use crate::{Digest, Id};

/// Version of [`Launch`] and [`Plan`].
pub const VERSION: u32 = 1;

/// Memory of a machine that nobody asked for, in bytes.
pub const DEFAULT_MEMORY: u64 = 1 << 30;
/// Memory that a guest's kernel and agent use, in bytes: given on top of what was asked for the workload.
pub const GUEST_OVERHEAD: u64 = 128 << 20;
/// Most networks of a machine: what its places for devices hold beside the others (24 of a microvm in QEMU).
pub const NETWORKS_LIMIT: usize = 18;
/// Size of the scratch disk in bytes; it takes what is written to it.
pub const SCRATCH_SIZE: u64 = 64 << 30;

/// Which hypervisor runs machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hypervisor {
    /// Whatever serves best on this host.
    #[default]
    Auto,
    /// The kernel's KVM, with hardware's help.
    Kvm,
    /// QEMU, which translates the guest's code where KVM does not serve.
    Qemu,
}

impl std::str::FromStr for Hypervisor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "kvm" => Ok(Self::Kvm),
            "qemu" => Ok(Self::Qemu),
            _ => Err(format!("unknown hypervisor `{text}`: auto, kvm or qemu")),
        }
    }
}

/// A machine as it was asked for, resolved; part of a workload's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// As asked.
    pub hypervisor: Hypervisor,
    /// What the guest's processor is.
    pub platform: Platform,
    /// Virtual processors, at least 1.
    pub cpus: u32,
    /// The guest's memory in bytes.
    pub memory: u64,
    /// The guest's kernel.
    pub kernel: KernelUse,
}

/// The kernel that a machine boots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelUse {
    /// As the user wrote it, or the name of the default.
    pub name: String,
    /// Digest of its manifest.
    pub id: Digest,
    /// What `uname -r` says in the guest.
    pub release: String,
    /// The kernel.
    pub image: PathBuf,
    /// Its modules, a cpio archive.
    pub modules: PathBuf,
}

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The processor, under KVM.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

/// How a machine is started on this host at this time: `machine.json` in the sandbox's directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    /// [`VERSION`].
    pub version: u32,
    /// What executes the guest's instructions.
    pub accelerator: Accelerator,
    /// Why that one, for people.
    pub reason: String,
    /// The emulator.
    pub emulator: PathBuf,
    /// `holm-machine`.
    pub program: PathBuf,
    /// The guest's first root: the kernel's modules and the agent.
    pub initrd: PathBuf,
    /// `holm-init`, which means [`crate::agent::INIT_PATH`] as the source of a mount.
    pub init: PathBuf,
    /// What serves directories of the host to the guest, if there is any.
    pub virtiofsd: Option<Virtiofsd>,
}

/// A program that serves a directory by virtio-fs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Virtiofsd {
    /// The program.
    pub path: PathBuf,
    /// It takes the options of the one that came with QEMU up to version 7.2.
    pub legacy: bool,
}

/// What `holm-machine` is to do. Descriptors are numbers that it inherits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`VERSION`].
    pub version: u32,
    /// What executes the guest's instructions.
    pub accelerator: Accelerator,
    /// The emulator, as the jail shows it.
    pub emulator: PathBuf,
    /// What the guest's processor is.
    pub platform: Platform,
    /// Virtual processors.
    pub cpus: u32,
    /// The guest's memory in bytes.
    pub memory: u64,
    /// The kernel, as the jail shows it.
    pub kernel: PathBuf,
    /// The guest's first root, as the jail shows it.
    pub initrd: PathBuf,
    /// Layers, lowest first.
    pub layers: Vec<i32>,
    /// What the workload writes, if it is not to stay in memory.
    pub scratch: Option<i32>,
    /// Socket to what serves the host's directories, if there are any.
    pub shares: Option<i32>,
    /// Its network devices.
    pub taps: Vec<Tap>,
    /// What is written need not outlive the run.
    pub volatile: bool,
    /// The workload does not run: the machine is there for its files, until standard input ends.
    pub visit: bool,
    /// The process has a terminal: standard input is its other side.
    pub tty: bool,
    /// Standard input is for the workload.
    pub open_stdin: bool,
    /// What runs.
    pub workload: GuestWorkload,
}

/// A network device of a machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tap {
    /// The host's end of it.
    pub descriptor: i32,
    /// Hardware address of the guest's end.
    pub hardware: HardwareAddress,
    /// Largest packet in bytes; the kernel's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

/// Another process in a machine's workload, as `holm-machine exec` gets it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecPlan {
    /// [`VERSION`].
    pub version: u32,
    /// Which workload.
    pub workload: Id,
    /// What to run.
    pub process: ExecProcess,
    /// Standard input is for the process.
    pub stdin: bool,
    /// First size of its terminal.
    pub window: Option<WindowSize>,
}

/// What `holm-machine` says to its keeper: one packet each, in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Notice {
    /// The process runs in the guest.
    Started {
        /// As the guest numbers it.
        pid: i32,
        /// What the machine is; absent for an exec.
        facts: Option<Facts>,
    },
    /// The process could not be started; this one ends.
    Failed {
        /// What a client makes of it.
        kind: FailureKind,
        /// One line: operation, object, cause.
        message: String,
    },
    /// The process ended; this one ends with its exit code.
    Ended {
        /// A process of the workload was killed for lack of memory.
        oom_killed: bool,
        /// Why the machine ended, if not because the process did.
        reason: Option<String>,
    },
}

/// What a keeper says to `holm-machine`, through the socket of the notices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "kebab-case", deny_unknown_fields)]
pub enum KeeperWord {
    /// What serves the host's directories has ended: whoever uses them in the guest would wait for ever.
    SharesGone,
}

/// What a running machine is, for `inspect`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// What executes the guest's instructions.
    pub accelerator: Accelerator,
    /// Release of the guest's kernel, as it says itself.
    pub release: String,
    /// Devices, a line each.
    pub devices: Vec<String>,
    /// The emulator's command line.
    pub command_line: Vec<String>,
}

/// Where `holm-machine` listens, in its jail: packets of [`crate::agent`], `Exec`, `Stats` and `Processes`, answered by
/// what the guest reports.
pub const SOCKET_PATH: &str = "/run/machine.sock";
/// The last part of [`SOCKET_PATH`].
pub const SOCKET: &str = "machine.sock";

/// Names of the files in a sandbox's directory.
pub mod file {
    /// A [`super::Launch`].
    pub const LAUNCH: &str = "machine.json";
    /// A [`super::Facts`].
    pub const FACTS: &str = "facts.json";
}
