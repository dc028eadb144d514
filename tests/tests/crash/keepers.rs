//! Workloads whose keeper, or whose `holm`, is killed.

use std::time::Duration;

use holm_tests::{Holm, eventually, host};

use super::island::Island;
use super::kernel::{self, keeper_of};
use super::random::Random;

/// Kills the keeper of a workload and waits until it is gone.
#[track_caller]
fn kill_keeper(holm: &Holm, workload: &str) {
    let keeper = keeper_of(holm, workload);
    host::kill(keeper);
    eventually("a killed keeper goes", || !host::runs(keeper));
}

/// Demands that the next command takes the workload over, and says so.
#[track_caller]
fn adopt(holm: &Holm, workload: &str) {
    let short = &holm.inspect(workload, "{{.Id}}")[..12];
    let outcome = holm.run(["ps", "-a"]);
    outcome.ok();
    let expected = format!("workload {short}: its keeper was killed, a new one took over");
    assert!(outcome.err().contains(&expected), "no {expected:?}: {outcome}");
    eventually("the new keeper listens", || holm.run(["exec", workload, "true"]).code() == 0);
}

/// The numbers that a workload has printed.
fn printed(holm: &Holm, workload: &str) -> Vec<u32> {
    let log = holm.ok(["logs", workload]);
    log.lines().map(|line| line.parse().unwrap_or_else(|_| panic!("no number: {line:?}"))).collect()
}

/// Demands that the numbers begin with 1 and follow each other up to `last`.
#[track_caller]
fn is_complete(numbers: &[u32], last: u32) {
    let wrong = numbers.iter().zip(1..).find(|(number, expected)| **number != *expected);
    assert_eq!(wrong, None, "a line is lost, doubled or out of order (found, expected)");
    assert_eq!(numbers.len(), last as usize, "lines at the end are lost");
}

#[test]
fn a_workload_outlives_its_keeper_and_loses_no_line() {
    let holm = Holm::new();
    let script = "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo $i; sleep 0.002; done; sleep 100000";
    holm.start(&["--name", "counter"], script);
    let pid = holm.pid("counter");
    for lines in [20, 100, 200] {
        eventually("the workload counts", || printed(&holm, "counter").len() > lines);
        kill_keeper(&holm, "counter");
        // It counts on while nobody listens.
        std::thread::sleep(Duration::from_millis(60));
        assert!(host::runs(pid), "the workload died with its keeper");
        adopt(&holm, "counter");
        assert_eq!(holm.pid("counter"), pid);
    }
    eventually("the workload counts to the end", || printed(&holm, "counter").len() >= 400);
    is_complete(&printed(&holm, "counter"), 400);
}

/// A writer that is much faster than a keeper is always in the middle of a line, and its keeper in the
/// middle of a read when it is killed.
#[test]
#[ignore = "a keeper killed inside write(2) loses the rest of that write, 16 KiB at most: docs/design/0006"]
fn a_flood_of_output_loses_no_line() {
    const LAST: u32 = 300_000;
    let holm = Holm::new();
    holm.start(&["--name", "flood"], &format!("seq 1 {LAST}; sleep 100000"));
    let mut random = Random::new(7);
    for _ in 0..6 {
        std::thread::sleep(random.below(Duration::from_millis(8)));
        kill_keeper(&holm, "flood");
        adopt(&holm, "flood");
    }
    let last = LAST.to_string();
    eventually("the flood ends", || holm.ok(["logs", "--tail", "1", "flood"]) == last);
    is_complete(&printed(&holm, "flood"), LAST);
}

#[test]
fn an_adopted_workload_can_be_entered_and_stopped_and_its_end_is_known() {
    let holm = Holm::new();
    holm.start(&["--name", "trap"], "trap 'exit 7' TERM; touch /tmp/ready; while :; do sleep 0.01; done");
    eventually("the trap is set", || holm.run(["exec", "trap", "test", "-e", "/tmp/ready"]).code() == 0);
    kill_keeper(&holm, "trap");
    adopt(&holm, "trap");
    assert_eq!(holm.ok(["exec", "trap", "echo", "in"]), "in");
    let waiting = holm.call(["wait", "trap"]).spawn();
    holm.ok(["stop", "trap"]);
    assert_eq!(holm.inspect("trap", "{{.State.Status}} {{.State.ExitCode}}"), "exited 7");
    assert_eq!(waiting.finish().ok(), "7");
    assert_eq!(holm.ok(["wait", "trap"]), "7");
}

