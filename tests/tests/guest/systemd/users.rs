//! Containers of a user without rights: as scopes of the user's own systemd, and in groups that are the user's to make.

use super::{answer, leaves_nothing};
use crate::guest::step::{Step, step};

/// What is done. `as_user SCRIPT` runs a script in a session of the user, `inside SCRIPT` below the user's systemd.
pub const STEPS: &[Step] = &[
    step(
        "a user",
        r#"useradd -m -u 1500 user; loginctl enable-linger user; eventually '[ -S /run/user/1500/bus ]'
        cat /etc/subuid; cat /sys/fs/cgroup/user.slice/user-1500.slice/user@1500.service/cgroup.controllers
        cat >/tmp/lib <<'X'
. /etc/start; export B=$HOME SPEC=--rootless; . /etc/bundles
R="holm-runtime --log $HOME/log"; S="$R --systemd-cgroup"
quietly() { "$@" </dev/null >$HOME/out 2>&1; code=$?; cat $HOME/out; return $code; }
group() { edit $1 "s|\"linux\": {|&\"cgroupsPath\":\"$2\",|"; }
limits() { edit $1 's|"linux": {|&"resources":{"memory":{"limit":67108864},"pids":{"limit":30},"cpu":{"quota":20000,"period":100000,"cpus":"0"}},|'; }
show() { unit=$1; shift; IFS=,; systemctl --user show $unit -p "$*" | LC_ALL=C sort; unset IFS; }
scopes() { systemctl --user list-units --all --plain --no-legend '*.scope' | cut -d' ' -f1 | grep -v '^init.scope' || true; }
of() { cut -d: -f3 /proc/$(pid $1)/cgroup; }
X
        cat >/tmp/us <<'X'
as_user() { runuser -l user -c ". /tmp/lib; $1"; }
inside() { runuser -l user -c "systemd-run --user --quiet --wait --pipe -p Delegate=yes -E HOME=/home/user sh -c '. /tmp/lib; $1'"; }
X"#,
    ),
    step(
        "a scope of the user's",
        r#". /tmp/us; as_user '
        bundle box "sleep 1000"; group box :test:box; limits box
        quietly $S create -b ~/box box; echo $?; $S start box; echo $?; of box
        show test-box.scope Description Slice Delegate MemoryMax TasksMax CPUQuotaPerSecUSec
        cd /sys/fs/cgroup$(of box); cat memory.max pids.max cpu.max; cat cgroup.procs | grep -cx $(pid box)'"#,
    ),
    step(
        "commands on it",
        r#". /tmp/us; as_user '
        $R exec box sh -c "id -u; cat /proc/self/cgroup; exit 4"; echo $?
        $R pause box; $R state box | grep -o paused; $R resume box; $R ps box | grep -c "sleep 1000"
        $R events --stats box | grep -o "\"limit\":67108864"
        $S update --memory 33554432 --pids-limit 20 box; echo $?; show test-box.scope MemoryMax TasksMax
        systemctl --user daemon-reload; cd /sys/fs/cgroup$(of box); cat memory.max pids.max cpu.max
        $R kill box KILL; eventually "stopped box"; $R delete box; echo $?; scopes; $R list -q'"#,
    ),
    step(
        "more ids than one",
        r#". /tmp/us; as_user '
        bundle ids "id -u; cat /proc/self/uid_map; touch /file; chown 1000:1000 /file; sleep 1000"; group ids :test:ids
        edit ids "s|\"CAP_KILL\"|&,\"CAP_CHOWN\"|; s|\"size\": 1$|\"size\":1},{\"containerID\":1,\"hostID\":100000,\"size\":65536|"
        $S run -d -b ~/ids ids </dev/null >~/out 2>&1; eventually "grep -q 100000 ~/out"; cat ~/out; eventually "[ -e ~/ids/rootfs/file ]"
        eventually "[ \$(stat -c %u ~/ids/rootfs/file) != 1500 ]"; stat -c "%u %g" ~/ids/rootfs/file; $R delete -f ids; scopes'"#,
    ),
    step(
        "groups of the user's",
        r#". /tmp/us; inside '
        bundle own "sleep 1000"; limits own; quietly $R create -b ~/own own; echo $?; $R start own; of own
        cd /sys/fs/cgroup$(of own); cat memory.max pids.max cpu.max
        $R exec own cat /proc/self/cgroup; $R pause own; $R state own | grep -o paused; $R resume own
        $R update --pids-limit 20 own; cat pids.max; $R ps own | grep -c "sleep 1000"; of=$(of own)
        $R kill own KILL; eventually "stopped own"; $R delete own; echo $?; ls -d /sys/fs/cgroup$of 2>/dev/null; true'"#,
    ),
    step(
        "no groups at all",
        r#". /tmp/us; as_user '
        bundle none "exit 5"; limits none; $R run -b ~/none none </dev/null; echo $?
        bundle none "sleep 1000"; $R run -d -b ~/none none </dev/null >/dev/null 2>&1; $R pause none; echo $?; $R delete -f none; $R list -q'"#,
    ),
    step(
        "no systemd of the user's",
        r#"useradd -m -u 1600 other
        runs() { setpriv --reuid 1600 --regid 1600 --clear-groups env -i PATH=$PATH HOME=/home/other "$@" sh -c '
            . /tmp/lib; R="holm-runtime --root $HOME/state --log $HOME/log"; bundle box true
            $R --systemd-cgroup run -b ~/box box </dev/null; echo $?; ls -A ~/state'; }
        runs; runs XDG_RUNTIME_DIR=/run/user/1600; runs XDG_RUNTIME_DIR=/run/user/1500"#,
    ),
    step(
        "no user",
        "loginctl disable-linger user; loginctl terminate-user user; eventually '[ ! -e /run/user/1500 ]'; userdel -r user 2>/dev/null; userdel -r other 2>/dev/null; true",
    ),
];

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_users_systemd_makes_its_scopes() {
    answer("a user").says("user:100000:65536\ncpu memory pids");
    let scope = "/user.slice/user-1500.slice/user@1500.service/user.slice/test-box.scope";
    answer("a scope of the user's").says(&format!(
        "{NOT_CPUSET}\n0\n0\n{scope}\nCPUQuotaPerSecUSec=200ms\nDelegate=yes\nDescription=Container box\n\
        MemoryMax=67108864\nSlice=user.slice\nTasksMax=30\n67108864\n30\n20000 100000\n1"
    ));
    answer("commands on it").says(
        "0\n0::/\n4\npaused\n1\n\"limit\":67108864\n0\nMemoryMax=33554432\nTasksMax=20\n33554432\n20\n20000 100000\n0",
    );
}

/// Their manager hands down what it may hand down itself: no processors.
const NOT_CPUSET: &str = "warning: limits that this user may not set are not in force: cpuset";

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_user_has_the_ids_that_are_granted() {
    let ids = answer("more ids than one").ok();
    let words: Vec<_> = ids.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "1500", "1", "1", "100000", "65536", "100999", "100999"], "{ids}");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_user_makes_groups_where_it_may() {
    let group = "/user.slice/user-1500.slice/user@1500.service/app.slice/holm-runtime/own";
    answer("groups of the user's")
        .says(&format!("{NOT_CPUSET}\n0\n{group}\n67108864\n30\n20000 100000\n0::/\npaused\n20\n1\n0"));
    let none = answer("no groups at all");
    none.says("5\n1");
    none.errs(&[
        "warning: limits that this user may not set are not in force: memory, cpuset, cpu, pids",
        "the container has no control group",
    ]);
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_user_without_a_systemd_is_told() {
    let alone = answer("no systemd of the user's");
    alone.says("1\n1\n1");
    alone.errs(&[
        "find the user's message bus: there is no XDG_RUNTIME_DIR",
        "connect to systemd at `/run/user/1600/bus`: no such file or directory",
        "connect to systemd at `/run/user/1500/bus`: permission denied",
    ]);
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn nothing_is_left() {
    leaves_nothing("users");
}
