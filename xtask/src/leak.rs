//! What a run left on the machine: a census before, a census after, and the difference.
//!
//! Counted are things that a crash of Holm could leave: mounts, control groups, network namespaces, network
//! interfaces, loop devices, processes. Each census is a set of descriptions, so the difference names what is left.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process;

/// How long the end of a process may take to be seen. Some inits reap an orphan only after more than half a second.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often the machine is looked at in that time.
const PAUSE: Duration = Duration::from_millis(100);

/// What on the machine is this repository's doing. Another Holm may run beside it, and its workloads do not count.
#[derive(Clone)]
pub struct Scope {
    /// Mounts at, from or through this directory count.
    pub directory: PathBuf,
    /// Processes whose executable lies here count, and so do their groups.
    pub binaries: PathBuf,
}

/// Everything on the machine that Holm might have made, as lines for people.
pub struct Census {
    scope: Scope,
    found: BTreeSet<String>,
    /// The groups that stay: see [`standing_groups`].
    standing: BTreeSet<PathBuf>,
}

impl Census {
    /// Looks at the machine.
    pub fn take(scope: &Scope) -> Self {
        let processes = Process::all();
        let others = others(&processes, &scope.binaries);
        let mut found = BTreeSet::new();
        found.extend(mounts(&read("/proc/self/mountinfo"), &scope.directory));
        found.extend(control_groups(Path::new("/sys/fs/cgroup"), &others));
        found.extend(interfaces());
        found.extend(loop_devices());
        found.extend(named_namespaces());
        let ours = processes.iter().filter(|process| process.is_ours(&scope.binaries, &others));
        found.extend(ours.map(Process::describe));
        Self { scope: scope.clone(), found, standing: standing_groups(Path::new("/sys/fs/cgroup")) }
    }

    /// Takes the groups that stay away again where they were not there then and nobody uses them now.
    pub fn remove_new_standing_groups(&self) {
        let now = standing_groups(Path::new("/sys/fs/cgroup"));
        // From the leaves up: a group that lies in another comes behind it.
        let new: Vec<_> = now.difference(&self.standing).collect();
        for group in new.iter().rev() {
            // One that is in use stays.
            let _ = fs::remove_dir(group);
        }
    }

    /// What is there now and was not then. Waits a little for processes and what they hold to go away.
    pub fn left_since(&self) -> Vec<String> {
        let start = Instant::now();
        loop {
            let now = Self::take(&self.scope);
            let left: Vec<_> = now.found.difference(&self.found).cloned().collect();
            if left.is_empty() || start.elapsed() > PATIENCE {
                return left;
            }
            thread::sleep(PAUSE);
        }
    }
}

/// Unmounts whatever is mounted below `directory`, the deepest first, then removes it.
///
/// # Errors
/// A mount stays: nothing is removed then, since it might be removed through that mount. Or the removal fails.
pub fn remove_directory(directory: &Path) -> Result<()> {
    for point in mount_points(&read("/proc/self/mountinfo"), directory).into_iter().rev() {
        process::run(Command::new("umount").arg("--lazy").arg("--").arg(&point))?;
    }
    if let Some(point) = mount_points(&read("/proc/self/mountinfo"), directory).first() {
        bail!("`{point}` is still mounted, so `{}` stays", directory.display());
    }
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing `{}`", directory.display()))
        }
        _ => Ok(()),
    }
}

/// Mounts whose place, source or options lie in `directory`.
fn mounts(mountinfo: &str, directory: &Path) -> Vec<String> {
    let directory = directory.to_string_lossy();
    let ours = |line: &&str| line.split([' ', ',', '=', ':']).any(|word| is_within(word, &directory));
    let point = |line: &str| line.split(' ').nth(4).map(|point| format!("mount {point}"));
    mountinfo.lines().filter(ours).filter_map(point).collect()
}

/// The mount points in `directory`, in the order in which they were mounted (proc_pid_mountinfo(5), field 5).
fn mount_points(mountinfo: &str, directory: &Path) -> Vec<String> {
    let directory = directory.to_string_lossy();
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| is_within(point, &directory)).map(String::from).collect()
}

