//! Harness of the tests that look at Holm from outside: the binaries, the file system, the kernel.
//!
//! Each test makes a [`Holm`] of its own: two empty roots below one temporary directory, and, unless it
//! asks for none, the image `base`. Dropping it, also while a test panics, removes every workload, ends
//! what still runs, and unmounts what lies below its roots. No call may hang: each is killed after
//! [`TIMEOUT`] unless it says otherwise.
//!
//! The binaries are those of the directory `HOLM_BIN_DIR`, by default `target/dist` of the workspace
//! (`cargo xtask build` puts them there). The tests need root.
//!
//! - [`call`]: one run of the `holm` program, to its end or in the background
//! - [`terminal`]: one run of it on a terminal
//! - [`tarball`]: root file systems, well made and hostile
//! - [`oci_image`]: images of several layers
//! - [`origin`]: a server of HTTP that answers as the test says
//! - [`server`]: the registry of Holm on a port of its own
//! - [`http`]: a client of it
//! - [`isolation`]: the same test with containers and with virtual machines
//! - [`kernels`]: kernels that boot nothing
//! - [`namespace`]: hosts with a network of their own
//! - [`debian`]: a kernel that boots
//! - [`foreign`]: Debian's packages for another processor
//! - [`host`]: what the host knows about workloads: processes, mounts, control groups, file trees

pub mod call;
pub mod debian;
pub mod foreign;
pub mod host;
pub mod http;
pub mod isolation;
pub mod kernels;
pub mod namespace;
pub mod oci_image;
pub mod origin;
pub mod server;
pub mod tarball;
pub mod terminal;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub use call::{Call, Outcome, Running};
pub use isolation::Isolation;
pub use namespace::Namespace;
pub use oci_image::OciImage;
pub use origin::Origin;
pub use tarball::Tarball;
pub use terminal::Terminal;

/// How long a call may take before it is killed and its test fails.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Directory of the binaries under test.
#[must_use]
pub fn binaries() -> PathBuf {
    let dist = || Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target").join("dist");
    std::env::var_os("HOLM_BIN_DIR").map_or_else(dist, PathBuf::from)
}

/// Copies binaries under test into a directory of the test's own.
///
/// By another process: while this one had them open for writing, a child that another thread starts would
/// hold them open, too, and executing them would fail with ETXTBSY.
///
/// # Panics
/// If they cannot be copied.
pub fn copy_binaries(directory: &Path, names: &[&str]) {
    let sources = names.iter().map(|name| binaries().join(name));
    let status = Command::new("cp").args(sources).arg(directory).status().expect("cp is installed");
    assert!(status.success(), "copy {names:?}");
}

/// Waits until a condition holds; panics with `what` if it does not within ten seconds, or within
/// [`isolation::slowness`] times as many.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let patience = Duration::from_secs(10) * isolation::slowness();
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One installation of Holm with roots of its own.
pub struct Holm {
    directory: tempfile::TempDir,
    isolation: Isolation,
    /// Where its commands run, if not in the network namespace of the test.
    network: Option<Namespace>,
}

impl Default for Holm {
    fn default() -> Self {
        Self::new()
    }
}

impl Holm {
    /// An installation with the image `base` of [`tarball::base`], and with a kernel if its workloads are to be
    /// virtual machines: see [`isolation`].
    #[must_use]
    pub fn new() -> Self {
        let holm = Self::empty();
        holm.call(["import", "-", "base"]).stdin(tarball::base()).run().ok();
        holm
    }

    /// An installation without an image.
    #[must_use]
    pub fn empty() -> Self {
        let holm = Self::bare();
        if holm.isolation == Isolation::Machine {
            debian::import_kernel(&holm);
        }
        holm
    }

    /// An installation without anything, whatever its workloads are to be.
    #[must_use]
    pub fn bare() -> Self {
        let directory = tempfile::Builder::new().prefix("hb").tempdir().expect("a temporary directory");
        for name in ["r", "x", "s"] {
            std::fs::create_dir(directory.path().join(name)).expect("a directory in an empty one");
        }
        std::fs::write(
            directory.path().join("registries.toml"),
            "[registry.\"docker.io\"]\nblocked = true\n",
        )
        .expect("a file in an empty directory");
        Self { directory, isolation: isolation::current(), network: None }
    }

    /// An installation with the image `base`, on a host with a network of its own; its workloads are on the default one.
    #[must_use]
    pub fn with_network() -> Self {
        let mut holm = Self::new();
        holm.network = Some(Namespace::new());
        holm
    }

    /// The network of its host.
    ///
    /// # Panics
    /// If that is the test's own.
    #[must_use]
    pub fn network(&self) -> &Namespace {
        self.network.as_ref().expect("made by `with_network`")
    }

