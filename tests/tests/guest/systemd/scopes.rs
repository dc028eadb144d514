//! Containers as scopes of the host's systemd: what it knows of them, what is in force, and that both stay so.

use super::{GUEST, answer, leaves_nothing};
use crate::guest::step::{Step, step};

/// What is done. `show UNIT PROPERTY…` prints properties of a unit, sorted.
pub const STEPS: &[Step] = &[
    step(
        "machine",
        "uname -r; grep cgroup /proc/mounts; ps -o comm= -p 1; systemctl is-system-running; cat /sys/module/apparmor/parameters/enabled",
    ),
    step(
        "tools",
        r#"cat >/tmp/lib <<'X'
. /etc/bundles
show() { unit=$1; shift; IFS=,; systemctl show $unit -p "$*" | LC_ALL=C sort; unset IFS; }
scopes() { systemctl list-units --all --plain --no-legend '*.scope' | cut -d' ' -f1 | grep -vE '^(init|session-.*)\.scope' || true; }
WAIT='trap "exit 3" TERM; while :; do sleep 0.1; done'
LIMITS='"memory":{"limit":67108864,"swap":134217728,"reservation":33554432},"pids":{"limit":50},"cpu":{"shares":512,"quota":25500,"period":100000,"cpus":"0"}'
X"#,
    ),
    step(
        "create",
        r#". /tmp/lib; bundle box "$WAIT"; group box a-b.slice:test:box; limit box "$LIMITS"
        quietly $S create -b /tmp/box box; echo $?; $S state box | grep -o '"status": "created"'
        show test-box.scope Description Slice ControlGroup Delegate DefaultDependencies CollectMode ActiveState"#,
    ),
    step(
        "limits systemd knows",
        ". /tmp/lib; show test-box.scope MemoryMax MemorySwapMax MemoryLow TasksMax CPUQuotaPerSecUSec CPUQuotaPeriodUSec CPUWeight AllowedCPUs",
    ),
    step(
        "limits in force",
        r#". /tmp/lib; cd /sys/fs/cgroup/a.slice/a-b.slice/test-box.scope
        cat memory.max memory.swap.max memory.low pids.max cpu.max cpu.weight cpuset.cpus
        [ "$(cat cgroup.procs)" = "$(pid box)" ] && echo alone"#,
    ),
    step(
        "start and exec",
        r#". /tmp/lib; $S start box; echo $?; $S state box | grep -o running
        $S exec box sh -c 'cat /proc/self/cgroup; exit 4'; echo $?
        $S exec -d box sleep 1000; $S ps box | grep -c 'sh /script\|sleep 1000'
        cut -d: -f3 /proc/$(pid box)/cgroup; $S events --stats box | grep -o '"pids":{"current":[0-9]*,"limit":50}' | grep -c ."#,
    ),
    step(
        "pause",
        r#". /tmp/lib; $S pause box; echo $?; $S state box | grep -o paused
        systemctl daemon-reload; cat /sys/fs/cgroup/a.slice/a-b.slice/test-box.scope/cgroup.freeze
        $S resume box; echo $?; $S state box | grep -o running"#,
    ),
    step(
        "reload",
        r#". /tmp/lib; systemctl daemon-reload; systemctl daemon-reexec; cd /sys/fs/cgroup/a.slice/a-b.slice/test-box.scope
        cat memory.max memory.swap.max memory.low pids.max cpu.max cpu.weight cpuset.cpus"#,
    ),
    step(
        "update",
        r#". /tmp/lib; cd /sys/fs/cgroup/a.slice/a-b.slice/test-box.scope
        $S update --memory 33554432 --memory-swap 67108864 --pids-limit 40 --cpu-quota 30000 --cpuset-cpus 1 box; echo $?
        show test-box.scope MemoryMax MemorySwapMax TasksMax CPUQuotaPerSecUSec AllowedCPUs
        systemctl daemon-reload; cat memory.max memory.swap.max pids.max cpu.max cpuset.cpus"#,
    ),
    step(
        "delete",
        r#". /tmp/lib; $S delete box; echo $?; $S kill box TERM; eventually 'stopped box'
        show test-box.scope ActiveState; $S delete box; echo $?; show test-box.scope LoadState
        $R list -q; ls -d /sys/fs/cgroup/a.slice/a-b.slice/test-box.scope 2>/dev/null; systemctl stop a.slice"#,
    ),
    step(
        "run",
        r#". /tmp/lib; bundle run 'echo out; echo err >&2; exit 7'; group run system.slice:test:run
        $S run -b /tmp/run run; echo $?; $R list -q; scopes
        $S run --keep -b /tmp/run run >/dev/null 2>&1; $R state run | grep -o stopped; $R delete run; echo $?; scopes"#,
    ),
    step(
        "names",
        r#". /tmp/lib; bundle name 'sleep 1000'
        for path in "" :: system.slice:: system.slice::other -.slice:x: a-b-c.slice:p:n; do
            group name "$path"; quietly $S create -b /tmp/name name; cut -d: -f3 /proc/$(pid name)/cgroup
            show $(scopes) Slice; $R delete -f name
        done; systemctl stop a.slice"#,
    ),
    step(
        "names that cannot be",
        r#". /tmp/lib; cd /tmp
        for path in a-.slice:x:y plain:x:y a--b.slice:x:y system.slice:x:../y 'system.slice:x y:z' /a/b a:b:c.slice; do
            group name "$path"; $S create -b /tmp/name name && echo "$path"
        done; $R list -q; ls -A /run/oci | grep -v '^\.seccomp'; scopes"#,
    ),
    step(
        "a unit that is there",
        r#". /tmp/lib; group name system.slice:test:name; bundle late 'sleep 1000'; group late system.slice:test:name
        quietly $S run -d -b /tmp/name name; $S create -b /tmp/late late; echo $?
        $R list -q; $R state name | grep -o running; scopes; show test-name.scope Description; $R delete -f name; scopes"#,
    ),
    step(
        "ends",
        r#". /tmp/lib; bundle end "$WAIT"; group end system.slice:test:end
        quietly $S run -d -b /tmp/end end; $S exec -d end sleep 1000; $S kill --all end KILL; eventually 'stopped end'
        show test-end.scope ActiveState; $S delete end; echo $?
        quietly $S run -d -b /tmp/end end; systemctl stop test-end.scope; eventually 'stopped end'; $R delete end; echo $?
        quietly $S run -d -b /tmp/end end; systemctl kill -s KILL test-end.scope; eventually 'stopped end'; $R delete end; echo $?
        quietly $S run -d -b /tmp/end end; $R delete -f end; echo $?
        edit end 's|"args": \[|"args": ["/nothing",|'; $S create -b /tmp/end end; echo $?; $S run -b /tmp/end end; echo $?
        $R list -q; scopes"#,
    ),
    step(
        "a runtime that is killed",
        r#". /tmp/lib; bundle cut 'sleep 1000'; group cut system.slice:test:cut
        for delay in 00 02 04 06 08 10 15 20; do
            $S create -b /tmp/cut cut >/dev/null 2>&1 & sleep 0.$delay; kill -9 $! 2>/dev/null; wait $! 2>/dev/null
            $R delete -f cut >/dev/null 2>&1; eventually '[ -z "$(scopes)" ]'
        done; $R list -q; ls -A /run/oci | grep -v '^\.seccomp'
        quietly $S run -d -b /tmp/cut cut; echo $?; $R delete -f cut"#,
    ),
    step(
        "out of memory",
        r#". /tmp/lib; bundle fat 'while [ ! -e /go ]; do sleep 0.1; done; exec tail -c 200m /dev/zero'
        group fat system.slice:test:fat; limit fat '"memory":{"limit":20971520}'
        for round in 1 2 3 4; do
            quietly $S run -d -b /tmp/fat fat; $S events fat >/tmp/events & events=$!; sleep 0.5; touch /tmp/fat/rootfs/go
            eventually 'stopped fat'; wait $events; cat /tmp/events; $S delete fat; rm /tmp/fat/rootfs/go
        done"#,
    ),
    step(
        "devices",
        r#". /tmp/lib; bundle dev 'mknod /mem c 1 1; mknod /null c 1 3; : >/ready; sleep 1000'
        group dev system.slice:test:dev; edit dev 's|"CAP_KILL"|&,"CAP_MKNOD"|'
        quietly $S run -d -b /tmp/dev dev; eventually '[ -e /tmp/dev/rootfs/ready ]'
        try() { $S exec dev sh -c 'head -c 1 /mem; echo x >/null && echo written'; }
        try; systemctl daemon-reload; try; systemctl daemon-reexec; try; $S update --pids-limit 30 dev; try
        systemctl set-property --runtime test-dev.scope TasksMax=31; try; cat /sys/fs/cgroup/system.slice/test-dev.scope/pids.max
        $R delete -f dev"#,
    ),
    step(
        "settings by name",
        r#". /tmp/lib; bundle uni 'sleep 1000'; group uni system.slice:test:uni
        limit uni '"unified":{"memory.high":"50331648","pids.max":"45","cpu.weight":"200","memory.oom.group":"1"}'
        quietly $S run -d -b /tmp/uni uni; show test-uni.scope MemoryHigh TasksMax CPUWeight
        cd /sys/fs/cgroup/system.slice/test-uni.scope; cat memory.oom.group
        systemctl daemon-reload; cat memory.high pids.max cpu.weight memory.oom.group"#,
    ),
    step(
        "groups below",
        r#". /tmp/lib; cd /sys/fs/cgroup/system.slice/test-uni.scope; mkdir -p sub/deep
        $S exec -d --cgroup sub/deep uni sleep 2000; systemctl daemon-reload; grep -c . sub/deep/cgroup.procs
        $S ps uni | grep -c sleep; $S kill --all uni KILL; eventually 'stopped uni'; $S delete uni; echo $?; scopes"#,
    ),
    step(
        "properties of annotations",
        r#". /tmp/lib; bundle note 'sleep 1000'; group note system.slice:test:note; edit note 's|^{|{"annotations":{},|'
        note() { edit note "s|\"annotations\":{[^}]*}|\"annotations\":{$1}|"; }; P=org.systemd.property
        note "\"$P.TimeoutStopSec\":\"uint64 7\",\"$P.CollectMode\":\"'inactive'\",\"$P.Description\":\"'mine'\",\"$P.After\":\"['dbus.service']\",\"$P.MemoryMax\":\"uint64 50003968\""
        quietly $S run -d -b /tmp/note note; show test-note.scope TimeoutStopUSec CollectMode Description MemoryMax
        show test-note.scope After | grep -o dbus.service; cat /sys/fs/cgroup/system.slice/test-note.scope/memory.max; $R delete -f note
        for wrong in Nothing:true TimeoutStopSec:soon TimeoutStopSec:true x:true Slice:5 PIDs:5 MemoryMax:-1; do
            note "\"$P.${wrong%:*}\":\"${wrong#*:}\""; $S create -b /tmp/note note && echo $wrong
        done; $R list -q; scopes"#,
    ),
];

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn the_machine_is_what_it_should_be() {
    println!("{}", GUEST.boot().times());
    let machine = answer("machine").ok();
    let lines: Vec<_> = machine.lines().collect();
    let [kernel, groups, "systemd", "running", "Y"] = lines.as_slice() else { panic!("{machine}") };
    assert!(kernel.starts_with("6.1.") && groups.starts_with("cgroup2 /sys/fs/cgroup cgroup2 "), "{machine}");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_container_is_a_scope_of_its_slice() {
    answer("create").says(
        "0\n\"status\": \"created\"\nActiveState=active\nCollectMode=inactive-or-failed\n\
        ControlGroup=/a.slice/a-b.slice/test-box.scope\nDefaultDependencies=no\nDelegate=yes\n\
        Description=Container box\nSlice=a-b.slice",
    );
    answer("start and exec").says("0\nrunning\n0::/\n4\n2\n/a.slice/a-b.slice/test-box.scope\n1");
    answer("pause").says("0\npaused\n1\n0\nrunning");
    answer("delete").expect_code(0);
    assert_eq!(
        answer("delete").out(),
        "1\nActiveState=inactive\n0\nLoadState=not-found",
        "{}",
        answer("delete")
    );
    let run = answer("run");
    run.says("out\n7\nstopped\n0");
    assert_eq!(run.err(), "err");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn limits_are_known_to_systemd_and_in_force() {
    answer("limits systemd knows").says(
        "AllowedCPUs=0\nCPUQuotaPerSecUSec=260ms\nCPUQuotaPeriodUSec=100ms\nCPUWeight=59\nMemoryLow=33554432\n\
        MemoryMax=67108864\nMemorySwapMax=67108864\nTasksMax=50",
    );
    answer("limits in force").says("67108864\n67108864\n33554432\n50\n25500 100000\n59\n0\nalone");
}

/// But for the time of processors, which systemd rounds up to a percent when it writes it again.
#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_reload_changes_nothing() {
    answer("reload").says("67108864\n67108864\n33554432\n50\n26000 100000\n59\n0");
    answer("update").says(
        "0\nAllowedCPUs=1\nCPUQuotaPerSecUSec=300ms\nMemoryMax=33554432\nMemorySwapMax=33554432\nTasksMax=40\n\
        33554432\n33554432\n40\n30000 100000\n1",
    );
}

/// What systemd has no property for it sets as it likes when it reloads: `memory.oom.group`.
#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn settings_by_name_are_properties_where_there_is_one() {
    answer("settings by name")
        .says("CPUWeight=200\nMemoryHigh=50331648\nTasksMax=45\n1\n50331648\n45\n200\n0");
    answer("groups below").says("1\n2\n0");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn device_rules_outlive_reloads_and_changes() {
    let devices = answer("devices");
    assert_eq!(devices.ok(), format!("{}31", "written\n".repeat(5)), "{devices}");
    let refused = "head: /mem: Operation not permitted";
    assert_eq!(devices.err().lines().collect::<Vec<_>>(), [refused; 5], "{devices}");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn paths_of_groups_are_slices_prefixes_and_names() {
    let usual = "/system.slice/name.scope\nSlice=system.slice\n";
    let others = "/system.slice/other.scope\nSlice=system.slice\n/x-name.scope\nSlice=-.slice\n\
        /a.slice/a-b.slice/a-b-c.slice/p-n.scope\nSlice=a-b-c.slice";
    answer("names").says(&format!("{}{others}", usual.repeat(3)));
    let refused = answer("names that cannot be");
    assert_eq!(refused.out(), "", "{refused}");
    let expected = [
        "Unit a-.slice failed to load properly",
        "Invalid unit name 'plain'",
        "Unit a--b.slice failed to load properly",
        "`x-../y.scope`: Invalid unit name or type",
        "`x y-z.scope`: Invalid unit name or type",
        "`linux.cgroupsPath`: expected cgroupsPath to be of format \"slice:prefix:name\"",
        "`linux.cgroupsPath`: `c.slice` is a slice",
    ];
    refused.errs(&expected);
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn the_unit_of_another_container_stays_with_it() {
    let there = answer("a unit that is there");
    there.says("1\nname\nrunning\ntest-name.scope\nDescription=Container name");
    there.errs(&["`test-name.scope`: Unit test-name.scope was already loaded"]);
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_scope_goes_with_its_container_however_it_ends() {
    let ends = answer("ends");
    ends.says("ActiveState=inactive\n0\n0\n0\n0\n1\n1");
    ends.errs(&["exec /nothing: no such file or directory"; 2]);
    answer("a runtime that is killed").says("0");
}

/// Also of the only process, with which the scope and its counters go.
#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn every_kill_for_lack_of_memory_is_told() {
    answer("out of memory").says(&["{\"type\":\"oom\",\"id\":\"fat\"}"; 4].join("\n"));
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn annotations_are_properties() {
    let notes = answer("properties of annotations");
    notes.says("CollectMode=inactive\nDescription=mine\nMemoryMax=50003968\nTimeoutStopUSec=7s\ndbus.service\n50003968");
    let field = |name: &str| format!("`annotations[\"org.systemd.property.{name}\"]`");
    notes.errs(&[
        "Cannot set property Nothing",
        &format!("{}: `soon` is no value", field("TimeoutStopSec")),
        &format!("{}: it is no time in seconds", field("TimeoutStopSec")),
        &format!("{}: it is no name of a property", field("x")),
        "Failed to set unit properties",
        "Failed to set unit properties",
        "Failed to set unit properties",
    ]);
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn nothing_is_left() {
    leaves_nothing("scopes");
}
