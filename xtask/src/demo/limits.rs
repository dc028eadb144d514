//! Limits as the kernel holds them, read from a control group: by the host, and by a process inside.
//!
//! Control group v2 and v1 name the same limits differently; a hybrid host has some of each.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A limit: what was asked for and where kernels keep it.
pub struct Limit {
    /// For people.
    pub name: &'static str,
    /// The flag of `holm run`.
    pub flag: &'static str,
    /// The flag's value.
    pub asked: &'static str,
    /// What the kernel must say: one number, or quota and period.
    pub expected: &'static str,
    /// The v1 controller.
    controller: &'static str,
    /// The v2 file.
    unified: &'static str,
    /// The v1 files, joined with a space.
    legacy: &'static [&'static str],
}

/// The limits of the demo.
pub const LIMITS: &[Limit] = &[
    Limit {
        name: "memory",
        flag: "--memory",
        asked: "256m",
        expected: "268435456",
        controller: "memory",
        unified: "memory.max",
        legacy: &["memory.limit_in_bytes"],
    },
    Limit {
        name: "cpus",
        flag: "--cpus",
        asked: "0.5",
        expected: "50000 100000",
        controller: "cpu",
        unified: "cpu.max",
        legacy: &["cpu.cfs_quota_us", "cpu.cfs_period_us"],
    },
    Limit {
        name: "processes",
        flag: "--pids-limit",
        asked: "64",
        expected: "64",
        controller: "pids",
        unified: "pids.max",
        legacy: &["pids.max"],
    },
];

impl Limit {
    /// A shell command that prints the limit from inside a container, on one line.
    pub fn inside(&self) -> String {
        let root = "/sys/fs/cgroup";
        let files: Vec<_> =
            self.legacy.iter().map(|file| format!("{root}/{}/{file}", self.controller)).collect();
        // `echo` joins several files on one line without a program that a small image may lack.
        format!("cat {root}/{} 2>/dev/null || echo $(cat {})", self.unified, files.join(" "))
    }

    /// The group that limits the process `pid`, and the limit that it holds, as the host sees them.
    ///
    /// # Errors
    /// No group of the process limits this.
    pub fn on_host(&self, pid: u32) -> Result<(PathBuf, String)> {
        let path = format!("/proc/{pid}/cgroup");
        let groups = fs::read_to_string(&path).with_context(|| format!("reading `{path}`"))?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("reading the list of mounts")?;
        let unified = group(&groups, "").zip(mount_point(&mounts, "cgroup2", ""));
        let legacy = group(&groups, self.controller).zip(mount_point(&mounts, "cgroup", self.controller));
        let found = unified.and_then(|(group, mount)| self.nearest(&mount, group, &[self.unified]));
        let found =
            found.or_else(|| legacy.and_then(|(group, mount)| self.nearest(&mount, group, self.legacy)));
        match found {
            Some(found) => Ok(found),
            None => bail!("no control group of process {pid} limits its {}", self.name),
        }
    }

    /// The limit of `group` or, if it has none, of the nearest group above it that has one.
    fn nearest(&self, mount: &Path, group: &str, files: &[&str]) -> Option<(PathBuf, String)> {
        let path = mount.join(group.trim_start_matches('/'));
        let above = path.ancestors().take_while(|folder| folder.starts_with(mount) && *folder != mount);
        above.map(Path::to_owned).find_map(|folder| {
            let values: Option<Vec<_>> =
                files.iter().map(|file| fs::read_to_string(folder.join(file)).ok()).collect();
            let value = values?.iter().map(|value| value.trim()).collect::<Vec<_>>().join(" ");
            is_limited(&value).then_some((folder, value))
        })
    }
}

/// `max` on v2, -1 or a number near 2^63 on v1 mean that there is no limit.
fn is_limited(value: &str) -> bool {
    let first = value.split_whitespace().next().unwrap_or("max");
    first.parse::<u64>().is_ok_and(|number| number < 1 << 62)
}

/// The group of `controller` in a `/proc/PID/cgroup`; the empty name is the v2 hierarchy (cgroups(7)).
fn group<'a>(groups: &'a str, controller: &str) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then_some(path)
    })
}

/// Where the hierarchy of `controller` is mounted: by its type and, on v1, the controller among its options.
fn mount_point(mountinfo: &str, kind: &str, controller: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, system) = line.split_once(" - ")?;
        let mut system = system.split(' ');
        let options = (system.next() == Some(kind)).then(|| system.nth(1)).flatten()?;
        let fits = controller.is_empty() || options.split(',').any(|option| option == controller);
        fits.then(|| mount.split(' ').nth(4).map(PathBuf::from)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: &str = "4:memory:/holm/a/payload\n2:cpu,cpuacct:/holm/a\n0::/holm/a/payload\n";
    const MOUNTS: &str = "\
30 20 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
31 20 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
";

    #[test]
    fn groups_and_mounts_are_found_by_controller() {
        assert_eq!(group(GROUPS, "cpu"), Some("/holm/a"));
        assert_eq!(group(GROUPS, ""), Some("/holm/a/payload"));
        assert_eq!(group(GROUPS, "pids"), None);
        assert_eq!(mount_point(MOUNTS, "cgroup", "cpu"), Some("/sys/fs/cgroup/cpu,cpuacct".into()));
        assert_eq!(mount_point(MOUNTS, "cgroup2", ""), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_point(MOUNTS, "cgroup", "memory"), None);
    }

    #[test]
    fn no_limit_has_several_spellings() {
        assert!(is_limited("268435456") && is_limited("50000 100000"));
        assert!(!is_limited("max") && !is_limited("max 100000") && !is_limited("-1 100000"));
        assert!(!is_limited("9223372036854771712") && !is_limited(""));
    }

    #[test]
    fn the_nearest_group_with_a_limit_counts() {
        let root = std::env::temp_dir().join(format!("xtask-limits-{}", std::process::id()));
        fs::create_dir_all(root.join("holm/a/payload")).unwrap();
        fs::write(root.join("holm/a/payload/memory.max"), "max\n").unwrap();
        fs::write(root.join("holm/a/memory.max"), "268435456\n").unwrap();
        let found = LIMITS[0].nearest(&root, "/holm/a/payload", &["memory.max"]);
        let none = LIMITS[0].nearest(&root, "/holm/a/payload", &["memory.high"]);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, Some((root.join("holm/a"), "268435456".to_owned())));
        assert_eq!(none, None);
    }

    #[test]
    fn the_command_for_inside_tries_v2_then_v1() {
        assert_eq!(
            LIMITS[1].inside(),
            "cat /sys/fs/cgroup/cpu.max 2>/dev/null || \
             echo $(cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us)"
        );
    }
}
