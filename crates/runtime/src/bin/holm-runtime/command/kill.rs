//! `holm-runtime kill`: a signal for a container.

use std::os::fd::AsFd;

use holm_runtime::cgroup::{self, Hierarchies};
use holm_runtime::state::{Container, Status};
use holm_runtime::{Error, Result};
use holm_spec::signal;
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

pub fn run(args: &Args, global: &Global) -> Result<u8> {
    let wanted = number(&args.signal)?;
    let container = global.containers()?.get(&args.id)?;
    let hierarchies = Hierarchies::detect()?;
    let Some(process) = container.process() else {
        return signal_rest(args, &container, &hierarchies, wanted);
    };
    let ends_all = args.all || (wanted == signal::KILL && !container.record.own_pids);
    match &container.record.group {
        Some(group) if ends_all => cgroup::signal_all(&hierarchies, group, wanted),
        _ => process::signal(process.as_fd(), wanted)
            .map_err(|errno| Error::system("unable to signal init", errno))?,
    }
    if wanted == signal::KILL && container.status() == Status::Paused {
        // In v1 what is frozen does not even die.
        cgroup::freeze(&hierarchies, container.group()?, false)?;
    }
    Ok(0)
}

/// Where process ids are shared, others may outlive the first process.
fn signal_rest(args: &Args, container: &Container, hierarchies: &Hierarchies, wanted: i32) -> Result<u8> {
    let group = container.record.group.as_deref().filter(|_| !container.record.own_pids);
    match group.filter(|group| !cgroup::processes(hierarchies, group).is_empty()) {
        Some(group) if args.all || wanted == signal::KILL => cgroup::signal_all(hierarchies, group, wanted),
        _ if args.all => {}
        _ => return Err(Error::invalid("container not running")),
    }
    Ok(0)
}

/// `9`, `KILL`, `SIGKILL`, `RTMIN+3`; of a number the kernel decides, and 0 only asks whether the process is there.
fn number(text: &str) -> Result<i32> {
    let number = text.parse().ok().or_else(|| signal::parse(text));
    number.ok_or_else(|| Error::invalid(format!("unknown signal \"{text}\"")))
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
