//! The guest's kernel: Debian's for clouds, from the package as it is, with the modules that a guest asks for.
//!
//! `target/guest-cache/<package>/` holds the unpacked package; it is fetched when it is not there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Depends on the kernel of the day.
const META_PACKAGE: &str = "linux-image-cloud-amd64";
/// The oldest kernel that Holm promises to run on; Debian 12 ships it.
const PACKAGE_PREFIX: &str = "linux-image-6.1.";

/// A kernel that can be booted.
pub struct Kernel {
    /// The compressed image.
    pub image: PathBuf,
    /// Names and contents of modules, in the order to load them.
    pub modules: Vec<(String, Vec<u8>)>,
}

impl Kernel {
    /// Finds the kernel in the cache or fetches it. It takes along these of what Debian builds as modules.
    ///
    /// # Errors
    /// Apt has no such package or cannot get it; the package is not as expected.
    pub fn get(wanted: &[&str]) -> Result<Self> {
        let cache = cache();
        let tree = match cached(&cache) {
            Some(tree) => tree,
            None => fetch(&cache)?,
        };
        let image = entries(&tree.join("boot")).into_iter().find(|path| name(path).starts_with("vmlinuz-"));
        Ok(Self { image: image.context("the package holds no kernel")?, modules: modules(&tree, wanted)? })
    }
}

/// Where what guests are made of is kept.
pub fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("guest-cache")
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

/// The modules and all they depend on, dependencies first.
fn modules(tree: &Path, wanted: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
    let releases = entries(&tree.join("lib/modules"));
    let release = releases.first().context("the package holds no modules")?;
    let mut files = BTreeMap::new();
    collect_modules(&release.join("kernel"), &mut files);
    let mut ordered = Vec::new();
    for module in wanted {
        add_module(module, &files, &mut ordered)?;
    }
    Ok(ordered)
}

fn add_module(
    module: &str,
    files: &BTreeMap<String, PathBuf>,
    ordered: &mut Vec<(String, Vec<u8>)>,
) -> Result<()> {
    if ordered.iter().any(|(name, _)| name == module) {
        return Ok(());
    }
    let file = files.get(module).with_context(|| format!("the package holds no module `{module}`"))?;
    let content = fs::read(file)?;
    for dependency in dependencies(&content) {
        add_module(&dependency, files, ordered)?;
    }
    ordered.push((module.to_owned(), content));
    Ok(())
}

/// What a module says about itself in its section `.modinfo`: strings with an end mark each. The package
/// holds no `modules.dep`, which is made from these.
fn dependencies(module: &[u8]) -> Vec<String> {
    let strings = module.split(|byte| *byte == 0);
    let list = strings.filter_map(|string| string.strip_prefix(b"depends=")).next().unwrap_or_default();
    let names = String::from_utf8_lossy(list).into_owned();
    names.split(',').filter(|name| !name.is_empty()).map(module_name).collect()
}

fn collect_modules(directory: &Path, files: &mut BTreeMap<String, PathBuf>) {
    for path in entries(directory) {
        if path.is_dir() {
            collect_modules(&path, files);
        } else if let Some(module) = name(&path).strip_suffix(".ko") {
            files.insert(module_name(module), path);
        }
    }
}

/// Files may be named with dashes where the kernel says underscores.
fn module_name(text: &str) -> String {
    text.replace('-', "_")
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
