//! Limits as numbers: what is asked of the kernel, and what it says is in force.

use std::path::{Path, PathBuf};

use holm_spec::runtime::LinuxResources;

/// Limits of one group; `None` leaves the kernel's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes; -1 for no limit.
    pub memory: Option<i64>,
    /// Memory and swap together in bytes; -1 for no limit.
    pub memory_and_swap: Option<i64>,
    /// Memory in bytes that the kernel tries to leave to the group under pressure.
    pub memory_reservation: Option<i64>,
    /// Processor time in microseconds a period; -1 for no limit.
    pub cpu_quota: Option<i64>,
    /// Length of a period in microseconds.
    pub cpu_period: Option<u64>,
    /// Relative weight, 2 to 262144, 1024 by default.
    pub cpu_shares: Option<u64>,
    /// Processes and threads; -1 for no limit.
    pub pids: Option<i64>,
}

impl Limits {
    /// The limits of an OCI configuration.
    pub fn from_oci(resources: &LinuxResources) -> Self {
        let memory = resources.memory().as_ref();
        let cpu = resources.cpu().as_ref();
        Self {
            memory: memory.and_then(|memory| memory.limit()),
            memory_and_swap: memory.and_then(|memory| memory.swap()),
            memory_reservation: memory.and_then(|memory| memory.reservation()),
            cpu_quota: cpu.and_then(|cpu| cpu.quota()),
            cpu_period: cpu.and_then(|cpu| cpu.period()),
            cpu_shares: cpu.and_then(|cpu| cpu.shares()),
            pids: resources.pids().as_ref().map(|pids| pids.limit()),
        }
    }

    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Controllers that the limits need.
    pub(super) fn controllers(&self) -> impl Iterator<Item = &'static str> {
        let memory = self.memory.or(self.memory_and_swap).or(self.memory_reservation).map(|_| "memory");
        let cpu =
            self.cpu_quota.map(|_| ()).or(self.cpu_period.or(self.cpu_shares).map(|_| ())).map(|()| "cpu");
        let pids = self.pids.map(|_| "pids");
        [memory, cpu, pids].into_iter().flatten()
    }
}

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
