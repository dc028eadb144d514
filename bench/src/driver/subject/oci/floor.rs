//! The floors of OCI runtimes.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Pid;

use crate::driver::host;
use crate::driver::process::{self, Launch, MountNamespace};

/// The floor's groups.
pub const GROUP: &str = "holm-floor-oci";

/// The floors under certain circumstances.
#[derive(Clone)]
pub struct OciFloor {
    pub(super) program: PathBuf,
    pub(super) root: PathBuf,
    pub(super) fifo: PathBuf,
    pub(super) user_namespace: bool,
    pub(super) namespace: Option<Rc<MountNamespace>>,
}

impl OciFloor {
    fn command(&self, verb: &str) -> Launch {
        let user: &[&str] = if self.user_namespace { &["--user-namespace"] } else { &[] };
        Launch::new(&self.program)
            .with([verb, "--group", GROUP, "--directory"])
            .with([&self.root])
            .with(user)
            .inside(self.namespace.clone())
    }

    /// The floor of `run`.
    pub fn run(&self) -> Launch {
        self.command("oci-run")
    }

    /// The floor of `create`; the process stays until [`Self::remove`].
    pub fn create(&self) -> Launch {
        self.command("oci-create").with(["--fifo"]).with([&self.fifo]).leaving()
    }

    /// The floor of `exec`, in the container that process `pid` is in, whose groups are at `group`.
    pub fn exec(&self, pid: Pid, group: &Path) -> Launch {
        Launch::new(&self.program)
            .with(["oci-exec", "--pid", &pid.as_raw_nonzero().to_string(), "--group"])
            .with([group])
            .inside(self.namespace.clone())
    }

    /// Takes away what [`Self::create`] made.
    ///
    /// # Errors
    /// When a group cannot be removed.
    pub fn remove(&self) -> Result<()> {
        const ROUNDS: u32 = 100;
        host::processes_in_groups(GROUP).into_iter().try_for_each(process::kill)?;
        std::fs::remove_file(&self.fifo).with_context(|| format!("removing `{}`", self.fifo.display()))?;
        for _ in 0..ROUNDS {
            host::groups_named(GROUP).iter().for_each(|group| host::remove_empty_groups(group));
            if host::groups_named(GROUP).is_empty() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        bail!("the groups `{GROUP}` cannot be removed")
    }
}
