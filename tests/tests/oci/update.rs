//! `update`: new limits for what runs.

use serde_json::{Value, json};

use super::machine;
use super::setup::Oci;

/// A container with a limit in each hierarchy that the tests change.
fn limited() -> Option<Oci> {
    let mut oci = Oci::new();
    oci.set("/linux/resources/memory", json!({"limit": 64 << 20}));
    oci.set("/linux/resources/pids", json!({"limit": 40}));
    oci.set("/linux/resources/cpu", json!({"shares": 512, "quota": 20000, "period": 100_000}));
    oci.set("/linux/resources/cpu/cpus", json!("0"));
    oci.up("echo ready; sleep 100");
    machine::v1("memory", &oci.group()).map(|_| oci)
}

#[track_caller]
fn value(oci: &Oci, controller: &str, file: &str) -> String {
    machine::value(&machine::v1(controller, &oci.group()).expect("it is v1"), file)
}

#[test]
fn flags_change_limits() {
    let Some(oci) = limited() else { return };
    assert_eq!(value(&oci, "memory", "memory.limit_in_bytes"), (64 << 20).to_string());
    for (flags, controller, file, expected) in [
        (&["--memory", "32M"][..], "memory", "memory.limit_in_bytes", "33554432"),
        (&["--memory", "50331648"], "memory", "memory.limit_in_bytes", "50331648"),
        (&["--memory-reservation=16m"], "memory", "memory.soft_limit_in_bytes", "16777216"),
        (&["--pids-limit", "20"], "pids", "pids.max", "20"),
        (&["--pids-limit", "-1"], "pids", "pids.max", "max"),
        (&["--cpu-share", "100"], "cpu", "cpu.shares", "100"),
        (&["--cpu-quota", "30000"], "cpu", "cpu.cfs_quota_us", "30000"),
        (&["--cpu-period", "50000", "--cpu-quota", "10000"], "cpu", "cpu.cfs_period_us", "50000"),
        (&["--cpuset-cpus", "0"], "cpuset", "cpuset.cpus", "0"),
    ] {
        oci.ok(["update"].iter().chain(flags).chain(&["box"]));
        assert_eq!(value(&oci, controller, file), expected, "{flags:?}");
    }
}

#[test]
fn one_of_quota_and_period_keeps_the_other() {
    let Some(oci) = limited() else { return };
    oci.ok(["update", "--cpu-quota", "30000", "box"]);
    assert_eq!(value(&oci, "cpu", "cpu.cfs_period_us"), "100000");
    oci.ok(["update", "--cpu-period", "200000", "box"]);
    assert_eq!(value(&oci, "cpu", "cpu.cfs_quota_us"), "30000");
}

#[test]
fn resources_come_from_the_standard_input_or_a_file() {
    let Some(oci) = limited() else { return };
    let resources = json!({"memory": {"limit": 48 << 20}, "pids": {"limit": 30}, "cpu": {"shares": 333}});
    oci.call(["update", "--resources", "-", "box"]).stdin(resources.to_string()).run().ok();
    assert_eq!(value(&oci, "memory", "memory.limit_in_bytes"), (48 << 20).to_string());
    assert_eq!(value(&oci, "pids", "pids.max"), "30");
    assert_eq!(value(&oci, "cpu", "cpu.shares"), "333");
    std::fs::write(oci.path("resources"), json!({"pids": {"limit": 31}}).to_string()).unwrap();
    oci.ok(["update", "-r", "resources", "box"]);
    assert_eq!(value(&oci, "pids", "pids.max"), "31");
    assert_eq!(
        value(&oci, "memory", "memory.limit_in_bytes"),
        (48 << 20).to_string(),
        "what is absent stays"
    );
}

#[test]
fn swap_follows_the_memory_in_the_right_order() {
    let Some(oci) = limited() else { return };
    if !machine::v1("memory", &oci.group()).unwrap().join("memory.memsw.limit_in_bytes").exists() {
        return;
    }
    for (memory, swap) in [("128M", "256M"), ("512M", "512M"), ("32M", "64M")] {
        oci.ok(["update", "--memory", memory, "--memory-swap", swap, "box"]);
        let bytes = |text: &str| (text.trim_end_matches('M').parse::<u64>().unwrap() << 20).to_string();
        assert_eq!(value(&oci, "memory", "memory.limit_in_bytes"), bytes(memory));
        assert_eq!(value(&oci, "memory", "memory.memsw.limit_in_bytes"), bytes(swap));
    }
}

#[test]
fn devices_stay_as_they_are() {
    let mut oci = Oci::new();
    oci.set("/linux/resources/devices", json!([{"allow": false, "access": "rwm"}]));
    oci.set("/linux/resources/pids", json!({"limit": 40}));
    oci.up("sleep 100");
    let resources = json!({"devices": [{"allow": true, "access": "rwm"}], "pids": {"limit": 30}});
    oci.call(["update", "--resources", "-", "box"]).stdin(resources.to_string()).run().ok();
    let outcome = oci.run(["exec", "box", "sh", "-c", "mknod /kmsg c 1 11 && cat /kmsg"]);
    assert_ne!(outcome.code(), 0, "{outcome}");
    if let Some(group) = machine::v1("pids", &oci.group()) {
        assert_eq!(machine::value(&group, "pids.max"), "30");
    }
}

#[test]
fn what_has_stopped_and_what_is_no_number_are_refused() {
    let mut oci = Oci::new();
    oci.up("while [ ! -e /go ]; do sleep 0.02; done");
    for (flag, value) in
        [("--cpu-share", "x"), ("--memory", "lots"), ("--cpu-quota", "1.5"), ("--pids-limit", "few")]
    {
        let outcome = oci.run(["update", flag, value, "box"]);
        outcome.expect_code(1);
        assert!(format!("{outcome}").contains(flag.trim_start_matches('-')), "{outcome}");
    }
    let text = oci.fails(1, ["update", "--cpu-share", "x", "box"]);
    assert!(text.contains("invalid value") && text.contains("cpu-share"), "{text}");
    std::fs::write(oci.rootfs("go"), "").unwrap();
    oci.wait_for("stopped");
    let message = oci.fails(1, ["update", "--pids-limit", "5", "box"]);
    assert!(message.contains("container not running"), "{message}");
}

#[test]
fn resources_that_are_no_json_are_refused() {
    let Some(oci) = limited() else { return };
    let outcome = oci.call(["update", "--resources", "-", "box"]).stdin("{").run();
    outcome.expect_code(1);
    let outcome = oci.run(["update", "--resources", "/absent", "box"]);
    outcome.expect_code(1);
    assert_eq!(oci.status(), "running");
}

#[test]
fn a_limit_below_what_is_used_changes_nothing() {
    let Some(oci) = limited() else { return };
    oci.run(["update", "--memory", "4096", "box"]).expect_code(1);
    assert_eq!(value(&oci, "memory", "memory.limit_in_bytes"), (64 << 20).to_string());
    assert_eq!(oci.status(), "running");
}

#[test]
fn events_tell_the_new_limits() {
    let Some(oci) = limited() else { return };
    oci.ok(["update", "--memory", "32M", "--pids-limit", "9", "box"]);
    let event: Value = serde_json::from_str(&oci.ok(["events", "--stats", "box"])).unwrap();
    assert_eq!(event["data"]["memory"]["usage"]["limit"], 32 << 20);
    assert_eq!(event["data"]["pids"]["limit"], 9);
}
