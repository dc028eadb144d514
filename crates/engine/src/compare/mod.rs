//! `compare`: one image as a container and as a virtual machine, by the same calls that `run` makes, and what each costs.
//!
//! ```text
//! runs       the command in a container, then in a machine, then in a container, ... : times; the median counts
//! idle       a shell of the image that says which kernel it sees and waits: memory, disk, processes
//! ```
//!
//! Every workload is made to be removed when it ends, and is killed if the comparison is given up.

mod costs;
mod session;

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use holm_spec::keeper::Streams;
use holm_spec::machine::{Accelerator, Hypervisor, Machine};
use holm_spec::workload::Isolation;

use crate::request::CreateRequest;
use crate::{Engine, Error, Kind, NetworkChoice, Result};

pub use costs::{Costs, HostProcess};
use session::Watched;

/// The command where none is asked for: it ends at once.
pub const DEFAULT_COMMAND: &str = "true";
/// Says which kernel it sees, when the program that knows has ended, and stays until its input ends.
const IDLE: &str = "echo \"$(uname -r)\"; read -r line";

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The image.
    pub image: &'a str,
    /// Command, which ends by itself; [`DEFAULT_COMMAND`] in place of the image's own if empty.
    pub command: &'a [String],
    /// Kernel of the machine; the default one if absent.
    pub kernel: Option<&'a str>,
    /// What runs the machine.
    pub hypervisor: Hypervisor,
    /// How often each is run; at least once.
    pub runs: usize,
    /// A descriptor of [`crate::signals`]: any signal ends the comparison.
    pub signals: Option<BorrowedFd<'a>>,
}

/// Both ways beside each other. Each may fail without the other.
#[derive(Debug)]
pub struct Comparison {
    /// What was run.
    pub command: Vec<String>,
    /// What both stand on.
    pub host: Ground,
    /// As a container.
    pub container: Result<Side>,
    /// As a virtual machine.
    pub machine: Result<Side>,
}

/// What both ways stand on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ground {
    /// Release of the host's kernel.
    pub kernel: String,
    /// The processor says that it is a virtual one itself: the host is a guest.
    pub is_guest: bool,
}

/// One way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// From the request to the running program: the median.
    pub start: Duration,
    /// From the request to the end of the program and of everything around it: the median.
    pub whole: Duration,
    /// Exit code of the last run.
    pub exit_code: i32,
    /// The machine; `None` for a container.
    pub machine: Option<MachineSide>,
    /// The kernel as the application sees it.
    pub kernel: String,
    /// What it costs while it waits; `None` if the image has no shell that could wait.
    pub costs: Option<Costs>,
}

/// What a virtual machine is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineSide {
    /// What executes the guest's instructions.
    pub accelerator: Accelerator,
    /// Why that one, for people.
    pub reason: String,
    /// The emulator's program.
    pub emulator: PathBuf,
    /// The guest's memory in bytes, of which the host gives what is used.
    pub memory: u64,
}

impl Engine {
    /// Runs an image both ways. Nothing is left, whatever happens.
    ///
    /// # Errors
    /// [`Kind::NoSuchImage`]; a command that is not there or cannot be executed; [`Kind::Interrupted`]; if neither way
    /// can be gone, what the container met. What one of them met alone is in the [`Comparison`].
    pub fn compare(&self, question: &Question<'_>) -> Result<Comparison> {
        let (mut container, mut machine) = (Runs::default(), Runs::default());
        for _ in 0..question.runs.max(1) {
            self.run_once(question, Isolation::Container, &mut container)?;
            self.run_once(question, Isolation::Vm, &mut machine)?;
        }
        let (container, machine) = (self.side(question, container)?, self.side(question, machine)?);
        if let (Err(error), Err(_)) = (container.as_ref(), machine.as_ref()) {
            let (kind, message) = (error.kind(), error.to_string());
            return Err(container.err().unwrap_or_else(|| Error::new(kind, message)));
        }
        Ok(Comparison { command: command(question), host: ground(), container, machine })
    }

    /// One run that is timed. A way that failed once is not gone again.
    fn run_once(&self, question: &Question<'_>, isolation: Isolation, runs: &mut Runs) -> Result<()> {
        if runs.failure.is_some() {
            return Ok(());
        }
        let request = request(question, isolation);
        let run = Watched::start(self, &request, Streams::NONE, question.signals).and_then(Watched::end);
        match run {
            Ok(run) => {
                runs.start.push(run.start);
                runs.whole.push(run.whole);
                (runs.exit_code, runs.machine) = (run.exit_code, run.machine);
            }
            Err(error) if is_of_both(error.kind()) => return Err(error),
            Err(error) => runs.failure = Some(error),
        }
        Ok(())
    }

