//! The driver: prepares the machine, runs the benches that were asked for, prints the report.

mod benches;
mod host;
mod pairing;
mod process;
mod report;
mod subject;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use holm_bench::floor::sys;

use crate::arguments::{Arguments, Bench, Format, Peer};
use report::Report;
use subject::{Bare, Floor, Holm, OciRuntimes, Podman, TestImage, Unshare};

/// Everything that a bench may use. Commands that are not there say why.
struct Machine<'a> {
    arguments: &'a Arguments,
    floor: Available<Floor>,
    podman: Available<Podman>,
    holm: Available<Holm>,
    unshare: Available<Unshare>,
    bare: Available<Bare>,
    runtimes: Available<OciRuntimes>,
    /// Dropped last: everything above has things in it.
    scratch: Scratch,
}

/// A command that takes part, or the reason why it does not; `None` when it was not asked for.
type Available<T> = Option<std::result::Result<T, String>>;

/// Runs the benches; whether all that was asked for could run.
///
/// # Errors
/// When the machine cannot be prepared at all, or the report cannot be written.
pub fn drive(arguments: &Arguments) -> Result<bool> {
    sys::catch_interrupts().context("catching signals")?;
    process::adopt_orphans().context("becoming a subreaper")?;
    let machine = Machine::prepare(arguments)?;
    let mut report = Report::new(host::describe());
    for (bench, run) in BENCHES {
        if arguments.wants(*bench) && !sys::interrupted() {
            run(&machine, &mut report);
        }
    }
    drop(machine);
    if sys::interrupted() {
        report.could_not_run("the rest", "interrupted by a signal");
    }
    print(arguments.format, &report).context("printing the report")?;
    Ok(report.is_complete())
}

type BenchFunction = fn(&Machine<'_>, &mut Report);

const BENCHES: &[(Bench, BenchFunction)] = &[
    (Bench::Start, benches::start::measure),
    (Bench::Exec, benches::exec::measure),
    (Bench::Memory, benches::memory::measure),
    (Bench::Many, benches::many::measure),
    (Bench::Import, benches::import::measure),
    (Bench::Build, benches::build::measure),
    (Bench::Convert, benches::convert::measure),
    (Bench::Mount, benches::mount::measure),
    (Bench::Pull, benches::pull::measure),
    (Bench::Oci, benches::oci::measure),
    (Bench::OciMany, benches::oci_many::measure),
    (Bench::Vm, benches::vm::measure),
    (Bench::RegistryServer, benches::registry_server::measure),
    (Bench::Dns, benches::dns::measure),
    (Bench::Network, benches::network::measure),
    (Bench::Throughput, benches::throughput::measure),
    (Bench::Logs, benches::logs::measure),
    (Bench::LargeLayer, benches::large_layer::measure),
];

impl<'a> Machine<'a> {
    fn prepare(arguments: &'a Arguments) -> Result<Self> {
        let place = arguments.scratch.clone().unwrap_or_else(std::env::temp_dir);
        let scratch = Scratch::make(&place)?;
        let base = scratch.path();
        let image = TestImage::make(&base.join("image")).context("making the test image")?;
        Ok(Self {
            floor: available(arguments, Peer::Floor, || Floor::prepare(base, &image)),
            podman: available(arguments, Peer::Podman, || Podman::prepare(base, &image)),
            holm: available(arguments, Peer::Holm, || {
                Holm::prepare(base, &image, arguments.bin_dir.as_deref())
            }),
            unshare: available(arguments, Peer::Unshare, || Ok(Unshare::new(&image))),
            bare: available(arguments, Peer::Bare, || Ok(Bare::new(&image))),
            runtimes: available(arguments, Peer::Runtimes, || {
                OciRuntimes::prepare(base, &image, arguments.bin_dir.as_deref())
            }),
            arguments,
            scratch,
        })
    }
}

/// The directory of one run of the driver, and the end of everything that is left of that run.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn make(place: &Path) -> Result<Self> {
        let place = std::path::absolute(place)?;
        let made = tempfile::Builder::new().prefix("holm-bench-").tempdir_in(&place);
        made.map(Self).with_context(|| format!("making a scratch directory in `{}`", place.display()))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        const GENERATIONS: usize = 1000;
        // Whoever is killed may leave children, which then come to this process; each round ends one.
        for _ in 0..GENERATIONS {
            if process::reap_orphans(&BTreeSet::new(), Instant::now()).is_ok() {
                break;
            }
        }
        host::detach_mounts_below(self.path());
        // Never remove through a mount that would not go.
        let busy = !host::mounts_below(self.path()).is_empty();
        self.0.disable_cleanup(busy);
    }
}

fn available<T>(arguments: &Arguments, peer: Peer, prepare: impl FnOnce() -> Result<T>) -> Available<T> {
    arguments.includes(peer).then(|| prepare().map_err(|error| format!("{error:#}")))
}

fn print(format: Format, report: &Report) -> Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Table => write!(out, "{report}")?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, report)?;
            writeln!(out)?;
        }
    }
    out.flush()?;
    Ok(())
}
