//! Debian's packages for arm64, on a host of another architecture: fetched by an apt with lists of its own, which knows
//! no other architecture and nothing that is installed.
//!
//! `target/guest-cache/arm64/<package>.deb` holds what was fetched. Where packages come from is what the host's apt says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

use crate::debian::{cache, entries, name};

/// Depends on the kernel of the day.
const KERNEL: &str = "linux-image-cloud-arm64";

/// The package with Debian's kernel for clouds.
///
/// # Errors
/// Apt has no such package or cannot get it.
pub fn kernel_package() -> Result<PathBuf> {
    package(KERNEL)
}

/// The program `busybox`, which needs nothing else.
///
/// # Errors
/// Apt has no such package or cannot get it.
pub fn busybox() -> Result<Vec<u8>> {
    let place = tempfile::tempdir()?;
    run(Command::new("dpkg-deb").arg("-x").arg(package("busybox-static")?).arg(place.path()))?;
    let program = ["bin/busybox", "usr/bin/busybox"].map(|path| place.path().join(path));
    let program = program.iter().find(|path| path.is_file()).context("the package holds no busybox")?;
    Ok(fs::read(program)?)
}

/// A package from the cache or fetched; for a package that stands for another, that one.
fn package(wanted: &str) -> Result<PathBuf> {
    static ONE_FETCHES: Mutex<()> = Mutex::new(());
    let _others_wait = ONE_FETCHES.lock().unwrap_or_else(|poison| poison.into_inner());
    let whole = cache().join("arm64").join(format!("{wanted}.deb"));
    if whole.is_file() {
        return Ok(whole);
    }
    fs::create_dir_all(cache().join("arm64"))?;
    let place = tempfile::Builder::new().prefix("new").tempdir_in(cache())?;
    fetch(wanted, place.path())?;
    let fetched = entries(place.path()).into_iter().find(|path| name(path).ends_with(".deb"));
    fs::rename(fetched.context("apt downloaded nothing")?, &whole)?;
    Ok(whole)
}

fn fetch(wanted: &str, place: &Path) -> Result<()> {
    let configuration = configure(place)?;
    let apt = |program: &str| {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &configuration).env("LC_ALL", "C").current_dir(place);
        command
    };
    run(apt("apt-get").args(["-q", "update"]))?;
    let depends = run(apt("apt-cache").args(["depends", "--important", wanted]))?;
    let mut depends = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let stands_for = depends.find(|name| name.starts_with("linux-image-"));
    run(apt("apt-get").args(["-q", "download", stands_for.unwrap_or(wanted)])).map(drop)
}

/// Writes apt's configuration into a directory that it is to keep everything in.
fn configure(place: &Path) -> Result<PathBuf> {
    for directory in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(place.join(directory))?;
    }
    fs::write(place.join("status"), "")?;
    let place = place.display();
    let text = format!(
        "Dir::State::Lists \"{place}/lists\";\nDir::State::status \"{place}/status\";\nDir::Cache \"{place}/cache\";\n\
         APT::Architecture \"arm64\";\nAPT::Architectures {{ \"arm64\"; }};\n"
    );
    let path = PathBuf::from(format!("{place}/apt.conf"));
    fs::write(&path, text)?;
    Ok(path)
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
