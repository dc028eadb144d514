//! The root file system: read-only, propagation, what is masked in it, and kernel parameters.

use std::os::unix::fs::symlink;

use serde_json::json;

use super::runtime::{Feature, lacks};
use super::setup::Oci;

#[test]
fn it_is_read_only_if_asked_for() {
    let mut oci = Oci::new();
    oci.set("root/readonly", json!(true)).mount("/tmp", "tmpfs", "tmpfs", &[]);
    assert_eq!(oci.sh("touch /x 2>/dev/null || echo no; touch /tmp/x && echo yes"), "no\nyes");
    oci.set("root/readonly", json!(false));
    assert_eq!(oci.sh("touch /x && echo yes"), "yes");
}

#[test]
fn a_path_is_absolute_or_relative_to_the_bundle() {
    let mut oci = Oci::new();
    std::fs::write(oci.rootfs("mark"), "").unwrap();
    let absolute = oci.rootfs("");
    for path in ["rootfs", "./rootfs", absolute.to_str().unwrap().trim_end_matches('/')] {
        oci.set("root/path", json!(path));
        assert_eq!(oci.sh("ls -d /mark"), "/mark");
    }
}

#[test]
fn an_unknown_propagation_is_refused() {
    let mut oci = Oci::new();
    oci.set("/linux/rootfsPropagation", json!("sideways"));
    oci.refused(&[]);
}

#[test]
fn its_propagation() {
    if lacks(Feature::RootPropagation) {
        return;
    }
    let mut oci = Oci::new();
    for (value, expected) in [
        ("private", "-"),
        ("rprivate", "-"),
        ("shared", "shared:"),
        ("rshared", "shared:"),
        ("unbindable", "unbindable"),
    ] {
        oci.set("/linux/rootfsPropagation", json!(value));
        let script = "while read -r a b c d place e option rest; do [ $place = / ] && echo $option; done < /proc/self/mountinfo; true";
        let text = oci.sh(script);
        assert!(text.starts_with(expected), "{value}: {text}");
    }
}

#[test]
fn nothing_of_the_host_is_mounted_inside() {
    let mut oci = Oci::new();
    let text = oci.sh("cut -d' ' -f5 /proc/self/mountinfo");
    assert!(
        text.lines().all(|line| ["/", "/proc", "/dev", "/sys"]
            .iter()
            .any(|ours| line == *ours || line.starts_with(&format!("{ours}/")))),
        "{text}"
    );
}

#[test]
fn masked_files_are_empty_and_masked_folders_too() {
    let mut oci = Oci::new();
    std::fs::create_dir(oci.rootfs("secrets")).unwrap();
    std::fs::write(oci.rootfs("secrets/file"), "x").unwrap();
    std::fs::write(oci.rootfs("secret"), "x").unwrap();
    oci.set(
        "/linux/maskedPaths",
        json!(["/secrets", "/secret", "/proc/keys", "/sys/firmware", "/absent", "/proc/acpi"]),
    );
    let text = oci.sh("ls /secrets /sys/firmware | grep -v :; wc -c < /secret; wc -c < /proc/keys; echo x 2>/dev/null > /secret; \
        touch /secrets/y 2>/dev/null || echo no; cat /secret");
    assert_eq!(text.trim_start(), "0\n0\nno");
    assert_eq!(std::fs::read_to_string(oci.rootfs("secret")).unwrap(), "x");
}

#[test]
fn a_masked_path_that_is_a_link_masks_what_it_points_at() {
    let mut oci = Oci::new();
    std::fs::write(oci.rootfs("secret"), "x").unwrap();
    symlink("/secret", oci.rootfs("link")).unwrap();
    oci.set("/linux/maskedPaths", json!(["/link"]));
    assert_eq!(oci.sh("cat /link /secret | wc -c"), "0");
}

#[test]
fn a_masked_path_that_cannot_be_resolved_is_refused() {
    let mut oci = Oci::new();
    symlink("loop", oci.rootfs("loop")).unwrap();
    oci.set("/linux/maskedPaths", json!(["/loop"]));
    oci.refused(&["too many levels of symbolic links"]);
}

#[test]
fn paths_are_made_read_only() {
    let mut oci = Oci::new();
    std::fs::create_dir(oci.rootfs("data")).unwrap();
    std::fs::write(oci.rootfs("file"), "x").unwrap();
    oci.set("/linux/readonlyPaths", json!(["/data", "/file", "/proc/sys", "/absent"]));
    let text = oci.sh("touch /data/x 2>/dev/null || echo 1; echo 2>/dev/null > /file || echo 2; \
        echo 1 2>/dev/null > /proc/sys/net/ipv4/ip_forward || echo 3; cat /file");
    assert_eq!(text, "1\n2\n3\nx");
}

#[test]
fn masked_and_readonly_paths_need_a_mount_namespace() {
    let mut oci = Oci::new();
    oci.without_namespace("mount");
    oci.set("/linux/maskedPaths", json!(["/proc/keys"]));
    oci.refused(&["MNT namespace"]);
}

#[test]
fn kernel_parameters_of_its_own_namespaces() {
    let mut oci = Oci::new();
    oci.set(
        "/linux/sysctl",
        json!({"net.ipv4.ip_forward": "1", "kernel.msgmax": "8193", "fs.mqueue.queues_max": "7",
        "net/ipv4/conf/lo/forwarding": "1"}),
    );
    let text = oci.sh("cd /proc/sys; cat net/ipv4/ip_forward kernel/msgmax fs/mqueue/queues_max net/ipv4/conf/lo/forwarding");
    assert_eq!(text, "1\n8193\n7\n1");
}

#[test]
fn kernel_parameters_of_the_host_are_refused() {
    for (key, value) in
        [("kernel.core_pattern", "x"), ("vm.swappiness", "1"), ("kernel.hostname", "x"), ("fs.file-max", "5")]
    {
        let mut oci = Oci::new();
        oci.set("/linux/sysctl", json!({key: value}));
        oci.refused(&[key]);
    }
    let mut oci = Oci::new();
    oci.without_namespace("network").set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    oci.set(
        "/mounts/5",
        json!({"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "ro"]}),
    );
    oci.refused(&["net.ipv4.ip_forward"]);
    let mut oci = Oci::new();
    oci.without_namespace("ipc").set("/linux/sysctl", json!({"kernel.msgmax": "1"}));
    oci.refused(&["kernel.msgmax"]);
}

#[test]
fn a_network_that_is_the_hosts_by_path_is_the_hosts() {
    let mut oci = Oci::new();
    oci.join_namespace("network", "/proc/self/ns/net")
        .set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    oci.set(
        "/mounts/5",
        json!({"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "ro"]}),
    );
    oci.refused(&["net.ipv4.ip_forward"]);
}

#[test]
fn a_parameter_that_is_not_there_or_takes_no_such_value() {
    let mut oci = Oci::new();
    oci.set("/linux/sysctl", json!({"net.absent": "1"}));
    oci.refused(&["net"]);
    oci.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "many"}));
    oci.refused(&[]);
}

/// Refused, or followed within the bundle: both keep what was asked for.
#[test]
fn a_root_that_is_a_link_is_never_a_root_elsewhere() {
    let mut oci = Oci::new();
    symlink("rootfs", oci.bundle().join("link")).unwrap();
    oci.set("root/path", json!("link"));
    let outcome = oci.foreground();
    assert!(outcome.code() == 0 || outcome.err().contains("root"), "{outcome}");
    oci.clean();
}
