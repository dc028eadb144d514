//! What the host knows about the containers of one test, read from the kernel and not from the runtime.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holm_tests::host;

const GROUPS: &str = "/sys/fs/cgroup";

/// The control groups of this path, from the mount points of the hierarchies.
pub fn groups(path: &str) -> Vec<PathBuf> {
    let hierarchies = std::fs::read_dir(GROUPS).into_iter().flatten().flatten().map(|entry| entry.path());
    let found = hierarchies.chain([PathBuf::from(GROUPS)]).map(|root| below(&root, path));
    found.filter(|group| group.is_dir()).collect()
}

/// The directory of a group in the v2 hierarchy, on hosts that have nothing else and on those that mix both.
pub fn unified(path: &str) -> PathBuf {
    let mixed = Path::new(GROUPS).join("unified");
    below(if mixed.is_dir() { &mixed } else { Path::new(GROUPS) }, path)
}

/// The directory of a group in a v1 hierarchy; none where that controller is not mounted as v1.
pub fn v1(controller: &str, path: &str) -> Option<PathBuf> {
    let root = Path::new(GROUPS).join(controller);
    root.join("cgroup.procs").is_file().then(|| below(&root, path))
}

/// What a file of a group says, without the last line break.
pub fn value(group: &Path, file: &str) -> String {
    let text = std::fs::read_to_string(group.join(file));
    text.unwrap_or_else(|error| format!("{}/{file}: {error}", group.display())).trim_end().to_owned()
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Processes in any group of this path or below it. Zombies are left out.
pub fn processes(path: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let inside = |pid: &u32| {
        let table = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let own = table.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        own.into_iter().any(|group| Path::new(group).starts_with(path))
    };
    pids.filter(|pid| inside(pid) && host::runs(*pid)).collect()
}

/// Ends what runs in the groups of this path and removes them: a test's last resort.
pub fn destroy(path: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        for group in groups(path) {
            thaw(&group);
        }
        processes(path).into_iter().for_each(host::kill);
        groups(path).iter().for_each(|group| remove(group));
        if groups(path).is_empty() || Instant::now() > deadline {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A v1 freezer keeps even a killed process.
fn thaw(group: &Path) {
    for (file, value) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        if group.join(file).exists() {
            drop(std::fs::write(group.join(file), value));
        }
    }
    children(group).iter().for_each(|child| thaw(child));
}

fn remove(group: &Path) {
    children(group).iter().for_each(|child| remove(child));
    drop(std::fs::remove_dir(group));
}

fn children(group: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(group).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.is_dir()).collect()
}
