//! A bare process, and `unshare` from util-linux.

use std::path::PathBuf;

use super::image::TestImage;
use crate::driver::process::Launch;

/// fork and exec of the static `true`, without any isolation.
pub struct Bare {
    command: PathBuf,
}

impl Bare {
    /// The command of `image`.
    pub fn new(image: &TestImage) -> Self {
        Self { command: image.command() }
    }

    /// Runs `true`.
    pub fn run(&self) -> Launch {
        Launch::new(&self.command)
    }
}

/// `unshare` with the namespaces of a container, and nothing else of one.
pub struct Unshare {
    command: PathBuf,
}

impl Unshare {
    /// The command of `image`.
    pub fn new(image: &TestImage) -> Self {
        Self { command: image.command() }
    }

    /// Runs `true` in new namespaces.
    pub fn run(&self) -> Launch {
        Launch::new("unshare")
            .with(["--pid", "--fork", "--mount", "--net", "--ipc", "--uts", "--cgroup"])
            .with([&self.command])
    }
}
