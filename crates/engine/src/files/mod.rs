//! The files of workloads, whatever separates these from the host.
//!
//! | workload | who looks at its files |
//! |---|---|
//! | container that runs | this process, through the root of its first process, with what is mounted there |
//! | container that does not | this process, through an overlay that nobody else sees |
//! | virtual machine that runs | the agent in its guest |
//! | virtual machine that does not | the agent in the guest of a visitor: a workload that runs nothing on the same disk |
//!
//! The host never mounts a file system that a guest wrote, and follows no link of a workload's.

mod commit;
mod copy;
mod machine;
mod visit;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use holm_files::View;
use holm_runtime::layers;
use holm_spec::Id;
use holm_spec::files::{Change, FailureKind, LayerForm, Status, Task};
use holm_spec::rootfs::RootFs;
use holm_spec::workload::{Config, Isolation, State};
use holm_sys::lock::Lock;
use holm_sys::process::open_pidfd;
use holm_sys::quota::Limited;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{Engine, Error, Kind, Result};
pub use commit::CommitRequest;
pub use copy::{CopyOptions, Side};
pub(crate) use copy::{connect, null, pipe};
use machine::Machine;

/// The files of one workload. While this is there, the workload starts and ends as it may, but one that did not run is
/// not started.
#[derive(Debug)]
pub struct Files {
    config: Config,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Host { root: RootFs, running: Option<OwnedFd>, _lock: Option<Lock> },
    Machine(Machine),
}

impl Engine {
    /// The files of a workload. Of a virtual machine that does not run a visitor is started, which takes a boot.
    ///
    /// # Errors
    /// [`Kind::NoSuchWorkload`]; whatever the visitor meets.
    pub fn files(&self, id: &Id) -> Result<Files> {
        let workload = self.workload(id)?;
        let (config, state) = (workload.config, workload.state);
        let place = match (config.isolation, state.pid) {
            (Isolation::Container, 0) => {
                self.store.prepare_layers(&config.root.layers)?;
                let lock = self.lock_workload(id)?;
                if self.workload(id)?.state.pid != 0 {
                    return self.files(id);
                }
                Place::Host { root: config.root.clone(), running: None, _lock: Some(lock) }
            }
            (Isolation::Container, _) => {
                let running = Some(root_of_running(&config, &state)?);
                Place::Host { root: config.root.clone(), running, _lock: None }
            }
            (Isolation::Vm, 0) => Place::Machine(self.visit(&config)?),
            // Its agent stands still, too.
            (Isolation::Vm, _) if workload.paused => {
                let message = format!("look at the files of workload `{}`: it is paused", config.name);
                return Err(Error::new(Kind::Paused, message));
            }
            (Isolation::Vm, _) => Place::Machine(Machine::running(*id, state)),
        };
        Ok(Files { config, place })
    }
}

impl Files {
    /// The workload's configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What lies at a path.
    ///
    /// # Errors
    /// [`Kind::NoSuchPath`].
    pub fn look(&self, path: &str, follow: bool) -> Result<Status> {
        let answer = self.answer(&Task::Look { path: path.to_owned(), follow })?;
        serde_json::from_slice(&answer).map_err(|error| self.nonsense(error))
    }

