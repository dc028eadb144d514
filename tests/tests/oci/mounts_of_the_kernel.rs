//! What the kernel shows in a container, and that nothing else can take its place.

use std::os::unix::fs::symlink;

use serde_json::json;

use super::runtime::{Feature, lacks};
use super::setup::Oci;

#[test]
fn proc_is_covered_only_where_it_does_no_harm() {
    let mut oci = Oci::new();
    let source = format!("{}/file", oci.shared());
    for place in ["/proc/uptime", "/proc/meminfo", "/proc/cpuinfo", "/proc/loadavg", "/proc/stat"] {
        oci.mount(place, "bind", &source, &["bind"]);
    }
    assert_eq!(oci.sh("cat /proc/uptime"), "of the host");
    let source = oci.shared();
    for place in ["/proc/self/attr", "/proc/sys/kernel", "/proc/1", "/proc/acpi"] {
        let mut oci = Oci::new();
        oci.mount(place, "bind", &source, &["bind"]);
        oci.refused(&["cannot be mounted because it is inside /proc"]);
    }
}

#[test]
fn no_file_system_of_its_own_covers_proc() {
    if lacks(Feature::ProcIsGuarded) {
        return;
    }
    for place in ["/proc/self/attr", "/proc/sys/kernel", "/proc/1", "/proc/acpi", "/proc/new"] {
        let mut oci = Oci::new();
        oci.mount(place, "tmpfs", "tmpfs", &[]);
        oci.refused(&["cannot be mounted because it is inside /proc"]);
    }
}

#[test]
fn proc_itself_is_covered_by_nothing_else() {
    let mut oci = Oci::new();
    let source = oci.shared();
    oci.set("/mounts/0", json!({"destination": "/proc", "type": "tmpfs", "source": "tmpfs"}));
    oci.refused(&["proc"]);
    oci.set(
        "/mounts/0",
        json!({"destination": "/proc", "type": "bind", "source": source, "options": ["bind"]}),
    );
    oci.refused(&["because it is not of type proc"]);
}

#[test]
fn proc_and_sys_may_not_be_links() {
    for name in ["proc", "sys"] {
        let mut oci = Oci::new();
        std::fs::remove_dir(oci.rootfs(name)).unwrap();
        symlink("/tmp", oci.rootfs(name)).unwrap();
        if name == "sys" {
            oci.set("/mounts", json!([{"destination": "/sys", "type": "sysfs", "source": "sysfs"}]));
        }
        oci.refused(&["must be mounted on ordinary directory"]);
    }
}

#[test]
fn control_groups_are_shown_and_cannot_be_changed() {
    let mut oci = Oci::new();
    oci.set("/linux/resources/pids", json!({"limit": 40}));
    oci.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]);
    let text = oci.sh("cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; \
        mkdir /sys/fs/cgroup/x /sys/fs/cgroup/pids/x 2>/dev/null || echo read-only");
    assert_eq!(text, "40\nread-only");
}
