//! What a container uses, as far as its groups tell.
//!
//! On a hybrid host a group of v1 is there only for a limit that was asked for; what has no group is not counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Hierarchies, processes};

/// Use of one container; 0 for what no group counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in nanoseconds.
    pub cpu_nanos: u64,
    /// Of it in the kernel.
    pub cpu_kernel_nanos: u64,
    /// Of it in programs.
    pub cpu_user_nanos: u64,
    /// Periods in which a limit of processor time was in force.
    pub periods: u64,
    /// Periods in which it was reached.
    pub throttled_periods: u64,
    /// Time for which processes had to wait for it, in nanoseconds.
    pub throttled_nanos: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// Its limit; the largest number for none.
    pub memory_limit: u64,
    /// The most that it was.
    pub memory_peak: u64,
    /// How often the limit was reached.
    pub memory_failures: u64,
    /// The kernel's own list.
    pub memory_statistics: BTreeMap<String, u64>,
    /// Processes and threads.
    pub pids: u64,
    /// Their limit; 0 for none.
    pub pids_limit: u64,
}

/// What the container at `path` uses.
pub fn usage(hierarchies: &Hierarchies, path: &Path) -> Usage {
    let files = Files(hierarchies.all().map(|root| root.join(path)).collect());
    let cpu = files.list("cpu.stat");
    let time = |name: &str| cpu.get(name).map(|micros| micros * 1000);
    let memory_statistics = files.list("memory.stat");
    Usage {
        cpu_nanos: time("usage_usec").or(files.number("cpuacct.usage")).unwrap_or(0),
        cpu_kernel_nanos: time("system_usec").unwrap_or(0),
        cpu_user_nanos: time("user_usec").unwrap_or(0),
        periods: cpu.get("nr_periods").copied().unwrap_or(0),
        throttled_periods: cpu.get("nr_throttled").copied().unwrap_or(0),
        throttled_nanos: time("throttled_usec").or(cpu.get("throttled_time").copied()).unwrap_or(0),
        memory: files.first(&["memory.current", "memory.usage_in_bytes"]).unwrap_or(0),
        memory_limit: files.first(&["memory.max", "memory.limit_in_bytes"]).unwrap_or(u64::MAX),
        memory_peak: files.first(&["memory.peak", "memory.max_usage_in_bytes"]).unwrap_or(0),
        memory_failures: files.number("memory.failcnt").unwrap_or(0),
        memory_statistics,
        pids: files.number("pids.current").unwrap_or_else(|| processes(hierarchies, path).len() as u64),
        pids_limit: files.number("pids.max").unwrap_or(0),
    }
}

/// The directories of a container's groups.
struct Files(Vec<PathBuf>);

impl Files {
    fn text(&self, file: &str) -> Option<String> {
        self.0.iter().find_map(|directory| std::fs::read_to_string(directory.join(file)).ok())
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.text(file)?.trim().parse().ok()
    }

    fn first(&self, files: &[&str]) -> Option<u64> {
        files.iter().find_map(|file| self.number(file))
    }

    /// Names and numbers, a line each; of all groups that have the file, since each counts something else.
    fn list(&self, file: &str) -> BTreeMap<String, u64> {
        let texts = self.0.iter().filter_map(|directory| std::fs::read_to_string(directory.join(file)).ok());
        let mut list = BTreeMap::new();
        for text in texts {
            for (name, value) in text.lines().filter_map(|line| line.split_once(' ')) {
                if let Ok(value) = value.trim().parse() {
                    list.entry(name.to_owned()).or_insert(value);
                }
            }
        }
        list
    }
}
