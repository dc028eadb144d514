//! What a container uses, as far as its groups tell.
//!
//! On a hybrid host a group of v1 is there only for a limit that was asked for; what has no group is not counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Hierarchies, tasks};

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
    /// Bytes read from block devices.
    pub read_bytes: u64,
    /// Bytes written to block devices.
    pub written_bytes: u64,
    /// What a group counts at all.
    pub counted: Counted,
}

/// What the groups of a container count: a 0 of the rest means nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Processor time.
    pub cpu: bool,
    /// Memory.
    pub memory: bool,
    /// Bytes of block devices.
    pub blocks: bool,
}

impl Usage {
    /// Bytes of memory without the file pages that nobody has used for a while, which the kernel takes back first: what
    /// Docker calls usage.
    pub fn memory_in_use(&self) -> u64 {
        let inactive = ["total_inactive_file", "inactive_file"];
        let inactive = inactive.iter().find_map(|name| self.memory_statistics.get(*name)).copied();
        // A list that is newer than the number may name more.
        self.memory.checked_sub(inactive.unwrap_or(0)).unwrap_or(self.memory)
    }
}

/// What the container at `path` uses.
pub fn usage(hierarchies: &Hierarchies, path: &Path) -> Usage {
    let files = Files(hierarchies.groups(path).map(|(_, directory)| directory).collect());
    let cpu = files.list("cpu.stat");
    let time = |name: &str| cpu.get(name).map(|micros| micros * 1000);
    let memory_statistics = files.list("memory.stat");
    let cpu_nanos = time("usage_usec").or(files.number("cpuacct.usage"));
    let memory = files.first(&["memory.current", "memory.usage_in_bytes"]);
    let blocks = files.first_text(&["io.stat", "blkio.throttle.io_service_bytes"]);
    let device_bytes = |unified: &str, legacy: &str| {
        blocks.as_deref().map_or(0, |text| sum_of_devices(text, unified, legacy))
    };
    Usage {
        cpu_nanos: cpu_nanos.unwrap_or(0),
        cpu_kernel_nanos: time("system_usec").unwrap_or(0),
        cpu_user_nanos: time("user_usec").unwrap_or(0),
        periods: cpu.get("nr_periods").copied().unwrap_or(0),
        throttled_periods: cpu.get("nr_throttled").copied().unwrap_or(0),
        throttled_nanos: time("throttled_usec").or(cpu.get("throttled_time").copied()).unwrap_or(0),
        memory: memory.unwrap_or(0),
        memory_limit: files.first(&["memory.max", "memory.limit_in_bytes"]).unwrap_or(u64::MAX),
        memory_peak: files.first(&["memory.peak", "memory.max_usage_in_bytes"]).unwrap_or(0),
        memory_failures: files.number("memory.failcnt").unwrap_or(0),
        memory_statistics,
        pids: files.number("pids.current").unwrap_or_else(|| tasks(hierarchies, path)),
        pids_limit: files.number("pids.max").unwrap_or(0),
        read_bytes: device_bytes("rbytes", "Read"),
        written_bytes: device_bytes("wbytes", "Write"),
        counted: Counted { cpu: cpu_nanos.is_some(), memory: memory.is_some(), blocks: blocks.is_some() },
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

    fn first_text(&self, files: &[&str]) -> Option<String> {
        files.iter().find_map(|file| self.text(file))
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

/// `8:0 rbytes=1 wbytes=2 ...` a device in v2, `8:0 Read 1` a device and direction in v1.
fn sum_of_devices(text: &str, unified: &str, legacy: &str) -> u64 {
    let of_line = |line: &str| -> Option<u64> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let named = words.iter().find_map(|word| word.strip_prefix(unified)?.strip_prefix('='));
        named.or_else(|| (*words.get(1)? == legacy).then(|| words.get(2).copied())?)?.parse().ok()
    };
    text.lines().filter_map(of_line).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_go_first_are_not_in_use() {
        let usage = |memory, names: &[(&str, u64)]| {
            let memory_statistics = names.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
            Usage { memory, memory_statistics, ..Usage::default() }.memory_in_use()
        };
        assert_eq!(usage(100, &[("inactive_file", 30)]), 70);
        assert_eq!(usage(100, &[("inactive_file", 1), ("total_inactive_file", 40)]), 60, "with groups below");
        assert_eq!(usage(100, &[("inactive_file", 101)]), 100);
        assert_eq!(usage(100, &[]), 100);
    }

    #[test]
    fn bytes_of_devices_are_summed_in_both_versions() {
        let unified = "8:0 rbytes=10 wbytes=3 rios=2 wios=1 dbytes=0 dios=0\n8:16 rbytes=5 wbytes=4\n7:0 \n";
        assert_eq!(sum_of_devices(unified, "rbytes", "Read"), 15);
        assert_eq!(sum_of_devices(unified, "wbytes", "Write"), 7);
        let legacy = "8:0 Read 10\n8:0 Write 3\n8:0 Total 13\n8:16 Read 1\nTotal 14\n";
        assert_eq!(sum_of_devices(legacy, "rbytes", "Read"), 11);
        assert_eq!(sum_of_devices(legacy, "wbytes", "Write"), 3);
    }
}
