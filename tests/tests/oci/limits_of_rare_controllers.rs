//! `linux.resources` for controllers that few kernels or hosts have: each test says what is missing where it cannot be
//! made.

use serde_json::{Value, json};

use super::machine;
use super::setup::Oci;

/// Whether v1 has a controller here.
fn has(controller: &str) -> bool {
    let there = machine::v1(controller, "").is_some();
    if !there {
        println!("left out: no `{controller}` in v1");
    }
    there
}

/// Creates a container with these resources.
fn created(resources: Value) -> Oci {
    let mut oci = Oci::script("exec sleep 1000");
    oci.set("/linux/resources", resources);
    oci.create();
    oci
}

#[track_caller]
fn value(oci: &Oci, controller: &str, file: &str) -> String {
    machine::value(&machine::v1(controller, &oci.group()).unwrap(), file)
}

#[test]
fn handles_of_remote_memory() {
    let devices = std::fs::read_dir("/sys/class/infiniband").into_iter().flatten().flatten();
    let Some(device) = devices.filter_map(|entry| entry.file_name().into_string().ok()).next() else {
        println!("left out: no device for remote memory");
        return;
    };
    if has("rdma") {
        let limits = json!({device.clone(): {"hcaHandles": 3, "hcaObjects": 5}});
        let oci = created(json!({"rdma": limits}));
        let text = value(&oci, "rdma", "rdma.max");
        assert!(text.contains(&format!("{device} hca_handle=3 hca_object=5")), "{text}");
    }
}

#[test]
fn handles_of_a_device_that_is_not_there() {
    let mut oci = Oci::new();
    oci.set("/linux/resources/rdma", json!({"absent0": {"hcaHandles": 3}}));
    oci.refused(&["rdma"]);
}

#[test]
fn the_class_of_packets() {
    if has("net_cls") {
        let oci = created(json!({"network": {"classID": 0x10_0001}}));
        assert_eq!(value(&oci, "net_cls", "net_cls.classid"), "1048577");
    }
}

#[test]
fn priorities_of_packets() {
    if has("net_prio") {
        let oci = created(json!({"network": {"priorities": [{"name": "lo", "priority": 7}]}}));
        let text = value(&oci, "net_prio", "net_prio.ifpriomap");
        assert!(text.lines().any(|line| line == "lo 7"), "{text}");
    }
}

#[test]
fn priorities_of_an_interface_that_is_not_there() {
    if has("net_prio") {
        let mut oci = Oci::new();
        oci.set("/linux/resources/network", json!({"priorities": [{"name": "absent", "priority": 7}]}));
        oci.refused(&["net_prio.ifpriomap"]);
    }
}

/// Which of the files that kernels have had for it the groups of this host have.
fn weight_file() -> Option<&'static str> {
    let oci = Oci::new();
    let probe = machine::v1("blkio", &oci.base)?;
    std::fs::create_dir(&probe).unwrap();
    ["blkio.weight", "blkio.bfq.weight"].into_iter().find(|file| probe.join(file).exists())
}

#[test]
fn the_weight_of_block_devices() {
    if !has("blkio") {
        return;
    }
    let Some(file) = weight_file() else {
        println!("left out: no weights in `blkio`");
        return;
    };
    let oci = created(json!({"blockIO": {"weight": 300}}));
    assert_eq!(value(&oci, "blkio", file), "300");
}

#[test]
fn a_weight_out_of_range_is_refused() {
    if has("blkio") {
        let mut oci = Oci::new();
        oci.set("/linux/resources/blockIO", json!({"weight": 1001}));
        oci.refused(&["weight"]);
    }
}

/// Real time is handed down from group to group, and one that was just made has none.
#[test]
fn real_time_that_the_group_above_does_not_have() {
    let group = machine::v1("cpu", "").filter(|group| group.join("cpu.rt_runtime_us").exists());
    if group.is_none() {
        println!("left out: no groups of real time in v1");
        return;
    }
    let mut oci = Oci::script("exec sleep 1000");
    oci.set("/linux/resources", json!({"cpu": {"realtimeRuntime": 5000, "realtimePeriod": 1_000_000}}));
    oci.refused(&[
        "`linux.resources.cpu.realtimeRuntime`",
        "has 0 microseconds of real time",
        "linux.cgroupsPath",
    ]);
    // Directly in the root, which has some, there is nothing against it.
    oci.set("/linux/cgroupsPath", json!(oci.base));
    oci.create();
    assert_eq!(machine::value(&machine::v1("cpu", &oci.base).unwrap(), "cpu.rt_runtime_us"), "5000");
}
