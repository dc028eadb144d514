//! The guest's kernel: Debian's for clouds, from the package as it is, with the modules that a guest asks for.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use holm_tests::debian::{entries, kernel_package, name};

/// What Debian builds as modules and Holm uses: for layers, and for networks.
const ALWAYS: [&str; 10] = [
    "loop",
    "overlay",
    "erofs",
    "bridge",
    "veth",
    "nft_chain_nat",
    "nft_ct",
    "nft_fib_inet",
    "nft_masq",
    "nft_nat",
];

/// A kernel that can be booted.
pub struct Kernel {
    /// The compressed image.
    pub image: PathBuf,
    /// Names and contents of modules, in the order to load them.
    pub modules: Vec<(String, Vec<u8>)>,
}

impl Kernel {
    /// Finds the kernel in the cache or fetches it. It takes along these of what Debian builds as modules, and what
    /// every guest needs.
    ///
    /// # Errors
    /// Apt has no such package or cannot get it; the package is not as expected.
    pub fn get(wanted: &[&str]) -> Result<Self> {
        let tree = kernel_package()?;
        let image = entries(&tree.join("boot")).into_iter().find(|path| name(path).starts_with("vmlinuz-"));
        Ok(Self { image: image.context("the package holds no kernel")?, modules: modules(&tree, wanted)? })
    }
}

/// The modules and all they depend on, dependencies first.
fn modules(tree: &Path, wanted: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
    let releases = entries(&tree.join("lib/modules"));
    let release = releases.first().context("the package holds no modules")?;
    let mut files = BTreeMap::new();
    collect_modules(&release.join("kernel"), &mut files);
    let mut ordered = Vec::new();
    for module in ALWAYS.iter().chain(wanted) {
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
