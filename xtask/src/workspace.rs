//! Where the repository, its target directory and the shipped binaries are.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process;

/// The directories that every verb works in.
pub struct Workspace {
    /// The root of the repository.
    pub root: PathBuf,
    /// Where cargo puts what it builds.
    pub target: PathBuf,
}

impl Workspace {
    /// Asks cargo for the target directory.
    ///
    /// # Errors
    /// Cargo cannot read the manifests.
    pub fn locate() -> Result<Self> {
        let manifest =
            std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&manifest).parent().context("this manifest lies in no workspace")?;
        let mut workspace = Self { root: canonical(root)?, target: PathBuf::new() };
        let mut command = workspace.cargo();
        command.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
        let metadata: Value = serde_json::from_str(&process::capture(&mut command)?)?;
        let target =
            metadata["target_directory"].as_str().context("`cargo metadata` names no target directory")?;
        fs::create_dir_all(target).with_context(|| format!("creating `{target}`"))?;
        workspace.target = canonical(Path::new(target))?;
        Ok(workspace)
    }

    /// The one directory that holds every shipped binary: helpers are found beside `holm`.
    pub fn dist(&self) -> PathBuf {
        self.target.join("dist")
    }

    /// The cargo that runs this program, in the root of the repository.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
        command.current_dir(&self.root);
        command
    }

    /// `path` as a person in the root of the repository would type it.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

/// As the kernel names it in the lists of mounts and processes: without symbolic links.
fn canonical(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("resolving `{}`", path.display()))
}