fn is_within(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// How the groups begin that the tests of the OCI runtime make.
const TEST_GROUPS: &str = "holm-oci-test-";

/// Groups below a group `holm`, in any hierarchy, but for those of the workloads in `others`, and groups of tests. `holm`
/// itself and the group of all keepers stay, as the slices of systemd do: they cost nothing.
fn control_groups(root: &Path, others: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(folder) = waiting.pop() {
        for child in entries(&folder).filter(|child| child.is_dir()) {
            match workload(&child.to_string_lossy()) {
                Some(id) if others.contains(id) => continue,
                Some(_) => found.push(format!("cgroup {}", child.display())),
                None if is_of_tests(&child) => found.push(format!("cgroup {}", child.display())),
                None => {}
            }
            waiting.push(child);
        }
    }
    found
}

/// `holm` in every hierarchy, and the group of all keepers in it: they stay when nothing runs any more.
fn standing_groups(root: &Path) -> BTreeSet<PathBuf> {
    let parents = entries(root).chain([root.to_owned()]).map(|hierarchy| hierarchy.join("holm"));
    parents.flat_map(|parent| [parent.join("keepers"), parent]).filter(|group| group.is_dir()).collect()
}

fn is_of_tests(group: &Path) -> bool {
    group.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEST_GROUPS))
}

/// The workload that a group belongs to: `<id>` of `…/holm/<id>/…`.
fn workload(group: &str) -> Option<&str> {
    let (_, rest) = group.split_once("/holm/")?;
    rest.split('/').next().filter(|name| *name != "keepers")
}

fn interfaces() -> Vec<String> {
    let names =
        entries(Path::new("/sys/class/net")).filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let ours = |name: &String| ["veth", "holm", "tap"].iter().any(|prefix| name.starts_with(prefix));
    names.filter(ours).map(|name| format!("network interface {name}")).collect()
}

fn loop_devices() -> Vec<String> {
    let attached = entries(Path::new("/sys/block")).filter_map(|device| {
        let file = fs::read_to_string(device.join("loop/backing_file")).ok()?;
        Some(format!("loop device /dev/{} on {}", device.file_name()?.to_str()?, file.trim()))
    });
    attached.collect()
}

/// Network namespaces that are held by a file and not by a process.
fn named_namespaces() -> Vec<String> {
    let mounted = read("/proc/self/mountinfo");
    let held = mounted.lines().filter(|line| line.contains(" - nsfs "));
    held.filter_map(|line| line.split(' ').nth(4)).map(|point| format!("namespace held at {point}")).collect()
}

/// A process as far as its owner can be told from it.
struct Process {
    pid: u32,
    name: String,
    /// None for a zombie.
    executable: Option<PathBuf>,
    /// The workloads whose groups it lives in; one, or none.
    workloads: BTreeSet<String>,
    network: PathBuf,
}

impl Process {
    fn all() -> Vec<Self> {
        entries(Path::new("/proc")).filter_map(|folder| Self::read(&folder)).collect()
    }

    fn read(folder: &Path) -> Option<Self> {
        let groups = fs::read_to_string(folder.join("cgroup")).unwrap_or_default();
        Some(Self {
            pid: folder.file_name()?.to_str()?.parse().ok()?,
            name: fs::read_to_string(folder.join("comm")).ok()?.trim().to_owned(),
            executable: fs::read_link(folder.join("exe")).ok(),
            workloads: groups.lines().filter_map(workload).map(String::from).collect(),
            network: fs::read_link(folder.join("ns/net")).unwrap_or_default(),
        })
    }

    fn is_holm(&self) -> bool {
        self.name == "holm" || self.name.starts_with("holm-")
    }

    /// Whether this is a Holm from somewhere else.
    fn is_other(&self, binaries: &Path) -> bool {
        self.is_holm() && self.executable.as_ref().is_some_and(|path| !path.starts_with(binaries))
    }

    /// A Holm from here or a zombie of one, or whatever lives in the groups of a workload from here.
    fn is_ours(&self, binaries: &Path, others: &BTreeSet<String>) -> bool {
        let in_group = !self.workloads.is_empty() && self.workloads.is_disjoint(others);
        !self.is_other(binaries) && (self.is_holm() || in_group)
    }

    fn describe(&self) -> String {
        format!("process {} ({}) in network namespace {}", self.pid, self.name, self.network.display())
    }
}

