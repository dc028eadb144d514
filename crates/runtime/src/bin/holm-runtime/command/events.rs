//! `holm-runtime events`: what a container uses, once or again and again, and when it ran out of memory.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use holm_runtime::cgroup::{self, Hierarchies, OutOfMemoryWatch, Usage};
use holm_runtime::state::{Container, Status};
use holm_runtime::{Error, Result};
use serde_json::{Value, json};

use crate::arguments::Global;
use crate::talk;

/// How often lack of memory is looked for where the kernel does not tell of it.
const LOOK: Duration = Duration::from_millis(100);

/// Print what a container uses, a JSON object a line
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the container
    #[arg(value_name = "ID")]
    id: String,
    /// Print it once
    #[arg(long)]
    stats: bool,
    /// Time between two lines, such as 5s or 100ms
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    interval: Duration,
}

pub fn run(args: &Args, global: &Global) -> Result<u8> {
    let container = global.containers()?.get(&args.id)?;
    if args.interval.is_zero() {
        return Err(Error::invalid("duration interval must be greater than 0"));
    }
    if container.status() == Status::Stopped {
        return Err(Error::invalid(format!("container with id {} is not running", args.id)));
    }
    let hierarchies = Hierarchies::detect()?;
    let group = container.group()?;
    if args.stats {
        print_stats(&hierarchies, &args.id, group);
        return Ok(0);
    }
    follow(args, &hierarchies, &container, group);
    Ok(0)
}

fn follow(args: &Args, hierarchies: &Hierarchies, container: &Container, group: &Path) {
    let mut memory = OutOfMemoryWatch::new(hierarchies, group);
    let mut next = Instant::now() + args.interval;
    loop {
        let process = container.process();
        if let Some(process) = &process {
            memory.wait(process.as_fd(), LOOK.min(next.saturating_duration_since(Instant::now())));
        }
        if memory.has_killed() {
            talk::print(&format!("{}\n", json!({ "type": "oom", "id": container.record.id })));
        }
        if process.is_none() {
            return;
        }
        if Instant::now() >= next {
            print_stats(hierarchies, &args.id, group);
            next += args.interval;
        }
    }
}

fn print_stats(hierarchies: &Hierarchies, id: &str, group: &Path) {
    let usage = cgroup::usage(hierarchies, group);
    let event = json!({ "type": "stats", "id": id, "data": document(&usage) });
    talk::print(&format!("{event}\n"));
}

/// In the form that runc's callers read.
fn document(usage: &Usage) -> Value {
    let throttling = json!({
        "periods": usage.periods,
        "throttledPeriods": usage.throttled_periods,
        "throttledTime": usage.throttled_nanos,
    });
    let memory = json!({
        "usage": {
            "limit": usage.memory_limit,
            "usage": usage.memory,
            "max": usage.memory_peak,
            "failcnt": usage.memory_failures,
        },
        "cache": usage.memory_statistics.get("file").or(usage.memory_statistics.get("cache")),
        "raw": usage.memory_statistics,
    });
    json!({
        "cpu": {
            "usage": { "total": usage.cpu_nanos, "kernel": usage.cpu_kernel_nanos, "user": usage.cpu_user_nanos },
            "throttling": throttling,
        },
        "cpuset": {},
        "memory": memory,
        "pids": { "current": usage.pids, "limit": usage.pids_limit },
        "blkio": {},
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

/// Go's form: numbers with units, one after the other.
fn duration(text: &str) -> std::result::Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration, such as 5s, 100ms or 1m30s");
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| letter.is_ascii_alphabetic()).ok_or_else(wrong)?;
        let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
        let unit_end =
            rest[end..].find(|letter: char| !letter.is_ascii_alphabetic()).map_or(rest.len(), |at| end + at);
        let seconds = match &rest[end..unit_end] {
            "ns" => 1e-9,
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        total += number * seconds;
        rest = &rest[unit_end..];
    }
    if text.is_empty() {
        return Err(wrong());
    }
    Duration::try_from_secs_f64(total).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("100ms"), Ok(Duration::from_millis(100)));
        for wrong in ["", "5", "s", "5x", "-5s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
