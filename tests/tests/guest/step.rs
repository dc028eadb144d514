//! What the guest is told to do, and the programs that do it there.

use super::AREAS;

/// One shell script that runs in the guest, with nothing on its standard input.
pub struct Step {
    /// What tests ask for it by; unique.
    pub name: &'static str,
    /// For the shell of busybox; there are the functions `eventually`, `ended` and `loops`, and the programs
    /// `holm` and `keeper_of`.
    pub script: &'static str,
}

/// A step in a table.
pub const fn step(name: &'static str, script: &'static str) -> Step {
    Step { name, script }
}

/// Name of the step that looks at what an area left.
pub fn residue(area: &str) -> String {
    format!("what {area} left")
}

/// Names and scripts of all steps, in order.
pub fn all() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (area, steps) in AREAS {
        all.extend(steps.iter().map(|step| (step.name.to_owned(), format!("{STEP_START}{}", step.script))));
        all.push((residue(area), format!("{STEP_START}{RESIDUE}")));
    }
    all
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

/// Runs the steps and records on the second serial port what [`super::record`] reads. Each line of output
/// is marked, so that no output can be taken for a mark; each step has a session, so that it can end no other.
pub const RUNNER: &str = r#"#!/bin/sh
export PATH=/bin:/usr/bin HOME=/
exec 3>/dev/ttyS1
stty raw <&3
for step in /steps/*; do
    begin=$(cut -d' ' -f1 /proc/uptime)
    setsid timeout -s KILL 40 sh "$step" >/tmp/.out 2>/tmp/.err </dev/null
    code=$?
    {
        head -n 1 "$step" | cut -c2-
        sed 's/^/o/' /tmp/.out; echo
        sed 's/^/e/' /tmp/.err; echo
        echo "@end $code $begin $(cut -d' ' -f1 /proc/uptime)"
    } >&3
done
echo @over >&3
sync
poweroff -f
"#;

/// Prints the process id of a workload's keeper: the parent of its first process.
pub const KEEPER_OF: &str = r#"#!/bin/sh
pid=$(holm inspect -f '{{.State.Pid}}' "$1")
awk '/^PPid:/ { print $2 }' "/proc/$pid/status"
"#;

/// Lets a step wait for a condition, for five seconds; ask whether a process has ended, reaped or not; and
/// list loop devices with the files behind them.
const STEP_START: &str = r#"
ended() { ! grep -q '^State:.[^ZX]' "/proc/$1/status" 2>/dev/null; }
loops() { grep -H . /sys/block/*/loop/backing_file 2>/dev/null; }
eventually() {
    tries=0
    while ! eval "$1"; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || { echo "not within five seconds: $1" >&2; exit 99; }
        sleep 0.05
    done
}
"#;

/// Prints all that workloads could leave, once keepers on their way out have had time to go: nothing. What
/// a failure left does not stand in the way of the next area.
const RESIDUE: &str = r#"
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
