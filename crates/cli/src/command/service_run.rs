//! `holm service run`: brings workloads back after a boot, and watches over their keepers.

use holm_engine::signals;
use holm_spec::signal;

use crate::command_error::CommandError;
use crate::context::Context;

/// Start workloads by their policy after a boot, and watch over keepers
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "`holm service install` lets systemd run it. It owns nothing: when it ends, workloads go on. A keeper that
is killed meanwhile is replaced at once; without this, by the next command of holm.

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
    Ok(0)
}
