//! `holm-runtime restore`: a container from the files of a checkpoint.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use holm_runtime::bundle::Bundle;
use holm_runtime::checkpoint::{Progress, Restoration, Settings, restore};
use holm_runtime::hooks::{self, Place, Point};
use holm_runtime::state::{Claim, Container};
use holm_runtime::{Error, Kind, Result};
use holm_sys::process::Child;

use super::checkpoint::Common;
use super::run::clean;
use super::state::document;
use crate::arguments::Global;
use crate::foreground::{self, Signals};
use crate::groups::Groups;
use crate::launch::{self, KillGuard, Mode};
use crate::{console, talk};

/// Make a container from the files of a checkpoint, by CRIU
#[derive(Debug, clap::Args)]
#[command(after_help = "Its processes go on where they were. Needs the program `criu`, 3.16 or later.\n\n\
                        Exit code: that of the container's process, 128 + n for signal n.\n\n\
                        Example:\n  holm-runtime restore --bundle /srv/box --image-path /srv/dump --detach box")]
pub struct Args {
    /// Id of the container
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    common: Common,
    /// Directory of the bundle
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Socket to send the master of the terminal to
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Do not wait for the process
    #[arg(short, long)]
    detach: bool,
    /// File to write the process's number to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Ignored: no orphan of a container becomes this process's child
    #[arg(long)]
    no_subreaper: bool,
    /// Ignored: CRIU restores the root
    #[arg(long)]
    no_pivot: bool,
    /// Label of the security module instead of the one before, as TYPE:NAME
    #[arg(long, value_name = "LABEL")]
    lsm_profile: Option<String>,
    /// Label of mounts instead of the one before
    #[arg(long, value_name = "LABEL")]
    lsm_mount_context: Option<String>,
}

pub fn run(args: &Args, global: &Global) -> Result<u8> {
    let mode = if args.detach { Mode::Detach } else { Mode::Foreground };
    let signals = (mode == Mode::Foreground).then(Signals::hold).transpose()?;
    let restored = bring_back(args, mode, global)?;
    let Some(signals) = signals else { return Ok(0) };
    let code = foreground::wait(&signals, &restored.process, restored.terminal.as_ref(), None);
    clean(&restored.container);
    code
}

/// A container that runs again.
struct Restored {
    container: Container,
    process: Child,
    /// Master of the terminal, unless it was sent away.
    terminal: Option<OwnedFd>,
}

/// Restores a container. Nothing is left of one that fails.
fn bring_back(args: &Args, mode: Mode, global: &Global) -> Result<Restored> {
    let pid_file = args.pid_file.as_deref().map(std::path::absolute).transpose();
    let pid_file = pid_file.map_err(|error| Error::system("find the pid file", error))?;
    let settings = args.common.settings()?;
    let containers = global.containers()?;
    let bundle = Bundle::load(&args.bundle, &containers.seccomp_cache())?;
    launch::check_terminal(&bundle.spec, args.console_socket.as_deref(), mode)?;
    if bundle.spec.linux().as_ref().is_some_and(|linux| linux.intel_rdt().is_some()) {
        let error = Error::new(Kind::Unsupported, "it is not supported for what is restored");
        return Err(error.at_field("linux.intelRdt"));
    }
    let root = bundle.root()?;
    let claim = containers.claim(&args.id)?;
    let groups = Groups::make(&args.id, &bundle, &claim, global.systemd_cgroup)?;
    groups.guard_devices()?;
    let mut witness = Witness {
        id: &args.id,
        bundle: &bundle,
        root: &root,
        groups: &groups,
        socket: args.console_socket.as_deref(),
        claim: Some(claim),
        terminal: None,
        made: None,
    };
    restore_by(args, &settings, &mut witness)
        .and_then(|()| witness.finish(pid_file.as_deref()))
        .inspect(|_| groups.keep())
}

fn restore_by(args: &Args, settings: &Settings, witness: &mut Witness<'_>) -> Result<()> {
    let restoration = Restoration {
        settings,
        spec: &witness.bundle.spec,
        bundle: &witness.bundle.directory,
        root: witness.root,
        group: witness.groups.group(),
        label: args.lsm_profile.as_deref(),
        mount_label: args.lsm_mount_context.as_deref(),
    };
    restore(&restoration, &mut |progress| witness.see(progress))
}

/// Whoever does what is to be done on the way, and remembers it.
struct Witness<'a> {
    id: &'a str,
    bundle: &'a Bundle,
    root: &'a Path,
    groups: &'a Groups,
    socket: Option<&'a Path>,
    claim: Option<Claim>,
    terminal: Option<OwnedFd>,
    made: Option<Made>,
}

/// A container and its process that go again unless all goes well.
struct Made {
    container: Option<Container>,
    process: Option<KillGuard>,
}

impl Drop for Made {
    fn drop(&mut self) {
        self.process = None;
        if let Some(container) = &self.container
            && let Err(error) = container.forget()
        {
            talk::warn(&error.to_string());
        }
    }
}

impl Witness<'_> {
    fn see(&mut self, progress: Progress) -> Result<()> {
        match progress {
            Progress::Namespaces(pid) => self.run_hooks(pid),
            Progress::Terminal(terminal) => self.take_terminal(terminal),
            Progress::Restored(process) => self.write_down(process),
        }
    }

    /// The hooks that set up what CRIU does not restore, such as the network.
    fn run_hooks(&self, pid: i32) -> Result<()> {
        let spec = &self.bundle.spec;
        let place = Place::Runtime(Some(&self.bundle.directory));
        let state =
            document(self.id, "creating", Some(pid), &self.bundle.directory, spec.annotations().as_ref());
        hooks::run(spec, Point::Prestart, &state, place)?;
        hooks::run(spec, Point::CreateRuntime, &state, place)
    }

    /// The first is that of the container; those of `exec` may follow.
    fn take_terminal(&mut self, terminal: OwnedFd) -> Result<()> {
        let kept = console::hand_over(Some(terminal), self.socket)?;
        self.terminal = self.terminal.take().or(kept);
        Ok(())
    }

    /// Nothing must run before it is written down that it does.
    fn write_down(&mut self, process: Child) -> Result<()> {
        let process = KillGuard::new(process);
        let claim = self.claim.take().ok_or_else(|| Error::new(Kind::System, "criu restored it twice"))?;
        let record = launch::record(self.id, self.bundle, self.root, self.groups, process.child());
        claim.note_configuration(&self.bundle.document)?;
        let container = claim.complete(record)?;
        self.made = Some(Made { container: Some(container), process: Some(process) });
        Ok(())
    }

    fn finish(self, pid_file: Option<&Path>) -> Result<Restored> {
        let unknown = || Error::new(Kind::System, "criu named no process");
        let mut made = self.made.ok_or_else(unknown)?;
        let process = made.process.as_ref().ok_or_else(unknown)?;
        pid_file.map_or(Ok(()), |file| launch::write_pid_file(file, process.child()))?;
        let process = made.process.take().map(KillGuard::keep).ok_or_else(unknown)?;
        let container = made.container.take().ok_or_else(unknown)?;
        Ok(Restored { container, process, terminal: self.terminal })
    }
}
