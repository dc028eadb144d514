//! Base images as root file system tarballs: a Debian release, made with mmdebstrap from Debian's own packages.
//!
//! A tarball is kept under a name that says what is in it, and gets that name only when it is complete.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::mirror::Mirror;
use crate::{narrate, process};

/// A release of Debian and what is in it besides the minimum.
pub struct Base {
    /// The release's code name.
    pub suite: &'static str,
    /// Packages to include.
    pub include: &'static [&'static str],
}

/// The image that the demo is about: Python with Flask, and procps so that it can list its processes.
pub const FLASK: Base = Base { suite: "bookworm", include: &["procps", "python3-flask"] };

/// The guest that slow tests boot: systemd as the first process, a message bus, sessions of users, and AppArmor.
pub const GUEST: Base = Base {
    suite: "bookworm",
    include: &[
        "apparmor",
        "busybox-static",
        "dbus",
        "dbus-user-session",
        "iproute2",
        "kmod",
        "libpam-systemd",
        "procps",
        "python3",
        "systemd",
        "systemd-sysv",
        "uidmap",
        "util-linux",
    ],
};

/// Other releases, the most telling first; the mirror decides.
const OTHERS: &[Base] = &[
    Base { suite: "trixie", include: &[] },
    Base { suite: "bullseye", include: &[] },
    Base { suite: "forky", include: &[] },
];

impl Base {
    /// The tarball in `cache`, made if it is not there yet.
    ///
    /// # Errors
    /// mmdebstrap fails.
    pub fn tarball(&self, cache: &Path, mirror: impl FnOnce() -> Result<Mirror>) -> Result<PathBuf> {
        let finished = self.path(cache);
        if finished.exists() {
            return Ok(finished);
        }
        fs::create_dir_all(cache).with_context(|| format!("creating `{}`", cache.display()))?;
        let unfinished = cache.join(format!("{}.unfinished.tar", self.name()));
        self.make(&mirror()?, &unfinished)?;
        fs::rename(&unfinished, &finished).with_context(|| format!("naming `{}`", finished.display()))?;
        Ok(finished)
    }

    fn make(&self, mirror: &Mirror, tarball: &Path) -> Result<()> {
        let start = Instant::now();
        let mut command = Command::new("mmdebstrap");
        command.arg("--variant=minbase");
        if !self.include.is_empty() {
            command.arg(format!("--include={}", self.include.join(",")));
        }
        command.arg(self.suite).arg(tarball).arg(&mirror.uri);
        narrate::typed(&process::line(&command));
        let made = process::collect(&mut command)?;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr);
            let errors: Vec<_> = said.lines().filter(|line| line.starts_with("E:")).collect();
            bail!(
                "making the base image of {} failed with {}\n{}",
                self.suite,
                made.status,
                errors.join("\n")
            );
        }
        let size = fs::metadata(tarball).with_context(|| format!("reading `{}`", tarball.display()))?.len();
        narrate::answered(&format!("{} in {}", narrate::size(size), narrate::duration(start.elapsed())));
        Ok(())
    }

    fn path(&self, cache: &Path) -> PathBuf {
        cache.join(format!("{}.tar", self.name()))
    }

    /// What is in it.
    pub fn name(&self) -> String {
        [&[self.suite], self.include].concat().join("+")
    }
}

/// Another release than [`FLASK`]'s: one whose tarball is there, or else the first that the mirror serves.
///
/// # Errors
/// There is none.
pub fn other(cache: &Path) -> Result<&'static Base> {
    if let Some(base) = OTHERS.iter().find(|base| base.path(cache).exists()) {
        return Ok(base);
    }
    let mirror = Mirror::find()?;
    fs::create_dir_all(cache).with_context(|| format!("creating `{}`", cache.display()))?;
    let served = OTHERS.iter().find(|base| has_keys(base) && mirror.serves(base.suite, &cache.join("probe")));
    served.with_context(|| format!("`{}` serves no other release of Debian than {}", mirror.uri, FLASK.suite))
}

/// Whether this machine has the keys that sign the release: without them apt would refuse it.
fn has_keys(base: &Base) -> bool {
    Path::new("/usr/share/keyrings").join(format!("debian-archive-{}-automatic.gpg", base.suite)).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tarball_is_named_by_what_is_in_it_and_made_once() {
        let cache = std::env::temp_dir().join(format!("xtask-base-{}", std::process::id()));
        fs::create_dir_all(&cache).unwrap();
        let path = cache.join("bookworm+procps+python3-flask.tar");
        fs::write(&path, "there").unwrap();
        let found = FLASK.tarball(&cache, || bail!("not asked for")).unwrap();
        fs::write(cache.join("bullseye.tar"), "").unwrap();
        let other = other(&cache).unwrap().suite;
        fs::remove_dir_all(&cache).unwrap();
        assert_eq!(found, path);
        assert_eq!(other, "bullseye");
    }
}
