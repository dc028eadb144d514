//! Debian's kernel for clouds, as its package holds it, and root file systems of Debian's packages.
//!
//! ```text
//! target/guest-cache/<package>/                        an unpacked kernel
//! target/guest-cache/bookworm-minbase[+PACKAGE…].tar   a root file system
//! ```
//! What is not there is fetched, or made by mmdebstrap.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{Call, Holm};

/// Depends on the kernel of the day.
const META_PACKAGE: &str = "linux-image-cloud-amd64";
/// The oldest kernel that Holm promises to run on; Debian 12 ships it.
const PACKAGE_PREFIX: &str = "linux-image-6.1.";

/// Where what guests are made of is kept.
#[must_use]
pub fn cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target").join("guest-cache")
}

/// The unpacked package, from the cache or fetched.
///
/// # Errors
/// Apt has no such package or cannot get it.
pub fn kernel_package() -> Result<PathBuf> {
    static ONE_FETCHES: Mutex<()> = Mutex::new(());
    let _others_wait = ONE_FETCHES.lock().unwrap_or_else(|poison| poison.into_inner());
    let cache = cache();
    cached(&cache).map_or_else(|| fetch(&cache), Ok)
}

/// Imports that kernel into an installation.
///
/// # Panics
/// It cannot be had, or is refused.
#[track_caller]
pub fn import_kernel(holm: &Holm) {
    let tree = kernel_package().expect("a kernel");
    let first = |directory: &str, prefix: &str| {
        let mut entries = entries(&tree.join(directory)).into_iter();
        let found = entries.find(|path| name(path).starts_with(prefix)).expect("a kernel and its modules");
        found.into_os_string().into_string().expect("the names of packages are text")
    };
    let (modules, image) = (first("lib/modules", ""), first("boot", "vmlinuz-"));
    holm.ok(["kernel", "import", "-q", "--modules", &modules, &image]);
}

/// A minimal Debian with these packages as a tar, from the cache or made.
///
/// # Panics
/// mmdebstrap fails.
#[track_caller]
#[must_use]
pub fn tarball(packages: &[&str]) -> PathBuf {
    static ONE_MAKES: Mutex<()> = Mutex::new(());
    let _others_wait = ONE_MAKES.lock().unwrap_or_else(|poison| poison.into_inner());
    let whole = cache().join(format!("{}.tar", [&["bookworm-minbase"], packages].concat().join("+")));
    if !whole.exists() {
        fs::create_dir_all(cache()).expect("a directory");
        let part = whole.with_extension("unfinished.tar");
        let mut command = Command::new("mmdebstrap");
        let include = format!("--include={}", packages.join(","));
        command.args(["--quiet", "--variant=minbase", &include, "bookworm"]).arg(&part);
        Call::new(command).timeout(Duration::from_secs(900)).run().ok();
        fs::rename(part, &whole).expect("a file of the test's");
    }
    whole
}

fn cached(cache: &Path) -> Option<PathBuf> {
    entries(cache).into_iter().rfind(|path| name(path).starts_with(PACKAGE_PREFIX) && path.is_dir())
}

/// Downloads and unpacks the package; what is there under its own name is whole.
fn fetch(cache: &Path) -> Result<PathBuf> {
    let package = package()?;
    fs::create_dir_all(cache)?;
    let place = tempfile::Builder::new().prefix("new").tempdir_in(cache)?;
    output(Command::new("apt-get").args(["-q", "download", &package]).current_dir(place.path()))?;
    let file = entries(place.path()).into_iter().next().context("apt downloaded nothing")?;
    let tree = place.path().join("tree");
    output(Command::new("dpkg-deb").arg("-x").arg(file).arg(&tree))?;
    let whole = cache.join(package);
    fs::rename(tree, &whole)?;
    Ok(whole)
}

/// The package that the meta package stands for today.
fn package() -> Result<String> {
    let text = output(Command::new("apt-cache").args(["depends", "--important", META_PACKAGE]))?;
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    match names.into_iter().find(|name| name.starts_with(PACKAGE_PREFIX)) {
        Some(name) => Ok(name.to_owned()),
        None => bail!("`{META_PACKAGE}` of this Debian is no kernel 6.1: {text}\nhint: apt-get update"),
    }
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What a directory holds, sorted.
#[must_use]
pub fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// The last part of a path.
#[must_use]
pub fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
