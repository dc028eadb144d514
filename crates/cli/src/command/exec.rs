//! `holm exec`: another process in a running workload.

use std::path::PathBuf;

use holm_engine::Kind;
use holm_spec::keeper::{ExecProcess, Streams};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::foreground::{Foreground, Wish};
use crate::resolve::environment;
use crate::workload_arguments;

/// Run another command in a running workload
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm exec [OPTIONS] WORKLOAD COMMAND [ARG...]",
    after_help = "Exit code: that of the process; 125 if holm failed, 126 if the command cannot be executed, 127 if it
is not there.

Examples:
  holm exec web ps aux                     a command
  holm exec -it web bash                   a shell
  holm exec -u nobody -w /tmp web id       as another user, elsewhere
  tar c . | holm exec -i web tar x -C /srv"
)]
pub struct Args {
    /// Run in the background
    #[arg(short, long)]
    detach: bool,
    /// Hand standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Give the process a terminal
    #[arg(short, long)]
    tty: bool,
    /// Set an environment variable; NAME alone takes the caller's value
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// User, by name or number, looked up in the workload
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Working directory in the workload
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// All capabilities, and no seccomp filter
    #[arg(long)]
    privileged: bool,
    /// Keys that leave the process's terminal [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Workload, and the command with its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "WORKLOAD", hide = true)]
    workload_and_command: Vec<String>,
}

/// Runs a process; its exit code.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let (name, process) = resolve(&args)?;
    let refused = |error| refused(error, &name);
    if args.detach {
        let engine = context.engine()?;
        let id = engine.find(&name).map_err(refused)?;
        engine.exec(&id, process, Streams::NONE, None).map_err(refused)?;
        return Ok(0);
    }
    let foreground = Foreground::prepare(Wish {
        stdin: args.interactive,
        tty: args.tty,
        detach_keys: args.detach_keys.as_deref(),
        // Docker's exec keeps signals to itself; but one that ends this client should not leave its process behind.
        forward_signals: true,
        removal: false,
    })?;
    let engine = context.engine()?;
    let streams = Streams { stdin: args.interactive, stdout: true, stderr: true };
    let id = engine.find(&name).map_err(refused)?;
    foreground.carry(|window, _| engine.exec(&id, process, streams, window).map_err(refused))
}

/// Where there is nothing to run in, the exit code is 1, as with Docker.
fn refused(error: holm_engine::Error, name: &str) -> CommandError {
    let nowhere =
        matches!(error.kind(), Kind::NoSuchWorkload | Kind::NotRunning | Kind::Paused | Kind::Ambiguous);
    let error = CommandError::of_workload(error, name);
    if nowhere { error.plain() } else { error }
}

fn resolve(args: &Args) -> Result<(String, ExecProcess), CommandError> {
    let mut words = args.workload_and_command.iter().cloned();
    let name = words.next().unwrap_or_default();
    let command: Vec<String> = words.collect();
    if command.is_empty() {
        return Err(
            CommandError::new("COMMAND is missing").hint("`holm exec --help` shows usage and examples")
        );
    }
    let changes = workload_arguments::environment(&args.env, &args.env_file)?;
    let process = ExecProcess {
        args: command,
        env: environment::assignments(changes),
        cwd: args.workdir.clone().filter(|workdir| !workdir.is_empty()),
        user: args.user.clone().filter(|user| !user.is_empty()),
        tty: args.tty,
        privileged: args.privileged,
    };
    Ok((name, process))
}
