//! What the host knows about workloads, read from the kernel and not from Holm.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal};

use crate::Holm;

/// Where control groups are mounted.
const GROUPS: &str = "/sys/fs/cgroup";

/// Mount points below a directory, in the order of mounting.
#[must_use]
pub fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|point| point.starts_with(directory)).collect()
}

/// Unmounts all that is mounted below a directory, whether used or not.
pub fn unmount_below(directory: &Path) {
    for point in mounts_below(directory).iter().rev() {
        let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Control groups of a sandbox or workload in all hierarchies: the directories of this name that lie
/// below a group `holm`.
#[must_use]
pub fn groups(id: &str) -> Vec<PathBuf> {
    let hierarchies = std::fs::read_dir(GROUPS).into_iter().flatten().flatten().map(|entry| entry.path());
    let roots = hierarchies.chain([PathBuf::from(GROUPS)]).map(|path| path.join("holm").join(id));
    roots.filter(|path| path.is_dir()).collect()
}

/// Processes in any control group of a sandbox or workload.
#[must_use]
pub fn processes(id: &str) -> Vec<u32> {
    let mut pids: Vec<u32> = groups(id).iter().flat_map(|group| members(group)).collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Processes in a control group and those below it.
fn members(group: &Path) -> Vec<u32> {
    let list = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let own = list.lines().filter_map(|line| line.parse().ok());
    own.chain(children(group).iter().flat_map(|child| members(child))).collect()
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Kills what is left of a sandbox and removes its control groups: a test's last resort.
pub fn destroy_groups(id: &str) {
    for _ in 0..200 {
        for pid in processes(id) {
            kill(pid);
        }
        groups(id).iter().for_each(|group| remove_group(group));
        if groups(id).is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn remove_group(group: &Path) {
    children(group).iter().for_each(|child| remove_group(child));
    drop(std::fs::remove_dir(group));
}

/// Kills a process if it is still there.
pub fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

/// Sends a signal to a process if it is still there.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Whether a process runs: it is there, and neither a zombie nor dead.
#[must_use]
pub fn runs(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ") && !status.contains("State:\tX")
}

/// The parent of a process.
#[must_use]
pub fn parent(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// The session of a process: its leader's number, or 0 where the leader is outside this pid namespace
/// (proc_pid_stat(5), the fourth field after the program's name). `getsid` of rustix panics on that 0.
#[must_use]
pub fn session(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.split(' ').nth(3)?.parse().ok()
}

/// The short name of a process's program.
#[must_use]
pub fn program(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

/// Processes, zombies left out, whose command line or environment names a text, such as a root.
#[must_use]
pub fn processes_naming(text: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let names = |pid: &u32, file: &str| {
        let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).contains(text)
    };
    let own = std::process::id();
    pids.filter(|pid| *pid != own && runs(*pid) && (names(pid, "cmdline") || names(pid, "environ"))).collect()
}

/// Reads a limit or counter of a process's control group: the file `name` of the v1 hierarchy
/// `controller`, or of v2 if the controller is not mounted as v1.
#[must_use]
pub fn group_value(pid: u32, controller: &str, name: &str) -> Option<String> {
    let table = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let line = table.lines().find(|line| {
        let controllers = line.split(':').nth(1).unwrap_or_default();
        controllers.split(',').any(|one| one == controller)
    });
    let path = match line {
        Some(line) => {
            let mut parts = line.splitn(3, ':').skip(1);
            format!("{GROUPS}/{}{}", parts.next()?, parts.next()?)
        }
        None => format!("{GROUPS}/unified{}", table.lines().find_map(|line| line.strip_prefix("0::"))?),
    };
    Some(std::fs::read_to_string(Path::new(&path).join(name)).ok()?.trim_end().to_owned())
}

/// Devices of the host that a container must not reach and that this process can open: kind (`b` or `c`),
/// major and minor number.
#[must_use]
pub fn devices() -> Vec<(char, u32, u32)> {
    let names = ["kmsg", "fuse", "net/tun", "loop-control", "loop0", "kvm", "hwrng", "vda", "sda"];
    let paths = names.iter().map(|name| Path::new("/dev").join(name));
    let numbers = paths.filter(|path| std::fs::File::open(path).is_ok()).filter_map(|path| {
        let data = path.metadata().ok()?;
        let kind = if data.mode() & 0o170_000 == 0o060_000 { 'b' } else { 'c' };
        Some((kind, rustix::fs::major(data.rdev()), rustix::fs::minor(data.rdev())))
    });
    numbers.collect()
}

/// All paths below a directory with kind, mode, owner and size of each (a directory's size left out):
/// two equal trees are equal maps.
#[must_use]
pub fn tree(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
            let Ok(data) = entry.path().symlink_metadata() else { continue };
            let size = if data.is_dir() { 0 } else { data.len() };
            let facts = format!("{:o} {}:{} {size}", data.mode(), data.uid(), data.gid());
            found.insert(entry.path().strip_prefix(directory).expect("it lies below").to_owned(), facts);
            if data.is_dir() {
                pending.push(entry.path());
            }
        }
    }
    found
}

/// Kills the keeper of a workload, as a crash would; nothing if it has none.
///
/// # Panics
/// If there is no such workload.
pub fn kill_keeper(holm: &Holm, workload: &str) {
    for pid in keepers(&holm.inspect(workload, "{{.Id}}")) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

/// Processes that keep a sandbox.
///
/// # Panics
/// If `/proc` cannot be listed.
#[must_use]
pub fn keepers(sandbox: &str) -> Vec<Pid> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let keeper = processes.filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let words = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
        let keeps = words.first()? == b"holm-keeper" && words.contains(&sandbox.as_bytes());
        keeps.then(|| Pid::from_raw(pid)).flatten()
    });
    keeper.collect()
}
