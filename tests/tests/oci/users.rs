//! User namespaces and time namespaces.

use serde_json::json;
use std::os::unix::fs::MetadataExt;

use super::runtime::{Feature, lacks};
use super::setup::Oci;

/// A container whose root is user 100000 of the host.
pub fn mapped() -> Oci {
    let mut oci = Oci::new();
    let mapping = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    oci.add("/linux/namespaces", json!({"type": "user"}));
    oci.set("/linux/uidMappings", mapping.clone()).set("/linux/gidMappings", mapping);
    let status =
        std::process::Command::new("chown").args(["-R", "100000:100000"]).arg(oci.rootfs("")).status();
    assert!(status.unwrap().success());
    open_way(&oci);
    oci
}

/// A mapped root must be able to reach its root file system through the folders above it.
fn open_way(oci: &Oci) {
    use std::os::unix::fs::PermissionsExt;
    for name in ["", "b"] {
        std::fs::set_permissions(oci.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn root_inside_is_somebody_else_outside() {
    let mut oci = mapped();
    assert_eq!(oci.sh("id -u; id -g; touch /made; stat -c %u /made"), "0\n0\n0");
    assert_eq!(oci.rootfs("made").metadata().unwrap().uid(), 100_000);
}

#[test]
fn several_maps_are_written_as_they_are() {
    let mut oci = mapped();
    let mappings = json!([{"containerID": 0, "hostID": 100_000, "size": 1000},
        {"containerID": 2000, "hostID": 300_000, "size": 5}, {"containerID": 5000, "hostID": 1, "size": 1}]);
    oci.set("/linux/uidMappings", mappings.clone()).set("/linux/gidMappings", mappings);
    let text =
        oci.sh("tr -s ' ' < /proc/self/uid_map; tr -s ' ' < /proc/self/gid_map; cat /proc/self/setgroups");
    let map = " 0 100000 1000\n 2000 300000 5\n 5000 1 1\n";
    assert_eq!(text, format!("{map}{map}allow"));
}

#[test]
fn a_user_of_the_second_map_and_more_groups() {
    let mut oci = mapped();
    let mappings = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}, {"containerID": 2000, "hostID": 300_000, "size": 5}]);
    oci.set("/linux/uidMappings", mappings.clone()).set("/linux/gidMappings", mappings);
    oci.set("/process/user", json!({"uid": 2001, "gid": 2002, "additionalGids": [2003]}));
    assert_eq!(oci.sh("id -u; id -g; grep ^Groups: /proc/self/status").trim(), "2001\n2002\nGroups:\t2003");
}

#[test]
fn devices_come_from_the_host() {
    let mut oci = mapped();
    assert_eq!(
        oci.sh("echo x > /dev/null && head -c 3 /dev/zero | wc -c; stat -c %t:%T /dev/null"),
        "3\n1:3"
    );
}

#[test]
fn exec_joins_it() {
    let mut oci = mapped();
    oci.up("sleep 1000");
    assert_eq!(
        oci.exec("id -u; readlink /proc/self/ns/user"),
        format!("0\n{}", oci.exec("readlink /proc/1/ns/user"))
    );
    let own = std::fs::read_link("/proc/self/ns/user").unwrap();
    assert_ne!(oci.exec("readlink /proc/self/ns/user"), own.to_str().unwrap());
}

#[test]
fn masked_and_readonly_and_hostname_work_there() {
    let mut oci = mapped();
    oci.set("/linux/maskedPaths", json!(["/proc/keys"])).set("/linux/readonlyPaths", json!(["/proc/sys"]));
    oci.set("root/readonly", json!(true));
    let text = oci.sh("hostname; cat /proc/keys; touch /x 2>/dev/null || echo read-only; id -u");
    assert_eq!(text, "box\nread-only\n0");
}

