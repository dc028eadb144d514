//! The Debian packages that tasks need: the one place that names them, by purpose.
//!
//! Only what `dpkg-query` says is missing is installed, after one `apt-get update`.

use std::process::Command;

use anyhow::{Result, bail};

use crate::process;

/// What packages are needed for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Compiling the binaries that ship: the C parts of zstd and xz, linked with musl.
    Build,
    /// Making real base images, and running one in a virtual machine.
    Demo,
    /// The reference tools that tests compare with, and the programs that they put into images.
    Test,
    /// The machine that slow tests boot other kernels in, and the engines that they run with our runtime.
    Guest,
    /// The engines that benchmarks run beside Holm.
    Bench,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 5] = [Self::Build, Self::Demo, Self::Test, Self::Guest, Self::Bench];

    /// The packages of this purpose.
    pub const fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Build => &["gcc", "libc6-dev", "musl-tools"],
            Self::Demo => &[
                "ca-certificates",
                "debian-archive-keyring",
                "mmdebstrap",
                "qemu-system-x86",
                "xz-utils",
                "zstd",
            ],
            Self::Test => &[
                "attr",
                "buildah",
                "busybox-static",
                "bzip2",
                "containernetworking-plugins",
                "docker-registry",
                "e2fsprogs",
                "erofs-utils",
                "git",
                "iproute2",
                "iptables",
                "nftables",
                "openssl",
                "podman",
                "procps",
                "python3",
                "skopeo",
                "strace",
                "tar",
                "umoci",
                "util-linux",
                "xz-utils",
                "zstd",
            ],
            Self::Guest => &[
                "binutils",
                "busybox-static",
                "checkpolicy",
                "containerd",
                "criu",
                "debian-archive-keyring",
                "docker.io",
                "e2fsprogs",
                "erofs-utils",
                "gzip",
                "iptables",
                "mmdebstrap",
                "podman",
                "qemu-system-arm",
                "qemu-system-x86",
                "tar",
                "xfsprogs",
            ],
            Self::Bench => &[
                "busybox-static",
                "buildah",
                "crun",
                "docker-registry",
                "erofs-utils",
                "iproute2",
                "mmdebstrap",
                "nftables",
                "podman",
                "runc",
                "skopeo",
                "util-linux",
            ],
        }
    }
}

/// Installs what `purposes` need and the machine has not got.
///
/// # Errors
/// Something is missing and this is not root, not Debian, or apt cannot get it.
pub fn require(purposes: &[Purpose]) -> Result<()> {
    let wanted = wanted(purposes);
    if !process::exists("dpkg-query") {
        bail!(
            "this machine has no `dpkg-query`: packages are known by their Debian names only\n\
             hint: run this on Debian; what is needed: {}",
            wanted.join(" ")
        );
    }
    let missing = missing(&wanted, &installed(&wanted)?);
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() {
        bail!("packages are missing: {0}\nhint: as root: apt-get install {0}", missing.join(" "));
    }
    println!("installing Debian packages: {}", missing.join(" "));
    update()?;
    apt(&["install", "-y", "--no-install-recommends"], &missing)
}

/// Brings apt's lists up to date.
///
/// # Errors
/// Apt fails.
pub fn update() -> Result<()> {
    apt(&["update"], &[])
}

/// Whether the effective user is root.
pub fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    effective_user(&status) == Some(0)
}

fn wanted(purposes: &[Purpose]) -> Vec<&'static str> {
    let mut names: Vec<_> = purposes.iter().flat_map(|purpose| purpose.packages()).copied().collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What `dpkg-query` says about `names`; it fails when it knows nothing of one of them, which is an answer too.
fn installed(names: &[&str]) -> Result<String> {
    let mut command = Command::new("dpkg-query");
    command.args(["-W", "-f", "${Package} ${db:Status-Status}\n"]).args(names);
    Ok(String::from_utf8_lossy(&process::collect(&mut command)?.stdout).into_owned())
}

fn missing<'a>(wanted: &[&'a str], status: &str) -> Vec<&'a str> {
    let there = |name: &str| status.lines().any(|line| line.split_once(' ') == Some((name, "installed")));
    wanted.iter().copied().filter(|name| !there(name)).collect()
}

fn apt(arguments: &[&str], packages: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    // A machine that has just started may hold the lock for a moment; -q keeps progress bars out of logs.
    command.args(["-q", "-o", "DPkg::Lock::Timeout=120"]).args(arguments).args(packages);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    let output = process::collect(&mut command)?;
    if output.status.success() {
        return Ok(());
    }
    bail!(
        "`{}` failed with {}{}\nhint: check the network and the sources in /etc/apt",
        process::line(&command),
        output.status,
        process::last_line(&output.stderr)
    );
}

/// The second number of `Uid:` (real, effective, saved, file system; proc_pid_status(5)).
fn effective_user(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_missing_unless_it_is_installed() {
        let status = "gcc installed\nzstd config-files\nlibzstd1 installed\n";
        assert_eq!(missing(&["gcc", "zstd", "crun"], status), ["zstd", "crun"]);
    }

    #[test]
    fn purposes_are_joined_without_repeating_a_package() {
        let names = wanted(&[Purpose::Demo, Purpose::Test]);
        assert_eq!(names.iter().filter(|name| **name == "zstd").count(), 1);
        assert!(names.is_sorted());
    }

    #[test]
    fn the_effective_user_is_the_second_number() {
        assert_eq!(effective_user("Name:\tx\nUid:\t1000\t0\t0\t0\n"), Some(0));
        assert_eq!(effective_user("Name:\tx\n"), None);
    }
}
