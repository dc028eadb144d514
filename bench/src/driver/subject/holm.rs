//! Holm, with roots of its own.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::image::TestImage;
use super::machine::Kernel;
use crate::driver::host::{self, StandingGroups};
use crate::driver::process::Launch;

const IMAGE: &str = "holm-bench:latest";
const HOLD_SECONDS: &str = "3600";

/// Holm, and the containers that it holds.
pub struct Holm {
    program: PathBuf,
    directory: PathBuf,
    held: RefCell<Vec<String>>,
    _groups: StandingGroups,
}

impl Holm {
    /// Finds the program and imports the test image.
    ///
    /// # Errors
    /// When it is not built, or cannot import.
    pub fn prepare(base: &Path, image: &TestImage, binaries: Option<&Path>) -> Result<Self> {
        let binaries = binaries.map_or_else(default_binaries, Path::to_owned);
        let program = std::path::absolute(binaries.join("holm"))?;
        if !program.exists() {
            bail!("`{}` is not there: build it, or set HOLM_BIN_DIR", program.display());
        }
        let directory = base.join("holm");
        std::fs::create_dir(&directory)?;
        let groups = StandingGroups::named("holm");
        let holm = Self { program, directory, held: RefCell::default(), _groups: groups };
        holm.import(&image.tar, IMAGE).output()?;
        Ok(holm)
    }

    /// Where its state on disk is.
    pub fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// Where its state of this boot is.
    pub fn run_root(&self) -> PathBuf {
        self.directory.join("run")
    }

    fn command<const N: usize>(&self, words: [&str; N]) -> Launch {
        Launch::new(&self.program)
            .with(["--root".as_ref(), self.root().as_os_str()])
            .with(["--run-root".as_ref(), self.run_root().as_os_str()])
            .with(words)
    }

    /// Imports a tarball.
    pub fn import(&self, tar: &Path, reference: &str) -> Launch {
        self.command(["import"]).with([tar.as_os_str(), reference.as_ref()])
    }

    /// Imports a tarball into a store that nothing else uses and that [`Self::discard_import`] removes.
    pub fn import_apart(&self, tar: &Path) -> Launch {
        let apart = self.apart();
        Launch::new(&self.program)
            .with(["--root".as_ref(), apart.join("root").as_os_str()])
            .with(["--run-root".as_ref(), apart.join("run").as_os_str()])
            .with(["import".as_ref(), tar.as_os_str(), "debian:bench".as_ref()])
    }

    /// Does something in a store that nothing else uses.
    pub fn apart_with(&self, words: &[&str]) -> Launch {
        let apart = self.apart();
        Launch::new(&self.program)
            .with(["--root".as_ref(), apart.join("root").as_os_str()])
            .with(["--run-root".as_ref(), apart.join("run").as_os_str()])
            .with(words)
    }

    /// The directory of the store of [`Self::import_apart`].
    pub fn apart(&self) -> PathBuf {
        self.directory.join("apart")
    }

    /// Builds the Dockerfile of a directory.
    pub fn build(&self, context: &Path) -> Launch {
        self.command(["build", "--quiet", "--network", "none"]).with([context])
    }

    /// Starts a container that runs `true`.
    pub fn run(&self) -> Launch {
        self.command(["run", "--rm", "--network", "none", IMAGE, "true"])
    }

    /// The same with a memory limit.
    pub fn run_limited(&self, bytes: u64) -> Launch {
        let bytes = bytes.to_string();
        self.command(["run", "--rm", "--network", "none", "--memory", &bytes, IMAGE, "true"])
    }

    /// Starts a container that runs `true` on the default network, with these flags.
    pub fn run_bridged(&self, flags: &[&str]) -> Launch {
        self.command(["run", "--rm", "--network", "bridge"]).with(flags).with([IMAGE, "true"])
    }

