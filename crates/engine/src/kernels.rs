//! Kernels from the host's package manager, and who uses kernels.
//!
//! Debian's kernels come in packages of their own for each release; others, as `linux-image-cloud-amd64`, hold nothing
//! and depend on the release of the day. `apt-get` verifies what it downloads.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use holm_store::Ingest;

use crate::{Engine, Error, Kind, Result};

/// What the names of packages with a kernel begin with.
const PREFIX: &str = "linux-image-";
/// Most packages that stand for one another.
const DEPTH: usize = 4;

/// A downloaded package; it goes with this value.
#[derive(Debug)]
pub struct FetchedPackage {
    /// The file.
    pub path: PathBuf,
    /// The package, after those that only stand for it.
    pub name: String,
    _directory: Ingest,
}

impl Engine {
    /// Downloads the Debian package `name` (`NAME[:ARCHITECTURE][=VERSION]`), or the one that it stands for, by
    /// `apt-get download`.
    ///
    /// # Errors
    /// [`Kind::InvalidRequest`] for what is no package's name; [`Kind::NoSuchPackage`] where there is no such package, or
    /// no `apt-get`; what storing reports.
    pub fn fetch_kernel_package(&self, name: &str) -> Result<FetchedPackage> {
        if !is_package_name(name) {
            let text = format!("`{name}` is neither a file nor the name of a Debian package");
            return Err(Error::new(Kind::InvalidRequest, text));
        }
        let name = real_package(name)?;
        let directory = self.store.ingest_directory()?;
        let mut download = apt("apt-get");
        download.args(["-q", "download", &name]).current_dir(directory.path());
        output(download, &format!("download package `{name}`"))?;
        let path = package_in(directory.path())
            .ok_or_else(|| Error::new(Kind::Failed, format!("apt-get downloaded no package `{name}`")))?;
        Ok(FetchedPackage { path, name, _directory: directory })
    }

    /// Kernels that virtual machines use, by their ids, with the workload's name.
    ///
    /// # Errors
    /// As [`Engine::image_users`].
    pub fn kernel_users(&self) -> Result<Vec<holm_store::ImageUser>> {
        self.ids()?.iter().filter_map(|id| self.kernel_user(id).transpose()).collect()
    }
}

/// Names as Debian's policy has them (section 5.6.1), with an architecture and a version: nothing that a program could
/// take for an option.
fn is_package_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.:=~".contains(&byte);
    text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric()) && text.bytes().all(allowed)
}

/// The package with a kernel that a package stands for.
fn real_package(name: &str) -> Result<String> {
    let mut name = name.to_owned();
    for _ in 0..DEPTH {
        let mut depends = apt("apt-cache");
        // A version is for the download only.
        let bare = name.split('=').next().unwrap_or_default();
        depends.args(["depends", "--important", bare]);
        match kernel_dependency(&output(depends, &format!("ask for package `{name}`"))?) {
            Some(next) => name = next,
            None => return Ok(name),
        }
    }
    Err(Error::new(Kind::NoSuchPackage, format!("too many packages stand for one another, up to `{name}`")))
}

/// The first package with a kernel in what `apt-cache depends` prints.
fn kernel_dependency(text: &str) -> Option<String> {
    let mut names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    names.find(|name| name.starts_with(PREFIX) && is_package_name(name)).map(String::from)
}

fn apt(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Runs a program of apt's; what it prints.
fn output(mut command: Command, doing: &str) -> Result<String> {
    let output = command.output().map_err(|error| {
        let program = command.get_program().to_string_lossy().into_owned();
        let text = format!("{doing}: start `{program}`");
        match error.kind() {
            std::io::ErrorKind::NotFound => Error::caused(Kind::NoSuchPackage, text, error),
            _ => Error::io(text, error),
        }
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::new(Kind::NoSuchPackage, format!("{doing}: {}", complaint(&output.stderr))))
}

/// The lines that tell the error, of what apt says.
fn complaint(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("E: ")).collect();
    if lines.is_empty() { text.trim().to_owned() } else { lines.join("; ") }
}

fn package_in(directory: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(directory).ok()?.flatten();
    entries
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_packages_are_no_options() {
        for name in ["linux-image-cloud-amd64", "a+b.c", "linux-image-cloud-arm64:arm64", "a=6.1.1-1~bpo"] {
            assert!(is_package_name(name), "{name}");
        }
        for name in ["", "-o", "--x", "a b", "a/b", "../x", "a;b", "ä", "a\n"] {
            assert!(!is_package_name(name), "{name}");
        }
    }

    #[test]
    fn a_package_that_stands_for_another_is_told_by_what_it_depends_on() {
        let meta = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-37-cloud-amd64\n";
        assert_eq!(kernel_dependency(meta).as_deref(), Some("linux-image-6.1.0-37-cloud-amd64"));
        let real = "linux-image-6.1.0-37\n  Depends: kmod\n |Depends: initramfs-tools\n  Depends: <linux-initramfs-tool>\n";
        assert_eq!(kernel_dependency(real), None);
        assert_eq!(kernel_dependency("x\n  Depends: linux-image-;rm\n"), None);
    }

    #[test]
    fn of_what_apt_says_the_errors_are_told() {
        let text = b"WARNING: apt does not have a stable CLI\nE: No packages found\nE: Other\n";
        assert_eq!(complaint(text), "No packages found; Other");
        assert_eq!(complaint(b" odd \n"), "odd");
    }
}
