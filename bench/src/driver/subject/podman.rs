//! Podman, with a store of its own.
//!
//! Two things keep Debian's podman from running on some machines, and are worked around here: without
//! CAP_SYS_RESOURCE crun may not raise limits, so limits below the present ones are passed; and crun refuses a hybrid host
//! whose v2 hierarchy has controllers, so it is run in a mount namespace where v2 is not mounted. Neither
//! makes it slower.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result};
use rustix::process::Resource;

use super::image::TestImage;
use crate::driver::host::{self, StandingGroups};
use crate::driver::process::{Launch, MountNamespace};

const IMAGE: &str = "holm-bench";
const HYBRID: &str = "/sys/fs/cgroup/unified";
/// The group that podman's containers go to, once in each hierarchy.
const PARENT_GROUP: &str = "libpod_parent";
const HOLD_SECONDS: &str = "3600";

/// Podman, and what it left outside its directory.
pub struct Podman {
    options: Vec<OsString>,
    namespace: Option<Rc<MountNamespace>>,
    directory: PathBuf,
    _groups: StandingGroups,
}

impl Podman {
    /// Imports the test image and finds a way to run it.
    ///
    /// # Errors
    /// When podman is not installed or cannot run a container here.
    pub fn prepare(base: &Path, image: &TestImage) -> Result<Self> {
        let directory = base.join("podman");
        std::fs::create_dir(&directory)?;
        let groups = StandingGroups::named(PARENT_GROUP);
        let mut podman = Self { options: options(&directory), namespace: None, directory, _groups: groups };
        podman.command(["import"]).with([image.tar.as_os_str(), IMAGE.as_ref()]).output()?;
        if let Err(refused) = podman.run().output() {
            if !Path::new(HYBRID).exists() {
                return Err(refused);
            }
            let hidden = MountNamespace::made_by(&format!("umount {HYBRID}"));
            podman.namespace = Some(Rc::new(hidden.context("hiding cgroup v2 from podman")?));
            podman.run().output()?;
        }
        Ok(podman)
    }

    fn command<const N: usize>(&self, words: [&str; N]) -> Launch {
        Launch::new("podman").with(&self.options).with(words).inside(self.namespace.clone())
    }

    /// Podman with a store of its own below `base`, in the directory `podman`.
    pub fn apart(&self, base: &Path) -> Launch {
        Launch::new("podman").with(options(&base.join("podman"))).inside(self.namespace.clone())
    }

    fn run_with<const N: usize>(&self, words: [&str; N]) -> Launch {
        self.run_on("none", words)
    }

    /// Starts a container that runs `true` on podman's bridge.
    pub fn run_bridged(&self) -> Launch {
        self.run_on("podman", ["--rm", IMAGE, "true"])
    }

    fn run_on<const N: usize>(&self, network: &str, words: [&str; N]) -> Launch {
        let networks = self.directory.join("networks");
        self.command(["--network-config-dir"])
            .with([networks.as_os_str()])
            .with(["run", "--network", network, "--ulimit"])
            .with([limit("nofile", Resource::Nofile)])
            .with(["--ulimit".to_owned(), limit("nproc", Resource::Nproc)])
            .with(words)
    }

    /// Starts a container that runs `true`.
    pub fn run(&self) -> Launch {
        self.run_with(["--rm", IMAGE, "true"])
    }

    /// The same with a memory limit.
    pub fn run_limited(&self, bytes: u64) -> Launch {
        self.run_with(["--rm", "--memory", &bytes.to_string(), IMAGE, "true"])
    }

    /// Starts a container that sleeps; its id. It is removed when podman is dropped.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn hold(&self) -> Result<String> {
        self.run_with(["--detach", IMAGE, "sleep", HOLD_SECONDS]).output()
    }

    /// Runs `true` in a container.
    pub fn exec(&self, container: &str) -> Launch {
        self.command(["exec", container, "true"])
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Each step is tried; what cannot be removed is seen by whoever looks, and is not worth an error here.
        drop(self.command(["rm", "--all", "--force", "--time", "0"]).output());
        drop(self.command(["rmi", "--all", "--force"]).output());
        host::detach_mounts_below(&self.directory);
    }
}

fn options(directory: &Path) -> Vec<OsString> {
    let mut options: Vec<OsString> =
        ["--cgroup-manager", "cgroupfs", "--events-backend", "none"].map(OsString::from).to_vec();
    for (option, name) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
        options.extend([option.into(), directory.join(name).into_os_string()]);
    }
    options
}

/// The present limit, or what conmon lowers it to, as podman's `--ulimit` wants it.
fn limit(name: &str, resource: Resource) -> String {
    const CONMON: u64 = 32 << 10;
    let bound = rustix::process::getrlimit(resource).maximum.map_or(CONMON, |most| most.min(CONMON));
    format!("{name}={bound}:{bound}")
}
