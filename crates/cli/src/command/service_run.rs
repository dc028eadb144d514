//! `holm service run`: brings workloads back after a boot, watches over their keepers, and ends workloads before the host
//! goes down.

use holm_engine::{Engine, signals};
use holm_spec::signal;
use holm_spec::workload::Status;

use super::service_install;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::several;

/// Start workloads by their policy after a boot, and watch over keepers
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "`holm service install` lets systemd run it. It owns nothing: when it ends, workloads go on, unless systemd takes
the host down: then it ends them as `stop` does, before systemd ends whatever is left. A keeper that is killed meanwhile
is replaced at once; without this, by the next command of holm.

Examples:
  holm service run"
)]
pub struct Args {}

/// Watches until a signal comes.
pub fn run(_: Args, context: &Context) -> Result<u8, CommandError> {
    let failed = |errno: std::io::Error| CommandError::system("take signals", errno);
    let told = signals::descriptor(&[signal::TERM, signal::INT]).map_err(|errno| failed(errno.into()))?;
    let engine = context.repaired_engine()?;
    let mut supervisor = engine.supervisor()?;
    for (name, result) in engine.start_after_boot()? {
        match result {
            Ok(()) => context.printer.note(&format!("workload {name}: started after the boot")),
            Err(error) => context.printer.error(&context.command, &CommandError::from(error)),
        }
    }
    while let Some(repairs) = supervisor.next_repair(std::os::fd::AsFd::as_fd(&told))? {
        repairs.iter().for_each(|repair| context.printer.note(repair));
    }
    match service_install::goes_down() {
        true => end_all(&engine, context),
        false => Ok(0),
    }
}

/// Ends whatever runs, all at once.
fn end_all(engine: &Engine, context: &Context) -> Result<u8, CommandError> {
    let workloads = engine.list()?.into_iter();
    let running = workloads.filter(|workload| workload.state.status == Status::Running);
    let names: Vec<_> = running.map(|workload| workload.config.id.to_string()).collect();
    let end = |id: &str| Ok(engine.stop_for_shutdown(&engine.find(id)?)?);
    several::together(context, &names, end, |_, ()| Ok(()))
}
