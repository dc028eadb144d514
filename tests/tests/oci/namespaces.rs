//! Namespaces: new ones, the host's, and others joined by path.

use holm_tests::eventually;
use serde_json::json;

use super::runtime::{Feature, lacks};
use super::setup::Oci;

const KINDS: [(&str, &str); 6] = [
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("cgroup", "cgroup"),
];

fn of_host(name: &str) -> String {
    std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap().to_str().unwrap().to_owned()
}

fn of(pid: u32, name: &str) -> String {
    std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().to_str().unwrap().to_owned()
}

#[test]
fn those_that_are_named_are_new() {
    let mut oci = Oci::new();
    oci.up("sleep 1000");
    for (_, name) in KINDS {
        assert_ne!(of(oci.pid(), name), of_host(name), "{name}");
    }
    assert_eq!(of(oci.pid(), "user"), of_host("user"));
}

#[test]
fn those_that_are_absent_are_the_hosts() {
    for (kind, name) in KINDS.into_iter().filter(|(kind, _)| *kind != "mount") {
        let mut oci = Oci::new();
        oci.without_namespace(kind);
        if kind == "uts" {
            oci.unset("/hostname");
        }
        if kind == "network" {
            // A file system of the host's devices cannot be mounted anew by everybody; bind mounts always can.
            oci.set(
                "/mounts/5",
                json!({"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "ro"]}),
            );
        }
        oci.up("sleep 1000");
        assert_eq!(of(oci.pid(), name), of_host(name), "{name}");
        oci.remove();
    }
}

#[test]
fn a_mount_namespace_alone_will_do() {
    let mut oci = Oci::new();
    oci.set("/linux/namespaces", json!([{"type": "mount"}]))
        .unset("/hostname")
        .set("/mounts/5/options", json!(["ro"]));
    std::fs::write(oci.rootfs("mark"), "").unwrap();
    assert_eq!(oci.sh("test -e /mark && echo inside"), "inside");
}

#[test]
fn without_any_namespace_it_still_runs_in_its_root() {
    if lacks(Feature::NoNamespace) {
        return;
    }
    let mut oci = Oci::new();
    oci.set("/linux/namespaces", json!([])).unset("/hostname").set("/mounts", json!([]));
    std::fs::write(oci.rootfs("mark"), "").unwrap();
    oci.command(&["sh", "-c", "test -e /mark && echo inside"]);
    let outcome = oci.foreground();
    assert_eq!(outcome.ok(), "inside");
    oci.clean();
}

#[test]
fn the_first_process_is_1_in_its_pid_namespace() {
    let mut oci = Oci::new();
    assert_eq!(
        oci.sh("echo $$; set -- /proc/[0-9]*; echo $#; cut -d' ' -f1,4,5,6 /proc/1/stat"),
        "1\n1\n1 0 1 1"
    );
}

#[test]
fn the_hosts_number_is_shown_in_state() {
    let mut oci = Oci::new();
    oci.up("sleep 1000");
    let status = std::fs::read_to_string(format!("/proc/{}/status", oci.pid())).unwrap();
    assert!(status.contains(&format!("NSpid:\t{}\t1\n", oci.pid())), "{status}");
}

#[test]
fn the_loopback_interface_of_a_new_network_is_up() {
    let mut oci = Oci::new();
    let text = oci.sh("ifconfig lo; ls /sys/class/net | grep -v lo; ip link show lo");
    assert!(text.contains("inet addr:127.0.0.1") && text.contains("LOWER_UP"), "{text}");
}

/// Starts a container whose namespaces another one joins.
fn other() -> Oci {
    let mut other = Oci::new();
    other.set("/hostname", json!("other"));
    other.up("sleep 1000");
    other
}

#[test]
fn others_are_joined_by_path() {
    let other = other();
    for (kind, name) in KINDS.into_iter().filter(|(kind, _)| !["mount", "pid", "cgroup"].contains(kind)) {
        let mut oci = Oci::new();
        oci.join_namespace(kind, &format!("/proc/{}/ns/{name}", other.pid()));
        if kind == "uts" {
            oci.unset("/hostname");
        }
        oci.up("hostname; sleep 1000");
        assert_eq!(of(oci.pid(), name), of(other.pid(), name), "{kind}");
        oci.wait_for_output(if kind == "uts" { "other" } else { "box" });
        oci.remove();
    }
}

#[test]
fn a_pid_namespace_is_joined_by_path() {
    let other = other();
    let mut oci = Oci::new();
    oci.join_namespace("pid", &format!("/proc/{}/ns/pid", other.pid()));
    oci.up("echo I am $$; sleep 4321");
    assert_eq!(of(oci.pid(), "pid"), of(other.pid(), "pid"));
    oci.wait_for_output("I am");
    assert_ne!(oci.output("box"), "I am 1");
    assert!(other.exec("ps").contains("sleep 4321"), "the first container sees the second");
    oci.ok(["kill", "box", "KILL"]);
    oci.wait_for("stopped");
    oci.ok(["delete", "box"]);
    oci.clean();
    assert_eq!(other.status(), "running");
}

#[test]
fn processes_in_a_joined_pid_namespace_end_with_their_container() {
    let other = other();
    let mut oci = Oci::new();
    oci.join_namespace("pid", &format!("/proc/{}/ns/pid", other.pid()));
    oci.up("sleep 1001 & echo ready; sleep 1000");
    oci.wait_for_output("ready");
    oci.remove();
    assert_eq!(other.exec("ps | grep -c '[s]leep 1001'; true"), "0");
}

#[test]
fn a_mount_namespace_is_joined_by_path() {
    let other = other();
    let mut oci = Oci::new();
    oci.join_namespace("mount", &format!("/proc/{}/ns/mnt", other.pid()));
    // What a container does to the mounts of another one is its own affair; here it does nothing.
    oci.set("/mounts", json!([]));
    oci.save();
    let outcome = oci.background("box", ["create", "--bundle", "b", "box"]).run();
    if outcome.code() == 0 {
        assert_eq!(of(oci.pid(), "mnt"), of(other.pid(), "mnt"));
    }
    other.exec("true");
}

#[test]
fn a_network_held_by_a_file_is_joined() {
    let oci_path = |oci: &Oci| oci.path("net");
    let mut oci = Oci::new();
    let path = oci_path(&oci);
    std::fs::write(&path, "").unwrap();
    let script = format!("mount --bind /proc/self/ns/net {}", path.display());
    let status = std::process::Command::new("unshare").args(["--net", "sh", "-c", &script]).status().unwrap();
    // `unshare` has its own mount namespace only if asked for one, so the host sees the mount.
    assert!(status.success());
    oci.join_namespace("network", path.to_str().unwrap());
    oci.up("sleep 1000");
    let inside = of(oci.pid(), "net");
    oci.ok(["delete", "-f", "box"]);
    holm_tests::host::unmount_below(&path);
    assert_ne!(inside, of_host("net"));
    oci.clean();
}

#[test]
fn a_path_of_another_kind_or_of_nothing_is_refused() {
    for path in ["/proc/self/ns/ipc", "/absent", "/etc/passwd", "relative"] {
        let mut oci = Oci::new();
        oci.join_namespace("network", path);
        oci.refused(&[]);
    }
}

#[test]
fn hostname_and_domain_name() {
    let mut oci = Oci::new();
    oci.set("/hostname", json!("a-name.example"));
    assert_eq!(oci.sh("hostname"), "a-name.example");
    if lacks(Feature::DomainName) {
        return;
    }
    oci.set("/domainname", json!("a-domain"));
    assert_eq!(oci.sh("hostname; cat /proc/sys/kernel/domainname"), "a-name.example\na-domain");
}

#[test]
fn a_new_cgroup_namespace_shows_its_own_group_as_the_root() {
    let mut oci = Oci::new();
    oci.set("/linux/resources/pids", json!({"limit": 40}));
    let text = oci.sh("cat /proc/self/cgroup");
    let line = text.lines().find(|line| line.contains(":pids:") || line.starts_with("0::"));
    assert!(line.is_some_and(|line| line.ends_with(":/")), "{text}");
    assert!(!text.contains("holm-oci-test"), "{text}");
}

#[test]
fn both_containers_of_a_joined_ipc_namespace_share_it() {
    let other = other();
    let mut oci = Oci::new();
    oci.join_namespace("ipc", &format!("/proc/{}/ns/ipc", other.pid()));
    oci.up("sleep 1000");
    oci.set("/linux/sysctl", json!({"kernel.msgmax": "8193"}));
    eventually("both run", || oci.status() == "running" && other.status() == "running");
    assert_eq!(of(oci.pid(), "ipc"), of(other.pid(), "ipc"));
}
