//! What the kernel says about keepers, control groups and loop devices, beyond [`holm_tests::host`].

use std::path::Path;

use holm_sys::lock::{Lock, Mode};
use holm_tests::{Holm, host};

/// Length of an id in characters.
const ID: usize = 64;

/// A running keeper of one installation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Keeper {
    /// Its process.
    pub pid: u32,
    /// The sandbox that it keeps.
    pub sandbox: String,
}

/// The keepers of an installation, by what their command lines say.
pub fn keepers(holm: &Holm) -> Vec<Keeper> {
    let root = holm.root().display().to_string();
    let mut keepers: Vec<_> =
        host::processes_naming(&root).into_iter().filter_map(|pid| keeper(pid, &root)).collect();
    keepers.sort();
    keepers
}

/// The keeper of one workload.
#[track_caller]
pub fn keeper_of(holm: &Holm, workload: &str) -> u32 {
    let id = holm.inspect(workload, "{{.Id}}");
    let keeper = keepers(holm).into_iter().find(|keeper| keeper.sandbox == id);
    keeper.unwrap_or_else(|| panic!("workload {workload} has no keeper")).pid
}

fn keeper(pid: u32, root: &str) -> Option<Keeper> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let [program, _mode, of, _run, sandbox, ..] = words.as_slice() else { return None };
    (program == "holm-keeper" && of == root).then(|| Keeper { pid, sandbox: sandbox.to_string() })
}

/// Children of a process that are keepers or about to become one.
pub fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Ids that occur anywhere below the roots, also of what is half made or half removed.
pub fn ids(holm: &Holm) -> Vec<String> {
    let places =
        [holm.root().join("workloads"), holm.root().join("snapshots"), holm.run_root().join("sandboxes")];
    let mut ids: Vec<_> = places
        .iter()
        .flat_map(|place| names(place))
        .filter_map(|name| id_in(&name).map(str::to_owned))
        .collect();
    ids.sort();
    ids.dedup();
    ids
}

/// The id in a name such as `.new-<id>`.
pub fn id_in(name: &str) -> Option<&str> {
    let id = name.trim_start_matches(".new-").trim_start_matches(".old-");
    (id.len() == ID && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// Names in a directory; none if there is no such directory.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Sandboxes on disk whose keeper is gone: nobody holds their lock.
pub fn orphans(holm: &Holm) -> Vec<String> {
    let sandboxes = holm.run_root().join("sandboxes");
    let is_free = |name: &String| {
        let lock = sandboxes.join(name).join("lock");
        lock.exists() && matches!(Lock::try_acquire(&lock, Mode::Exclusive), Ok(Some(_)))
    };
    names(&sandboxes).into_iter().filter(is_free).collect()
}

/// Loop devices whose backing file lies below a directory.
pub fn loop_devices(directory: &Path) -> Vec<String> {
    let backing = |device: &String| {
        let text = std::fs::read_to_string(format!("/sys/block/{device}/loop/backing_file"));
        text.is_ok_and(|path| Path::new(path.trim_end()).starts_with(directory))
    };
    names(Path::new("/sys/block")).into_iter().filter(backing).collect()
}