    /// What is not as the image has it, in the order of the paths.
    ///
    /// # Errors
    /// What the files' owner says.
    pub fn changes(&self) -> Result<Vec<Change>> {
        let answer = self.answer(&Task::Changes { ignored: self.mount_points() })?;
        let lines = answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).map_err(|error| self.nonsense(error))).collect()
    }

    /// Writes the workload's root as an archive, without what is mounted there.
    ///
    /// # Errors
    /// What the files' owner says; `output` takes no more.
    pub fn export(&self, output: OwnedFd) -> Result<()> {
        self.perform(&Task::Export, None, output)
    }

    /// Writes what is not as the image has it as a layer.
    ///
    /// # Errors
    /// As [`Files::export`]; a name that begins with `.wh.`.
    pub fn layer(&self, form: LayerForm, output: OwnedFd) -> Result<()> {
        self.perform(&Task::Layer { ignored: self.mount_points(), form }, None, output)
    }

    /// Carries out a task, whose input and output are these.
    fn perform(&self, task: &Task, input: Option<OwnedFd>, output: OwnedFd) -> Result<()> {
        let name = &self.config.name;
        let done = match &self.place {
            Place::Machine(machine) => machine.perform(task, input, output),
            Place::Host { root, running, .. } => perform_here(task, root, running.as_ref(), input, output),
        };
        done.map_err(|error| error.about(format!("workload `{name}`")))
    }

    /// The output of a task, which is not long.
    fn answer(&self, task: &Task) -> Result<Vec<u8>> {
        // Most bytes that are read of it: a guest may say anything.
        const LIMIT: u64 = 256 << 20;
        let (output, input) = pipe()?;
        let read = || {
            let mut text = Vec::new();
            let read = File::from(input).take(LIMIT + 1).read_to_end(&mut text);
            read.map_err(|error| Error::io("read the answer", error))?;
            if text.len() as u64 > LIMIT {
                let message = format!("workload `{}` says too much of its files", self.config.name);
                return Err(Error::new(Kind::Failed, message));
            }
            Ok(text)
        };
        connect(|| self.perform(task, None, output), read)
    }

    /// Where something is mounted when the workload runs: what lies there below it, is there only for that.
    fn mount_points(&self) -> Vec<String> {
        let mounts = self.config.oci.mounts().iter().flatten();
        let mounts = mounts.map(|mount| mount.destination().to_string_lossy().into_owned());
        // Some are made out only at a start.
        mounts.chain(self.config.settings.mounts.iter().map(|point| point.target.clone())).collect()
    }

    fn nonsense(&self, error: serde_json::Error) -> Error {
        let what = format!("understand what workload `{}` says of its files", self.config.name);
        Error::caused(Kind::Failed, what, error)
    }
}

/// The root of a container's first process. Its number may be another's by the time that it is looked at: what was opened
/// counts only if the process lives afterwards.
fn root_of_running(config: &Config, state: &State) -> Result<OwnedFd> {
    let gone = || Error::new(Kind::NotRunning, format!("workload `{}` has just ended", config.name));
    let process = open_pidfd(state.pid, state.pid_start).ok_or_else(gone)?;
    let root = holm_files::root_of(state.pid);
    if poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&Timespec::default())) != Ok(0) {
        return Err(gone());
    }
    Ok(root?)
}

fn perform_here(
    task: &Task,
    root: &RootFs,
    running: Option<&OwnedFd>,
    input: Option<OwnedFd>,
    output: OwnedFd,
) -> Result<()> {
    let running = running.map(OwnedFd::try_clone).transpose();
    let running = running.map_err(|error| Error::io("copy a descriptor", error))?;
    let layers = layers::mount(root)?;
    let view = View::new(task, &layers::mounted(root, &layers), running)?;
    carry_out(task, &view, input, output)
}

/// Carries out a task on files of the host itself.
fn perform_on_host(task: &Task, input: Option<OwnedFd>, output: OwnedFd) -> Result<()> {
    let root = File::open(Path::new("/")).map_err(|error| Error::io("open `/`", error))?;
    carry_out(task, &View::of(root.into()), input, output)
}

pub(crate) fn carry_out(task: &Task, view: &View, input: Option<OwnedFd>, output: OwnedFd) -> Result<()> {
    let mut output = File::from(output);
    let _limited = Limited::begin();
    match input.map(File::from) {
        Some(mut input) => Ok(holm_files::perform(task, view, &mut input, &mut output)?),
        None => Ok(holm_files::perform(task, view, &mut std::io::empty(), &mut output)?),
    }
}

/// What a failure is to callers.
fn kind_of(kind: FailureKind) -> Kind {
    match kind {
        FailureKind::NotFound => Kind::NoSuchPath,
        // It is the workload's own, not the one that Holm's files lie on.
        FailureKind::Invalid | FailureKind::ReadOnly => Kind::InvalidRequest,
        FailureKind::NoSpace => Kind::NoSpace,
        FailureKind::Failed => Kind::Failed,
    }
}

impl From<holm_files::Error> for Error {
    fn from(error: holm_files::Error) -> Self {
        Self::wrapping(kind_of(error.kind()), error)
    }
}
