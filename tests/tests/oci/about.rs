//! `spec` and `features`: what the runtime writes about itself.

use serde_json::{Value, json};

use super::runtime::{Feature, lacks};
use super::setup::Oci;

fn spec(flags: &[&str]) -> (Oci, String) {
    let oci = Oci::new();
    oci.ok(["spec", "--bundle", "b"].iter().chain(flags));
    let text = std::fs::read_to_string(oci.bundle().join("config.json")).unwrap();
    (oci, text)
}

#[test]
fn spec_writes_a_configuration_as_runc_does() {
    let (_oci, text) = spec(&[]);
    assert!(text.starts_with("{\n\t\"ociVersion\": \"1."), "{text}");
    assert!(text.ends_with('}'), "no line break at the end");
    let config: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(config["process"]["args"], json!(["sh"]));
    assert_eq!(config["process"]["terminal"], true);
    assert_eq!(config["process"]["noNewPrivileges"], true);
    assert_eq!(config["process"]["rlimits"], json!([{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]));
    assert_eq!(config["root"], json!({"path": "rootfs", "readonly": true}));
    assert_eq!(config["hostname"], "runc");
    let mounts: Vec<_> =
        config["mounts"].as_array().unwrap().iter().map(|mount| &mount["destination"]).collect();
    assert_eq!(mounts, ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"]);
    assert_eq!(config["linux"]["resources"]["devices"], json!([{"allow": false, "access": "rwm"}]));
    let masked = config["linux"]["maskedPaths"].as_array().unwrap();
    assert!(masked.contains(&json!("/proc/kcore")) && masked.contains(&json!("/sys/firmware")));
}

#[test]
fn spec_gives_no_inheritable_capabilities() {
    if lacks(Feature::LeanSpec) {
        return;
    }
    let (_oci, text) = spec(&[]);
    let config: Value = serde_json::from_str(&text).unwrap();
    let sets: Vec<_> = config["process"]["capabilities"].as_object().unwrap().keys().collect();
    assert_eq!(sets, ["bounding", "effective", "permitted"]);
}

#[test]
fn spec_replaces_nothing() {
    let (oci, text) = spec(&[]);
    let message = oci.fails(1, ["spec", "--bundle", "b"]);
    assert_eq!(message, "File config.json exists. Remove it first");
    assert_eq!(std::fs::read_to_string(oci.bundle().join("config.json")).unwrap(), text);
}

#[test]
fn what_spec_writes_can_be_run() {
    let (mut oci, text) = spec(&[]);
    let group = oci.group();
    oci.config = serde_json::from_str(&text).unwrap();
    oci.set("/process/terminal", json!(false)).set("/linux/cgroupsPath", json!(group));
    assert_eq!(oci.sh("hostname; id -u; touch /x || echo read-only"), "runc\n0\nread-only");
}

#[test]
fn a_rootless_spec_has_a_user_namespace_and_no_network_one() {
    let (_oci, text) = spec(&["--rootless"]);
    let config: Value = serde_json::from_str(&text).unwrap();
    let kinds: Vec<_> = config["linux"]["namespaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|namespace| &namespace["type"])
        .collect();
    assert!(kinds.contains(&&json!("user")) && !kinds.contains(&&json!("network")), "{kinds:?}");
    assert_eq!(config["linux"]["uidMappings"], json!([{"containerID": 0, "hostID": 0, "size": 1}]));
    assert_eq!(config["linux"].get("resources"), None);
    assert!(!text.contains("gid=5"), "{text}");
}

fn features() -> Option<Value> {
    if lacks(Feature::Features) {
        return None;
    }
    Some(serde_json::from_str(&Oci::new().ok(["features"])).expect("JSON"))
}

#[test]
fn features_are_those_of_the_specification() {
    let Some(features) = features() else { return };
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert!(features["ociVersionMax"].as_str().unwrap().starts_with("1.3."), "{features}");
    let hooks = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    assert_eq!(features["hooks"], json!(hooks));
    let kinds = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];
    assert_eq!(features["linux"]["namespaces"], json!(kinds));
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
    assert_eq!(features["linux"]["mountExtensions"]["idmap"]["enabled"], true);
    assert_eq!(features["linux"]["cgroup"]["v1"], true);
    assert_eq!(features["linux"]["cgroup"]["v2"], true);
    assert_eq!(features["annotations"]["org.opencontainers.runc.checkpoint.enabled"], "true");
}

#[test]
fn features_lists_are_sorted_and_complete() {
    let Some(features) = features() else { return };
    let list = |pointer: &str| -> Vec<String> {
        serde_json::from_value(features.pointer(pointer).cloned().unwrap_or_default()).expect(pointer)
    };
    let options = list("/mountOptions");
    assert!(options.is_sorted());
    for option in
        ["bind", "rbind", "ro", "rro", "tmpcopyup", "rprivate", "nosymfollow", "strictatime", "rnosuid"]
    {
        assert!(options.iter().any(|one| one == option), "{option}: {options:?}");
    }
    let capabilities = list("/linux/capabilities");
    assert_eq!((capabilities[0].as_str(), capabilities.len()), ("CAP_CHOWN", 41));
    for (name, item) in
        [("actions", "SCMP_ACT_NOTIFY"), ("operators", "SCMP_CMP_MASKED_EQ"), ("archs", "SCMP_ARCH_X86_64")]
    {
        let items = list(&format!("/linux/seccomp/{name}"));
        assert!(items.is_sorted() && items.iter().any(|one| one == item), "{items:?}");
    }
}

#[test]
fn features_end_with_a_line_break() {
    if lacks(Feature::Features) {
        return;
    }
    let outcome = Oci::new().run(["features"]);
    assert!(outcome.stdout.starts_with(b"{\n    \"") && outcome.stdout.ends_with(b"}\n"), "{outcome}");
}
