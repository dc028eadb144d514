//! `holm metrics`: figures of workloads in the text form of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use holm_engine::{Chosen, Engine, Used, Workload};
use holm_spec::life::HealthStatus;
use holm_spec::workload::Status;

use crate::archive_output::Output;
use crate::command_error::CommandError;
use crate::context::Context;

/// Show figures of workloads for Prometheus
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "Of every workload, running or not, in containers and in virtual machines. A figure that nobody counts is left out.
With -o the file is replaced at once, as node_exporter's textfile collector wants it.

Examples:
  holm metrics
  holm metrics -o /var/lib/node_exporter/holm.prom"
)]
pub struct Args {
    /// Write to a file, which is replaced when it is complete
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes the figures.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let engine = context.or_nothing(Context::repaired_engine)?;
    let text = text(&engine)?;
    match args.output {
        None => context.printer.data(text)?,
        Some(path) => Output::of(Some(path.clone()))?.write(|output| {
            let failed = |error| CommandError::system(&format!("write `{}`", path.display()), error);
            File::from(output).write_all(text.as_bytes()).map_err(failed)
        })?,
    }
    Ok(0)
}

/// What a figure is called, how it grows, and what it says.
type Family = (&'static str, &'static str, &'static str);

const INFO: Family = ("holm_workload_info", "gauge", "Always 1; what the workload is.");
const RUNNING: Family = ("holm_workload_running", "gauge", "1 if it runs.");
const RESTARTS: Family =
    ("holm_workload_restarts_total", "counter", "Starts by its policy since somebody started it.");
const HEALTHY: Family = ("holm_workload_healthy", "gauge", "1 if its last checks were passed.");
const EXIT_CODE: Family = ("holm_workload_exit_code", "gauge", "Exit code of its last run.");
const STARTED: Family = ("holm_workload_start_time_seconds", "gauge", "Start of its last run since 1970.");
const CPU: Family = ("holm_workload_cpu_seconds_total", "counter", "Processor time of this run.");
const MEMORY: Family =
    ("holm_workload_memory_bytes", "gauge", "Memory without the file pages that would go first.");
const MEMORY_LIMIT: Family = ("holm_workload_memory_limit_bytes", "gauge", "Memory that it may have.");
const RECEIVED: Family = ("holm_workload_network_receive_bytes_total", "counter", "Bytes received.");
const SENT: Family = ("holm_workload_network_transmit_bytes_total", "counter", "Bytes sent.");
const READ: Family = ("holm_workload_block_read_bytes_total", "counter", "Bytes read from block devices.");
const WRITTEN: Family =
    ("holm_workload_block_written_bytes_total", "counter", "Bytes written to block devices.");
const PIDS: Family = ("holm_workload_pids", "gauge", "Processes and threads.");

/// Lines of figures, by what they are called.
#[derive(Default)]
struct Figures(BTreeMap<Family, Vec<String>>);

impl Figures {
    fn add(&mut self, family: Family, labels: &str, value: impl std::fmt::Display) {
        self.0.entry(family).or_default().push(format!("{}{{{labels}}} {value}\n", family.0));
    }

    fn add_workload(&mut self, workload: &Workload) {
        let (config, state) = (&workload.config, &workload.state);
        let labels = labels(workload);
        let isolation = config.isolation.to_string();
        let more = [("image", config.image.name.as_str()), ("isolation", &isolation)];
        let info: Vec<String> = more.iter().map(|(key, value)| label(key, value)).collect();
        self.add(INFO, &format!("{labels},{}", info.join(",")), 1);
        self.add(RUNNING, &labels, i32::from(state.status == Status::Running));
        self.add(RESTARTS, &labels, state.restarts);
        if let Some(health) = &state.health {
            self.add(HEALTHY, &labels, i32::from(health.status == HealthStatus::Healthy));
        }
        if state.status == Status::Exited {
            self.add(EXIT_CODE, &labels, state.exit_code);
        }
        if state.status != Status::Created {
            self.add(STARTED, &labels, seconds(state.started.nanos()));
        }
    }

    fn add_used(&mut self, labels: &str, used: &Used) {
        if let Some(nanos) = used.cpu_nanos.and_then(|nanos| i64::try_from(nanos).ok()) {
            self.add(CPU, labels, seconds(nanos));
        }
        self.add(MEMORY, labels, used.memory);
        self.add(MEMORY_LIMIT, labels, used.memory_limit);
        self.add(RECEIVED, labels, used.network.0);
        self.add(SENT, labels, used.network.1);
        if let Some((read, written)) = used.blocks {
            self.add(READ, labels, read);
            self.add(WRITTEN, labels, written);
        }
        self.add(PIDS, labels, used.pids);
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for ((name, kind, help), lines) in &self.0 {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{}", lines.concat());
        }
        text
    }
}

fn text(engine: &Engine) -> Result<String, CommandError> {
    let workloads = engine.list()?;
    let mut figures = Figures::default();
    workloads.iter().for_each(|workload| figures.add_workload(workload));
    for sample in engine.watch(Chosen::Running).look()? {
        let workload = workloads.iter().find(|workload| workload.config.id == sample.id);
        if let Some((workload, used)) = workload.zip(sample.used) {
            figures.add_used(&labels(workload), &used);
        }
    }
    Ok(figures.text())
}

fn labels(workload: &Workload) -> String {
    let id = workload.config.id.to_string();
    [label("id", &id), label("name", &workload.config.name)].join(",")
}

/// A label as the text form has it.
fn label(key: &str, value: &str) -> String {
    format!("{key}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// Nanoseconds as seconds, with all their digits.
fn seconds(nanos: i64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form() {
        let mut figures = Figures::default();
        figures.add(PIDS, &label("name", "a\"b\\c\nd"), 3);
        figures.add(PIDS, &label("name", "e"), 4);
        insta::assert_snapshot!(figures.text(), @r#"
        # HELP holm_workload_pids Processes and threads.
        # TYPE holm_workload_pids gauge
        holm_workload_pids{name="a\"b\\c\nd"} 3
        holm_workload_pids{name="e"} 4
        "#);
        assert_eq!(seconds(1_500_000_000), "1.500000000");
    }
}
