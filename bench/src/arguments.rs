//! The command line of `holm-bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Measure holm beside its floors and its peers, in one run on the same work.
#[derive(Parser)]
#[command(name = "holm-bench", version)]
pub struct Arguments {
    /// What to measure.
    #[arg(value_enum, default_value = "all")]
    pub bench: Bench,
    /// Measured runs of each command in each comparison.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub runs: u32,
    /// Few runs and 40 containers instead of 200 or 1,000: shows that all works, not how fast it is.
    #[arg(long)]
    pub quick: bool,
    /// Leave out these commands.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES")]
    pub skip: Vec<Peer>,
    /// The tarball for `import` [default: a Debian root file system made by mmdebstrap, kept in the target
    /// directory].
    #[arg(long, value_name = "FILE", value_parser = absolute)]
    pub tar: Option<PathBuf>,
    /// The kernel for `vm`, as `holm kernel import` takes it [default: the package that the tests keep in the
    /// target directory, or else `linux-image-cloud-amd64`, downloaded by apt-get].
    #[arg(long, value_name = "PACKAGE|FILE")]
    pub kernel: Option<String>,
    /// Where scratch directories are made; on the file system that containers would be stored on.
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
    /// How to print the report.
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// The directory of the binaries of holm.
    #[arg(long, env = "HOLM_BIN_DIR", value_name = "DIR")]
    pub bin_dir: Option<PathBuf>,
}

/// The benches, one for each promise of speed or size.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Bench {
    /// `run --rm --network none IMAGE true`.
    Start,
    /// `exec CONTAINER true`.
    Exec,
    /// The keepers' share and the machine's growth for many idle containers.
    Memory,
    /// Whether starts get slower with the number of containers, and what is left after their removal.
    Many,
    /// CPU time of importing a tarball.
    Import,
    /// Builds of which nothing changed, beside buildah and find.
    Build,
    /// Converting a layer's tar to EROFS, beside mkfs.erofs and tar.
    Convert,
    /// Mounting an image of two layers, ready for a container.
    Mount,
    /// Pulling and pushing an image of three layers.
    Pull,
    /// Each command of an OCI runtime on bundles with Docker's configuration, and the peak of its memory.
    Oci,
    /// 1,000 containers in a row and 200 at once through the OCI runtime, and what is left of them.
    OciMany,
    /// `run --rm --vm IMAGE true` beside the bare emulator; what machines add in memory, and what they share.
    Vm,
    /// The most memory that importing, pushing and pulling large layers takes.
    LargeLayer,
    /// What pulls cost our registry's server beside Debian's docker-registry, and the most memory that it takes.
    RegistryServer,
    /// Answers a second of a network's resolver, and what each costs it, beside an echo of datagrams.
    Dns,
    /// What a network costs a start, beside none and beside podman's; many workloads on one bridge.
    Network,
    /// How fast bytes and questions pass a network, beside one that is made by hand.
    Throughput,
    /// What 50,000 lines a second cost a keeper, by each driver of logs, and how late `logs -f` is.
    Logs,
    /// All of them.
    All,
}

/// What holm is measured beside; or holm itself, to look at the others alone.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// Holm itself.
    Holm,
    /// The floor.
    Floor,
    /// `unshare` from util-linux, with the same namespaces.
    Unshare,
    /// Podman.
    Podman,
    /// A process without any isolation.
    Bare,
    /// Other OCI runtimes: crun and runc.
    Runtimes,
}

/// Output formats.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

impl Arguments {
    /// Whether `bench` was asked for.
    pub fn wants(&self, bench: Bench) -> bool {
        self.bench == bench || self.bench == Bench::All
    }

    /// Whether `peer` takes part.
    pub fn includes(&self, peer: Peer) -> bool {
        !self.skip.contains(&peer)
    }

    /// Measured runs of each command.
    pub fn measured_runs(&self) -> u32 {
        if self.quick { self.runs.min(5) } else { self.runs }
    }

    /// Containers held at once by `memory`, `many` and `oci-many`.
    pub fn held_containers(&self) -> usize {
        if self.quick { 40 } else { 200 }
    }

    /// Machines held at once by `vm`.
    pub fn held_machines(&self) -> usize {
        if self.quick { 3 } else { 10 }
    }

    /// Measured runs of each command in `vm`, whose runs take seconds.
    pub fn machine_runs(&self) -> u32 {
        self.measured_runs().min(10)
    }

    /// Containers run by `oci-many` one after another.
    pub fn containers_in_a_row(&self) -> usize {
        if self.quick { 40 } else { 1000 }
    }

    /// Pauses between runs: none, and long enough that no RCU grace period is under way.
    pub fn gaps(&self) -> [Duration; 2] {
        [Duration::ZERO, Duration::from_millis(100)]
    }
}

/// The programs that read it run in directories of their own.
fn absolute(path: &str) -> std::io::Result<PathBuf> {
    std::path::absolute(path)
}