#[test]
fn a_user_namespace_and_those_it_owns_are_joined_by_path() {
    let mut other = mapped();
    other.up("sleep 1000");
    let mut oci = Oci::new();
    let pid = other.pid();
    for (kind, name) in [("user", "user"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        oci.join_namespace(kind, &format!("/proc/{pid}/ns/{name}"));
    }
    if lacks(Feature::JoinUserWithoutMaps) {
        let mapping = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
        oci.set("/linux/uidMappings", mapping.clone()).set("/linux/gidMappings", mapping);
    }
    oci.unset("/hostname");
    open_way(&oci);
    std::process::Command::new("chown").args(["-R", "100000:100000"]).arg(oci.rootfs("")).status().unwrap();
    assert_eq!(oci.sh("id -u; cat /proc/self/uid_map | tr -s ' '; hostname"), "0\n 0 100000 1000\nbox");
}

#[test]
fn maps_need_a_namespace_and_a_namespace_needs_maps() {
    if lacks(Feature::StrictConfiguration) {
        return;
    }
    let mut oci = Oci::new();
    oci.set("/linux/uidMappings", json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]));
    oci.refused(&["user namespace"]);
    let mut oci = Oci::new();
    oci.add("/linux/namespaces", json!({"type": "user"}));
    oci.refused(&[]);
}

#[test]
fn a_user_without_a_map_is_refused() {
    let mut oci = mapped();
    oci.set("/process/user/uid", json!(5000));
    oci.refused(&[]);
    let mut oci = mapped();
    oci.set("/linux/uidMappings", json!([{"containerID": 1, "hostID": 100_000, "size": 10}]));
    oci.refused(&[]);
}

#[test]
fn overlapping_maps_are_refused_by_the_kernel_and_leave_nothing() {
    let mut oci = mapped();
    let mappings = json!([{"containerID": 0, "hostID": 100_000, "size": 10}, {"containerID": 5, "hostID": 200_000, "size": 10}]);
    oci.set("/linux/uidMappings", mappings);
    oci.refused(&[]);
}

#[test]
fn more_than_five_maps() {
    let mut oci = mapped();
    let maps: Vec<_> =
        (0..50).map(|n| json!({"containerID": n * 10, "hostID": 100_000 + n * 10, "size": 10})).collect();
    oci.set("/linux/uidMappings", json!(maps)).set("/linux/gidMappings", json!(maps));
    assert_eq!(oci.sh("wc -l < /proc/self/uid_map"), "50");
}

fn time_offsets(oci: &mut Oci, offsets: serde_json::Value) {
    oci.add("/linux/namespaces", json!({"type": "time"}));
    oci.set("/linux/timeOffsets", offsets);
}

#[test]
fn clocks_are_moved() {
    if lacks(Feature::TimeNamespace) {
        return;
    }
    let mut oci = Oci::new();
    time_offsets(
        &mut oci,
        json!({"monotonic": {"secs": 7881, "nanosecs": 2718281}, "boottime": {"secs": 1337, "nanosecs": 3141519}}),
    );
    oci.up("tr -s ' ' < /proc/self/timens_offsets; sleep 1000");
    oci.wait_for_output("boottime");
    assert_eq!(oci.output("box"), "monotonic 7881 2718281\nboottime 1337 3141519");
    assert_eq!(oci.exec("readlink /proc/self/ns/time"), oci.exec("readlink /proc/1/ns/time"));
    assert_eq!(oci.exec("cat /proc/self/timens_offsets | tr -s ' '"), oci.output("box"));
}

#[test]
fn offsets_need_a_new_time_namespace() {
    if lacks(Feature::TimeNamespace) {
        return;
    }
    let mut oci = Oci::new();
    oci.set("/linux/timeOffsets", json!({"monotonic": {"secs": 1}}));
    oci.refused(&["time"]);
    let mut oci = Oci::new();
    time_offsets(&mut oci, json!({"boottime": {"secs": -1_000_000_000}}));
    oci.refused(&[]);
}

#[test]
fn a_time_namespace_is_joined_by_path() {
    if lacks(Feature::TimeNamespace) {
        return;
    }
    let mut other = Oci::new();
    time_offsets(&mut other, json!({"boottime": {"secs": 5000}}));
    other.up("sleep 1000");
    let mut oci = Oci::new();
    oci.join_namespace("time", &format!("/proc/{}/ns/time", other.pid()));
    assert_eq!(oci.sh("readlink /proc/self/ns/time"), other.exec("readlink /proc/self/ns/time"));
}

#[test]
fn users_and_times_go_together() {
    if lacks(Feature::TimeNamespace) {
        return;
    }
    let mut oci = mapped();
    time_offsets(&mut oci, json!({"boottime": {"secs": 1337, "nanosecs": 0}}));
    assert!(oci.sh("tr -s ' ' < /proc/self/timens_offsets; id -u").ends_with("boottime 1337 0\n0"));
}