/// The workloads that a Holm from somewhere else keeps.
fn others(processes: &[Process], binaries: &Path) -> BTreeSet<String> {
    let keepers = processes.iter().filter(|process| process.is_other(binaries));
    keepers.flat_map(|process| process.workloads.iter().cloned()).collect()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
22 1 254:0 / / rw - ext4 /dev/vda rw
80 22 0:60 / /tmp/run/l/a ro - erofs /tmp/run/layers/a.erofs ro
81 22 0:61 / /mnt/merged rw - overlay overlay rw,lowerdir=/tmp/run/l/a:/other,upperdir=/tmp/run/u
82 22 0:62 / /tmp/runner rw - tmpfs tmpfs rw
";

    #[test]
    fn mounts_count_by_place_source_and_options() {
        assert_eq!(mounts(MOUNTINFO, Path::new("/tmp/run")), ["mount /tmp/run/l/a", "mount /mnt/merged"]);
        assert_eq!(mount_points(MOUNTINFO, Path::new("/tmp/run")), ["/tmp/run/l/a"]);
        assert!(mounts(MOUNTINFO, Path::new("/srv")).is_empty());
    }

    #[test]
    fn groups_that_stay_are_known_in_every_hierarchy() {
        let root = std::env::temp_dir().join(format!("xtask-standing-{}", std::process::id()));
        for folder in ["unified/holm/keepers", "cpu/holm/0123", "memory/other"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let found = standing_groups(&root);
        remove_directory(&root).unwrap();
        let expected = ["cpu/holm", "unified/holm", "unified/holm/keepers"].map(|path| root.join(path));
        assert_eq!(found, BTreeSet::from(expected));
    }

    #[test]
    fn groups_below_holm_count_unless_another_holm_keeps_them() {
        let root = std::env::temp_dir().join(format!("xtask-leak-{}", std::process::id()));
        fs::create_dir_all(root.join("pids/holm/abc/payload")).unwrap();
        fs::create_dir_all(root.join("pids/holm/def/payload")).unwrap();
        fs::create_dir_all(root.join("pids/user.slice")).unwrap();
        fs::create_dir_all(root.join("cpu/holm-oci-test-1-2")).unwrap();
        let mut found = control_groups(&root, &BTreeSet::from(["def".to_owned()]));
        found.sort();
        remove_directory(&root).unwrap();
        let group = root.join("pids/holm/abc");
        assert_eq!(
            found,
            [
                format!("cgroup {}", root.join("cpu/holm-oci-test-1-2").display()),
                format!("cgroup {}", group.display()),
                format!("cgroup {}/payload", group.display())
            ]
        );
        assert!(!root.exists());
    }

    fn process(name: &str, executable: Option<&str>, workload: &str) -> Process {
        Process {
            pid: 7,
            name: name.to_owned(),
            executable: executable.map(PathBuf::from),
            workloads: Some(workload).filter(|id| !id.is_empty()).map(String::from).into_iter().collect(),
            network: PathBuf::from("net:[1]"),
        }
    }

    #[test]
    fn processes_are_told_apart_by_executable_and_group() {
        let binaries = Path::new("/repository/target");
        let processes = [
            process("holm-keeper", Some("/repository/target/dist/holm-keeper"), "ours"),
            process("sleep", Some("/usr/bin/sleep"), "ours"),
            process("holm", None, ""),
            process("holm-keeper", Some("/usr/bin/holm-keeper"), "theirs"),
            process("sleep", Some("/usr/bin/sleep"), "theirs"),
            process("holmes", Some("/repository/target/holmes"), ""),
        ];
        let others = others(&processes, binaries);
        let counted: Vec<_> = processes.iter().map(|process| process.is_ours(binaries, &others)).collect();
        assert_eq!(counted, [true, true, true, false, false, false]);
        assert_eq!(processes[1].describe(), "process 7 (sleep) in network namespace net:[1]");
    }

    #[test]
    fn a_workload_is_known_by_its_group() {
        assert_eq!(workload("8:pids:/holm/abc/payload"), Some("abc"));
        assert_eq!(workload("0::/holm"), None);
    }

    #[test]
    fn what_goes_away_is_not_left() {
        let directory = std::env::temp_dir().join(format!("xtask-census-{}", std::process::id()));
        let scope = Scope { directory: directory.clone(), binaries: directory };
        let mut before = Census::take(&scope);
        before.found.insert("gone since".to_owned());
        assert!(!before.left_since().contains(&"gone since".to_owned()));
    }
}
