//! `holm service run`: brings workloads back after a boot, watches over their keepers, and ends workloads before the host
//! goes down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use holm_engine::{Engine, signals};
use holm_spec::signal;
use holm_spec::workload::{Config, Status};

use super::service_install;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::printer::Printer;
use crate::several;

/// Workloads that are started at a time: enough that a few that hang are not all.
const STARTERS: usize = 16;
/// How long starts that have begun may take when the service ends.
const PATIENCE: Duration = Duration::from_secs(10);

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
    let starters = start_after_boot(&engine, context)?;
    while let Some(repairs) = supervisor.next_repair(std::os::fd::AsFd::as_fd(&told))? {
        repairs.iter().for_each(|repair| context.printer.note(repair));
    }
    starters.end();
    match service_install::goes_down() {
        true => end_all(&engine, context),
        false => Ok(0),
    }
}

/// Starts what a boot has ended beside everything else: a volume or a plugin that hangs holds up its own workload, and neither
/// the watch nor others. Nothing more is started once the flag is set.
fn start_after_boot(engine: &Engine, context: &Context) -> Result<Starters, CommandError> {
    let groups = engine.ended_by_boot()?;
    let starters = groups.len().min(STARTERS);
    let mut threads = Vec::new();
    let (groups, is_over) = (Arc::new(Mutex::new(groups.into_iter())), Arc::new(AtomicBool::new(false)));
    for _ in 0..starters {
        let starter = Starter {
            engine: context.engine()?,
            command: context.command.clone(),
            groups: groups.clone(),
            is_over: is_over.clone(),
        };
        let begun = std::thread::Builder::new().spawn(move || starter.run());
        threads.push(begun.map_err(|error| CommandError::system("make a thread", error))?);
    }
    Ok(Starters { is_over, threads })
}

/// Those who start workloads.
struct Starters {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Starters {
    /// Lets nobody begin another one, and waits a while for what has begun: it is to be ended like the others.
    fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + PATIENCE;
        while self.threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// What starts one group after the other.
struct Starter {
    engine: Engine,
    command: String,
    groups: Arc<Mutex<std::vec::IntoIter<Vec<Config>>>>,
    is_over: Arc<AtomicBool>,
}

impl Starter {
    fn run(&self) {
        while let Some(group) = self.next() {
            for config in group.iter().take_while(|_| !self.is_over()) {
                self.start(config);
            }
        }
    }

    fn next(&self) -> Option<Vec<Config>> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.next().filter(|_| !self.is_over())
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn start(&self, config: &Config) {
        match self.engine.start_after_boot(&config.id) {
            Ok(()) => Printer.note(&format!("workload {}: started after the boot", config.name)),
            Err(error) => Printer.error(&self.command, &CommandError::from(error)),
        }
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