    /// What its workloads are.
    #[must_use]
    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// `--root`: images and workloads.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("r")
    }

    /// `--run-root`: what a boot ends.
    #[must_use]
    pub fn run_root(&self) -> PathBuf {
        self.directory.path().join("x")
    }

    /// A path for the test's own files, removed with the installation.
    #[must_use]
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.directory.path().join("s").join(name)
    }

    /// Its `registries.toml`, in which docker.io is blocked.
    #[must_use]
    pub fn registries(&self) -> PathBuf {
        self.directory.path().join("registries.toml")
    }

    /// Writes one of the test's own files and returns its path as text.
    #[must_use]
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.scratch(name);
        std::fs::write(&path, content).expect("a file in the scratch directory");
        path.into_os_string().into_string().expect("temporary paths are text")
    }

    /// The program with this installation's roots, its arguments still to come.
    #[must_use]
    pub fn command(&self) -> Command {
        let program = binaries().join("holm");
        let mut command = match &self.network {
            Some(network) => network.command(program),
            None => Command::new(program),
        };
        if self.network.is_some() {
            command.env_remove("HOLM_NETWORK");
        }
        command.arg("--root").arg(self.root()).arg("--run-root").arg(self.run_root());
        for variable in ["HOLM_ROOT", "HOLM_RUN_ROOT", "HOLM_LOG"] {
            command.env_remove(variable);
        }
        // Tests ask nobody outside this machine.
        command.env("HOLM_REGISTRIES", self.registries());
        command.current_dir(self.directory.path().join("s"));
        command
    }

    /// The program with its roots as words of a shell's command line.
    #[must_use]
    pub fn shell_words(&self) -> String {
        let command = self.command();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| format!("'{}'", word.display())).collect::<Vec<_>>().join(" ")
    }

    /// Runs a shell script of the host in the scratch directory; `$HOLM` there is the program with its
    /// roots, to be used without quotes.
    pub fn host_shell(&self, script: &str) -> Outcome {
        let mut command = Command::new("bash");
        command.arg("-c").arg(script).current_dir(self.directory.path().join("s"));
        command.env("HOLM", self.shell_words().replace('\'', ""));
        command.env("HOLM_REGISTRIES", self.registries());
        Call::new(command).run()
    }

    /// A call with these arguments, to be adjusted and then run.
    pub fn call<S: AsRef<str>>(&self, arguments: impl IntoIterator<Item = S>) -> Call {
        let mut command = self.command();
        command.args(self.arguments(arguments));
        Call::new(command).timeout(TIMEOUT * isolation::slowness())
    }

    /// These arguments, with the flag that makes what they create a virtual machine, if it is to be one.
    pub fn arguments<S: AsRef<str>>(&self, arguments: impl IntoIterator<Item = S>) -> Vec<String> {
        let mut words: Vec<_> = arguments.into_iter().map(|word| word.as_ref().to_owned()).collect();
        let creates = words.first().is_some_and(|command| command == "run" || command == "create");
        if creates && self.isolation == Isolation::Machine {
            words.insert(1, "--vm".to_owned());
        }
        words
    }

    /// Calls Holm to the end.
    pub fn run<S: AsRef<str>>(&self, arguments: impl IntoIterator<Item = S>) -> Outcome {
        self.call(arguments).run()
    }

    /// Calls Holm, demands success, and returns its standard output without the last line break.
    #[track_caller]
    pub fn ok<S: AsRef<str>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        self.run(arguments).ok()
    }

    /// Runs a shell script in a new workload of the image `base`, with these flags of `run` beside
    /// `--rm`; demands success and returns its standard output.
    #[track_caller]
    pub fn sh(&self, flags: &[&str], script: &str) -> String {
        self.script(flags, script).ok()
    }

    /// As [`Holm::sh`], whatever the outcome.
    #[track_caller]
    pub fn script(&self, flags: &[&str], script: &str) -> Outcome {
        let command = ["base", "sh", "-c", script];
        self.run(["run", "--rm"].iter().chain(flags).chain(&command))
    }

    /// Starts a workload of the image `base` in the background and returns its id.
    #[track_caller]
    pub fn start(&self, flags: &[&str], script: &str) -> String {
        let command = ["base", "sh", "-c", script];
        self.ok(["run", "-d"].iter().chain(flags).chain(&command))
    }

    /// One field of `inspect` of a workload, by a template.
    #[track_caller]
    pub fn inspect(&self, workload: &str, template: &str) -> String {
        self.ok(["inspect", "--type", "container", "-f", template, workload])
    }

    /// The host's id of a workload's first process.
    #[track_caller]
    pub fn pid(&self, workload: &str) -> u32 {
        self.inspect(workload, "{{.State.Pid}}").parse().expect("a process id")
    }

    /// Full ids of all workloads, read from the directory so that a broken program cannot hide them.
    #[must_use]
    pub fn workloads(&self) -> Vec<String> {
        let names = |directory: PathBuf| {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            entries.filter_map(|entry| entry.file_name().into_string().ok())
        };
        let run = names(self.run_root().join("sandboxes"));
        let mut ids: Vec<_> = names(self.root().join("workloads")).chain(run).collect();
        ids.retain(|id| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        ids.sort();
        ids.dedup();
        ids
    }
}

impl Drop for Holm {
    fn drop(&mut self) {
        let ids = self.workloads();
        if !ids.is_empty() {
            let mut command = self.command();
            command.args(["rm", "-f"]).args(&ids);
            drop(Call::new(command).wait());
        }
        for id in &ids {
            host::destroy_groups(id);
        }
        host::unmount_below(self.directory.path());
        remove_patiently(self.directory.path());
    }
}

/// Removes a directory in which a keeper may be at its last step. What stays is found by the leak test.
fn remove_patiently(directory: &Path) {
    for _ in 0..100 {
        match std::fs::remove_dir_all(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                std::thread::sleep(Duration::from_millis(20));
            }
            _ => return,
        }
    }
}
