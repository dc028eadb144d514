//! `holm attach`: this client's streams for a workload that runs.

use holm_spec::keeper::{Streams, WindowSize};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::foreground::{Foreground, Wish};

/// Use a running workload from here
#[derive(Debug, clap::Parser)]
#[command(after_help = "Exit code: that of the process, or 0 when the detach keys were typed.

Examples:
  holm attach shell               leave it again with ctrl-p ctrl-q
  holm attach --no-stdin web      watch what it prints; ctrl-c ends it
  holm attach --sig-proxy=false --no-stdin web      ctrl-c ends only the watching")]
pub struct Args {
    /// Keys that leave the workload's terminal [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Do not hand standard input on
    #[arg(long)]
    no_stdin: bool,
    /// Hand signals on to the process
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1,
        require_equals = true, default_missing_value = "true", value_parser = crate::dispatch::boolean)]
    sig_proxy: bool,
    /// Workload, by name or id
    #[arg(value_name = "WORKLOAD")]
    workload: String,
}

/// Joins a workload; the exit code of its process.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let engine = context.engine()?;
    let id = engine.find(&args.workload)?;
    engine
        .refuse_if_paused(&id, "attach to")
        .map_err(|error| CommandError::of_workload(error, &args.workload))?;
    let config = engine.workload(&id)?.config;
    let stdin = config.open_stdin && !args.no_stdin;
    let foreground = Foreground::prepare(Wish {
        stdin,
        tty: config.tty,
        detach_keys: args.detach_keys.as_deref(),
        forward_signals: args.sig_proxy,
        removal: config.auto_remove,
    })?;
    let streams = Streams { stdin, stdout: true, stderr: true };
    foreground.carry(|window, _| {
        let session =
            engine.attach(&id, streams).map_err(|error| CommandError::of_workload(error, &args.workload))?;
        if let Some(window) = window {
            // A size that differs for a moment makes the program draw its screen anew.
            session.resize(WindowSize { rows: window.rows.saturating_add(1), ..window })?;
            session.resize(window)?;
        }
        Ok(session)
    })
}
