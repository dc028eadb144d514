//! `holm run`: a new workload, started.

use std::os::fd::BorrowedFd;

use holm_engine::{Beginning, CreateRequest, Created, Engine, Session};
use holm_spec::keeper::{Streams, WindowSize};

use crate::command::create::create;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::foreground::{Foreground, Wish};
use crate::resolve::streams;
use crate::workload_arguments::WorkloadArguments;

/// Create a workload from an image and run it
#[derive(Debug, clap::Parser)]
#[command(
    disable_help_flag = true,
    override_usage = "holm run [OPTIONS] IMAGE [COMMAND] [ARG...]",
    after_help = "Everything behind IMAGE belongs to the command. Exit code: that of the process; 125 if holm failed,
126 if the command cannot be executed, 127 if it is not there.

Examples:
  holm run --rm debian cat /etc/os-release                      a command, and nothing is left
  holm run -it --rm debian bash                                 a shell
  holm run -d --name web --network host -v ./site:/srv:ro app   in the background
  holm run --rm --memory 64m --cpus 0.5 --pids-limit 100 app    with limits
  holm run -d --log-driver json-file --log-opt max-size=10m --log-opt max-file=3 app
                                                                with a log that Docker's tools read"
)]
pub struct Args {
    #[command(flatten)]
    workload: WorkloadArguments,
    /// Run in the background and print the workload's id
    #[arg(short, long)]
    detach: bool,
    /// Keys that leave the workload's terminal [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Hand signals on to the process
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1,
        require_equals = true, default_missing_value = "true", value_parser = crate::dispatch::boolean)]
    sig_proxy: bool,
    /// Image, and the command to run in it with its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE", hide = true)]
    image_and_command: Vec<String>,
}

/// Runs a workload; the exit code of its process.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let Args { workload, detach, detach_keys, sig_proxy, image_and_command } = args;
    let named = streams::parse(&workload.attach).map_err(|reason| CommandError::flag("attach", reason))?;
    if detach && named != Streams::NONE {
        return Err(CommandError::new("--attach contradicts --detach"));
    }
    let (cidfile, supply) = (workload.cidfile.clone(), workload.supply()?);
    let mut request = workload.resolve(image_and_command, &context.place)?;
    let streams = match (detach, named) {
        (true, _) => Streams::NONE,
        (false, Streams::NONE) => Streams { stdin: request.open_stdin, stdout: true, stderr: true },
        // As Docker: -i attaches standard input whatever --attach says.
        (false, named) => Streams { stdin: named.stdin || request.open_stdin, ..named },
    };
    request.stdin_once = request.open_stdin && streams.stdin;
    let foreground = match detach {
        true => None,
        false => Some(Foreground::prepare(Wish {
            stdin: streams.stdin,
            tty: request.tty,
            detach_keys: detach_keys.as_deref(),
            forward_signals: sig_proxy,
            removal: request.auto_remove,
        })?),
    };
    request.start_at_once = true;
    let engine = context.repaired_engine()?;
    let created = create(&engine, &request, supply, cidfile.as_deref(), context)?;
    let id = created.id;
    let start = |window: Option<WindowSize>, signals: Option<BorrowedFd<'_>>| {
        start(&engine, created, &request, Beginning::new(streams, window, signals))
    };
    let Some(foreground) = foreground else {
        start(None, None)?;
        context.printer.line(id)?;
        return Ok(0);
    };
    foreground.carry(|window, signals| {
        let session = start(window, signals)?;
        if !streams.stdout && !streams.stderr {
            context.printer.line(id)?;
        }
        Ok(session)
    })
}

/// Starts it; one that is to be removed when it ends is removed if it cannot begin.
fn start(
    engine: &Engine,
    created: Created,
    request: &CreateRequest,
    beginning: Beginning<'_>,
) -> Result<Session, CommandError> {
    let id = created.id;
    engine.start_created(created, beginning).map_err(|error| {
        if request.auto_remove {
            // Its keeper may have done it; the failed start is what the user wants to hear of.
            let _ = engine.remove(&id, true, true);
        }
        error.into()
    })
}
