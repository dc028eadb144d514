//! Limits that the kernel says are in force.

use std::path::{Path, PathBuf};

/// Limits that the kernel reports; `None` where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsInForce {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Billionths of a processor.
    pub nano_cpus: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// v1 reports "no limit" as the largest number of whole pages.
const LEGACY_UNLIMITED: u64 = 1 << 62;

impl LimitsInForce {
    /// Reads what the group's directories in the hierarchies say.
    pub(super) fn read(directories: &[PathBuf]) -> Self {
        let value = |file: &str| directories.iter().find_map(|directory| read_number(&directory.join(file)));
        let memory = value("memory.max")
            .or_else(|| value("memory.limit_in_bytes"))
            .filter(|limit| *limit < LEGACY_UNLIMITED);
        let legacy_cpu = || nano_cpus(value("cpu.cfs_quota_us")?, value("cpu.cfs_period_us")?);
        let unified_cpu = directories.iter().find_map(|directory| {
            let text = std::fs::read_to_string(directory.join("cpu.max")).ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            nano_cpus(quota.parse().ok()?, period.parse().ok()?)
        });
        Self { memory, nano_cpus: unified_cpu.or_else(legacy_cpu), pids: value("pids.max") }
    }
}

fn nano_cpus(quota: u64, period: u64) -> Option<u64> {
    quota.checked_mul(1_000_000_000)?.checked_div(period)
}

/// `None` for `max`, `-1` and files that are not there.
fn read_number(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}