    /// What the runs tell, and what the image costs while it waits.
    fn side(&self, question: &Question<'_>, mut runs: Runs) -> Result<Result<Side>> {
        if let Some(error) = runs.failure {
            return Ok(Err(error));
        }
        let isolation = if runs.machine.is_some() { Isolation::Vm } else { Isolation::Container };
        let machine = runs.machine.as_ref().map(|machine| self.machine_side(machine)).transpose()?;
        let idle = match self.idle(question, isolation) {
            Ok((kernel, costs)) => Some((kernel, costs)),
            Err(error) if matches!(error.kind(), Kind::CommandNotFound | Kind::CommandNotExecutable) => None,
            Err(error) if is_of_both(error.kind()) => return Err(error),
            Err(error) => return Ok(Err(error)),
        };
        let (kernel, costs) = idle.unzip();
        let booted = || runs.machine.map_or_else(|| ground().kernel, |machine| machine.kernel.release);
        Ok(Ok(Side {
            start: median(&mut runs.start),
            whole: median(&mut runs.whole),
            exit_code: runs.exit_code,
            machine,
            kernel: kernel.unwrap_or_else(booted),
            costs,
        }))
    }

    fn machine_side(&self, machine: &Machine) -> Result<MachineSide> {
        let choice = self.choose_hypervisor(machine)?;
        Ok(MachineSide {
            accelerator: choice.accelerator,
            reason: choice.reason,
            emulator: choice.emulator,
            memory: machine.memory,
        })
    }

    /// The kernel that a waiting shell sees, and what it costs meanwhile.
    fn idle(&self, question: &Question<'_>, isolation: Isolation) -> Result<(String, Costs)> {
        let mut request = request(question, isolation);
        request.entrypoint = Some(["sh", "-c", IDLE].map(str::to_owned).into());
        request.command = Vec::new();
        (request.open_stdin, request.stdin_once) = (true, true);
        let streams = Streams { stdin: true, stdout: true, stderr: false };
        let mut shell = Watched::start(self, &request, streams, question.signals)?;
        let kernel = shell.first_line()?;
        let costs = self.costs(&shell.id)?;
        shell.close_input()?;
        shell.end()?;
        Ok((kernel, costs))
    }
}

/// What the runs of one way told so far.
#[derive(Default)]
struct Runs {
    start: Vec<Duration>,
    whole: Vec<Duration>,
    exit_code: i32,
    machine: Option<Machine>,
    failure: Option<Error>,
}

/// What need not be tried the other way.
fn is_of_both(kind: Kind) -> bool {
    let hopeless = [Kind::NoSuchImage, Kind::CommandNotFound, Kind::CommandNotExecutable, Kind::Interrupted];
    hopeless.contains(&kind)
}

fn request(question: &Question<'_>, isolation: Isolation) -> CreateRequest {
    let machine = isolation == Isolation::Vm;
    CreateRequest {
        network: NetworkChoice::None,
        image: question.image.to_owned(),
        command: command(question),
        // The image's own would take the default command for an argument.
        entrypoint: question.command.is_empty().then(Vec::new),
        isolation,
        kernel: question.kernel.filter(|_| machine).map(str::to_owned),
        hypervisor: if machine { question.hypervisor } else { Hypervisor::default() },
        auto_remove: true,
        start_at_once: true,
        ..CreateRequest::default()
    }
}

fn command(question: &Question<'_>) -> Vec<String> {
    if question.command.is_empty() { vec![DEFAULT_COMMAND.to_owned()] } else { question.command.to_vec() }
}

fn ground() -> Ground {
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    Ground { kernel, is_guest: is_virtual(&processor) }
}

/// Whether a processor tells of a hypervisor below it; arm64's tells nothing.
fn is_virtual(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"))
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_counts() {
        assert_eq!(median(&mut [9, 1, 4].map(Duration::from_millis)), Duration::from_millis(4));
        assert_eq!(median(&mut []), Duration::ZERO);
    }

    #[test]
    fn a_processor_tells_of_a_hypervisor_below_it() {
        assert!(is_virtual("processor : 0\nflags\t\t: fpu hypervisor lahf_lm\n"));
        assert!(!is_virtual("model name: hypervisor\nflags : fpu\n") && !is_virtual(""));
    }

    #[test]
    fn only_the_default_command_replaces_the_entry_point() {
        let own = ["date".to_owned()];
        let question = |command| Question {
            image: "app",
            command,
            kernel: Some("k"),
            hypervisor: Hypervisor::Qemu,
            runs: 3,
            signals: None,
        };
        let default = request(&question(&[]), Isolation::Container);
        assert_eq!((default.command, default.entrypoint), (vec!["true".to_owned()], Some(Vec::new())));
        assert_eq!((default.kernel, default.hypervisor), (None, Hypervisor::Auto));
        let asked = request(&question(&own), Isolation::Vm);
        assert_eq!((asked.command.as_slice(), asked.entrypoint), (&own[..], None));
        assert_eq!((asked.kernel.as_deref(), asked.hypervisor), (Some("k"), Hypervisor::Qemu));
    }
}
