//! The disk of the guest that slow tests boot with systemd: a small Debian as one EROFS file, with what tells it apart
//! from a damaged or outdated one beside it.
//!
//! ```text
//! target/guest-cache/debian.erofs          the file system
//! target/guest-cache/debian.erofs.made     what it is made of, and its digest, a line each
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::base::GUEST;
use crate::mirror::Mirror;
use crate::workspace::Workspace;
use crate::{leak, process};

/// Nobody reads there; without them it is a third smaller.
const LEFT_OUT: &[&str] =
    &["./usr/share/doc", "./usr/share/man", "./usr/share/locale", "./usr/share/info", "./dev/*"];

/// Makes the disk unless it is there, whole, and made of what it should be.
///
/// # Errors
/// mmdebstrap or mkfs.erofs fails.
pub fn require(workspace: &Workspace) -> Result<()> {
    let cache = workspace.target.join("guest-cache");
    let (disk, made) = (cache.join("debian.erofs"), cache.join("debian.erofs.made"));
    if is_whole(&disk, &made) {
        println!("`{}` is there", workspace.shown(&disk));
        return Ok(());
    }
    make(&cache, &disk)?;
    let text = description(&disk)?;
    fs::write(&made, text).with_context(|| format!("writing `{}`", made.display()))
}

fn is_whole(disk: &Path, made: &Path) -> bool {
    let (Ok(said), Ok(true)) = (fs::read_to_string(made), fs::exists(disk)) else { return false };
    description(disk).is_ok_and(|found| found == said)
}

/// What the file beside the disk should say.
fn description(disk: &Path) -> Result<String> {
    let line = process::capture(Command::new("sha256sum").arg(disk))?;
    let digest = line.split_whitespace().next().unwrap_or_default();
    Ok(format!("{}\n{digest}\n", GUEST.name()))
}

fn make(cache: &Path, disk: &Path) -> Result<()> {
    let tarball = GUEST.tarball(cache, Mirror::find)?;
    let tree = cache.join("debian.tree");
    let made = pack(&tarball, &tree, disk);
    leak::remove_directory(&tree)?;
    fs::remove_file(&tarball).with_context(|| format!("removing `{}`", tarball.display()))?;
    made
}

/// The mkfs.erofs of Debian 12 reads directories only.
fn pack(tarball: &Path, tree: &Path, disk: &Path) -> Result<()> {
    leak::remove_directory(tree)?;
    fs::create_dir_all(tree).with_context(|| format!("creating `{}`", tree.display()))?;
    let left_out = LEFT_OUT.iter().map(|path| format!("--exclude={path}"));
    process::run(Command::new("tar").args(left_out).arg("-C").arg(tree).arg("-xf").arg(tarball))?;
    let unfinished: PathBuf = disk.with_extension("unfinished");
    process::capture(Command::new("mkfs.erofs").arg("--quiet").arg(&unfinished).arg(tree))?;
    fs::rename(&unfinished, disk).with_context(|| format!("naming `{}`", disk.display()))
}
