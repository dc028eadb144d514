//! Programs of this host that the guest takes along, with the libraries that they are linked with.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::guest::archive::Archive;

/// What a checkpoint needs: CRIU itself, what it packs temporary file systems with, and what it locks networks with.
const PROGRAMS: [&str; 4] = ["criu", "gzip", "iptables-restore", "tar"];
/// By the first name `iptables-restore` also locks IPv6.
const OTHER_NAMES: [(&str, &str); 1] = [("ip6tables-restore", "iptables-restore")];
/// Files that those programs open by themselves.
const PLUGINS: [&str; 2] = ["libxt_mark.so", "libxt_standard.so"];
const PLUGIN_FOLDER: &str = "usr/lib/x86_64-linux-gnu/xtables";

/// Adds what a checkpoint needs.
///
/// # Errors
/// As [`add_all`].
pub fn add(archive: &mut Archive) -> Result<()> {
    add_all(archive, &PROGRAMS)?;
    archive.directory(PLUGIN_FOLDER);
    for (name, target) in OTHER_NAMES {
        archive.symlink(&format!("usr/sbin/{name}"), target);
    }
    for name in PLUGINS {
        let file = format!("{PLUGIN_FOLDER}/{name}");
        // Some are parts of the program itself.
        if let Ok(content) = fs::read(Path::new("/").join(&file)) {
            archive.file(&file, 0o755, content);
        }
    }
    Ok(())
}

/// Adds programs below `usr/sbin` and their libraries where the linker looks for them.
///
/// # Errors
/// A program is not installed, or cannot be read.
pub fn add_all(archive: &mut Archive, names: &[&str]) -> Result<()> {
    for folder in ["usr/sbin", "lib/x86_64-linux-gnu", "lib64", "usr/lib/x86_64-linux-gnu"] {
        archive.directory(folder);
    }
    let mut libraries = BTreeMap::new();
    for name in names {
        let program = find(name)?;
        collect_libraries(&program, &mut libraries)?;
        archive.file(&format!("usr/sbin/{name}"), 0o755, read(&program)?);
    }
    for (path, content) in libraries {
        archive.file(path.trim_start_matches('/'), 0o755, content);
    }
    Ok(())
}

fn find(name: &str) -> Result<PathBuf> {
    let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let found = folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
    let found =
        found.with_context(|| format!("`{name}` is not installed: cargo xtask test --slow installs it"))?;
    found.canonicalize().with_context(|| format!("looking for `{name}`"))
}

/// What `ldd` lists: `NAME => PATH (ADDRESS)`, and the loader by its path alone.
fn collect_libraries(program: &Path, libraries: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    let output = Command::new("ldd").arg(program).output().context("running ldd")?;
    if !output.status.success() {
        bail!("ldd {}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    for path in words {
        if !libraries.contains_key(path) {
            libraries.insert(path.to_owned(), read(Path::new(path))?);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading `{}`", path.display()))
}