/// What keeps a new keeper from taking over is told, and the workload is neither ended nor lost.
#[test]
fn an_adoption_that_fails_is_no_success() {
    let holm = Holm::new();
    let id = holm.start(&["--name", "orphan"], "sleep 100000");
    let pid = holm.pid("orphan");
    kill_keeper(&holm, "orphan");
    let log = holm.root().join("workloads").join(&id).join("log/0.log");
    std::fs::remove_file(&log).expect("a log");
    std::fs::create_dir(&log).expect("nothing that a keeper can write to");
    let outcome = holm.run(["ps", "-a"]);
    outcome.ok();
    assert!(outcome.err().contains("no new one could take over"), "{outcome}");
    holm.run(["stop", "orphan"]).refused(1, &["no new one could take over"]);
    assert!(host::runs(pid));
    std::fs::remove_dir(&log).expect("empty");
    adopt(&holm, "orphan");
    assert_eq!(holm.pid("orphan"), pid);
}

/// The keeper that was asked is killed while it waits: the one that follows is asked as well.
#[test]
fn a_stop_outlives_the_keeper_that_it_asked() {
    let holm = Holm::new();
    let script = "trap 'n=$((n+1)); echo asked $n; test $n -lt 2 || exit 6' TERM; echo up; while :; do sleep 0.02; done";
    holm.start(&["--name", "slow"], script);
    eventually("the trap is set", || holm.ok(["logs", "slow"]).contains("up"));
    let mut stop = holm.call(["stop", "-t", "20", "slow"]).spawn();
    eventually("it was asked", || holm.ok(["logs", "slow"]).contains("asked 1"));
    assert!(!stop.is_over());
    kill_keeper(&holm, "slow");
    stop.finish().ok();
    assert_eq!(holm.inspect("slow", "{{.State.Status}} {{.State.ExitCode}}"), "exited 6");
}

/// Two mount namespaces share one run root: the locks of the layers' mounts are seen in both, the mounts are not.
#[test]
fn a_mount_namespace_that_sees_no_mounts_of_the_other() {
    let island = Island::new();
    let holm = &island.holm;
    holm.start(&["--name", "first"], "sleep 100000");
    let layers = holm.run_root().join("layers");
    let script = format!(
        "exec unshare -m --propagation private sh -ec 'for at in {0}/*/; do umount $at; done; \
         $HOLM run --rm base echo one; $HOLM run -d --rm --name second base sleep 100000 >&2; \
         $HOLM run --rm base echo two; $HOLM rm -f second >&2; $HOLM exec first echo three'",
        layers.display()
    );
    assert_eq!(holm.host_shell(&script).ok(), "one\ntwo\nthree");
    assert_eq!(holm.ok(["exec", "first", "echo", "in"]), "in");
    holm.ok(["rm", "-f", "first"]);
    island.is_clean("a run root that two mount namespaces shared");
}

/// Its input has an end, which comes when nobody is left to write: a keeper's death is one.
#[test]
fn a_workload_with_open_input_sees_its_end_and_goes_on() {
    let holm = Holm::new();
    holm.ok(["run", "-d", "-i", "--name", "reader", "base", "sh", "-c", "cat; echo over; sleep 100000"]);
    let pid = holm.pid("reader");
    kill_keeper(&holm, "reader");
    adopt(&holm, "reader");
    eventually("its input ends", || holm.ok(["logs", "reader"]) == "over");
    assert!(host::runs(pid));
    holm.ok(["rm", "-f", "reader"]);
}

