//! Layers where the kernel mounts EROFS from block devices only (before Linux 6.12): each through one loop
//! device, shared by all its users, and gone with the last.

use super::{answer, leaves_nothing};
use crate::guest::step::{Step, step};

/// What is done. `look` shows how many layers are mounted, and what is behind loop devices.
pub const STEPS: &[Step] = &[
    step(
        "one layer for two",
        "look() { echo $(grep -c ' erofs ' /proc/mounts) $(loops | wc -l); }
        look
        holm run -d --name one base sleep 1000 >/dev/null; look
        holm run -d --name two base sleep 1000 >/dev/null; look
        loops; grep ' erofs ' /proc/mounts
        holm rm -f one; look
        holm exec two cat /etc/os-release
        holm rm -f two; eventually '[ \"$(look)\" = \"0 0\" ]'; look",
    ),
    step(
        "all at once",
        "for i in $(seq 12); do holm run --rm base sh -c \"echo $i\" & done; wait
        for i in $(seq 13 24); do holm run --rm base sh -c \"echo $i\" & sleep 0.03; done; wait",
    ),
    step(
        "another image beside it",
        "mkdir -p /tmp/other/bin; cp /bin/busybox /tmp/other/bin/; ln -s busybox /tmp/other/bin/sleep
        tar -C /tmp/other -c . | holm import - other >/dev/null
        holm run -d --name one base sleep 1000 >/dev/null; holm run -d --name two other sleep 1000 >/dev/null
        loops | wc -l; holm rm -f one two; eventually '[ -z \"$(loops)\" ]'; holm rmi other",
    ),
    step(
        "an image that is gone",
        "holm run -d --name one base sleep 1000; holm rmi base; holm rm -f one; holm images -q | wc -l",
    ),
    step(
        "writes stay with their workload",
        "holm run --name one base sh -c 'echo mine >/etc/file; rm /etc/passwd; cat /etc/file'
        holm start -a one; holm run --rm base ls /etc/passwd /etc/file; holm rm one",
    ),
    step(
        "no device to be had",
        "mv /dev/loop-control /tmp/; holm run --rm base true; code=$?; mv /tmp/loop-control /dev/; exit $code",
    ),
];

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn one_loop_device_serves_all_users_of_a_layer() {
    let text = answer("one layer for two").ok();
    let lines: Vec<_> = text.lines().collect();
    let [none, one, two, device, mount, removed, left, release, _, removed_too, end] = lines.as_slice()
    else {
        panic!("{text}")
    };
    assert_eq!([*none, *one, *two, *left, *end], ["0 0", "1 1", "1 1", "1 1", "0 0"], "{text}");
    assert_eq!([*removed, *removed_too], ["one", "two"]);
    let (attribute, file) = device.split_once(':').expect("a device and its file");
    assert!(file.starts_with("/var/lib/holm/layers/") && file.ends_with(".erofs"), "{device}");
    let name = attribute.split('/').nth(3).expect("the name of a device");
    assert!(mount.starts_with(&format!("/dev/{name} /run/holm/")), "{mount}");
    assert!(mount.contains(" erofs ro,nosuid,nodev"), "{mount}");
    assert_eq!(*release, "ID=base");
    answer("another image beside it").ok();
    assert_eq!(answer("another image beside it").out().lines().next(), Some("2"));
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn many_users_at_once() {
    let answer = answer("all at once");
    let mut numbers: Vec<u32> = answer.ok().lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=24).collect::<Vec<_>>(), "{answer}");
    assert!(answer.err().is_empty(), "{answer}");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn an_image_in_use_stays() {
    let answer = answer("an image that is gone");
    assert_eq!(answer.ok().lines().last(), Some("1"), "{answer}");
    assert!(answer.err().contains("base"), "{answer}");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn what_a_workload_writes_is_its_own() {
    let answer = answer("writes stay with their workload");
    assert_eq!(answer.ok(), "mine\nmine\n/etc/passwd\none");
    assert!(answer.err().contains("/etc/file: No such file"), "{answer}");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_host_without_loop_devices_is_told() {
    let answer = answer("no device to be had");
    answer.fails(125, "mount layer");
    assert!(answer.err().contains("loop"), "it does not name what is missing: {answer}");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn nothing_is_left() {
    leaves_nothing("layers");
}
