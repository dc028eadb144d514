//! Hosts whose mounts are shared, as systemd makes them: what a container mounts stays in it. Each test has a mount
//! namespace of its own with a shared mount, which holds the bundle and a folder to bind.

use std::process::Command;

use holm_tests::Call;
use serde_json::json;

use super::runtime::program;
use super::setup::Oci;

/// A container that may mount, with the folder `/mnt` bound from the host.
fn with_folder(options: &[&str], script: &str) -> Oci {
    let mut oci = Oci::script(script);
    let source = oci.shared();
    oci.mount("/mnt", "bind", &source, options);
    for set in ["bounding", "effective", "permitted"] {
        oci.add(&format!("/process/capabilities/{set}"), json!("CAP_SYS_ADMIN"));
    }
    oci
}

/// Runs the container on a shared mount, with `before` and `after` around it; what both print.
#[track_caller]
fn on_shared_mount(oci: &Oci, before: &str, after: &str) -> String {
    oci.save();
    let script = format!(
        "set -e; mkdir -p shared; for place in . shared; do \
         mount --bind $place $place; cd \"$PWD\"; mount --make-shared $place; done; {before}; \
         \"$RUNTIME\" --root run run --bundle b box; {after}"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
    command.env("RUNTIME", program()).current_dir(oci.directory.path());
    let text = Call::new(command).run().ok();
    oci.clean();
    text
}

#[test]
fn the_root_may_lie_on_a_shared_mount() {
    let oci = Oci::script("grep -c ' shared:' /proc/self/mountinfo; true");
    assert_eq!(on_shared_mount(&oci, "true", "true"), "0");
}

#[test]
fn what_a_container_mounts_stays_in_it() {
    for options in
        [&["bind"][..], &["rbind"], &["rbind", "rslave"], &["rbind", "rprivate"], &["rbind", "rshared"]]
    {
        let oci = with_folder(options, "mount -t tmpfs inner /mnt && grep -c ' inner ' /proc/self/mountinfo");
        let after = "grep -c ' inner ' /proc/self/mountinfo || true";
        assert_eq!(on_shared_mount(&oci, "true", after), "1\n0", "{options:?}");
    }
}

#[test]
fn what_is_to_be_shared_both_ways_is() {
    let mut oci = with_folder(&["rbind", "rshared"], "mount -t tmpfs inner /mnt");
    oci.set("/linux/rootfsPropagation", json!("shared"));
    assert_eq!(on_shared_mount(&oci, "true", "grep -q ' inner ' /proc/self/mountinfo && echo seen"), "seen");
}

#[test]
fn a_slave_sees_what_the_host_mounts_later() {
    for (options, seen) in [(&["rbind", "rslave"][..], "1"), (&["rbind"], "1"), (&["rbind", "rprivate"], "0")]
    {
        let wait = "touch /mnt/ready; for i in $(seq 100); do grep -q ' outer ' /proc/self/mountinfo && break; \
                    [ -e /mnt/done ] && break; sleep 0.05; done; grep -c ' outer ' /proc/self/mountinfo; true";
        let oci = with_folder(options, wait);
        let host = "(while ! [ -e shared/ready ]; do sleep 0.05; done; mkdir shared/below; \
                    mount -t tmpfs outer shared/below; touch shared/done) & true";
        assert_eq!(on_shared_mount(&oci, host, "wait"), seen, "{options:?}");
    }
}

#[test]
fn a_root_that_is_to_be_a_slave_is_one() {
    for (propagation, expected) in [("slave", "1"), ("rslave", "1"), ("private", "0")] {
        let mut oci =
            Oci::script("grep ' / / \\|/b/rootfs / ' /proc/self/mountinfo | grep -c ' master:'; true");
        oci.set("/linux/rootfsPropagation", json!(propagation));
        assert_eq!(on_shared_mount(&oci, "true", "true"), expected, "{propagation}");
    }
}