#[test]
fn a_workload_on_a_terminal_dies_with_its_keeper_and_is_cleaned_up() {
    let island = Island::new();
    let holm = &island.holm;
    let id = holm.ok(["run", "-d", "-t", "--name", "terminal", "base", "sleep", "100000"]);
    let pid = holm.pid("terminal");
    kill_keeper(holm, "terminal");
    eventually("the hang-up ends the workload", || !host::runs(pid));
    let outcome = holm.run(["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
    assert!(outcome.ok().contains("terminal exited"), "{outcome}");
    assert!(outcome.err().contains(&id[..12]), "nothing was said: {outcome}");
    island.groups_are_gone(&[id]).expect("groups go");
    holm.ok(["rm", "terminal"]);
    island.is_clean("a workload on a terminal");
}

/// A group that cannot be removed is not forgotten: whoever can remove it later does.
#[test]
fn a_group_that_stays_is_removed_by_a_later_command() {
    let island = Island::new();
    let holm = &island.holm;
    let id = holm.start(&["--name", "sticky"], "while [ ! -e /tmp/end ]; do sleep 0.01; done");
    let stuck: Vec<_> = host::groups(&id).iter().map(|group| group.join("stuck")).collect();
    for directory in &stuck {
        std::fs::create_dir(directory).expect("a group below");
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", directory, "tmpfs", flags, None).expect("a mount keeps it");
    }
    let waiting = holm.call(["wait", "sticky"]).spawn();
    holm.ok(["exec", "sticky", "touch", "/tmp/end"]);
    let outcome = waiting.wait();
    for directory in &stuck {
        rustix::mount::unmount(directory, rustix::mount::UnmountFlags::DETACH).expect("mounted");
    }
    assert_eq!(outcome.expect("the wait ends").ok(), "0");
    assert_eq!(holm.inspect("sticky", "{{.State.Status}} {{.State.ExitCode}}"), "exited 0");
    let outcome = holm.run(["ps", "-a"]);
    assert!(outcome.err().contains(&id[..12]), "nothing was said: {outcome}");
    island.groups_are_gone(&[id]).expect("groups go");
    holm.ok(["rm", "sticky"]);
    island.is_clean("a workload whose group stayed");
}

#[test]
fn keeper_and_workload_killed_together_are_buried() {
    let island = Island::new();
    let holm = &island.holm;
    let id = holm.start(&["--name", "both"], "echo first; sleep 100000");
    eventually("it has begun", || holm.ok(["logs", "both"]) == "first");
    let pid = holm.pid("both");
    kill_keeper(holm, "both");
    host::kill(pid);
    eventually("the workload goes", || !host::runs(pid));

    let outcome = holm.run(["ps", "-a", "--filter", "name=both", "--format", "{{.State}} {{.Status}}"]);
    assert!(outcome.ok().starts_with("exited Exited (255)"), "{outcome}");
    let expected = format!("workload {}: its keeper was killed and it ended; cleaned up", &id[..12]);
    assert!(outcome.err().contains(&expected), "no {expected:?}: {outcome}");
    assert_eq!(holm.inspect("both", "{{.State.Status}} {{.State.ExitCode}}"), "exited 255");
    island.groups_are_gone(&[id]).expect("groups go");

    holm.ok(["start", "both"]);
    eventually("it has begun again", || holm.ok(["logs", "both"]) == "first\nfirst");
    assert_eq!(holm.ok(["exec", "both", "echo", "in"]), "in");
    holm.ok(["rm", "-f", "both"]);
    island.is_clean("a buried workload");
}

#[test]
fn a_buried_workload_that_was_to_be_removed_is_removed() {
    let island = Island::new();
    let holm = &island.holm;
    let id = holm.start(&["--rm", "--name", "both"], "sleep 100000");
    let pid = holm.pid("both");
    kill_keeper(holm, "both");
    host::kill(pid);
    eventually("the workload goes", || !host::runs(pid));
    holm.ok(["ps", "-a"]);
    island.groups_are_gone(&[id]).expect("groups go");
    island.is_clean("a workload with --rm that was buried");
}

#[test]
fn an_adopted_workload_that_was_to_be_removed_is_removed_at_its_end() {
    let island = Island::new();
    let holm = &island.holm;
    let id = holm.start(&["--rm", "--name", "adopted"], "while [ ! -e /tmp/end ]; do sleep 0.01; done");
    kill_keeper(holm, "adopted");
    adopt(holm, "adopted");
    // It may take the command that ends it along.
    holm.run(["exec", "adopted", "touch", "/tmp/end"]);
    island.groups_are_gone(&[id]).expect("groups go");
    island.is_clean("a workload with --rm that was adopted");
}

#[test]
fn killing_the_command_in_front_ends_nothing() {
    let island = Island::new();
    let holm = &island.holm;
    let call = holm.call(["run", "--name", "front", "base", "sh", "-c", "echo up; sleep 100000"]);
    let mut front = call.spawn();
    front.expect_stdout("up");
    let (pid, keeper) = (holm.pid("front"), keeper_of(holm, "front"));
    front.signal(rustix::process::Signal::KILL);
    assert_eq!(front.finish().code(), 137);
    let outcome = holm.run(["ps", "--format", "{{.Names}}"]);
    assert_eq!(outcome.ok().lines().collect::<Vec<_>>(), ["front", "bystander"]);
    assert_eq!(outcome.err(), "", "nothing had to be repaired");
    assert!(host::runs(pid) && host::runs(keeper));
    assert_eq!(holm.ok(["exec", "front", "echo", "in"]), "in");
    holm.ok(["rm", "-f", "front"]);
    island.is_clean("a workload whose command was killed");
}

/// What is killed some time after `holm run --rm` was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Command,
    Keeper,
}

fn kill_at_random(target: Target, seed: u64) {
    const ROUNDS: usize = 30;
    let island = Island::new();
    let holm = &island.holm;
    let mut random = Random::new(seed);
    let mut victims = Vec::new();
    for round in 0..ROUNDS {
        let delay = random.below(Duration::from_millis(8));
        let running = holm.call(["run", "--rm", "--name", "victim", "base", "true"]).spawn();
        std::thread::sleep(delay);
        match target {
            Target::Command => running.signal(rustix::process::Signal::KILL),
            Target::Keeper => kernel::children(running.pid()).into_iter().for_each(host::kill),
        }
        drop(running.wait());
        victims.extend(island.victims());
        // A keeper that lost its command, and a process that lost its keeper, come to their ends alone.
        std::thread::sleep(Duration::from_millis(20));
        holm.ok(["ps", "-a"]);
        if let Err(difference) = island.reaches(&[&island.clean]) {
            panic!("{target:?} killed after {delay:?} in round {round}:\n{difference}");
        }
    }
    island.groups_are_gone(&victims).expect("groups go");
    island.is_clean("commands killed at random");
}

#[test]
fn a_command_killed_at_any_moment_leaves_nothing() {
    kill_at_random(Target::Command, 1);
}

#[test]
fn a_keeper_killed_at_any_moment_leaves_nothing() {
    kill_at_random(Target::Keeper, 2);
}

/// A restart of the host: every process, mount, control group and all of the run root are gone.
#[test]
fn a_restart_of_the_host_ends_what_ran() {
    let holm = Holm::new();
    let ids = [
        holm.start(&["--name", "kept"], "sleep 100000"),
        holm.start(&["--rm", "--name", "removed"], "sleep 100000"),
        holm.ok(["create", "--name", "waiting", "base", "echo", "hello"]),
        holm.ok(["create", "--rm", "--name", "once", "base", "echo", "hello"]),
    ];
    for keeper in kernel::keepers(&holm) {
        host::kill(keeper.pid);
        eventually("a killed keeper goes", || !host::runs(keeper.pid));
    }
    ids.iter().for_each(|id| host::destroy_groups(id));
    host::unmount_below(&holm.run_root());
    std::fs::remove_dir_all(holm.run_root()).expect("nothing uses it");
    std::fs::create_dir(holm.run_root()).expect("its parent is there");

    let list = holm.ok(["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
    let mut lines: Vec<_> = list.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["kept exited", "once created", "waiting created"]);
    assert_eq!(holm.ok(["start", "-a", "waiting"]), "hello");
    assert_eq!(holm.ok(["start", "-a", "once"]), "hello");
    holm.ok(["start", "kept"]);
    assert_eq!(holm.ok(["exec", "kept", "echo", "in"]), "in");
}

/// The freezer is the kernel's, so what is paused stays so under another keeper.
#[test]
fn a_paused_workload_outlives_its_keeper() {
    let holm = Holm::new();
    let script = "trap 'exit 7' TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done";
    holm.start(&["--name", "still"], script);
    eventually("the workload counts", || printed(&holm, "still").len() > 3);
    holm.ok(["pause", "still"]);
    let pid = holm.pid("still");
    kill_keeper(&holm, "still");
    let outcome = holm.run(["ps", "--format", "{{.Names}} {{.State}}"]);
    assert_eq!(outcome.ok(), "still paused");
    assert!(outcome.err().contains("a new one took over"), "{outcome}");
    let before = printed(&holm, "still").len();
    holm.run(["exec", "still", "true"]).refused(1, &["still", "paused"]);
    holm.ok(["unpause", "still"]);
    assert_eq!(holm.pid("still"), pid);
    eventually("the workload counts on", || printed(&holm, "still").len() > before);
    // Nobody has taken over when it is asked to end.
    holm.ok(["pause", "still"]);
    kill_keeper(&holm, "still");
    holm.ok(["stop", "still"]);
    assert_eq!(holm.inspect("still", "{{.State.Status}}"), "exited");
    assert!(!host::runs(pid));
}

holm_tests::also_in_machines!(a_paused_workload_outlives_its_keeper);
