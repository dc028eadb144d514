//! `cargo xtask demo`: from an empty store to real images that run as containers and as a virtual machine, told
//! step by step.
//!
//! The demo has roots of its own in `target/demo`, so it neither sees nor touches what else Holm does on the machine.
//! A [`Session`] owns them: whatever fails, its end removes the containers, the images, the mounts and the files, and a
//! census before and after proves it. A demo that was killed is cleaned up by the next one.

mod limits;
mod machine;
mod page;
mod session;
mod steps;
mod timing;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::arguments::Arguments;
use crate::leak::{self, Census, Scope};
use crate::packages::{self, Purpose};
use crate::workspace::Workspace;
use crate::{Verb, build, narrate};

use session::Session;
use steps::Bases;

/// The verb.
pub const VERB: Verb = Verb {
    name: "demo",
    usage: "",
    summary: "Run real Debian releases as containers and as a virtual machine, and show what that means",
    help: "Installs what is missing, builds the binaries, makes base images with mmdebstrap and fetches a\n\
           kernel (kept in target/demo-cache), and cleans up after itself. Needs root and, the first time, Debian's mirror.\n\n\
           HOLM_DEMO_MIRROR=URI   take Debian from there, not from where this machine's apt takes it\n",
    run,
};

fn run(workspace: &Workspace, arguments: Arguments) -> Result<()> {
    arguments.finish()?;
    if !packages::is_root() {
        bail!(
            "the demo needs root: it mounts file systems and makes namespaces\nhint: sudo -E cargo xtask demo"
        );
    }
    narrate::heading("What is needed: packages, binaries, two base images, a kernel");
    packages::require(&[Purpose::Build, Purpose::Demo])?;
    build::distribution(workspace, "release")?;
    let _lock = lock(workspace)?;
    let bases = Bases::make(&cache(workspace))?;
    let kernel = machine::kernel_package(&cache(workspace))?;
    leak::remove_directory(&place(workspace))?;
    let before = Census::take(&Scope { directory: place(workspace), binaries: workspace.target.clone() });
    tell(workspace, &bases, &kernel)?;
    report(&before)?;
    steps::what_next(workspace, &bases, &kernel);
    Ok(())
}

/// Removes what an interrupted demo left; with `with_cache`, the tarballs too.
///
/// # Errors
/// A demo runs at this moment, or something cannot be removed.
pub fn clean(workspace: &Workspace, with_cache: bool) -> Result<()> {
    let _lock = lock(workspace)?;
    if place(workspace).exists() && workspace.dist().join("holm").exists() {
        Session::open(workspace, &place(workspace))?.close()?;
    }
    leak::remove_directory(&place(workspace))?;
    if with_cache {
        leak::remove_directory(&cache(workspace))?;
    }
    println!("clean");
    Ok(())
}

/// The story itself; the session ends with it, on every path.
fn tell(workspace: &Workspace, bases: &Bases, kernel: &Path) -> Result<()> {
    let session = Session::open(workspace, &place(workspace))?;
    steps::import(&session, bases)?;
    steps::look_inside(&session)?;
    steps::compare_with_bare_processes(&session)?;
    steps::serve_and_run_beside(&session, workspace)?;
    machine::run_as_machine(&session, kernel)?;
    machine::compare(&session)?;
    narrate::heading("Cleaning up");
    session.close()
}

fn report(before: &Census) -> Result<()> {
    let left = before.left_since();
    before.remove_new_standing_groups();
    if left.is_empty() {
        narrate::answered("no mount, control group, namespace, interface, loop device or process is left");
        return Ok(());
    }
    bail!("the demo left something behind: {}", left.join("; "))
}

/// One demo at a time: the lock goes with the process.
fn lock(workspace: &Workspace) -> Result<File> {
    let path = workspace.target.join("demo.lock");
    let file = File::create(&path).with_context(|| format!("creating `{}`", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("another demo is running: `{}` is locked", path.display()),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("locking `{}`", path.display()))
        }
    }
}

fn place(workspace: &Workspace) -> PathBuf {
    workspace.target.join("demo")
}

fn cache(workspace: &Workspace) -> PathBuf {
    workspace.target.join("demo-cache")
}

/// `path` for an argument of `holm`, which takes text.
fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("`{}` is not UTF-8", path.display()))
}
