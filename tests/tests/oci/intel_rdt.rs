//! `linux.intelRdt`, on machines that have no such thing: what is wrong is named, and nothing is left. What happens in
//! resctrl is tested beside `resctrl.rs` of the runtime, with a directory that stands in for it.

use serde_json::{Value, json};

use super::runtime::{Feature, lacks};
use super::setup::Oci;

fn asking(document: Value) -> Oci {
    let mut oci = Oci::script("exec sleep 1000");
    oci.set("/linux/intelRdt", document);
    oci
}

fn is_mounted() -> bool {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - resctrl ")
}

#[test]
fn a_machine_without_resctrl_refuses_it() {
    if is_mounted() {
        return;
    }
    asking(json!({"closID": "gold", "l3CacheSchema": "L3:0=f"})).refused(&["ntel"]);
    if lacks(Feature::IntelRdt) {
        return;
    }
    for document in [json!({}), json!({"closID": "/"}), json!({"enableMonitoring": true})] {
        asking(document).refused(&["linux.intelRdt", "no resctrl file system is mounted"]);
    }
}

#[test]
fn what_is_wrong_is_named() {
    if lacks(Feature::IntelRdt) {
        return;
    }
    asking(json!({"closID": "../../x"})).refused(&["linux.intelRdt.closID"]);
    asking(json!({"memBwSchema": "L3:0=f"})).refused(&["linux.intelRdt.memBwSchema"]);
    asking(json!({"schemata": ["L3:0=f", "a\nb"]})).refused(&["linux.intelRdt.schemata[1]"]);
    asking(json!({"schemata": "L3:0=f"})).refused(&["linux.intelRdt.schemata"]);
}

/// The record says which groups a container is in; here plain files take the place of resctrl's.
#[test]
fn exec_joins_the_groups_of_the_container_and_delete_removes_them() {
    if lacks(Feature::IntelRdt) {
        return;
    }
    let mut oci = Oci::new();
    oci.up("exec sleep 1000");
    let (group, own) = (oci.path("class"), oci.path("own"));
    std::fs::create_dir(&group).unwrap();
    std::fs::create_dir(&own).unwrap();
    std::fs::write(group.join("tasks"), "").unwrap();
    let file = oci.root().join("box/state.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    record["resctrl"] = json!({"groups": [group], "own": [own]});
    std::fs::write(&file, record.to_string()).unwrap();
    assert_eq!(oci.exec("echo up"), "up");
    let joined: u32 = std::fs::read_to_string(group.join("tasks")).unwrap().parse().unwrap();
    assert_ne!(joined, oci.pid());
    std::fs::remove_file(group.join("tasks")).unwrap();
    assert!(oci.fails(255, ["exec", "box", "true"]).contains("linux.intelRdt"));
    oci.ok(["delete", "--force", "box"]);
    assert!(group.exists() && !own.exists());
    oci.clean();
}

#[test]
fn features_say_so() {
    if lacks(Feature::IntelRdt) {
        return;
    }
    let features: Value = serde_json::from_str(&Oci::new().ok(["features"])).unwrap();
    let all = json!({"enabled": true, "schemata": true, "monitoring": true});
    assert_eq!(features["linux"]["intelRdt"], all);
}
