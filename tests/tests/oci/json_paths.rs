//! Values of a wrong type: the message has the JSON path of the field.

use serde_json::json;

use super::runtime::{Feature, lacks};
use super::setup::Oci;

/// A value of the wrong type, and the JSON path that the message must have. Go cannot name an item of a list.
#[test]
fn the_message_has_the_path_of_a_wrong_type() {
    for (pointer, value, path) in [
        ("/ociVersion", json!(1), "ociVersion"),
        ("/process/user/uid", json!("root"), "process.user.uid"),
        ("/process/user/gid", json!(-1), "process.user.gid"),
        ("/process/user/additionalGids", json!(5), "process.user.additionalGids"),
        ("/process/args", json!("sh"), "process.args"),
        ("/process/env", json!({"A": "1"}), "process.env"),
        ("/process/cwd", json!(["/"]), "process.cwd"),
        ("/process/terminal", json!("yes"), "process.terminal"),
        ("/process/rlimits", json!({"a": 1}), "process.rlimits"),
        ("/process/oomScoreAdj", json!("100"), "process.oomScoreAdj"),
        ("/process/capabilities", json!(["CAP_KILL"]), "process.capabilities"),
        ("/root", json!("rootfs"), "root"),
        ("root/readonly", json!(1), "root.readonly"),
        ("/hostname", json!(5), "hostname"),
        ("/mounts", json!({}), "mounts"),
        ("/annotations", json!({"a": 1}), "annotations"),
        ("/hooks", json!([]), "hooks"),
        ("/linux/namespaces", json!("pid"), "linux.namespaces"),
        ("/linux/cgroupsPath", json!(7), "linux.cgroupsPath"),
        ("/linux/resources/memory", json!({"limit": "64M"}), "linux.resources.memory.limit"),
        ("/linux/resources/cpu", json!({"shares": -1}), "linux.resources.cpu.shares"),
        ("/linux/maskedPaths", json!("/proc/kcore"), "linux.maskedPaths"),
        ("/linux/seccomp", json!({"defaultAction": 1}), "linux.seccomp.defaultAction"),
    ] {
        let mut oci = Oci::new();
        println!("{pointer}: {value}");
        oci.set(pointer, value);
        oci.refused(&[path]);
    }
}

#[test]
fn the_message_has_the_number_of_a_wrong_item() {
    if lacks(Feature::JsonPaths) {
        return;
    }
    for (pointer, value, path) in [
        ("/linux/namespaces/1", json!({"type": 5}), "linux.namespaces[1].type"),
        ("/linux/namespaces/0", json!({"type": "moon"}), "linux.namespaces[0].type"),
        ("/mounts/2/options", json!("ro"), "mounts[2].options"),
        ("/mounts/2/options", json!(["ro", 5]), "mounts[2].options[1]"),
        ("/mounts/0/destination", json!(null), "mounts[0].destination"),
        ("/process/args/0", json!(5), "process.args[0]"),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOFILE", "soft": "1", "hard": 1}]),
            "process.rlimits[0].soft",
        ),
        ("/linux/devices", json!([{"path": 5}]), "linux.devices[0].path"),
        (
            "/hooks",
            json!({"poststop": [{"path": "/x"}, {"path": "/x", "timeout": "1"}]}),
            "hooks.poststop[1].timeout",
        ),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": "x", "action": "SCMP_ACT_ALLOW"}]}),
            "linux.seccomp.syscalls[0].names",
        ),
    ] {
        let mut oci = Oci::new();
        oci.set(pointer, value);
        oci.refused(&[path]);
    }
}
