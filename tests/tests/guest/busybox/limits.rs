//! Limits of cgroup v2, read back from both sides, and what happens at them.

use super::{answer, leaves_nothing};
use crate::guest::step::{Step, step};

/// What is done.
pub const STEPS: &[Step] = &[
    step(
        "limits seen inside",
        "holm run --rm --memory 64m --cpus 0.5 --pids-limit 20 base sh -c '
            cat /proc/self/cgroup
            cd /sys/fs/cgroup; head -n 1 memory.max memory.swap.max cpu.max pids.max | grep -v ^$'",
    ),
    step("start with limits", "holm run -d --name box --memory 64m --cpus 0.5 --pids-limit 20 base sleep 1000"),
    step("limits in force", "holm inspect -f '{{json .Holm.LimitsInForce}}' box"),
    step(
        "limits seen by the host",
        "cd /sys/fs/cgroup$(holm inspect -f '/{{.Holm.Cgroup}}' box)
        cat memory.max cpu.max pids.max cgroup.procs
        cat ../cgroup.subtree_control
        holm inspect -f '{{.State.Pid}}' box",
    ),
    step("keepers are outside", "cat /proc/$(keeper_of box)/cgroup; holm rm -f box"),
    step("no limits", "holm run --rm base sh -c 'cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max 2>/dev/null; true'"),
    step("limits cannot be changed inside", "holm run --rm --memory 64m base sh -c 'echo max >/sys/fs/cgroup/memory.max'"),
    step(
        "too much memory",
        "holm run --name fat --memory 16m base dd if=/dev/zero of=/dev/null bs=200M count=1; echo $?
        holm inspect -f '{{.State.OOMKilled}} {{.State.ExitCode}}' fat; holm rm fat",
    ),
    step(
        "too much memory in a child",
        "holm run --name fat --memory 16m base sh -c 'dd if=/dev/zero of=/dev/null bs=200M count=1; echo $?; exit 3'; echo $?
        holm inspect -f '{{.State.OOMKilled}} {{.State.ExitCode}}' fat; holm rm fat",
    ),
    step(
        "enough memory",
        "holm run --name thin --memory 16m base true
        holm inspect -f '{{.State.OOMKilled}} {{.State.ExitCode}}' thin; holm rm thin",
    ),
    step("too many processes", "holm run --rm --pids-limit 20 base sh -c 'for i in $(seq 40); do sleep 2 & done; echo all'"),
    step(
        "too much time",
        "holm run --rm --cpus 0.2 base sh -c '
            timeout 1 sh -c \"while :; do :; done\"; grep nr_throttled /sys/fs/cgroup/cpu.stat'",
    ),
    step("what cannot be", "holm run --rm --memory 4m base true"),
];

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_workload_sees_its_limits() {
    let expected = "0::/\n==> memory.max <==\n67108864\n==> memory.swap.max <==\n67108864\n\
        ==> cpu.max <==\n50000 100000\n==> pids.max <==\n20";
    answer("limits seen inside").says(expected);
    // A controller that nobody has asked for yet is not there at all.
    assert!(answer("no limits").ok().lines().all(|limit| limit == "max"), "{}", answer("no limits"));
    answer("limits cannot be changed inside").fails(1, "Read-only file system");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn inspect_reads_them_back() {
    answer("start with limits").ok();
    answer("limits in force").says(r#"{"memory":67108864,"nano_cpus":500000000,"pids":20}"#);
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn the_group_has_them() {
    let text = answer("limits seen by the host").ok();
    let lines: Vec<_> = text.lines().collect();
    let [memory, cpu, pids, member, controllers, pid] = lines.as_slice() else { panic!("{text}") };
    assert_eq!([*memory, *cpu, *pids], ["67108864", "50000 100000", "20"]);
    assert_eq!(member, pid, "the workload alone is in its group");
    assert_eq!(*controllers, "cpu memory pids", "no controller but those that are needed");
    assert_eq!(answer("keepers are outside").ok().lines().next(), Some("0::/holm/keepers"));
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn memory_ends_at_its_limit() {
    answer("too much memory").says("137\ntrue 137\nfat");
    answer("too much memory in a child").says("137\n3\ntrue 3\nfat");
    answer("enough memory").says("false 0\nthin");
    answer("what cannot be").fails(125, "memory");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn processes_and_time_end_at_theirs() {
    let processes = answer("too many processes");
    assert!(processes.err().contains("Resource temporarily unavailable"), "{processes}");
    assert!(!processes.out().contains("all"), "{processes}");
    let throttled = answer("too much time");
    let count = throttled.out().trim_start_matches("nr_throttled ").parse::<u32>();
    assert!(count.is_ok_and(|count| count > 0), "{throttled}");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn nothing_is_left() {
    leaves_nothing("limits");
}
