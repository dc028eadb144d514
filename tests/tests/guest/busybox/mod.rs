//! A guest whose first process is busybox's: nothing but a kernel, Holm, and what a checkpoint needs.

mod checkpoints;
mod keepers;
mod layers;
mod limits;
pub mod programs;
mod verbs;
mod walls;

use std::time::Duration;

use anyhow::Result;

use super::archive::Archive;
use super::machine::{Guest, Plan};
use super::record::Answer;

static GUEST: Guest = Guest::new(Plan {
    areas: &[
        ("verbs", verbs::STEPS),
        ("limits", limits::STEPS),
        ("walls", walls::STEPS),
        ("layers", layers::STEPS),
        ("keepers", keepers::STEPS),
        ("checkpoints", checkpoints::STEPS),
    ],
    residue: RESIDUE,
    patience: Duration::from_secs(40),
    life: Duration::from_secs(400),
    modules: &MODULES,
    processor: "qemu64",
    memory: "1G",
    options: "",
    disk: None,
    boots_again: false,
    files,
});

/// What CRIU asks about sockets, and what it locks networks with.
const MODULES: [&str; 11] = [
    "unix_diag",
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    "raw_diag",
    "af_packet_diag",
    "netlink_diag",
    "nf_tables",
    "nft_compat",
    "xt_mark",
    "nf_conntrack_netlink",
];

#[track_caller]
fn answer(step: &str) -> &'static Answer {
    GUEST.answer(step)
}

#[track_caller]
fn leaves_nothing(area: &str) {
    GUEST.leaves_nothing(area);
}

fn files(archive: &mut Archive) -> Result<()> {
    archive.file("init", 0o755, INIT).file("etc/inittab", 0o644, INITTAB).file("etc/mounts", 0o755, MOUNTS);
    archive.file("usr/bin/keeper_of", 0o755, KEEPER_OF);
    programs::add(archive)
}

/// The guest's first program. The kernel's first root cannot be left by pivot_root(2), so what is in it
/// moves to a root like any other.
pub const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
mkdir /new
mount -t tmpfs -o mode=755 root /new
cp -a /bin /etc /usr /lib /lib64 /steps /base.tar /new
cd /new
mkdir dev proc run sys tmp var
exec switch_root /new /bin/init
"#;

/// Configuration of busybox's init, which reaps what loses its parent, as PID 1 of a real machine does.
pub const INITTAB: &str = "::sysinit:/etc/mounts\n::once:/etc/steps\n";

/// Mounts everything and loads the modules.
pub const MOUNTS: &str = r#"#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666 pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --make-rshared /
chmod 1777 /tmp
hostname guest
for module in /lib/modules/*; do insmod "$module" || echo "cannot load $module"; done
"#;

/// Prints the process id of a workload's keeper: the parent of its first process.
const KEEPER_OF: &str = r#"#!/bin/sh
pid=$(holm inspect -f '{{.State.Pid}}' "$1")
awk '/^PPid:/ { print $2 }' "/proc/$pid/status"
"#;

/// Prints all that workloads could leave, once keepers on their way out have had time to go: nothing. What
/// a failure left does not stand in the way of the next area.
pub const RESIDUE: &str = r#"
look() {
    holm ps -aq | sed 's/^/workload /'
    grep -E ' (/var/lib/holm|/run/holm)' /proc/mounts | sed 's/^/mount /'
    loops | sed 's/^/loop device /'
    find /sys/fs/cgroup/holm -mindepth 1 -type d ! -name keepers | sed 's/^/group /'
    ls /var/lib/holm/snapshots /run/holm/sandboxes /var/lib/holm/workloads 2>/dev/null |
        grep -E '[0-9a-f]{64}' | sed 's/^/directory /'
    ps -o stat,pid,args | grep -E '^[^Z].*[h]olm-' | sed 's/^/process /'
}
for try in $(seq 30); do
    look >/tmp/.left
    [ -s /tmp/.left ] || exit 0
    sleep 0.1
done
cat /tmp/.left
holm rm -f $(holm ps -aq) >/dev/null 2>&1
exit 0
"#;
