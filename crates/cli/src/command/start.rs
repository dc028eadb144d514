//! `holm start`: workloads that were created or have ended.

use holm_engine::{Beginning, Engine};
use holm_spec::keeper::Streams;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::foreground::{Foreground, Wish};
use crate::several;

/// Start workloads that do not run
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  holm start web db            start two workloads
  holm start -ai shell         start one and use it from here; its exit code is this command's")]
pub struct Args {
    /// Carry its output and hand signals on to it
    #[arg(short, long)]
    attach: bool,
    /// Hand standard input on to it
    #[arg(short, long)]
    interactive: bool,
    /// Keys that leave the workload's terminal [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Workloads, by name or id
    #[arg(required = true, value_name = "WORKLOAD")]
    workloads: Vec<String>,
}

/// Starts workloads; with `--attach` the exit code of the one.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    if args.attach || args.interactive {
        let [name] = args.workloads.as_slice() else {
            return Err(CommandError::new("only one workload can be attached to"));
        };
        return attached(&context.repaired_engine()?, name, &args);
    }
    let engine = context.repaired_engine()?;
    several::each(context, &args.workloads, |name| {
        start(&engine, name)?;
        context.printer.line(name)
    })
}

/// Starts one; fine if it runs.
fn start(engine: &Engine, name: &str) -> Result<(), CommandError> {
    let id = engine.find(name)?;
    match engine.start(&id, Beginning::default()) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == holm_engine::Kind::StillRunning => {
            engine.refuse_if_paused(&id, "start").map_err(|error| CommandError::of_workload(error, name))
        }
        Err(error) => Err(CommandError::from(error).plain()),
    }
}

fn attached(engine: &Engine, name: &str, args: &Args) -> Result<u8, CommandError> {
    let id = engine.find(name)?;
    let config = engine.workload(&id)?.config;
    let stdin = args.interactive && config.open_stdin;
    let foreground = Foreground::prepare(Wish {
        stdin,
        tty: config.tty,
        detach_keys: args.detach_keys.as_deref(),
        forward_signals: true,
        removal: config.auto_remove,
    })?;
    let streams = Streams { stdin, stdout: true, stderr: true };
    engine.refuse_if_paused(&id, "start").map_err(|error| CommandError::of_workload(error, name))?;
    foreground.carry(|window, signals| Ok(engine.start(&id, Beginning::new(streams, window, signals))?))
}
