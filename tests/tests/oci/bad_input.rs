//! Configurations that make no sense: each is refused by name, and leaves nothing.

use serde_json::{Value, json};

use super::runtime::{Feature, lacks};
use super::setup::Oci;

#[test]
fn no_configuration() {
    let oci = Oci::new();
    let message = oci.fails(1, ["create", "--bundle", "b", "box"]);
    assert!(message.contains("JSON specification file config.json not found"), "{message}");
    oci.clean();
    let message = oci.fails(1, ["run", "--bundle", "absent", "box"]);
    assert!(message.contains("no such file or directory"), "{message}");
    oci.clean();
}

#[test]
fn what_is_no_json() {
    let oci = Oci::new();
    for text in
        ["", "{", "[]", "\"text\"", "{\"ociVersion\": }", "\u{feff}{}", "{\"ociVersion\": \"1.0.2\"} x", "\0"]
    {
        oci.save_text(text);
        oci.fails(1, ["create", "--bundle", "b", "box"]);
        oci.clean();
    }
}

#[test]
fn null_and_an_empty_object() {
    let oci = Oci::new();
    for text in ["null", "{}"] {
        if text == "null" && lacks(Feature::StrictConfiguration) {
            continue;
        }
        oci.save_text(text);
        oci.fails(1, ["create", "--bundle", "b", "box"]);
        oci.clean();
    }
}

#[test]
fn a_configuration_that_is_a_folder_or_endless() {
    let oci = Oci::new();
    std::fs::create_dir(oci.bundle().join("config.json")).unwrap();
    oci.fails(1, ["create", "--bundle", "b", "box"]);
    oci.clean();
}

#[test]
fn json_that_is_nested_without_end() {
    let oci = Oci::new();
    oci.save_text(&format!("{}{}", "[".repeat(200_000), "]".repeat(200_000)));
    oci.fails(1, ["create", "--bundle", "b", "box"]);
    oci.clean();
}

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
        ("/root/readonly", json!(1), "root.readonly"),
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

#[test]
fn versions() {
    let mut oci = Oci::new();
    for version in ["1.0.0", "1.0.2-dev", "1.1.0", "1.2.1", "1.3.0"] {
        oci.set("/ociVersion", json!(version));
        oci.sh("true");
    }
    if lacks(Feature::StrictConfiguration) {
        return;
    }
    for version in [json!("invalid"), json!(""), json!("1"), json!("2.0.0"), json!("0.9.0"), Value::Null] {
        oci.set("/ociVersion", version);
        oci.refused(&["ociVersion"]);
    }
}

#[test]
fn unknown_fields_are_ignored() {
    let mut oci = Oci::new();
    oci.set("/unknown", json!({"a": [1]}))
        .set("/process/unknown", json!(1))
        .set("/linux/unknown", json!("x"));
    oci.set("/windows", json!({"layerFolders": []})).set("/annotations", json!({"org.unknown": "x"}));
    assert_eq!(oci.sh("echo fine"), "fine");
}

#[test]
fn an_unknown_namespace() {
    let mut oci = Oci::new();
    oci.add("/linux/namespaces", json!({"type": "moon"}));
    oci.refused(&["moon"]);
}

#[test]
fn a_namespace_twice() {
    let mut oci = Oci::new();
    oci.add("/linux/namespaces", json!({"type": "pid"}));
    oci.refused(&["pid"]);
}

#[test]
fn no_root_file_system() {
    let mut oci = Oci::new();
    oci.set("/root/path", json!("absent"));
    oci.refused(&["absent"]);
    oci.set("/root/path", json!("config.json"));
    oci.refused(&[]);
    oci.unset("/root");
    oci.refused(&["root"]);
}

#[test]
fn no_process() {
    let mut oci = Oci::new();
    oci.unset("/process");
    oci.refused(&["process"]);
    let mut oci = Oci::new();
    oci.set("/process/args", json!([]));
    oci.refused(&["args"]);
    let mut oci = Oci::new();
    oci.set("/process/args", json!([""]));
    oci.refused(&[]);
}

#[test]
fn environment_entries_that_are_none() {
    if lacks(Feature::StrictConfiguration) {
        return;
    }
    for entry in ["NO_SIGN", "=x", "A\0=1"] {
        let mut oci = Oci::new();
        oci.add("/process/env", json!(entry));
        oci.refused(&["env"]);
    }
}

#[test]
fn a_hostname_without_its_namespace() {
    let mut oci = Oci::new();
    oci.without_namespace("uts");
    oci.refused(&["hostname", "UTS namespace"]);
}

#[test]
fn a_hostname_that_the_kernel_refuses() {
    let mut oci = Oci::new();
    oci.set("/hostname", json!("x".repeat(65)));
    oci.refused(&["hostname"]);
}

#[test]
fn a_mount_without_a_place() {
    let mut oci = Oci::new();
    oci.add("/mounts", json!({"type": "tmpfs", "source": "tmpfs"}));
    if lacks(Feature::StrictConfiguration) {
        return;
    }
    oci.refused(&["mounts[6].destination"]);
}

#[test]
fn names_with_nul_are_refused() {
    for (pointer, value) in [
        ("/process/args/0", "tr\0ue"),
        ("/process/cwd", "/\0"),
        ("/hostname", "a\0b"),
        ("/root/path", "root\0fs"),
        ("/mounts/1/destination", "/d\0ev"),
        ("/linux/cgroupsPath", "/holm-oci-test-nul\0x"),
    ] {
        let mut oci = Oci::new();
        oci.set(pointer, json!(value));
        if ["/hostname"].contains(&pointer) && lacks(Feature::StrictConfiguration) {
            continue;
        }
        oci.refused(&[]);
    }
}

#[test]
fn labels_of_a_module_that_the_kernel_lacks() {
    let modules = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    if !modules.contains("apparmor") {
        let mut oci = Oci::new();
        oci.set("/process/apparmorProfile", json!("some-profile"));
        oci.refused(&["apparmor"]);
    }
    if !modules.contains("selinux") {
        let mut oci = Oci::new();
        oci.set("/process/selinuxLabel", json!("system_u:system_r:svirt_lxc_net_t:s0"));
        oci.refused(&["selinux"]);
    }
}
