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
    oci.set("root/path", json!("absent"));
    oci.refused(&["absent"]);
    oci.set("root/path", json!("config.json"));
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
        ("root/path", "root\0fs"),
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
        let mut oci = Oci::new();
        oci.set("/linux/mountLabel", json!("system_u:object_r:svirt_sandbox_file_t:s0:c1,c2"));
        oci.refused(&["linux.mountLabel", "SELinux is not enabled"]);
    }
}
