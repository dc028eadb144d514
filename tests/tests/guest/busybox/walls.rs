//! The walls: devices by the cgroup's eBPF program, capabilities, seccomp, paths, read-only roots.

use super::{answer, leaves_nothing};
use crate::guest::step::{Step, step};

/// What is done. The guest's memory is the device `c 1 1`, its first loop device `b 7 0`.
pub const STEPS: &[Step] = &[
    step(
        "devices",
        "holm run --rm base sh -c '
            mknod /tmp/mem c 1 1 && echo made
            mknod /tmp/loop b 7 0 && echo made
            mknod /tmp/null c 1 3 && echo x >/tmp/null && echo written
            head -c 1 /dev/zero | wc -c
            dd if=/tmp/mem of=/dev/null bs=1 count=1
            dd if=/tmp/loop of=/dev/null bs=1 count=1
            dd if=/dev/zero of=/tmp/loop bs=1 count=1 conv=notrunc'",
    ),
    step(
        "devices with all rights",
        "holm run --rm --privileged base sh -c '
            mknod /tmp/loop b 7 0 && dd if=/tmp/loop of=/dev/null bs=1 count=0 && echo opened'",
    ),
    step(
        "devices of exec",
        "holm run -d --name box base sleep 1000
        holm exec box sh -c 'mknod /tmp/mem c 1 1; cat /tmp/mem >/dev/null'
        echo $?; holm rm -f box",
    ),
    step("rights", "holm run --rm base grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status"),
    step(
        "all rights",
        "holm run --rm --privileged base grep -E '^(CapEff|Seccomp:)' /proc/self/status; grep CapEff /proc/self/status",
    ),
    step(
        "one right",
        "holm run --rm --cap-drop ALL --cap-add CHOWN --security-opt no-new-privileges base grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status",
    ),
    step("a user's rights", "holm run --rm -u app base sh -c 'id; grep CapEff /proc/self/status'"),
    step("filtered calls", "holm run --rm base unshare -m true; holm run --rm base mount -t tmpfs none /tmp"),
    step("read-only", "holm run --rm --read-only base touch /file"),
    step(
        "read-only with room",
        "holm run --rm --read-only --tmpfs /room base sh -c 'touch /room/file && ls /room'",
    ),
    step(
        "masked",
        "holm run --rm base sh -c 'cat /proc/kcore /proc/keys /proc/timer_list; ls -A /sys/firmware; echo 1 >/proc/sys/kernel/panic'",
    ),
    step("mounts inside", "holm run --rm base cat /proc/mounts"),
    step(
        "namespaces",
        "for n in cgroup ipc mnt net pid uts; do a=$(readlink /proc/self/ns/$n); b=$(holm run --rm base readlink /proc/self/ns/$n); [ $a != $b ] && echo $n; done",
    ),
];

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn devices_are_guarded() {
    let devices = answer("devices").expect_code(1);
    assert_eq!(devices.out(), "made\nmade\nwritten\n1");
    let refused: Vec<_> = devices.err().lines().map(str::to_owned).collect();
    let expected = ["/tmp/mem", "/tmp/loop", "/tmp/loop"]
        .map(|file| format!("dd: can't open '{file}': Operation not permitted"));
    assert_eq!(refused, expected, "{devices}");
    answer("devices with all rights").says("opened");
    let exec = answer("devices of exec");
    assert_eq!(exec.ok().lines().nth(1), Some("1"), "{exec}");
    assert!(exec.err().contains("can't open '/tmp/mem': Operation not permitted"), "{exec}");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn rights_are_dockers() {
    let (zero, default) = ("0000000000000000", "00000000a80425fb");
    answer("rights").says(&format!(
        "CapInh:\t{zero}\nCapPrm:\t{default}\nCapEff:\t{default}\nCapBnd:\t{default}\nCapAmb:\t{zero}\nNoNewPrivs:\t0\nSeccomp:\t2"
    ));
    let all = answer("all rights").ok();
    let lines: Vec<_> = all.lines().collect();
    let [effective, seccomp, host] = lines.as_slice() else { panic!("{all}") };
    assert_eq!((effective, *seccomp), (host, "Seccomp:\t0"), "all that the host has");
    answer("one right").says("CapEff:\t0000000000000001\nCapBnd:\t0000000000000001\nNoNewPrivs:\t1");
    answer("a user's rights")
        .says(&format!("uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)\nCapEff:\t{zero}"));
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn calls_are_filtered() {
    let filtered = answer("filtered calls").err();
    assert_eq!(
        filtered.matches("Operation not permitted").count() + filtered.matches("permission denied").count(),
        2,
        "{filtered}"
    );
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn roots_and_paths() {
    answer("read-only").fails(1, "Read-only file system");
    answer("read-only with room").says("file");
    let masked = answer("masked").expect_code(1);
    assert_eq!(masked.out(), "", "{masked}");
    assert!(masked.err().contains("/proc/sys/kernel/panic: Read-only file system"), "{masked}");
    let mounts = answer("mounts inside").ok();
    let row = |point: &str| {
        mounts.lines().find(|line| line.split(' ').nth(1) == Some(point)).unwrap_or_default().to_owned()
    };
    assert!(row("/").contains(" / overlay rw,"), "{mounts}");
    let groups = row("/sys/fs/cgroup");
    assert!(groups.contains(" cgroup2 ro,nosuid,nodev,noexec"), "{mounts}");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn namespaces_are_its_own() {
    answer("namespaces").says("cgroup\nipc\nmnt\nnet\npid\nuts");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn nothing_is_left() {
    leaves_nothing("walls");
}
