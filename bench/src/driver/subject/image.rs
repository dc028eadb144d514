//! The test image: Debian's static busybox and a few of its names, as a folder and as a tarball.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::driver::process::Launch;

/// Where Debian has its static busybox.
pub const BUSYBOX: &str = "/bin/busybox";
const APPLETS: &[&str] = &["true", "sh", "sleep", "echo"];
/// Mount points that the floor does not make for itself, and what any image has.
const FOLDERS: &[&str] = &["bin", "dev", "etc", "proc", "sys", "tmp"];

/// A folder with the root file system, and a tarball of it.
pub struct TestImage {
    /// The root file system.
    pub folder: PathBuf,
    /// The same as a tarball.
    pub tar: PathBuf,
}

impl TestImage {
    /// Makes the image in the new directory `base`.
    ///
    /// # Errors
    /// When busybox-static is not installed or `base` cannot be written.
    pub fn make(base: &Path) -> Result<Self> {
        let folder = base.join("root");
        for name in FOLDERS {
            std::fs::create_dir_all(folder.join(name))?;
        }
        std::fs::copy(BUSYBOX, folder.join("bin/busybox"))
            .with_context(|| format!("copying `{BUSYBOX}` (Debian package busybox-static)"))?;
        for applet in APPLETS {
            symlink("busybox", folder.join("bin").join(applet))?;
        }
        let tar = base.join("image.tar");
        Launch::new("tar")
            .with(["--create", "--numeric-owner", "--sort=name", "--mtime=@0", "--file"])
            .with([tar.as_os_str(), "--directory".as_ref(), folder.as_os_str(), ".".as_ref()])
            .output()?;
        Ok(Self { folder, tar })
    }

    /// The static `true` in the folder.
    pub fn command(&self) -> PathBuf {
        self.folder.join("bin/true")
    }
}
