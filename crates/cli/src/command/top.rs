//! `holm top`: the processes of a workload as the host sees them.

use holm_engine::ProcessRow;
use holm_spec::Timestamp;
use serde_json::json;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::duration;
use crate::listing::{self, Field, Format, Row};

const FIELDS: [Field; 9] = [
    Field { name: "UID", heading: "UID" },
    Field { name: "PID", heading: "PID" },
    Field { name: "PPID", heading: "PPID" },
    Field { name: "C", heading: "C" },
    Field { name: "STIME", heading: "STIME" },
    Field { name: "TTY", heading: "TTY" },
    Field { name: "TIME", heading: "TIME" },
    Field { name: "CMD", heading: "CMD" },
    Field { name: "InnerPID", heading: "INNER PID" },
];
const COLUMNS: [&str; 8] = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];

/// Show the processes of a workload as the host sees them
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm top [OPTIONS] WORKLOAD",
    after_help = "Start times are UTC. PID and PPID are the host's.

Examples:
  holm top web
  holm top --parents web                               and the processes above it, its keeper first
  holm top --format 'table {{.PID}}\\t{{.InnerPID}}\\t{{.CMD}}' web"
)]
pub struct Args {
    /// Show also the chain of parents, from the keeper up to PID 1
    #[arg(long)]
    parents: bool,
    /// table, json, or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Workload, by name or id
    #[arg(value_name = "WORKLOAD")]
    workload: String,
    /// Options of ps, which Docker takes
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    ps_options: Vec<String>,
}

/// Shows processes.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    if let Some(option) = args.ps_options.first() {
        let error = CommandError::usage(format!("options of ps are not supported: `{option}`"));
        return Err(error.hint("options of holm stand before the workload; --format chooses columns"));
    }
    let format = Format::parse(args.format.as_deref())?;
    let engine = context.or_nothing(Context::engine)?;
    let id = engine.find(&args.workload)?;
    let now = context.now();
    let processes = engine.top(&id).map_err(|error| CommandError::of_workload(error, &args.workload))?;
    let mut text = listing::render(&format, &FIELDS, &COLUMNS, &rows(&processes, now))?;
    if args.parents {
        let parents = rows(&engine.ancestors(&id)?, now);
        if matches!(format, Format::Table | Format::TableOf(_)) {
            text.push_str("\nPARENTS\n");
        }
        text.push_str(&listing::render(&format, &FIELDS, &COLUMNS, &parents)?);
    }
    context.printer.data(text)?;
    Ok(0)
}

fn rows(processes: &[ProcessRow], now: Timestamp) -> Vec<Row> {
    processes.iter().map(|process| row(process, now)).collect()
}

fn row(process: &ProcessRow, now: Timestamp) -> Row {
    let mut row = Row::new([
        ("UID", process.user.clone()),
        ("PID", process.pid.to_string()),
        ("PPID", process.parent.to_string()),
        ("C", process.cpu.to_string()),
        ("STIME", duration::start_time(now, process.started)),
        ("TTY", process.tty.clone()),
        ("TIME", duration::cpu_time(process.cpu_seconds)),
        ("CMD", process.command.clone()),
    ]);
    row.values.insert("InnerPID".to_owned(), json!(process.inner_pid.to_string()));
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let at = |seconds: i64| Timestamp::from_nanos(seconds * 1_000_000_000);
        let process = |pid, parent, tty: &str, command: &str| ProcessRow {
            user: "root".to_owned(),
            pid,
            parent,
            inner_pid: pid - 4000,
            cpu: 3,
            started: at(1_700_000_000),
            tty: tty.to_owned(),
            cpu_seconds: 61,
            command: command.to_owned(),
        };
        let processes =
            [process(4001, 4000, "?", "python3 -m flask run"), process(4017, 4001, "pts/0", "sh")];
        let rows = rows(&processes, at(1_700_000_100));
        let text = listing::render(&Format::Table, &FIELDS, &COLUMNS, &rows).expect("a table");
        insta::assert_snapshot!(text, @r"
        UID       PID       PPID      C         STIME     TTY       TIME       CMD
        root      4001      4000      3         22:13     ?         00:01:01   python3 -m flask run
        root      4017      4001      3         22:13     pts/0     00:01:01   sh
        ");
    }
}
