//! From `linux.resources` to the files of cgroup v1 and v2 (OCI runtime specification, "Control groups"). Pure.
//!
//! Settings go by the v1 name of their controller; v2 calls `blkio` `io` and has none for `net_cls` and
//! `net_prio`. What v2 cannot express is an error, as the specification demands, and not a limit that silently
//! does not hold.

use std::borrow::Cow;
use std::path::Path;

use holm_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

use crate::error::{Error, Kind, Result};

/// A value for a file of a group's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// File name.
    pub file: Cow<'static, str>,
    /// What to write.
    pub value: String,
    /// Nothing is lost if the kernel was built without the file.
    pub optional: bool,
    /// The file to write where the first is not there; empty for none.
    pub instead: &'static str,
}

/// Stands for the first word that a file has.
const KEPT: &str = "*";

impl Setting {
    /// The setting with what is in force in the place of [`KEPT`].
    pub fn beside_what_is_there(&self, directory: &Path) -> Self {
        let Some(rest) = self.value.strip_prefix(KEPT) else { return self.clone() };
        let there = std::fs::read_to_string(directory.join(&*self.file)).unwrap_or_default();
        let first = there.split_whitespace().next().unwrap_or("max");
        Self { value: format!("{first}{rest}"), ..self.clone() }
    }
}

/// Controllers that settings may be for, by their v1 names, in the order to set them.
pub(super) const CONTROLLERS: [&str; 9] =
    ["memory", "cpuset", "cpu", "pids", "blkio", "hugetlb", "rdma", "net_cls", "net_prio"];

fn needed(file: impl Into<Cow<'static, str>>, value: impl ToString) -> Setting {
    Setting { file: file.into(), value: value.to_string(), optional: false, instead: "" }
}

/// Of two schedulers of block I/O one is there.
fn either(file: &'static str, instead: &'static str, value: impl ToString) -> Setting {
    Setting { instead, ..needed(file, value) }
}

fn optional(file: impl Into<Cow<'static, str>>, value: impl ToString) -> Setting {
    Setting { optional: true, ..needed(file, value) }
}

