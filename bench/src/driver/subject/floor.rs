//! The floor, `holm-floor`, on an EROFS file of the test image.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

use super::image::TestImage;
use crate::driver::process::Launch;

/// Seconds that a held container sleeps: long enough for any bench, and an end if the driver is killed.
const HOLD_SECONDS: &str = "3600";

/// What the name of every dynamic linker on Linux begins with.
const LINKER: &[u8] = b"/ld-";

/// The floor's program, its layer, and the directory of its writable parts.
pub struct Floor {
    program: PathBuf,
    layer: PathBuf,
    directory: PathBuf,
}

impl Floor {
    /// Finds the program beside the driver's own and makes the layer with mkfs.erofs.
    ///
    /// # Errors
    /// When either is missing.
    pub fn prepare(base: &Path, image: &TestImage) -> Result<Self> {
        let own = std::env::current_exe().context("finding the driver's own program")?;
        let program = own.with_file_name("holm-floor");
        if !program.exists() {
            bail!("`{}` is not there: build all binaries of holm-bench", program.display());
        }
        refuse_dynamic(&program)?;
        let directory = base.join("floor");
        std::fs::create_dir(&directory)?;
        let layer = directory.join("layer.erofs");
        Launch::new("mkfs.erofs").with([&layer, &image.folder]).output()?;
        Ok(Self { program, layer, directory })
    }

    fn start(&self) -> Launch {
        Launch::new(&self.program)
            .with(["run".as_ref(), "--image".as_ref(), self.layer.as_os_str()])
            .with(["--directory".as_ref(), self.directory.as_os_str()])
    }

    /// Starts a container that runs `true`.
    pub fn run(&self) -> Launch {
        self.start()
    }

    /// The same with a memory limit.
    pub fn run_limited(&self, bytes: u64) -> Launch {
        self.start().with(["--memory", &bytes.to_string()])
    }

    /// Runs `true` in the container that process `pid` is in.
    pub fn exec(&self, pid: u32) -> Launch {
        Launch::new(&self.program).with(["exec", "--pid", &pid.to_string()])
    }

    /// The program, for its other uses.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Ends at once: the start of a static program.
    pub fn nothing(&self) -> Launch {
        Launch::new(&self.program).with(["true"])
    }

    /// Reads, hashes and writes `tar` once.
    pub fn import(&self, tar: &Path) -> Launch {
        Launch::new(&self.program).with(["import".as_ref(), tar.as_os_str(), self.copy().as_os_str()])
    }

    /// What [`Self::import`] writes.
    pub fn copy(&self) -> PathBuf {
        self.directory.join("copy")
    }

    /// Starts a container that sleeps.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn hold(&self) -> Result<Held> {
        let launch = self.start().with(["--report-pid", "--", "/bin/sleep", HOLD_SECONDS]);
        let mut child = launch.spawn(Stdio::piped(), Stdio::inherit())?;
        let out = child.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        let read = BufReader::new(out).read_line(&mut line).context("reading the container's process id");
        let pid = read.ok().and_then(|_| line.trim().parse().ok());
        let held = Held { child, pid: pid.unwrap_or(0) };
        if pid.is_none() {
            bail!("{launch} gave no process id");
        }
        Ok(held)
    }
}

/// A dynamic linker's work is no part of a floor: it would make every ratio look better than it is.
fn refuse_dynamic(program: &Path) -> Result<()> {
    // The name of the linker stands right behind the program headers.
    const HEAD_BYTES: u64 = 4096;
    let mut head = Vec::new();
    File::open(program)?.take(HEAD_BYTES).read_to_end(&mut head)?;
    if head.windows(LINKER.len()).any(|window| window == LINKER) {
        bail!("`{}` is linked dynamically: build it for the musl target", program.display());
    }
    Ok(())
}

/// A container of the floor that sleeps until it is dropped.
pub struct Held {
    child: Child,
    /// Its first process, as the host numbers it.
    pub pid: u32,
}

impl Drop for Held {
    fn drop(&mut self) {
        let first = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        // Gone already, or ended here: either way the floor then releases everything and ends.
        let _ = first.map(|pid| rustix::process::kill_process(pid, Signal::KILL));
        drop(self.child.wait());
    }
}
