//! `holm-runtime kill`: a signal for a container.

use std::os::fd::AsFd;

use holm_runtime::cgroup::{self, Hierarchies};
use holm_runtime::state::Status;
use holm_runtime::{Error, Result};
use holm_sys::process;

use crate::arguments::Global;

/// Send a signal to a container's first process
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  holm-runtime kill box\n  holm-runtime kill box KILL\n  holm-runtime kill box 9"
)]
pub struct Args {
    /// Id of the container
    #[arg(value_name = "ID")]
    id: String,
    /// Name or number of the signal
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM", allow_hyphen_values = true)]
    signal: String,
    /// Send it to all processes of the container
    #[arg(short, long)]
    all: bool,
}

const KILL: i32 = 9;

pub fn run(args: &Args, global: &Global) -> Result<u8> {
    let signal = number(&args.signal)?;
    let container = global.containers()?.get(&args.id)?;
    let Some(process) = container.process() else {
        return if args.all { Ok(0) } else { Err(Error::invalid("container not running")) };
    };
    let hierarchies = Hierarchies::detect()?;
    let group = &container.record.group;
    if args.all || (signal == KILL && !container.record.own_pids) {
        cgroup::signal_all(&hierarchies, group, signal);
    } else {
        process::signal(process.as_fd(), signal)
            .map_err(|errno| Error::system("unable to signal init", errno))?;
    }
    if signal == KILL && container.status() == Status::Paused {
        // In v1 what is frozen does not even die.
        cgroup::freeze(&hierarchies, group, false)?;
    }
    Ok(0)
}

/// Names of the signals of Linux, by number from 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// `9`, `KILL`, `SIGKILL`, `RTMIN+3`.
fn number(text: &str) -> Result<i32> {
    const FIRST_REAL_TIME: i32 = 34;
    const LAST_REAL_TIME: i32 = 64;
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = NAMES.iter().position(|known| *known == name).and_then(|index| i32::try_from(index + 1).ok());
    let real_time = || {
        let offset = |rest: &str| if rest.is_empty() { Some(0) } else { rest.parse::<i32>().ok() };
        let from_first = name.strip_prefix("RTMIN").and_then(offset).map(|offset| FIRST_REAL_TIME + offset);
        let from_last = name.strip_prefix("RTMAX").and_then(offset).map(|offset| LAST_REAL_TIME + offset);
        from_first.or(from_last).filter(|number| (FIRST_REAL_TIME..=LAST_REAL_TIME).contains(number))
    };
    named.or_else(real_time).ok_or_else(|| Error::invalid(format!("unknown signal \"{text}\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, expected) in
            [("9", 9), ("kill", 9), ("SIGTERM", 15), ("sys", 31), ("RTMIN+1", 35), ("SIGRTMAX-1", 63)]
        {
            assert_eq!(number(text).expect(text), expected);
        }
        for wrong in ["", "FOO", "SIG", "RTMIN+99", "SIGSIGKILL"] {
            assert!(number(wrong).is_err(), "{wrong}");
        }
    }
}
