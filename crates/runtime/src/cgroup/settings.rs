//! From limits to the files of cgroup v1 and v2. Pure.

use super::Limits;

/// A value for a file of a group's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// File name.
    pub file: &'static str,
    /// What to write.
    pub value: String,
    /// Nothing is lost if the kernel was built without the file.
    pub optional: bool,
}

fn needed(file: &'static str, value: String) -> Setting {
    Setting { file, value, optional: false }
}

/// Settings of one controller in cgroup v2, in the order to write them.
pub(super) fn unified(limits: &Limits, controller: &str) -> Vec<Setting> {
    let mut settings = Vec::new();
    match controller {
        "memory" => {
            settings.extend(limits.memory_reservation.map(|bytes| needed("memory.low", bytes_or_max(bytes))));
            settings.extend(limits.memory.map(|bytes| needed("memory.max", bytes_or_max(bytes))));
            let swap = limits.memory_and_swap.map(|total| swap_alone(total, limits.memory));
            settings.extend(swap.map(|value| Setting { file: "memory.swap.max", value, optional: true }));
        }
        "cpu" => {
            settings.extend(limits.cpu_shares.map(|shares| needed("cpu.weight", weight(shares).to_string())));
            if limits.cpu_quota.is_some() || limits.cpu_period.is_some() {
                let quota = bytes_or_max(limits.cpu_quota.unwrap_or(-1));
                settings.push(needed("cpu.max", format!("{quota} {}", limits.cpu_period.unwrap_or(100_000))));
            }
        }
        _ => settings.extend(limits.pids.map(|count| needed("pids.max", bytes_or_max(count)))),
    }
    settings
}

/// Settings of one controller in cgroup v1, in the order to write them.
pub(super) fn legacy(limits: &Limits, controller: &str) -> Vec<Setting> {
    let mut settings = Vec::new();
    match controller {
        "memory" => {
            let reservation = limits.memory_reservation;
            settings.extend(reservation.map(|bytes| needed("memory.soft_limit_in_bytes", bytes.to_string())));
            settings.extend(limits.memory.map(|bytes| needed("memory.limit_in_bytes", bytes.to_string())));
            let total = limits.memory_and_swap.map(|bytes| bytes.to_string());
            settings.extend(total.map(|value| Setting {
                file: "memory.memsw.limit_in_bytes",
                value,
                optional: true,
            }));
        }
        "cpu" => {
            settings.extend(limits.cpu_shares.map(|shares| needed("cpu.shares", shares.to_string())));
            settings.extend(limits.cpu_period.map(|period| needed("cpu.cfs_period_us", period.to_string())));
            settings.extend(limits.cpu_quota.map(|quota| needed("cpu.cfs_quota_us", quota.to_string())));
        }
        _ => settings.extend(limits.pids.map(|count| needed("pids.max", bytes_or_max(count)))),
    }
    settings
}

fn bytes_or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// v2 counts swap alone; OCI counts memory and swap together.
fn swap_alone(total: i64, memory: Option<i64>) -> String {
    if total < 0 {
        return "max".to_owned();
    }
    total.saturating_sub(memory.unwrap_or(0)).max(0).to_string()
}

/// Shares 2..262144 to weight 1..10000, the linear mapping that the OCI runtimes share.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        memory: Some(64 << 20),
        memory_and_swap: Some(128 << 20),
        memory_reservation: None,
        cpu_quota: Some(50_000),
        cpu_period: Some(100_000),
        cpu_shares: Some(1024),
        pids: Some(-1),
    };

    fn text(settings: &[Setting]) -> String {
        settings.iter().map(|setting| format!("{}={};", setting.file, setting.value)).collect()
    }

    #[test]
    fn every_limit_reaches_its_file() {
        assert_eq!(text(&unified(&LIMITS, "memory")), "memory.max=67108864;memory.swap.max=67108864;");
        assert_eq!(text(&unified(&LIMITS, "cpu")), "cpu.weight=39;cpu.max=50000 100000;");
        assert_eq!(text(&unified(&LIMITS, "pids")), "pids.max=max;");
        assert_eq!(
            text(&legacy(&LIMITS, "memory")),
            "memory.limit_in_bytes=67108864;memory.memsw.limit_in_bytes=134217728;"
        );
        assert_eq!(
            text(&legacy(&LIMITS, "cpu")),
            "cpu.shares=1024;cpu.cfs_period_us=100000;cpu.cfs_quota_us=50000;"
        );
    }

    #[test]
    fn weights_span_the_range() {
        assert_eq!((weight(2), weight(1024), weight(262_144), weight(0)), (1, 39, 10_000, 1));
    }
}
