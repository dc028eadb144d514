//! What a running workload takes of the host: memory, disk, processes.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use holm_runtime::cgroup::{Hierarchies, processes, usage};
use holm_spec::Id;
use holm_spec::layout::workload_cgroup;

use crate::{Engine, Result};

/// Bytes of a block of stat(2).
const BLOCK: u64 = 512;
/// The keeper's program.
const KEEPER: &str = "holm-keeper";

/// What a workload takes while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Costs {
    /// Every process that the host has because of it: its keeper first.
    pub processes: Vec<HostProcess>,
    /// Bytes that its control group counts, with page cache and the kernel's own; `None` where no group counts.
    pub group_memory: Option<u64>,
    /// Bytes on disk of what it has written.
    pub disk: u64,
}

/// A process as the host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostProcess {
    /// Its number.
    pub pid: i32,
    /// What it calls itself.
    pub name: String,
    /// Its share of every page that it maps, in bytes (Pss of proc_pid_smaps(5)).
    pub memory: u64,
}

impl Costs {
    /// Bytes of all processes together.
    pub fn memory(&self) -> u64 {
        self.processes.iter().map(|process| process.memory).sum()
    }

    /// Bytes of the keeper.
    pub fn keeper_memory(&self) -> u64 {
        self.processes.iter().filter(|process| process.name == KEEPER).map(|process| process.memory).sum()
    }
}

impl Engine {
    pub(super) fn costs(&self, id: &Id) -> Result<Costs> {
        let workload = self.workload(id)?;
        let config = &workload.config;
        let hierarchies = Hierarchies::detect()?;
        let group = workload_cgroup(&config.cgroup_parent, &config.sandbox, &config.id);
        // A machine's own process stands where a container's first one does, so this holds for both.
        let keeper = self.ancestors(id)?.first().map(|keeper| keeper.pid);
        let mut pids = processes(&hierarchies, &group);
        pids.sort_unstable();
        Ok(Costs {
            processes: keeper.into_iter().chain(pids).filter_map(process).collect(),
            group_memory: Some(usage(&hierarchies, &group).memory).filter(|bytes| *bytes > 0),
            disk: disk_use(&self.layout.snapshot(id)),
        })
    }
}

/// What is known of a process; `None` if it is gone.
fn process(pid: i32) -> Option<HostProcess> {
    let name = program(pid)?;
    let shares = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    Some(HostProcess { pid, name, memory: proportional_size(&shares) })
}

/// What a process calls itself, without directories: the first word of its command line, or the kernel's name of it.
fn program(pid: i32) -> Option<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = first.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if name.is_empty() {
        return Some(std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned());
    }
    Some(String::from_utf8_lossy(name).into_owned())
}

fn proportional_size(smaps: &str) -> u64 {
    let line = smaps.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib: u64 = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0);
    kib.saturating_mul(1024)
}

/// Bytes that a tree takes on disk, sparse files by what is written; what vanishes meanwhile takes nothing.
fn disk_use(path: &Path) -> u64 {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return 0 };
    let own = metadata.blocks().saturating_mul(BLOCK);
    if !metadata.is_dir() {
        return own;
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| disk_use(&entry.path())).fold(own, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keepers_memory_is_part_of_all() {
        let process = |name: &str, memory| HostProcess { pid: 1, name: name.to_owned(), memory };
        let costs =
            Costs { processes: vec![process(KEEPER, 5), process("sh", 7)], group_memory: None, disk: 0 };
        assert_eq!((costs.memory(), costs.keeper_memory()), (12, 5));
    }

    #[test]
    fn shares_are_read_in_bytes() {
        assert_eq!(proportional_size("00-ff [rollup]\nRss: 9 kB\nPss:    12 kB\nPss_Dirty: 3 kB\n"), 12288);
        assert_eq!(proportional_size(""), 0);
    }

    #[test]
    fn this_process_has_a_name_and_memory() {
        let own = process(i32::try_from(std::process::id()).expect("a number")).expect("alive");
        assert!(own.name.starts_with("holm_engine") && own.memory > 0, "{own:?}");
        assert_eq!(process(i32::MAX), None);
    }

    #[test]
    fn holes_take_no_room() {
        let directory = tempfile::tempdir().expect("a directory");
        let empty = disk_use(directory.path());
        let sparse = std::fs::File::create(directory.path().join("sparse")).expect("a file");
        sparse.set_len(1 << 30).expect("grow");
        std::fs::write(directory.path().join("full"), vec![1; 65536]).expect("write");
        assert!((65536..1 << 20).contains(&(disk_use(directory.path()) - empty)));
        assert_eq!(disk_use(&directory.path().join("none")), 0);
    }
}
