//! `holm update`: other limits, or another restart policy.

use holm_engine::Engine;
use holm_spec::changes::{Changes, Limits};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::resolve::{cpus, memory};
use crate::several;
use crate::workload_arguments::{flag, integer, optional};

/// Change the limits or the restart policy of workloads
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "What runs is changed at once, and stays so when it is started again. The limits of a virtual machine are
changed while it does not run.

Examples:
  holm update --memory 1g --cpus 2 web
  holm update --restart unless-stopped web db
  holm update --pids-limit -1 web"
)]
pub struct Args {
    /// Limit memory: bytes, or a number with k, m, g; at least 6m
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// Limit processor time, in processors
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,
    /// Limit the number of processes and threads; -1 for no limit
    #[arg(long, value_name = "NUMBER", value_parser = integer)]
    pids_limit: Option<i64>,
    /// Start it again when it has ended: no, on-failure[:N], always or unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Workloads, by name or id
    #[arg(required = true, value_name = "WORKLOAD")]
    workloads: Vec<String>,
}

/// Changes each.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let changes = resolve(&args)?;
    if changes == Changes::default() {
        return Err(CommandError::usage(
            "say what is to be changed: --memory, --cpus, --pids-limit or --restart",
        ));
    }
    let engine = context.repaired_engine()?;
    several::each(context, &args.workloads, |name| {
        update(&engine, name, &changes)?;
        context.printer.line(name)
    })
}

fn resolve(args: &Args) -> Result<Changes, CommandError> {
    let pids = flag("pids-limit", args.pids_limit.map(memory::parse_pids).transpose())?;
    let limits = Limits {
        memory: optional("memory", args.memory.as_deref(), memory::parse)?.flatten(),
        nano_cpus: optional("cpus", args.cpus.as_deref(), cpus::parse)?.flatten(),
        pids: pids.map(|limit| limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(-1)),
    };
    Ok(Changes { limits, restart: optional("restart", args.restart.as_deref(), str::parse)? })
}

fn update(engine: &Engine, name: &str, changes: &Changes) -> Result<(), CommandError> {
    Ok(engine.update(&engine.find(name)?, changes)?)
}
