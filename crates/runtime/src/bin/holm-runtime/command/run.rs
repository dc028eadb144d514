//! `holm-runtime run`: create, start, wait, delete.

use std::os::fd::AsFd;

use holm_runtime::Result;
use holm_runtime::state::Container;

use super::delete::destroy;
use crate::arguments::Global;
use crate::arguments::plain::Plain;
use crate::foreground::{self, Signals};
use crate::launch::{Mode, Options, launch};
use crate::readiness::Readiness;
use crate::{log, start, talk};

/// Create and start a container, and wait for it
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: that of the container's process, 128 + n for signal n.\n\nExample:\n  \
                        holm-runtime run --bundle /srv/box box")]
pub struct Args {
    /// Id of the container
    #[arg(value_name = "ID")]
    pub id: String,
    #[command(flatten)]
    pub launch: Options,
    /// Do not wait for the process
    #[arg(short, long)]
    pub detach: bool,
    /// Do not delete the container when its process has ended
    #[arg(long)]
    pub keep: bool,
    /// Ignored: no orphan of a container becomes this process's child
    #[arg(long)]
    pub no_subreaper: bool,
}

impl Args {
    /// Reads what is plain.
    pub fn read(mut plain: Plain<'_>) -> Option<Self> {
        let launch = Options::read(&mut plain)?;
        let (detach, keep) = (plain.switch("detach"), plain.switch("keep"));
        let no_subreaper = plain.switch("no-subreaper");
        let [id] = plain.others()?.try_into().ok()?;
        Some(Self { id, launch, detach, keep, no_subreaper })
    }
}

pub fn run(args: &Args, global: &Global) -> Result<u8> {
    let mode = if args.detach { Mode::Detach } else { Mode::Foreground };
    let signals = (mode == Mode::Foreground).then(Signals::hold).transpose()?;
    let launched = launch(&args.id, &args.launch, mode, global)?;
    let started = start::start(&global.containers()?, &launched.container);
    let readiness = started.inspect_err(|_| clean(&launched.container))?;
    let Some(signals) = signals else {
        let wait = |readiness: Readiness| {
            readiness.wait(launched.process.pidfd.as_fd(), launched.container.record.pid)
        };
        return readiness.map_or(Ok(()), wait).map(|()| 0);
    };
    let code = foreground::wait(&signals, &launched.process, launched.terminal.as_ref(), readiness);
    if !args.keep {
        clean(&launched.container);
    }
    code
}

/// Removes what a process in the foreground has left, unless `delete` or `checkpoint` was faster. What cannot be
/// removed is told and changes no exit code.
pub fn clean(container: &Container) {
    if container.is_forgotten() {
        return;
    }
    if let Err(error) = destroy(container) {
        talk::warn(&log::in_one_line(&error));
    }
}
