//! Checkpoints of OCI containers, by CRIU: 3.17 of Debian 12 knows this kernel, and not those from 6.13 on.
//!
//! Each container counts in a file. Whoever was checkpointed and goes on counting where it was, is the same one.

use super::{answer, leaves_nothing};
use crate::guest::step::{Step, step};

/// What is done. `/tmp/lib` has the functions of `/etc/bundles` and `counts FILE`, which waits until the number in a file
/// has grown.
pub const STEPS: &[Step] = &[
    step("tools", TOOLS),
    step(
        "checkpoint and restore",
        r#". /tmp/lib; bundle box "echo >>starts; $COUNT"
        quietly $R run -d -b /tmp/box box; counts /tmp/box/rootfs/count
        $R checkpoint --image-path /tmp/box/i box; echo $?
        $R list -q; find /sys/fs/cgroup -name box; grep -o nsdelegate /proc/mounts; before=$(cat /tmp/box/rootfs/count)
        cat /tmp/box/i/descriptors.json; echo; ls /tmp/box/i | grep -xE 'dump.log|inventory.img'
        quietly $R restore -d -b /tmp/box --image-path /tmp/box/i --pid-file /tmp/box/pid box; echo $?
        counts /tmp/box/rootfs/count; eventually "[ \$(cat /tmp/box/rootfs/count)0 -ge ${before:-0}0 ]"
        [ $(grep -c "" /tmp/box/rootfs/starts) = 1 ] && echo goes on
        $R list | awk 'NR == 2 { print $1, $3 }'
        $R state box | grep -c "\"pid\": $(cat /tmp/box/pid),"; grep -o nsdelegate /proc/mounts"#,
    ),
    step(
        "commands on a restored container",
        r#". /tmp/lib
        $R exec box sh -c 'hostname; cat /proc/self/cgroup; ip addr show lo | grep -o "inet 127.*host"'
        $R ps box | grep -c 'sh /script'
        $R events --stats box | grep -o '"type":"stats"'
        $R pause box; $R state box | grep -o paused; $R resume box; counts /tmp/box/rootfs/count
        $R update --pids-limit 50 box; cat /sys/fs/cgroup/holm-runtime/box/pids.max
        $R delete box; echo $?; $R kill box KILL; eventually "$R state box | grep -q stopped"
        $R delete box; echo $?; $R list -q; find /sys/fs/cgroup -name box"#,
    ),
    step(
        "mounts are as before",
        r#". /tmp/lib; bundle mounts "cut -d' ' -f5,6 /proc/self/mountinfo | sort >/before; $COUNT"
        quietly $R run -d -b /tmp/mounts mounts; counts /tmp/mounts/rootfs/count
        $R checkpoint --image-path /tmp/mounts/i mounts
        quietly $R restore -d -b /tmp/mounts --image-path /tmp/mounts/i mounts; counts /tmp/mounts/rootfs/count
        $R exec mounts cut -d' ' -f5,6 /proc/self/mountinfo | sort >/tmp/mounts/after
        diff /tmp/mounts/rootfs/before /tmp/mounts/after && echo same
        $R delete -f mounts"#,
    ),
    step(
        "a container that goes on",
        r#". /tmp/lib; bundle on "$COUNT"
        quietly $R run -d -b /tmp/on on; counts /tmp/on/rootfs/count; pid=$($R state on | grep '"pid"')
        $R checkpoint --leave-running --image-path /tmp/on/i --work-path /tmp/on/w on; echo $?
        counts /tmp/on/rootfs/count; [ "$pid" = "$($R state on | grep '"pid"')" ] && echo the same
        ls /tmp/on/w | grep dump.log; $R state on | grep -o running
        $R delete -f on
        quietly $R restore -d -b /tmp/on --image-path /tmp/on/i other; counts /tmp/on/rootfs/count
        $R list -q; cat /sys/fs/cgroup/holm-runtime/other/cgroup.procs | grep -c .; $R delete -f other"#,
    ),
    step(
        "memory beforehand",
        r#". /tmp/lib; bundle pre "$COUNT"
        quietly $R run -d -b /tmp/pre pre; counts /tmp/pre/rootfs/count
        $R checkpoint --pre-dump --image-path /tmp/pre/1 pre; echo $?
        counts /tmp/pre/rootfs/count; $R state pre | grep -o running
        $R checkpoint --image-path /tmp/pre/2 --parent-path ../1 pre; echo $?
        readlink /tmp/pre/2/parent; $R list -q
        quietly $R restore -d -b /tmp/pre --image-path /tmp/pre/2 pre; counts /tmp/pre/rootfs/count; $R delete -f pre"#,
    ),
    step(
        "binds",
        r#". /tmp/lib; mkdir -p /tmp/v/sub; mount -t tmpfs sub /tmp/v/sub; bundle bind "$COUNT"
        edit bind 's|"mounts": \[|&{"destination":"/link/data","type":"bind","source":"/tmp/v","options":["rbind"]},|'
        ln -s / /tmp/bind/rootfs/link
        quietly $R run -d -b /tmp/bind bind; counts /tmp/bind/rootfs/count; $R checkpoint --image-path /tmp/bind/i bind
        rmdir /tmp/bind/rootfs/data; echo of the host >/tmp/v/sub/file
        quietly $R restore -d -b /tmp/bind --image-path /tmp/bind/i bind; counts /tmp/bind/rootfs/count
        $R exec bind sh -c 'cat /data/sub/file; echo of the container >/data/file'; cat /tmp/v/file
        $R delete -f bind; umount /tmp/v/sub"#,
    ),
    step(
        "a terminal",
        r#". /tmp/lib; bundle term 'while read line; do echo got $line; done'
        edit term 's/"terminal": false/"terminal": true/'; mkfifo /tmp/term/in; exec 4<>/tmp/term/in
        $R run -b /tmp/term term <&4 >/tmp/term/out & run=$!
        echo one >&4; eventually 'grep -q "got one" /tmp/term/out'
        $R checkpoint --image-path /tmp/term/i term; echo $?; wait $run; echo $?
        $R restore -b /tmp/term --image-path /tmp/term/i term <&4 >/tmp/term/out2 & run=$!
        eventually "$R state term 2>/dev/null | grep -q running"
        echo two >&4; eventually 'grep -q "got two" /tmp/term/out2'
        $R exec term readlink /proc/1/fd/0
        $R kill term KILL; wait $run; echo $?; $R list -q"#,
    ),
    step(
        "pipes",
        r#". /tmp/lib; bundle pipe 'while read line; do echo got $line; done'
        mkfifo /tmp/pipe/in; exec 4<>/tmp/pipe/in
        cat /tmp/pipe/in | $R run -b /tmp/pipe pipe 2>/dev/null | cat >/tmp/pipe/out &
        echo one >&4; eventually 'grep -q "got one" /tmp/pipe/out'
        $R checkpoint --image-path /tmp/pipe/i pipe; echo $?; grep -o pipe: /tmp/pipe/i/descriptors.json | wc -l
        echo again >&4; sleep 0.2
        cat /tmp/pipe/in | $R restore -b /tmp/pipe --image-path /tmp/pipe/i pipe 2>/dev/null | cat >/tmp/pipe/out2 &
        eventually "$R state pipe 2>/dev/null | grep -q running"
        echo two >&4; eventually 'grep -q "got two" /tmp/pipe/out2'; cat /tmp/pipe/out2
        $R delete -f pipe; $R list -q"#,
    ),
    step(
        "an open connection",
        r#". /tmp/lib
        bundle tcp 'nc -l -p 5000 -e cat & sleep 0.3; i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done | nc 127.0.0.1 5000 | while read n; do echo $n >/count; done'
        quietly $R run -d -b /tmp/tcp tcp; counts /tmp/tcp/rootfs/count
        $R checkpoint --image-path /tmp/tcp/i tcp 2>/dev/null; echo $?
        counts /tmp/tcp/rootfs/count
        $R checkpoint --tcp-established --image-path /tmp/tcp/i tcp; echo $?
        quietly $R restore -d --tcp-established -b /tmp/tcp --image-path /tmp/tcp/i tcp; echo $?
        counts /tmp/tcp/rootfs/count; $R delete -f tcp"#,
    ),
    step(
        "a network of somebody else",
        r#". /tmp/lib; bundle net "$COUNT"
        unshare -n sh -c 'ip link set lo up; echo $$ >/tmp/net/holder; exec sleep 1000' & 
        eventually '[ -s /tmp/net/holder ]'; touch /tmp/net/ns; mount --bind /proc/$(cat /tmp/net/holder)/ns/net /tmp/net/ns
        edit net 's|"type": "network"|&, "path": "/tmp/net/ns"|'
        quietly $R run -d -b /tmp/net net; counts /tmp/net/rootfs/count; $R checkpoint --image-path /tmp/net/i net; echo $?
        quietly $R restore -d -b /tmp/net --image-path /tmp/net/i net; counts /tmp/net/rootfs/count
        [ "$(stat -Lc %i /tmp/net/ns)" = "$(stat -Lc %i /proc/$($R state net | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')/ns/net)" ] && echo joined
        $R delete -f net; umount /tmp/net/ns; kill $(cat /tmp/net/holder)"#,
    ),
    step(
        "users of its own",
        r#". /tmp/lib; bundle user "$COUNT"; chown -R 100000:100000 /tmp/user/rootfs
        edit user 's|"namespaces": \[|"uidMappings":[{"containerID":0,"hostID":100000,"size":65536}],"gidMappings":[{"containerID":0,"hostID":100000,"size":65536}],&{"type":"user"},|'
        quietly $R run -d -b /tmp/user user; counts /tmp/user/rootfs/count
        for round in 1 2; do
            $R checkpoint --image-path /tmp/user/$round user; echo $?; stat -c '%u %g %a' /tmp/user/$round
            quietly $R restore -d -b /tmp/user --image-path /tmp/user/$round user; echo $?
            counts /tmp/user/rootfs/count
        done
        stat -c %u /tmp/user/rootfs/count; $R exec user sh -c 'id -u; test -c /dev/null && head -c 1 /dev/zero | wc -c'; $R exec user ls /dev | wc -l
        $R delete -f user"#,
    ),
    step(
        "again, and into another group",
        r#". /tmp/lib; bundle again "$COUNT"
        quietly $R run -d -b /tmp/again again; counts /tmp/again/rootfs/count
        $R exec again sh -c 'sleep 1000 </dev/null >/dev/null 2>&1 & echo $! >/sleeper'
        for round in 1 2; do
            edit again 's|"cgroupsPath": "[^"]*",||; s|"namespaces": \[|"cgroupsPath": "/elsewhere/'$round'",&|'
            $R checkpoint --manage-cgroups-mode ignore --image-path /tmp/again/$round again; echo $?
            quietly $R restore -d --manage-cgroups-mode ignore -b /tmp/again --image-path /tmp/again/$round again; echo $?
            counts /tmp/again/rootfs/count
            cut -d: -f3 /proc/$($R state again | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')/cgroup
            find /sys/fs/cgroup/elsewhere /sys/fs/cgroup/holm-runtime -mindepth 1 -type d
        done
        $R exec again sh -c 'grep Name /proc/$(cat /sleeper)/status | cut -f2'; $R delete -f again"#,
    ),
    step(
        "mount points that have gone",
        r#". /tmp/lib; mkdir -p /tmp/outer /tmp/inner; bundle nested "$COUNT"
        edit nested 's|"mounts": \[|&{"destination":"/a","type":"bind","source":"/tmp/outer","options":["bind"]},{"destination":"/a/b/c","type":"bind","source":"/tmp/inner","options":["bind"]},|'
        quietly $R run -d -b /tmp/nested nested; counts /tmp/nested/rootfs/count
        $R checkpoint --image-path /tmp/nested/i nested; rm -r /tmp/outer/b /tmp/nested/rootfs/a /tmp/nested/rootfs/proc
        quietly $R restore -d -b /tmp/nested --image-path /tmp/nested/i nested; counts /tmp/nested/rootfs/count
        touch /tmp/inner/file; $R exec nested ls /a/b/c; $R delete -f nested"#,
    ),
    step(
        "settings of CRIU's",
        r#". /tmp/lib; bundle set "$COUNT"; echo log-file=mine.log >/tmp/set/criu.conf
        edit set 's|^{|{"annotations":{"org.criu.config":"/tmp/set/criu.conf"},|'
        quietly $R run -d -b /tmp/set set; counts /tmp/set/rootfs/count
        $R checkpoint --image-path /tmp/set/i --work-path /tmp/set/w set; ls /tmp/set/w"#,
    ),
    step(
        "a restore that is killed",
        r#". /tmp/lib; bundle cut "$COUNT"
        quietly $R run -d -b /tmp/cut cut; counts /tmp/cut/rootfs/count; $R checkpoint --image-path /tmp/cut/i cut
        ls /tmp/cut/rootfs >/tmp/cut/before
        for delay in 1 2 3 4 6 8; do
            $R restore -d -b /tmp/cut --image-path /tmp/cut/i cut >/dev/null 2>&1 & sleep 0.$delay
            kill -9 $! 2>/dev/null; wait $! 2>/dev/null
            eventually '! ps -o stat,args | grep -qE "^[^Z].*([c]riu swrk)"'
            $R delete -f cut; $R list -q; ls -d /run/oci/cut /sys/fs/cgroup/holm-runtime/cut 2>/dev/null
            grep /tmp/cut /proc/mounts
        done
        ls /tmp/cut/rootfs | diff /tmp/cut/before - && echo whole
        quietly $R restore -d -b /tmp/cut --image-path /tmp/cut/i cut; counts /tmp/cut/rootfs/count; $R delete -f cut"#,
    ),
    step(
        "limits and a filter",
        r#". /tmp/lib; bundle limits "cd /dev/shm; $COUNT_HERE"
        edit limits 's|"devices": \[|"memory":{"limit":67108864},&|; s|"maskedPaths"|"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]},&|; s/"readonly": false/"readonly": true/'
        quietly $R run -d -b /tmp/limits limits; eventually "$R exec limits cat /dev/shm/count >/dev/null 2>&1"
        $R checkpoint --image-path /tmp/limits/i limits; echo $?
        quietly $R restore -d -b /tmp/limits --image-path /tmp/limits/i limits; echo $?
        a=$($R exec limits cat /dev/shm/count); eventually "[ \$($R exec limits cat /dev/shm/count) -gt $a ]"
        cat /sys/fs/cgroup/holm-runtime/limits/memory.max; $R exec limits grep Seccomp: /proc/1/status
        $R exec limits touch /file 2>&1 | grep -o Read-only
        $R exec limits head -c 1 /dev/zero | wc -c
        $R delete -f limits"#,
    ),
    step(
        "hooks",
        r#". /tmp/lib; bundle hooks "$COUNT"
        hook() { echo "\"$1\":[{\"path\":\"/bin/sh\",\"args\":[\"sh\",\"-c\",\"echo $1 >>/tmp/hooks/log\"]}]"; }
        edit hooks "s|^{|{\"hooks\":{$(hook prestart),$(hook createRuntime),$(hook createContainer),$(hook poststart),$(hook poststop)},|"
        quietly $R run -d -b /tmp/hooks hooks; counts /tmp/hooks/rootfs/count; rm /tmp/hooks/log
        $R checkpoint --image-path /tmp/hooks/i hooks; paste -sd' ' /tmp/hooks/log; rm /tmp/hooks/log
        quietly $R restore -d -b /tmp/hooks --image-path /tmp/hooks/i hooks; counts /tmp/hooks/rootfs/count
        paste -sd' ' /tmp/hooks/log; $R delete -f hooks
        edit hooks 's|echo createRuntime|exit 3 ; &|'
        $R restore -d -b /tmp/hooks --image-path /tmp/hooks/i hooks; echo $?; $R list -q; find /sys/fs/cgroup -name hooks"#,
    ),
    step(
        "a paused container",
        r#". /tmp/lib; bundle paused "$COUNT"
        quietly $R run -d -b /tmp/paused paused; counts /tmp/paused/rootfs/count; $R pause paused
        $R checkpoint --image-path /tmp/paused/i paused; echo $?; $R list -q; find /sys/fs/cgroup -name paused
        quietly $R restore -d -b /tmp/paused --image-path /tmp/paused/i paused; counts /tmp/paused/rootfs/count
        $R state paused | grep -o running; $R delete -f paused"#,
    ),
    step(
        "memory that comes late",
        r#". /tmp/lib; bundle lazy "$COUNT"
        quietly $R run -d -b /tmp/lazy lazy; counts /tmp/lazy/rootfs/count; mkfifo /tmp/lazy/ready
        $R checkpoint --lazy-pages --page-server 127.0.0.1:2727 --status-fd 5 --image-path /tmp/lazy/i lazy 5<>/tmp/lazy/ready & dump=$!
        head -c 1 /tmp/lazy/ready | od -An -c | tr -d ' '
        criu lazy-pages --page-server --address 127.0.0.1 --port 2727 -D /tmp/lazy/i -W /tmp/lazy -o lazy.log 2>/dev/null & lazy=$!
        eventually '[ -S /tmp/lazy/lazy-pages.socket ]'
        quietly $R restore -d --lazy-pages -b /tmp/lazy --image-path /tmp/lazy/i --work-path /tmp/lazy two; echo $?
        counts /tmp/lazy/rootfs/count; wait $dump; echo $?; wait $lazy; echo $?
        $R list -q; $R delete -f two"#,
    ),
    step(
        "checkpoints that cannot be",
        r#". /tmp/lib; bundle no "$COUNT"; cd /tmp/no
        $R checkpoint no; echo $?; quietly $R create -b /tmp/no no; $R checkpoint no; echo $?; $R start no
        $R checkpoint --empty-ns ipc no; $R checkpoint --manage-cgroups-mode none no
        $R checkpoint --parent-path /tmp no; $R checkpoint --parent-path ../absent no
        $R checkpoint --page-server here no; $R checkpoint --status-fd 77 no
        $R restore -d -b /tmp/no --image-path /tmp/no/absent other; $R restore -d -b /tmp/no --image-path /tmp/box/i no
        PATH=/bin $R checkpoint --image-path /tmp/no/i no; PATH=/bin $R restore -d -b /tmp/no --image-path /tmp/box/i other
        edit no 's/"terminal": false/"terminal": true/'; $R restore -d -b /tmp/no --image-path /tmp/box/i other
        $R list -q; $R delete -f no"#,
    ),
    step(
        "what checkpoints leave",
        r#"ls -A /run/oci; find /sys/fs/cgroup/holm-runtime -mindepth 1 -type d; grep -E '/tmp|/run/oci' /proc/mounts
        eventually '! ps -o stat,args | grep -qE "^[^Z].*([c]riu|[h]olm-runtime)"'"#,
    ),
];

const TOOLS: &str = r#"ip link set lo up; mount -o remount,nsdelegate /sys/fs/cgroup
cat >/tmp/lib <<'X'
export PATH=/usr/sbin:$PATH
. /etc/bundles
STEP_UP='i=$((i+1)); sleep 0.05; echo $i'
COUNT="i=0; while :; do $STEP_UP >/count; done"
COUNT_HERE="i=0; while :; do $STEP_UP >count; done"
counts() {
    eventually "[ -s $1 ]"; first=$(cat $1)
    eventually "now=\$(cat $1); [ -n \"\$now\" ] && [ \"\$now\" -gt \"${first:-0}\" ]"
}
X
. /tmp/lib; criu check 2>/dev/null"#;

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_container_goes_on_where_it_was() {
    answer("tools").says("Looks good.");
    let text = answer("checkpoint and restore").ok();
    let streams = r#"["/dev/null","/dev/null","/dev/null"]"#;
    assert_eq!(
        text,
        format!("0\nnsdelegate\n{streams}\ndump.log\ninventory.img\n0\ngoes on\nbox running\n1\nnsdelegate")
    );
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_restored_container_is_one_like_any_other() {
    let commands = answer("commands on a restored container");
    commands.says("runc\n0::/\ninet 127.0.0.1/8 scope host\n1\n\"type\":\"stats\"\npaused\n50\n1\n0");
    assert_eq!(commands.err(), "cannot delete container box that is not stopped: running");
    answer("mounts are as before").says("same");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_container_may_go_on_after_its_checkpoint() {
    answer("a container that goes on").says("0\nthe same\ndump.log\nrunning\nother\n2");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn memory_can_be_written_before_and_brought_afterwards() {
    answer("memory beforehand").says("0\nrunning\n0\n../1");
    answer("memory that comes late").says("\\0\n0\n0\n0\ntwo");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn bind_mounts_are_the_hosts_again() {
    answer("binds").says("of the host\nof the container");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn streams_lead_to_whoever_restores() {
    answer("a terminal").says("0\n137\n/dev/pts/0\n137");
    answer("pipes").says("0\n2\ngot two");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn networks_are_kept() {
    answer("an open connection").says("1\n0\n0");
    answer("a network of somebody else").says("0\njoined");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn users_of_its_own_are_restored() {
    answer("users of its own").says("0\n0 100000 750\n0\n0\n0 100000 750\n0\n100000\n0\n1\n15");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_container_can_be_restored_again_and_in_other_groups() {
    let round = |number| format!("0\n0\n/elsewhere/{number}\n/sys/fs/cgroup/elsewhere/{number}\n");
    answer("again, and into another group").says(&format!("{}{}sleep", round(1), round(2)));
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn mount_points_are_made_where_they_are_missing() {
    answer("mount points that have gone").says("file");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn an_annotation_names_settings_of_criu() {
    answer("settings of CRIU's").says("mine.log\nstats-dump");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_restore_that_is_killed_leaves_nothing_and_the_root_whole() {
    answer("a restore that is killed").says("whole");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn limits_filter_and_read_only_root_hold() {
    answer("limits and a filter").says("0\n0\n67108864\nSeccomp:\t2\nRead-only\n1");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn hooks_run_as_with_runc() {
    let hooks = answer("hooks");
    hooks.says("poststop\nprestart createRuntime\n1");
    assert!(hooks.err().contains("error running createRuntime hook #0: exit status 3"), "{hooks}");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_paused_container_is_taken_as_it_is() {
    answer("a paused container").says("0\nrunning");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn what_cannot_be_is_said() {
    let refused = answer("checkpoints that cannot be");
    refused.says("1\n1\nno");
    let expected = [
        "container does not exist",
        "Container cannot be checkpointed in created state",
        "namespace \"ipc\" is not supported",
        "invalid manage-cgroups-mode value",
        "--parent-path must be relative",
        "invalid --parent-path: stat /tmp/no/checkpoint/../absent: no such file or directory",
        "Use --page-server ADDRESS:PORT to specify page server",
        "invalid --status-fd argument 77: bad file descriptor",
        "open directory `/tmp/no/absent`: no such file or directory",
        "container with given ID already exists",
        NO_CRIU,
        NO_CRIU,
        "cannot allocate tty if runc will detach without setting console socket",
    ];
    assert_eq!(refused.err().lines().collect::<Vec<_>>(), expected);
}

const NO_CRIU: &str = "CRIU version check failed: exec: \"criu\": executable file not found in $PATH \
    (Debian has it as package `criu`)";

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn nothing_is_left() {
    answer("what checkpoints leave").says(".seccomp@");
    leaves_nothing("checkpoints");
}
