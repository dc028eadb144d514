//! `linux.netDevices`: devices of the host that a container takes over. Each test has a network namespace of its own in
//! place of the host's, with virtual cables, which every kernel with containers has; their other ends stay outside.

use std::process::Command;

use holm_tests::{Call, Outcome};
use serde_json::{Value, json};

use super::runtime::{Feature, lacks, program};
use super::setup::Oci;

/// Whether the runtime moves devices, and the kernel has the kind that the tests make.
fn possible() -> bool {
    if lacks(Feature::NetworkDevices) {
        return false;
    }
    let made = Command::new("unshare").args(["--net", "ip", "link", "add", "one", "type", "veth"]).output();
    let there = made.is_ok_and(|output| output.status.success());
    if !there {
        println!("left out: this kernel has no devices of the kind veth");
    }
    there
}

/// Runs the container where the script `before` has made devices, and `after` looks at what is left of them.
fn with_devices(oci: &mut Oci, devices: Value, before: &str, after: &str) -> Outcome {
    oci.set("/linux/netDevices", devices);
    oci.save();
    let script = format!(
        "set -e; {before}; set +e; \"$RUNTIME\" --root run run --bundle b box; code=$?; {after}; exit $code"
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", &script]).env("RUNTIME", program()).current_dir(oci.directory.path());
    Call::new(command).run()
}

const MAKE: &str = "ip link add one type veth peer name other; ip link set other up; ip addr add 10.9.8.7/24 brd + dev one; ip addr add fd09::7/64 dev one nodad; \
                    ip link set one up";

/// A container that shows its devices, with a busybox that knows `ip`.
fn shows() -> Oci {
    Oci::script(
        "ip -o link | cut -d' ' -f2 | sed 's/@.*:/:/' | sort; ip -o addr show scope global | awk '{print $2, $4}' | sort; ip link",
    )
}

#[test]
fn a_device_keeps_its_name_and_addresses_and_is_up() {
    if !possible() {
        return;
    }
    let mut oci = shows();
    let outcome = with_devices(&mut oci, json!({"one": {}}), MAKE, "ip -o link show one");
    let text = outcome.out();
    for expected in ["lo:\none:\n", "one 10.9.8.7/24", "one fd09::7/64", ",UP,LOWER_UP> "] {
        assert!(text.contains(expected), "{expected}: {outcome}");
    }
    assert!(outcome.err().contains("does not exist"), "it is gone from the host: {outcome}");
    oci.clean();
}

#[test]
fn a_device_gets_another_name() {
    if !possible() {
        return;
    }
    for (name, expected) in [("inner", "inner:\n"), ("eth%d", "eth0:\n")] {
        let mut oci = shows();
        let outcome = with_devices(&mut oci, json!({"one": {"name": name}}), MAKE, "true");
        let text = outcome.expect_code(0).out();
        assert!(text.contains(expected) && text.contains("10.9.8.7/24"), "{outcome}");
        oci.clean();
    }
}

#[test]
fn several_devices_go_together() {
    if !possible() {
        return;
    }
    let mut oci = shows();
    let before = format!("{MAKE}; ip link add two type veth peer name another");
    let devices = json!({"one": {"name": "first"}, "two": {"name": "second"}});
    let text = with_devices(&mut oci, devices, &before, "true").expect_code(0).out();
    assert!(text.starts_with("first:\nlo:\nsecond:\n"), "{text}");
    oci.clean();
}

#[test]
fn what_cannot_be_moved_is_named_and_nothing_is_left() {
    if !possible() {
        return;
    }
    for (devices, before, named) in [
        (json!({"none": {}}), "true", "linux.netDevices[\"none\"]"),
        (json!({"one": {"name": "lo"}}), MAKE, "linux.netDevices[\"one\"]"),
        (json!({"one": {"name": "a/b"}}), MAKE, "linux.netDevices[\"one\"]"),
        (json!({"one": {"name": "x"}, "two": {"name": "x"}}), MAKE, "linux.netDevices[\"two\"]"),
        (json!({"": {}}), "true", "linux.netDevices[\"\"]"),
    ] {
        let mut oci = shows();
        let outcome = with_devices(&mut oci, devices.clone(), before, "true");
        outcome.expect_code(1);
        let said = outcome.err().replace('\\', "");
        assert!(said.contains(named), "{devices}: {outcome}");
        oci.clean();
    }
}

#[test]
fn a_container_without_a_network_of_its_own_takes_none() {
    if !possible() {
        return;
    }
    let mut oci = shows();
    oci.without_namespace("network");
    let outcome = with_devices(&mut oci, json!({"one": {}}), MAKE, "ip -o link show one");
    outcome.expect_code(1);
    assert!(outcome.err().contains("linux.netDevices"), "{outcome}");
    assert!(outcome.out().contains("one"), "it stays where it was: {outcome}");
}

#[test]
fn a_namespace_that_is_joined_gets_them_too() {
    if !possible() {
        return;
    }
    let mut oci = shows();
    oci.without_namespace("network");
    oci.add("/linux/namespaces", json!({"type": "network", "path": "/proc/self/fd/7"}));
    let before = format!("unshare --net sleep 60 & other=$!; sleep 0.3; exec 7</proc/$other/ns/net; {MAKE}");
    let outcome = with_devices(&mut oci, json!({"one": {}}), &before, "kill $other");
    let text = outcome.expect_code(0).out();
    assert!(text.contains("one:\n") && text.contains("10.9.8.7/24"), "{outcome}");
}