/// What v2 calls a controller; `None` if it has none of the kind.
pub(super) fn unified_name(controller: &'static str) -> Option<&'static str> {
    match controller {
        "blkio" => Some("io"),
        "net_cls" | "net_prio" => None,
        other => Some(other),
    }
}

/// Settings of one controller in cgroup v1, in the order to write them.
pub(super) fn legacy(resources: &LinuxResources, controller: &str) -> Vec<Setting> {
    match controller {
        "memory" => resources.memory().as_ref().map(legacy_memory).unwrap_or_default(),
        "cpu" => resources.cpu().as_ref().map(legacy_cpu).unwrap_or_default(),
        "cpuset" => cpuset(resources),
        "pids" => pids(resources),
        "blkio" => resources.block_io().as_ref().map(legacy_block_io).unwrap_or_default(),
        "hugetlb" => huge_pages(resources, "limit_in_bytes"),
        "rdma" => rdma(resources),
        "net_cls" => {
            let class = resources.network().as_ref().and_then(|network| network.class_id());
            class.map(|class| needed("net_cls.classid", class)).into_iter().collect()
        }
        _ => {
            let network = resources.network().as_ref();
            let priorities = network.and_then(|network| network.priorities().as_deref()).unwrap_or_default();
            let line = |priority: &holm_spec::runtime::LinuxInterfacePriority| {
                needed("net_prio.ifpriomap", format!("{} {}", priority.name(), priority.priority()))
            };
            priorities.iter().map(line).collect()
        }
    }
}

/// Settings of one controller in cgroup v2, in the order to write them.
///
/// # Errors
/// [`Kind::Unsupported`] for what has no counterpart there.
pub(super) fn unified(resources: &LinuxResources, controller: &str) -> Result<Vec<Setting>> {
    Ok(match controller {
        "memory" => resources.memory().as_ref().map(unified_memory).transpose()?.unwrap_or_default(),
        "cpu" => resources.cpu().as_ref().map(unified_cpu).transpose()?.unwrap_or_default(),
        "cpuset" => cpuset(resources),
        "pids" => pids(resources),
        "blkio" => resources.block_io().as_ref().map(unified_block_io).transpose()?.unwrap_or_default(),
        "hugetlb" => huge_pages(resources, "max"),
        "rdma" => rdma(resources),
        _ => Vec::new(),
    })
}

fn no_counterpart(field: &str) -> Error {
    Error::new(Kind::Unsupported, "cgroup v2 has nothing like it")
        .at_field(format!("linux.resources.{field}"))
}

fn legacy_memory(memory: &LinuxMemory) -> Vec<Setting> {
    let mut settings = Vec::new();
    settings.extend(memory.reservation().map(|bytes| needed("memory.soft_limit_in_bytes", bytes)));
    settings.extend(set(memory.limit()).map(|bytes| needed("memory.limit_in_bytes", bytes)));
    settings.extend(set(swap(memory)).map(|bytes| optional("memory.memsw.limit_in_bytes", bytes)));
    settings.extend(memory.swappiness().map(|value| needed("memory.swappiness", value)));
    let disabled = memory.disable_oom_killer().filter(|disabled| *disabled);
    settings.extend(disabled.map(|_| needed("memory.oom_control", 1)));
    settings
}

/// Zero has always meant "not set".
fn set(bytes: Option<i64>) -> Option<i64> {
    bytes.filter(|bytes| *bytes != 0)
}

/// Without a limit of memory there can be none of both together.
fn swap(memory: &LinuxMemory) -> Option<i64> {
    let unlimited = memory.limit() == Some(-1) && set(memory.swap()).is_none();
    if unlimited { Some(-1) } else { memory.swap() }
}

fn unified_memory(memory: &LinuxMemory) -> Result<Vec<Setting>> {
    if memory.swappiness().is_some() {
        return Err(no_counterpart("memory.swappiness"));
    }
    if memory.disable_oom_killer() == Some(true) {
        return Err(no_counterpart("memory.disableOOMKiller"));
    }
    let mut settings = Vec::new();
    settings.extend(memory.reservation().map(|bytes| needed("memory.low", or_max(bytes))));
    settings.extend(set(memory.limit()).map(|bytes| needed("memory.max", or_max(bytes))));
    if let Some(total) = set(swap(memory)) {
        settings.push(optional("memory.swap.max", swap_alone(total, memory.limit())?));
    }
    Ok(settings)
}

/// v2 counts swap alone; OCI counts memory and swap together.
fn swap_alone(total: i64, memory: Option<i64>) -> Result<String> {
    if total < 0 {
        return Ok("max".to_owned());
    }
    let wrong = |why: &str| Error::invalid(why).at_field("linux.resources.memory.swap");
    let memory =
        set(memory).ok_or_else(|| wrong("it counts memory and swap together, and memory has no limit"))?;
    match total.checked_sub(memory) {
        Some(alone) if alone >= 0 => Ok(alone.to_string()),
        _ => Err(wrong("it counts memory and swap together, and is less than the limit of memory")),
    }
}

fn legacy_cpu(cpu: &LinuxCpu) -> Vec<Setting> {
    let mut settings = Vec::new();
    settings.extend(shares(cpu).map(|shares| needed("cpu.shares", shares)));
    settings
        .extend(cpu.period().filter(|period| *period != 0).map(|period| needed("cpu.cfs_period_us", period)));
    settings.extend(cpu.quota().filter(|quota| *quota != 0).map(|quota| needed("cpu.cfs_quota_us", quota)));
    settings.extend(cpu.burst().map(|burst| optional("cpu.cfs_burst_us", burst)));
    settings.extend(cpu.idle().map(|idle| optional("cpu.idle", idle)));
    settings
        .extend(cpu.realtime_period().filter(|time| *time != 0).map(|time| needed("cpu.rt_period_us", time)));
    settings.extend(
        cpu.realtime_runtime().filter(|time| *time != 0).map(|time| needed("cpu.rt_runtime_us", time)),
    );
    settings
}

fn shares(cpu: &LinuxCpu) -> Option<u64> {
    cpu.shares().filter(|shares| *shares != 0)
}

fn unified_cpu(cpu: &LinuxCpu) -> Result<Vec<Setting>> {
    if set(cpu.realtime_runtime()).is_some() || cpu.realtime_period().is_some_and(|period| period != 0) {
        return Err(no_counterpart("cpu.realtimeRuntime"));
    }
    let mut settings = Vec::new();
    // An idle group has no weight.
    settings.extend(cpu.idle().map(|idle| needed("cpu.idle", idle)));
    let idle = cpu.idle() == Some(1);
    settings.extend(shares(cpu).filter(|_| !idle).map(|shares| needed("cpu.weight", weight(shares))));
    let (quota, period) = (set(cpu.quota()), cpu.period().filter(|period| *period != 0));
    match (quota, period) {
        // Alone it leaves the period as it is.
        (Some(quota), None) => settings.push(needed("cpu.max", or_max(quota))),
        (Some(quota), Some(period)) => {
            settings.push(needed("cpu.max", format!("{} {period}", or_max(quota))))
        }
        (None, Some(period)) => settings.push(needed("cpu.max", format!("{KEPT} {period}"))),
        (None, None) => {}
    }
    settings.extend(cpu.burst().map(|burst| optional("cpu.max.burst", burst)));
    Ok(settings)
}

/// Shares 2..262144 to weight 1..10000 so that the defaults, 1024 and 100, meet: the curve that runc and crun
/// share since 2025.
fn weight(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let exponent = (shares as f64).log2();
    let power = (exponent * exponent + 125.0 * exponent) / 612.0 - 7.0 / 34.0;
    10_f64.powf(power).ceil() as u64
}

fn cpuset(resources: &LinuxResources) -> Vec<Setting> {
    let Some(cpu) = resources.cpu() else { return Vec::new() };
    let given = |list: &Option<String>| list.clone().filter(|list| !list.is_empty());
    let cpus = given(cpu.cpus()).map(|list| needed("cpuset.cpus", list));
    cpus.into_iter().chain(given(cpu.mems()).map(|list| needed("cpuset.mems", list))).collect()
}

/// No limit is written as well: the parent of a group may have one that is inherited nowhere else.
fn pids(resources: &LinuxResources) -> Vec<Setting> {
    let limit = resources.pids().as_ref().map(|pids| pids.limit());
    let value = |limit: i64| if limit > 0 { limit.to_string() } else { "max".to_owned() };
    limit.map(|limit| needed("pids.max", value(limit))).into_iter().collect()
}

fn huge_pages(resources: &LinuxResources, suffix: &str) -> Vec<Setting> {
    let mut settings = Vec::new();
    for page in resources.hugepage_limits().iter().flatten() {
        let (size, limit) = (page.page_size(), page.limit());
        settings.push(needed(format!("hugetlb.{size}.{suffix}"), limit));
        settings.push(optional(format!("hugetlb.{size}.rsvd.{suffix}"), limit));
    }
    settings
}

fn rdma(resources: &LinuxResources) -> Vec<Setting> {
    let mut devices: Vec<_> = resources.rdma().iter().flatten().collect();
    devices.sort_by_key(|(name, _)| *name);
    let line = |(name, limits): (&String, &holm_spec::runtime::LinuxRdma)| {
        let handles = limits.hca_handles().map(|number| format!(" hca_handle={number}")).unwrap_or_default();
        let objects = limits.hca_objects().map(|number| format!(" hca_object={number}")).unwrap_or_default();
        needed("rdma.max", format!("{name}{handles}{objects}"))
    };
    devices.into_iter().map(line).collect()
}

fn legacy_block_io(io: &LinuxBlockIo) -> Vec<Setting> {
    let mut settings = Vec::new();
    settings.extend(
        io.weight()
            .filter(|weight| *weight != 0)
            .map(|weight| either("blkio.weight", "blkio.bfq.weight", weight)),
    );
    settings.extend(
        io.leaf_weight().filter(|weight| *weight != 0).map(|weight| needed("blkio.leaf_weight", weight)),
    );
    for device in io.weight_device().iter().flatten() {
        let line = |weight: u16| format!("{}:{} {weight}", device.major(), device.minor());
        settings.extend(
            device
                .weight()
                .map(|weight| either("blkio.weight_device", "blkio.bfq.weight_device", line(weight))),
        );
        settings.extend(device.leaf_weight().map(|weight| needed("blkio.leaf_weight_device", line(weight))));
    }
    for (name, _, devices) in throttles(io) {
        let file = format!("blkio.throttle.{name}_device");
        for device in devices {
            let line = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            settings.push(needed(file.clone(), line));
        }
    }
    settings
}

/// Name in v1, name in v2, and the devices of each kind of throttle.
fn throttles(io: &LinuxBlockIo) -> [(&'static str, &'static str, &[LinuxThrottleDevice]); 4] {
    fn list(list: &Option<Vec<LinuxThrottleDevice>>) -> &[LinuxThrottleDevice] {
        list.as_deref().unwrap_or_default()
    }
    [
        ("read_bps", "rbps", list(io.throttle_read_bps_device())),
        ("write_bps", "wbps", list(io.throttle_write_bps_device())),
        ("read_iops", "riops", list(io.throttle_read_iops_device())),
        ("write_iops", "wiops", list(io.throttle_write_iops_device())),
    ]
}

fn unified_block_io(io: &LinuxBlockIo) -> Result<Vec<Setting>> {
    if io.leaf_weight().is_some_and(|weight| weight != 0) {
        return Err(no_counterpart("blockIO.leafWeight"));
    }
    let mut settings = Vec::new();
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        // One of the two schedulers is there; 10..1000 becomes 1..10000 for the newer one.
        settings.push(optional("io.bfq.weight", weight));
        let scaled = 1 + (u64::from(weight).max(10) - 10) * 9999 / 990;
        settings.push(optional("io.weight", scaled));
    }
    for device in io.weight_device().iter().flatten() {
        let line = |weight: u16| format!("{}:{} {weight}", device.major(), device.minor());
        settings.extend(device.weight().map(|weight| needed("io.bfq.weight", line(weight))));
    }
    for (_, name, devices) in throttles(io) {
        for device in devices {
            let line = format!("{}:{} {name}={}", device.major(), device.minor(), device.rate());
            settings.push(needed("io.max", line));
        }
    }
    Ok(settings)
}

