//! `linux.resources`: what is set is in the kernel, where this host has it.
//!
//! On a host that mixes both kinds of control groups every container has a v2 group, and a v1 group in the hierarchies
//! that it has a limit in.

use serde_json::{Value, json};

use super::machine;
use super::runtime::{Feature, lacks};
use super::setup::Oci;

/// Sets `resources`, creates the container, and compares files of the v1 hierarchy, if this host has it.
#[track_caller]
fn v1(resources: Value, controller: &str, files: &[(&str, &str)]) {
    let mut oci = Oci::script("sleep 1000");
    oci.set("/linux/resources", resources);
    if machine::v1(controller, "").is_none() {
        return;
    }
    oci.create();
    let group = machine::v1(controller, &oci.group()).unwrap();
    for (file, expected) in files {
        if group.join(file).exists() || !group.is_dir() {
            assert_eq!(machine::value(&group, file), *expected, "{file}");
        }
    }
    let processes = machine::value(&group, "cgroup.procs");
    assert_eq!(processes, oci.pid().to_string(), "it is inside");
    oci.remove();
}

#[test]
fn memory() {
    let memory = json!({"limit": 64 << 20, "reservation": 32 << 20, "swappiness": 10});
    let files = [
        ("memory.limit_in_bytes", "67108864"),
        ("memory.soft_limit_in_bytes", "33554432"),
        ("memory.swappiness", "10"),
    ];
    v1(json!({"memory": memory}), "memory", &files);
    let files = [("memory.limit_in_bytes", "67108864"), ("memory.memsw.limit_in_bytes", "134217728")];
    v1(json!({"memory": {"limit": 64 << 20, "swap": 128 << 20}}), "memory", &files);
}

#[test]
fn memory_without_a_limit() {
    v1(json!({"memory": {"limit": -1}}), "memory", &[("memory.limit_in_bytes", "9223372036854771712")]);
}

#[test]
fn the_killer_can_be_turned_off() {
    if machine::v1("memory", "").is_none() {
        println!("left out: v2 has nothing like it");
        return;
    }
    let mut oci = Oci::script("sleep 1000");
    oci.set("/linux/resources/memory", json!({"limit": 64 << 20, "disableOOMKiller": true}));
    oci.create();
    if let Some(group) = machine::v1("memory", &oci.group()) {
        assert!(machine::value(&group, "memory.oom_control").starts_with("oom_kill_disable 1"));
    }
}

#[test]
fn processors() {
    let cpu = json!({"shares": 512, "quota": 50000, "period": 200_000});
    let files = [("cpu.shares", "512"), ("cpu.cfs_quota_us", "50000"), ("cpu.cfs_period_us", "200000")];
    v1(json!({"cpu": cpu}), "cpu", &files);
    v1(json!({"cpu": {"quota": -1}}), "cpu", &[("cpu.cfs_quota_us", "-1")]);
    v1(json!({"cpu": {"cpus": "0", "mems": "0"}}), "cpuset", &[("cpuset.cpus", "0"), ("cpuset.mems", "0")]);
}

#[test]
fn idle_and_burst() {
    if lacks(Feature::IdleAndBurst) {
        return;
    }
    v1(json!({"cpu": {"idle": 1}}), "cpu", &[("cpu.idle", "1")]);
    v1(
        json!({"cpu": {"quota": 50000, "period": 100_000, "burst": 10000}}),
        "cpu",
        &[("cpu.cfs_burst_us", "10000")],
    );
}

#[test]
fn processes() {
    v1(json!({"pids": {"limit": 42}}), "pids", &[("pids.max", "42")]);
    v1(json!({"pids": {"limit": -1}}), "pids", &[("pids.max", "max")]);
    let mut oci = Oci::new();
    oci.set("/linux/resources/pids", json!({"limit": 3}));
    oci.command(&["sh", "-c", "sleep 5 & sleep 5 & sleep 5 & echo all"]);
    let outcome = oci.foreground();
    assert!(outcome.err().contains("can't fork") && outcome.out().is_empty(), "{outcome}");
    oci.clean();
}

/// `major:minor` of a disk of this host.
fn disk() -> Option<(u64, u64)> {
    let entries = std::fs::read_dir("/sys/block").ok()?.flatten();
    let disks = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with("loop"));
    let text = disks.filter_map(|entry| std::fs::read_to_string(entry.path().join("dev")).ok()).next()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[test]
