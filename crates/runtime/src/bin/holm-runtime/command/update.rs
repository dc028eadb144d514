//! `holm-runtime update`: other limits for a container.

use std::io::Read;
use std::path::PathBuf;

use holm_runtime::bundle::parse_as;
use holm_runtime::cgroup::{self, Hierarchies};
use holm_runtime::state::Status;
use holm_runtime::{Error, Result};
use holm_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use crate::arguments::Global;

/// Longest document that is read, in bytes.
const DOCUMENT_LIMIT: u64 = 4 << 20;

/// Change the limits of a container
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  holm-runtime update --memory 512M --memory-swap 512M box\n  \
                        holm-runtime update --resources - box < resources.json")]
pub struct Args {
    /// Id of the container
    #[arg(value_name = "ID")]
    id: String,
    /// Document with the limits, as in config.json; - reads standard input
    #[arg(short, long, value_name = "FILE")]
    resources: Option<PathBuf>,
    /// Weight of block I/O, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// Length of a period in microseconds
    #[arg(long, value_name = "TIME")]
    cpu_period: Option<u64>,
    /// Processor time a period in microseconds
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// Unused time that may be used later, in microseconds
    #[arg(long, value_name = "TIME")]
    cpu_burst: Option<u64>,
    /// Relative weight
    #[arg(long, visible_alias = "cpu-shares", value_name = "SHARES")]
    cpu_share: Option<u64>,
    /// Length of a real-time period in microseconds
    #[arg(long, value_name = "TIME")]
    cpu_rt_period: Option<u64>,
    /// Real-time processor time a period in microseconds
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    cpu_rt_runtime: Option<i64>,
    /// Processors to run on
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Run only when nobody else does: 0 or 1
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    cpu_idle: Option<i64>,
    /// Memory
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = bytes)]
    memory: Option<i64>,
    /// Memory that is left under pressure
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = bytes)]
    memory_reservation: Option<i64>,
    /// Memory and swap together; -1 for no limit
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = bytes)]
    memory_swap: Option<i64>,
    /// Ignored: the kernel has no such limit any more
    #[arg(long, value_name = "BYTES", hide = true)]
    kernel_memory: Option<String>,
    /// Ignored: the kernel has no such limit any more
    #[arg(long, value_name = "BYTES", hide = true)]
    kernel_memory_tcp: Option<String>,
    /// Number of processes
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
}

pub fn run(args: &Args, global: &Global) -> Result<u8> {
    let container = global.containers()?.get(&args.id)?;
    if container.status() == Status::Stopped {
        return Err(Error::invalid("container not running"));
    }
    let (hierarchies, resources) = (Hierarchies::detect()?, asked(args)?);
    if let Some(unit) = container.unit() {
        unit.update(&hierarchies, &resources)?;
    }
    cgroup::update(&hierarchies, container.group()?, &resources).map(|()| 0)
}

fn asked(args: &Args) -> Result<LinuxResources> {
    let Some(file) = &args.resources else {
        return parse_as(from_options(args).to_string().as_bytes(), "options");
    };
    let mut text = Vec::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().take(DOCUMENT_LIMIT).read_to_end(&mut text)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(DOCUMENT_LIMIT).read_to_end(&mut text))
    };
    read.map_err(|error| Error::system(format!("read `{}`", file.display()), error))?;
    parse_as(&text, &file.to_string_lossy())
}

/// The options in the form of the document.
fn from_options(args: &Args) -> Value {
    let group = |fields: &[(&str, Value)]| {
        let given = fields.iter().filter(|(_, value)| !value.is_null());
        given.map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<Map<_, _>>()
    };
    let groups = [
        (
            "memory",
            group(&[
                ("limit", json!(args.memory)),
                ("reservation", json!(args.memory_reservation)),
                ("swap", json!(args.memory_swap)),
            ]),
        ),
        (
            "cpu",
            group(&[
                ("shares", json!(args.cpu_share)),
                ("quota", json!(args.cpu_quota)),
                ("period", json!(args.cpu_period)),
                ("burst", json!(args.cpu_burst)),
                ("realtimePeriod", json!(args.cpu_rt_period)),
                ("realtimeRuntime", json!(args.cpu_rt_runtime)),
                ("cpus", json!(args.cpuset_cpus)),
                ("mems", json!(args.cpuset_mems)),
                ("idle", json!(args.cpu_idle)),
            ]),
        ),
        ("pids", group(&[("limit", json!(args.pids_limit))])),
        ("blockIO", group(&[("weight", json!(args.blkio_weight))])),
    ];
    let given = groups.into_iter().filter(|(_, fields)| !fields.is_empty());
    Value::Object(given.map(|(name, fields)| (name.to_owned(), Value::Object(fields))).collect())
}

/// `64M`, `1g`, `1048576`, `-1`.
fn bytes(text: &str) -> std::result::Result<i64, String> {
    let wrong = || format!("`{text}` is no number of bytes, such as 64M, 1g or -1");
    let lower = text.to_lowercase();
    let number = lower.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match lower[number.len()..].trim_end_matches("ib").trim_end_matches('b') {
        "" => 1_i64,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return Err(wrong()),
    };
    number.parse::<i64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, expected) in
            [("64M", 64 << 20), ("1g", 1 << 30), ("5", 5), ("-1", -1), ("2KiB", 2048), ("3kb", 3072)]
        {
            assert_eq!(bytes(text).expect(text), expected);
        }
        for wrong in ["", "M", "1x", "9999999999999g", "1.5g"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