    /// Starts a container `name` that sleeps on the default network; how long the start took.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn hold_bridged(&self, name: &str) -> Result<Duration> {
        self.held.borrow_mut().push(name.to_owned());
        let words = ["run", "--detach", "--network", "bridge", "--name", name, IMAGE, "sleep", HOLD_SECONDS];
        self.command(words).time_and_leave()
    }

    /// Starts a container `name` that sleeps on the default network, with a published port.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn hold_published(&self, name: &str, publish: &str) -> Result<()> {
        self.held.borrow_mut().push(name.to_owned());
        self.command(["run", "--detach", "--network", "bridge", "--publish", publish, "--name", name])
            .with([IMAGE, "sleep", HOLD_SECONDS])
            .time_and_leave()
            .map(drop)
    }

    /// What `inspect` says of a container.
    ///
    /// # Errors
    /// When it says nothing.
    pub fn inspect(&self, name: &str, template: &str) -> Result<String> {
        self.command(["inspect", "--format", template, name]).output()
    }

    /// Starts a container `name` that sleeps; how long the start took.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn hold(&self, name: &str) -> Result<Duration> {
        self.held.borrow_mut().push(name.to_owned());
        self.command(["run", "--detach", "--network", "none", "--name", name, IMAGE, "sleep", HOLD_SECONDS])
            .time_and_leave()
    }

    /// Starts a container `name` that runs a script with the program `floor` in reach; `driver` keeps its log.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn hold_speaker(&self, name: &str, driver: &str, floor: &Path, script: &str) -> Result<()> {
        self.held.borrow_mut().push(name.to_owned());
        let volume = format!("{}:/floor:ro", floor.display());
        self.command(["run", "--detach", "--network", "none", "--name", name, "--log-driver", driver])
            .with(["--volume", &volume, IMAGE, "sh", "-c", script])
            .time_and_leave()
            .map(drop)
    }

    /// Shows what a container has said.
    pub fn logs(&self, flags: &[&str], container: &str) -> Launch {
        self.command(["logs"]).with(flags).with([container])
    }

    /// Runs `true` in a container.
    pub fn exec(&self, container: &str) -> Launch {
        self.command(["exec", container, "true"])
    }

    /// The host's id of a container's first process.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn pid(&self, container: &str) -> Result<u32> {
        let text = self.command(["inspect", "--format", "{{.State.Pid}}", container]).output()?;
        text.parse().with_context(|| format!("`holm inspect` gave `{text}` as a process id"))
    }

    /// Imports a kernel for machines: a package's name or a file, as `holm kernel import` takes it.
    ///
    /// # Errors
    /// There is none.
    pub fn import_kernel(&self, words: &[&str]) -> Result<()> {
        self.command(["kernel", "import", "--quiet"]).with(words).output().map(drop)
    }

    /// The kernel that its machines boot.
    ///
    /// # Errors
    /// None was imported.
    pub fn kernel(&self) -> Result<Kernel> {
        let list = self.command(["kernel", "ls", "--format", "json"]).output()?;
        let first = list.lines().next().context("no kernel was imported")?;
        let first: Value = serde_json::from_str(first).context("reading the list of kernels")?;
        let id = first["Digest"].as_str().context("a kernel without a digest")?;
        Kernel::of_manifest(&self.root().join("blobs/sha256"), id)
    }

    /// The layer of the test image.
    ///
    /// # Errors
    /// It was not imported.
    pub fn layer(&self) -> Result<PathBuf> {
        let mut entries = std::fs::read_dir(self.root().join("layers"))?.flatten().map(|entry| entry.path());
        entries.find(|path| path.extension().is_some_and(|end| end == "erofs")).context("no layer")
    }

    /// Starts a machine that runs `true`.
    pub fn run_machine(&self) -> Launch {
        self.command(["run", "--rm", "--vm", "--network", "none", IMAGE, "true"])
    }

    /// Starts a machine `name` that sleeps.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn hold_machine(&self, name: &str) -> Result<()> {
        self.held.borrow_mut().push(name.to_owned());
        let words =
            ["run", "--detach", "--vm", "--network", "none", "--name", name, IMAGE, "sleep", HOLD_SECONDS];
        self.command(words).time_and_leave().map(drop)
    }

    /// The emulator's command line of a machine that is started for this.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn command_line_of_a_machine(&self) -> Result<Vec<String>> {
        self.hold_machine("bench-shown")?;
        let shown = self.command(["inspect", "bench-shown"]).output();
        self.remove_held()?;
        let shown: Value = serde_json::from_str(&shown?).context("reading what `holm inspect` says")?;
        find_words(&shown, "CommandLine").context("`holm inspect` shows no command line of the emulator")
    }

    /// Removes all containers that it holds, running or not.
    ///
    /// # Errors
    /// When `holm rm` fails.
    pub fn remove_held(&self) -> Result<()> {
        let names = std::mem::take(&mut *self.held.borrow_mut());
        if names.is_empty() {
            return Ok(());
        }
        self.command(["rm", "--force"]).with(&names).output().map(drop)
    }
}

impl Drop for Holm {
    fn drop(&mut self) {
        // The driver kills what is left of its descendants afterwards.
        drop(self.remove_held());
        host::detach_mounts_below(&self.directory);
    }
}

/// `target/dist` of the workspace that this program was built in.
fn default_binaries() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/dist")
}

/// The list of words under a name, wherever in a document it stands.
fn find_words(value: &Value, name: &str) -> Option<Vec<String>> {
    match value {
        Value::Object(fields) => match fields.get(name).and_then(Value::as_array) {
            Some(words) => words.iter().map(|word| word.as_str().map(str::to_owned)).collect(),
            None => fields.values().find_map(|field| find_words(field, name)),
        },
        Value::Array(items) => items.iter().find_map(|item| find_words(item, name)),
        _ => None,
    }
}