fn input_and_output() {
    let Some((major, minor)) = disk() else { return };
    let rate = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    let block = json!({"throttleReadBpsDevice": rate(1 << 20), "throttleWriteBpsDevice": rate(2 << 20),
        "throttleReadIOPSDevice": rate(300), "throttleWriteIOPSDevice": rate(400)});
    let line = |rate: u64| format!("{major}:{minor} {rate}");
    v1(
        json!({"blockIO": block}),
        "blkio",
        &[
            ("blkio.throttle.read_bps_device", &line(1 << 20)),
            ("blkio.throttle.write_bps_device", &line(2 << 20)),
            ("blkio.throttle.read_iops_device", &line(300)),
            ("blkio.throttle.write_iops_device", &line(400)),
        ],
    );
}

#[test]
fn a_group_of_its_own_in_v2() {
    let oci = Oci::script("sleep 1000");
    oci.create();
    let group = machine::unified(&oci.group());
    if group.parent().is_some_and(|parent| parent.join("cgroup.controllers").exists()) {
        assert_eq!(machine::value(&group, "cgroup.procs"), oci.pid().to_string());
    }
}

#[test]
fn settings_of_v2_by_name() {
    if lacks(Feature::UnifiedOnMixedHosts) {
        return;
    }
    let mut oci = Oci::script("sleep 1000");
    oci.set("/linux/resources/unified", json!({"cgroup.max.descendants": "7"}));
    oci.create();
    assert_eq!(machine::value(&machine::unified(&oci.group()), "cgroup.max.descendants"), "7");
    oci.remove();
    oci.set("/linux/resources/unified", json!({"../cgroup.procs": "1"}));
    oci.refused(&["unified"]);
    oci.set("/linux/resources/unified", json!({"absent.max": "1"}));
    oci.refused(&["absent.max"]);
}

#[test]
fn limits_that_the_kernel_refuses_leave_nothing() {
    for resources in [
        json!({"cpu": {"shares": 1, "quota": 5}}),
        json!({"cpu": {"cpus": "9999"}}),
        json!({"cpu": {"mems": "77"}}),
        json!({"memory": {"limit": 64 << 20, "swappiness": 500}}),
    ] {
        let mut oci = Oci::new();
        oci.set("/linux/resources", resources.clone());
        oci.save();
        let outcome = oci.background("box", ["create", "--bundle", "b", "box"]).run();
        assert_ne!(outcome.code(), 0, "{resources}");
        oci.clean();
    }
}

#[test]
fn a_limit_of_huge_pages_of_no_size_is_refused() {
    let mut oci = Oci::new();
    oci.set("/linux/resources/hugepageLimits", json!([{"pageSize": "3MB", "limit": 1}]));
    let message = oci.refused(&[]);
    if lacks(Feature::StrictConfiguration) {
        return;
    }
    assert!(message.contains("3MB"), "{message}");
}

#[test]
fn memory_that_runs_out_ends_the_program() {
    let mut oci = Oci::new();
    oci.set("/linux/resources/memory", json!({"limit": 16 << 20, "swap": 16 << 20}));
    oci.command(&["sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1; echo $?"]);
    let outcome = oci.foreground();
    assert!(outcome.out().ends_with("137") || outcome.code() == 137, "{outcome}");
    oci.clean();
}

#[test]
fn groups_that_somebody_else_lives_in_are_refused() {
    let oci = Oci::script("sleep 1000");
    oci.create();
    let mut second = Oci::script("sleep 1000");
    second.set("/linux/cgroupsPath", json!(oci.group()));
    second.save();
    if lacks(Feature::StrictConfiguration) {
        return;
    }
    let message = second.fails(1, ["create", "--bundle", "b", "box"]);
    assert!(message.contains("container's cgroup is not empty: 1 process(es) found"), "{message}");
    assert_eq!(oci.status(), "created");
}

#[test]
fn a_relative_path_stays_below_the_mount_points() {
    let mut oci = Oci::script("sleep 1000");
    let path = format!("../../../..{}", oci.group());
    oci.set("/linux/cgroupsPath", json!(path)).set("/linux/resources/pids", json!({"limit": 9}));
    oci.create();
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", oci.pid())).unwrap();
    assert!(own.contains(&oci.group()) && !own.contains(".."), "{own}");
    oci.ok(["delete", "-f", "box"]);
}

#[test]
fn a_group_below_another_goes_and_its_parent_stays() {
    let oci = Oci::script("sleep 1000");
    oci.create();
    oci.remove();
    assert!(!machine::groups(oci.group().rsplit_once('/').unwrap().0).is_empty());
}

#[test]
fn groups_made_inside_are_removed_too() {
    let mut oci = Oci::new();
    oci.set("/linux/resources/pids", json!({"limit": 40}));
    oci.up("sleep 1000");
    for group in machine::groups(&oci.group()) {
        std::fs::create_dir_all(group.join("a/b")).unwrap();
    }
    oci.remove();
}
