//! What was changed of a workload after it was created: its limits and its restart policy. Everything else of its
//! configuration stays as it was created.

use serde::{Deserialize, Serialize};

use crate::life::RestartPolicy;
use crate::machine::GUEST_OVERHEAD;
use crate::runtime::{LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};
use crate::workload::Config;

/// Billionths of a processor in one.
const NANO: u64 = 1_000_000_000;
/// Length of a period of processor time.
const PERIOD_MICROSECONDS: u64 = 100_000;

/// Limits as people say them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Billionths of a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nano_cpus: Option<u64>,
    /// Processes and threads; -1 for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<i64>,
}

impl Limits {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Sets them among others: as much swap as memory again, as Docker gives.
    pub fn set(&self, resources: &mut LinuxResources) {
        if let Some(bytes) = self.memory.and_then(|bytes| i64::try_from(bytes).ok()) {
            let mut memory = LinuxMemory::default();
            memory.set_limit(Some(bytes)).set_swap(Some(bytes.saturating_mul(2)));
            resources.set_memory(Some(memory));
        }
        if let Some(nano) = self.nano_cpus {
            let quota = nano.saturating_mul(PERIOD_MICROSECONDS) / NANO;
            let mut cpu = LinuxCpu::default();
            cpu.set_period(Some(PERIOD_MICROSECONDS)).set_quota(i64::try_from(quota).ok());
            resources.set_cpu(Some(cpu));
        }
        if let Some(limit) = self.pids {
            let mut pids = LinuxPids::default();
            pids.set_limit(limit);
            resources.set_pids(Some(pids));
        }
    }
}

/// What was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Changes {
    /// Limits.
    pub limits: Limits,
    /// What is to happen when it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartPolicy>,
}

impl Changes {
    /// These with later ones over them.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        Self {
            limits: Limits {
                memory: later.limits.memory.or(self.limits.memory),
                nano_cpus: later.limits.nano_cpus.or(self.limits.nano_cpus),
                pids: later.limits.pids.or(self.limits.pids),
            },
            restart: later.restart.or(self.restart),
        }
    }

    /// Changes a configuration that was created otherwise.
    pub fn apply(&self, config: &mut Config) {
        config.restart = self.restart.unwrap_or(config.restart);
        let (limits, settings) = (&self.limits, &mut config.settings);
        settings.memory = limits.memory.or(settings.memory);
        settings.nano_cpus = limits.nano_cpus.or(settings.nano_cpus);
        if let Some(pids) = limits.pids {
            settings.pids_limit = u64::try_from(pids).ok();
        }
        if let Some(resources) =
            config.oci.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut())
        {
            limits.set(resources);
        }
        if let Some(machine) = &mut config.machine {
            machine.memory =
                limits.memory.map_or(machine.memory, |bytes| bytes.saturating_add(GUEST_OVERHEAD));
            machine.cpus = limits.nano_cpus.map_or(machine.cpus, cpus);
        }
    }
}

/// Processors of a machine that is to have so many billionths of one.
pub fn cpus(nano: u64) -> u32 {
    nano.div_ceil(NANO).clamp(1, 255) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_changes_win() {
        let first = Changes {
            restart: Some(RestartPolicy::Always),
            limits: Limits { memory: Some(1), ..Limits::default() },
        };
        let second = Changes {
            limits: Limits { memory: Some(2), pids: Some(-1), ..Limits::default() },
            restart: None,
        };
        let both = first.then(second);
        assert_eq!(
            (both.limits.memory, both.limits.pids, both.restart),
            (Some(2), Some(-1), Some(RestartPolicy::Always))
        );
        assert!(Limits::default().is_empty() && !both.limits.is_empty());
    }

    #[test]
    fn limits_in_the_kernels_words() {
        let mut resources = LinuxResources::default();
        Limits { memory: Some(64), nano_cpus: Some(NANO / 2), pids: Some(-1) }.set(&mut resources);
        let memory = resources.memory().unwrap();
        assert_eq!((memory.limit(), memory.swap()), (Some(64), Some(128)));
        assert_eq!(resources.cpu().as_ref().and_then(LinuxCpu::quota), Some(50_000));
        assert_eq!(resources.pids().as_ref().map(LinuxPids::limit), Some(-1));
        assert_eq!((cpus(1), cpus(NANO), cpus(NANO + 1), cpus(u64::MAX)), (1, 1, 2, 255));
    }
}
