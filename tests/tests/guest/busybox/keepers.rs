//! Keepers that are killed, where the kernel does not tell how a foreign process ended (before Linux 6.15).

use super::{answer, leaves_nothing};
use crate::guest::step::{Step, step};

/// What is done.
pub const STEPS: &[Step] = &[
    step(
        "adoption",
        "holm run -d --name box base sh -c 'i=0; while [ ! -e /tmp/end ]; do i=$((i+1)); echo $i; sleep 0.05; done; exit 7' >/dev/null
        pid=$(holm inspect -f '{{.State.Pid}}' box)
        keeper=$(keeper_of box); kill -9 $keeper; eventually 'ended $keeper'
        sleep 0.3
        ended $pid || echo outlives
        holm ps --format '{{.Names}} {{.State}}'
        [ $pid = $(holm inspect -f '{{.State.Pid}}' box) ] && echo the same",
    ),
    step("an adopted workload is entered", "eventually 'holm exec box true 2>/dev/null'; holm exec box echo in; holm exec box touch /tmp/end; true"),
    step("the end of an adopted workload", "holm wait box; holm inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.Running}} {{.State.Pid}}' box"),
    step("no line is lost", "holm logs box >/tmp/lines; awk '$1 != NR { bad = 1 } END { exit bad || NR < 5 }' /tmp/lines || head -n 20 /tmp/lines; rm /tmp/lines"),
    step("it starts again", "holm start box; eventually 'holm logs --tail 3 box | grep -q .'; holm rm -f box"),
    step(
        "adoption and stop",
        "eventually '[ -z \"$(loops)\" ]'
        holm run -d --rm --memory 64m --name stopped base sh -c 'trap \"exit 3\" TERM; echo ready; while :; do sleep 0.05; done' >/dev/null
        eventually 'holm logs stopped | grep -q ready'
        keeper=$(keeper_of stopped); kill -9 $keeper; eventually 'ended $keeper'
        holm ps -q >/dev/null 2>&1
        holm inspect -f '{{json .Holm.LimitsInForce}}' stopped
        loops | wc -l
        holm stop stopped; eventually '[ -z \"$(holm ps -aq)\" ]'",
    ),
    step(
        "stop of what lost its keeper",
        "holm run -d --name lost base sh -c 'trap \"exit 3\" TERM; echo ready; while :; do sleep 0.05; done' >/dev/null
        eventually 'holm logs lost | grep -q ready'
        pid=$(holm inspect -f '{{.State.Pid}}' lost)
        keeper=$(keeper_of lost); kill -9 $keeper; eventually 'ended $keeper'
        holm stop lost; eventually 'ended $pid'; holm inspect -f '{{.State.Status}}' lost; holm rm -f lost",
    ),
    step(
        "wait and exec for what lost its keeper",
        "holm run -d --name entered base sleep 1000 >/dev/null
        keeper=$(keeper_of entered); kill -9 $keeper; eventually 'ended $keeper'
        holm exec entered echo entered
        holm run -d --name other base sleep 1000 >/dev/null
        keeper=$(keeper_of other); kill -9 $keeper; eventually 'ended $keeper'
        timeout 2 holm wait other; echo $?
        holm rm -f entered other",
    ),
    step(
        "burial",
        "holm run -d --name buried base sleep 1000 >/dev/null
        pid=$(holm inspect -f '{{.State.Pid}}' buried); keeper=$(keeper_of buried)
        kill -9 $keeper $pid; eventually 'ended $keeper && [ ! -e /proc/$pid ]'
        holm ps -a --format '{{.Names}} {{.State}}'
        holm inspect -f '{{.State.ExitCode}}' buried
        loops | wc -l
        holm rm buried",
    ),
    step(
        "burial of what was to be removed",
        "holm run -d --rm --name gone base sleep 1000 >/dev/null
        pid=$(holm inspect -f '{{.State.Pid}}' gone); keeper=$(keeper_of gone)
        kill -9 $keeper $pid; eventually 'ended $keeper && [ ! -e /proc/$pid ]'
        holm ps -aq",
    ),
    step(
        "killed commands",
        "for i in $(seq 10); do
            holm run --rm --name cut base true & sleep 0.0$i; kill -9 $!; wait $! 2>/dev/null
            eventually '! ps -o stat,args | grep -q ^[^Z].*[h]olm-keeper'
            holm ps -a --format '{{.State}}'; holm rm cut >/dev/null 2>&1
        done
        true",
    ),
];

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_workload_outlives_its_keeper() {
    let adoption = answer("adoption");
    adoption.says("outlives\nbox running\nthe same");
    assert!(adoption.err().contains("its keeper was killed, a new one took over"), "{adoption}");
    answer("an adopted workload is entered").says("in");
    answer("no line is lost").says("");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn the_end_of_an_adopted_workload_is_seen_before_it_is_reaped_or_counts_as_255() {
    let end = answer("the end of an adopted workload");
    let right = [7, 255].map(|code| format!("{code}\nexited {code} false 0"));
    assert!(right.contains(&end.ok()), "{end}");
    answer("it starts again").says("box\nbox");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn limits_and_layers_go_with_an_adopted_workload() {
    answer("adoption and stop").says("{\"memory\":67108864,\"nano_cpus\":null,\"pids\":null}\n1\nstopped");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn the_next_command_finds_a_new_keeper() {
    answer("stop of what lost its keeper").says("lost\nexited\nlost");
    // `timeout` ends a wait that rightly goes on, with 143.
    answer("wait and exec for what lost its keeper").says("entered\n143\nentered\nother");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn keeper_and_workload_killed_together_are_buried() {
    let burial = answer("burial");
    burial.says("buried exited\n255\n0\nburied");
    assert!(burial.err().contains("its keeper was killed and it ended; cleaned up"), "{burial}");
    answer("burial of what was to be removed").says("");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn killed_commands_leave_no_wreck() {
    // One that is killed between creating and starting leaves what it created, as Docker's does.
    let left = answer("killed commands").ok();
    assert!(left.lines().all(|state| state == "created"), "{left}");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn nothing_is_left() {
    leaves_nothing("keepers");
}
