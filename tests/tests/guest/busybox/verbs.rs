//! The verbs on a host with nothing but cgroup v2, and what such a host says about itself.

use serde_json::Value;

use super::{GUEST, answer, leaves_nothing};
use crate::guest::step::{Step, step};

/// What is done.
pub const STEPS: &[Step] = &[
    step("kernel", "uname -r; cat /proc/mounts"),
    step("info", "holm info -f json"),
    step("import", "holm import /base.tar base"),
    step("images", "holm images --format '{{.Repository}}:{{.Tag}}'"),
    step("echo", "holm run --rm base echo 'hello from an island'"),
    step("input", "printf 'one\ntwo\n' | holm run --rm -i base wc -l"),
    step("code 0", "holm run --rm base true"),
    step("code 7", "holm run --rm base sh -c 'exit 7'"),
    step("code of a signal", "holm run --rm --init base sh -c 'kill -9 $$'"),
    step("code 125", "holm run --rm nothing true"),
    step("code 126", "holm run --rm base /etc/plain"),
    step("code 127", "holm run --rm base no-such-program"),
    step(
        "start",
        "holm run -d --name box --hostname box base sh -c 'trap \"exit 3\" TERM; echo out; echo err >&2; while :; do sleep 0.1; done'",
    ),
    step("list", "holm ps --format '{{.Names}} {{.State}}'"),
    step("exec", "holm exec -e A=b -w /tmp box sh -c 'echo $A $PWD $(hostname); exit 4'"),
    step("exec with input", "echo in | holm exec -i box cat"),
    step(
        "exec is in the group",
        "group=/sys/fs/cgroup/$(holm inspect -f '{{.Holm.Cgroup}}' box)
        holm exec -d box sleep 1000
        eventually 'grep -q sleep.1000 $(sed s,.*,/proc/\\&/cmdline, $group/cgroup.procs) 2>/dev/null'
        holm exec box cat /proc/self/cgroup",
    ),
    step("logs", "eventually 'holm logs box 2>/dev/null | grep -q out'; holm logs box"),
    step(
        "top",
        "holm top --parents --format '{{.PID}} {{.PPID}} {{.CMD}}' box; echo pid $(holm inspect -f '{{.State.Pid}}' box) keeper $(keeper_of box)",
    ),
    step("stop", "holm stop box; holm inspect -f '{{.State.Status}} {{.State.ExitCode}}' box"),
    step(
        "start again",
        "holm start box; eventually 'holm exec box true'; holm kill -s KILL box; holm wait box",
    ),
    step("remove", "holm rm box; holm ps -aq"),
    step("terminal", "holm run --rm -t base sh -c 'tty; test -t 0 && test -t 1 && echo yes'"),
    step(
        "exec on a terminal",
        "holm run -d --rm --name term -t base sleep 1000; holm exec -t term tty; holm rm -f term",
    ),
    step(
        "volume",
        "mkdir -p /tmp/v; echo of the host >/tmp/v/file; holm run --rm -v /tmp/v:/v:ro base sh -c 'cat /v/file; echo x >/v/file'",
    ),
    step(
        "network of the host",
        "ip link set lo up; readlink /proc/self/ns/net; holm run --rm --network host base readlink /proc/self/ns/net",
    ),
    step("init", "holm run --rm --init base sh -c 'cat /proc/1/comm; exit 5'"),
];

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn the_machine_is_what_it_should_be() {
    let kernel = answer("kernel").ok();
    assert!(kernel.starts_with("6.1."), "{kernel}");
    let groups: Vec<_> = kernel.lines().filter(|line| line.contains("cgroup")).collect();
    assert_eq!(groups, ["cgroup2 /sys/fs/cgroup cgroup2 rw,relatime 0 0"]);
    println!("{}", GUEST.boot().times());
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn info_tells_of_cgroup_v2() {
    let info: Value = serde_json::from_str(&answer("info").ok()).unwrap();
    assert_eq!(info["CgroupVersion"], "v2");
    for controller in ["cpu", "memory", "pids"] {
        assert_eq!(info["CgroupControllers"][controller], "v2", "{info}");
    }
    assert_eq!(answer("info").err(), "", "it lacks nothing");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn images_are_made() {
    assert!(answer("import").ok().starts_with("sha256:"));
    answer("images").says("base:latest");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn run_carries_streams_and_exit_codes() {
    answer("echo").says("hello from an island");
    answer("input").says("2");
    for (step, code) in [("code 0", 0), ("code 7", 7), ("code of a signal", 137)] {
        let answer = answer(step).expect_code(code);
        assert_eq!((answer.out(), answer.err()), (String::new(), String::new()), "{answer}");
    }
    answer("code 125").fails(125, "`nothing");
    answer("code 126").fails(126, "/etc/plain");
    answer("code 127").fails(127, "no-such-program");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_workload_lives_in_the_background() {
    assert_eq!(answer("start").ok().len(), 64);
    answer("list").says("box running");
    let exec = answer("exec").expect_code(4);
    assert_eq!(exec.out(), "b /tmp box");
    answer("exec with input").says("in");
    answer("exec is in the group").says("0::/");
    let logs = answer("logs");
    assert_eq!((logs.ok(), logs.err()), ("out".to_owned(), "err".to_owned()));
    answer("stop").says("box\nexited 3");
    answer("start again").says("box\nbox\n137");
    answer("remove").says("box");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn top_shows_the_chain_to_the_keeper_and_on() {
    let text = answer("top").ok();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    let [.., last] = rows.as_slice() else { panic!("nothing: {text}") };
    let (pid, keeper) = (last[1], last[3]);
    let row = |pid: &str| rows.iter().find(|row| row[0] == pid).unwrap_or_else(|| panic!("no {pid}: {text}"));
    assert_eq!(row(pid)[1], keeper);
    assert_eq!(row(keeper)[2], "holm-keeper");
    assert!(rows.iter().any(|row| row[0] == "1"), "it does not reach PID 1: {text}");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn terminals() {
    answer("terminal").says("/dev/pts/0\r\nyes\r");
    let exec = answer("exec on a terminal").ok();
    assert!(exec.contains("/dev/pts/"), "{exec}");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn binds_networks_and_inits() {
    let volume = answer("volume").expect_code(1);
    assert_eq!(volume.out(), "of the host");
    assert!(volume.err().contains("Read-only file system"), "{volume}");
    let networks = answer("network of the host").ok();
    let (own, inside) = networks.split_once('\n').expect("two lines");
    assert_eq!(own, inside);
    answer("init").expect_code(5);
    assert_eq!(answer("init").out(), "docker-init");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn nothing_is_left() {
    leaves_nothing("verbs");
}