/// `linux.resources.unified`: file names and values as they are.
///
/// # Errors
/// What is no name of a file of a group.
pub(super) fn verbatim(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let mut files: Vec<_> = resources.unified().iter().flatten().collect();
    files.sort();
    let mut settings = Vec::new();
    for (file, value) in files {
        if file.contains('/') || !file.contains('.') {
            let error = Error::invalid("it is no file of a control group");
            return Err(error.at_field(format!("linux.resources.unified[\"{}\"]", file.escape_debug())));
        }
        settings.extend(value.lines().map(|line| needed(file.clone(), line)));
    }
    Ok(settings)
}

fn or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(document: &str) -> LinuxResources {
        serde_json::from_str(document).expect("valid")
    }

    fn text(settings: &[Setting]) -> String {
        settings.iter().map(|setting| format!("{}={};", setting.file, setting.value)).collect()
    }

    fn both(document: &str, controller: &str) -> (String, String) {
        let resources = resources(document);
        let unified =
            unified(&resources, controller).map_or_else(|error| error.to_string(), |list| text(&list));
        (text(&legacy(&resources, controller)), unified)
    }

    #[test]
    fn memory() {
        let (legacy, unified) = both(r#"{"memory":{"limit":64,"swap":128,"reservation":32}}"#, "memory");
        assert_eq!(
            legacy,
            "memory.soft_limit_in_bytes=32;memory.limit_in_bytes=64;memory.memsw.limit_in_bytes=128;"
        );
        assert_eq!(unified, "memory.low=32;memory.max=64;memory.swap.max=64;");
        let (_, unified) = both(r#"{"memory":{"limit":-1}}"#, "memory");
        assert_eq!(unified, "memory.max=max;memory.swap.max=max;");
        let (_, unified) = both(r#"{"memory":{"swap":5}}"#, "memory");
        assert!(unified.starts_with("`linux.resources.memory.swap`"), "{unified}");
        let (legacy, unified) = both(r#"{"memory":{"swappiness":5,"disableOOMKiller":true}}"#, "memory");
        assert_eq!(legacy, "memory.swappiness=5;memory.oom_control=1;");
        assert!(unified.starts_with("`linux.resources.memory.swappiness`"), "{unified}");
    }

    #[test]
    fn processors() {
        let document = r#"{"cpu":{"shares":1024,"quota":50000,"period":100000,"cpus":"0-1","mems":"0"}}"#;
        let (legacy, unified) = both(document, "cpu");
        assert_eq!(legacy, "cpu.shares=1024;cpu.cfs_period_us=100000;cpu.cfs_quota_us=50000;");
        assert_eq!(unified, "cpu.weight=100;cpu.max=50000 100000;");
        assert_eq!(both(document, "cpuset").0, "cpuset.cpus=0-1;cpuset.mems=0;");
        assert_eq!(both(r#"{"cpu":{"quota":-1}}"#, "cpu").1, "cpu.max=max;");
        assert_eq!(both(r#"{"cpu":{"period":5}}"#, "cpu").1, "cpu.max=* 5;");
        assert_eq!(both(r#"{"cpu":{"idle":1,"shares":5}}"#, "cpu").1, "cpu.idle=1;");
        assert!(both(r#"{"cpu":{"realtimeRuntime":5}}"#, "cpu").1.starts_with("`linux.resources.cpu"));
    }

    #[test]
    fn weights_span_the_range_and_the_defaults_meet() {
        assert_eq!([0, 2, 3, 1024, 262_144, u64::MAX].map(weight), [1, 1, 2, 100, 10_000, 10_000]);
    }

    #[test]
    fn processes_disks_and_pages() {
        assert_eq!(both(r#"{"pids":{"limit":5}}"#, "pids").1, "pids.max=5;");
        for none in [0, -1] {
            assert_eq!(both(&format!(r#"{{"pids":{{"limit":{none}}}}}"#), "pids").0, "pids.max=max;");
        }
        let throttled =
            r#"{"blockIO":{"weight":500,"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":7}]}}"#;
        let (legacy, unified) = both(throttled, "blkio");
        assert_eq!(legacy, "blkio.weight=500;blkio.throttle.read_bps_device=8:0 7;");
        assert_eq!(unified, "io.bfq.weight=500;io.weight=4950;io.max=8:0 rbps=7;");
        let pages = r#"{"hugepageLimits":[{"pageSize":"2MB","limit":9}]}"#;
        assert_eq!(both(pages, "hugetlb").1, "hugetlb.2MB.max=9;hugetlb.2MB.rsvd.max=9;");
    }

    #[test]
    fn files_as_they_are() {
        let settings = verbatim(&resources(r#"{"unified":{"memory.high":"1\n2"}}"#)).expect("valid");
        assert_eq!(text(&settings), "memory.high=1;memory.high=2;");
        assert!(verbatim(&resources(r#"{"unified":{"../memory.high":"1"}}"#)).is_err());
        assert!(verbatim(&resources(r#"{"unified":{"memory":"1"}}"#)).is_err());
    }
}
