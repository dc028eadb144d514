//! `pause` and `unpause`.

use std::time::Duration;

use holm_tests::{Holm, eventually};

/// Prints a number again and again.
const COUNTS: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done";

fn lines(holm: &Holm, workload: &str) -> usize {
    holm.ok(["logs", workload]).lines().count()
}

/// Waits until a workload has printed something more.
#[track_caller]
fn goes_on(holm: &Holm, workload: &str) {
    let before = lines(holm, workload);
    eventually("it prints more", || lines(holm, workload) > before);
}

#[test]
fn what_is_paused_stands_still_and_goes_on() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], COUNTS);
    goes_on(&holm, "box");
    assert_eq!(holm.ok(["pause", "box"]), "box");
    // What its keeper had read may still be on its way to the log.
    std::thread::sleep(Duration::from_millis(200));
    let (before, pid) = (lines(&holm, "box"), holm.pid("box"));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(lines(&holm, "box"), before, "it goes on while it is paused");
    assert_eq!(
        holm.inspect("box", "{{.State.Status}} {{.State.Paused}} {{.State.Running}}"),
        "paused true true"
    );
    assert_eq!(holm.ok(["unpause", "box"]), "box");
    goes_on(&holm, "box");
    assert_eq!(holm.pid("box"), pid);
    assert_eq!(
        holm.inspect("box", "{{.State.Status}} {{.State.Paused}} {{.State.Running}}"),
        "running false true"
    );
}

#[test]
fn lists_say_so() {
    let holm = Holm::new();
    holm.start(&["--name", "one"], "sleep 1000");
    holm.start(&["--name", "two"], "sleep 1000");
    holm.ok(["pause", "one"]);
    let listed = |filter: &str| holm.ok(["ps", "--filter", filter, "--format", "{{.Names}} {{.State}}"]);
    assert_eq!(listed("status=paused"), "one paused");
    assert_eq!(listed("status=running"), "two running");
    assert_eq!(listed("name=one"), "one paused", "it is one of those that run");
    let status = holm.ok(["ps", "--filter", "name=one", "--format", "{{.Status}}"]);
    assert!(status.starts_with("Up ") && status.ends_with(" (Paused)"), "{status}");
    let counts = "{{.ContainersRunning}} {{.ContainersPaused}} {{.ContainersStopped}}";
    assert_eq!(holm.ok(["info", "-f", counts]), "1 1 0");
}

#[test]
fn what_needs_its_processes_is_refused() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "sleep 1000");
    holm.ok(["pause", "box"]);
    for arguments in
        [&["exec", "box", "true"][..], &["attach", "box"], &["start", "box"], &["start", "-a", "box"]]
    {
        let text = holm.run(arguments).refused(1, &["box", "paused"]);
        assert!(text.contains("`holm unpause box`"), "{text}");
    }
    let text = holm.run(["pause", "box"]).refused(1, &["box", "already paused"]);
    assert!(text.contains("`holm unpause box`"), "{text}");
    holm.run(["rm", "box"]).refused(1, &["box", "paused"]);
    holm.ok(["unpause", "box"]);
    holm.run(["unpause", "box"]).refused(1, &["box", "not paused"]);
    assert_eq!(holm.ok(["exec", "box", "echo", "in"]), "in");
}

#[test]
fn several_and_those_that_cannot_be() {
    let holm = Holm::new();
    holm.ok(["create", "--name", "made", "base", "true"]);
    for command in ["pause", "unpause"] {
        holm.run([command, "made"]).refused(1, &["made", "not running"]);
        holm.run([command, "absent"]).refused(1, &["absent"]);
        holm.run([command]).refused(1, &["WORKLOAD"]);
    }
    let ids = ["one", "two"].map(|name| holm.start(&["--name", name], "sleep 1000"));
    for command in ["pause", "unpause"] {
        let outcome = holm.run([command, "one", "absent", "made", &ids[1][..12]]);
        outcome.expect_code(1);
        assert_eq!(outcome.out(), format!("one\n{}", &ids[1][..12]), "{outcome}");
        assert!(outcome.err().contains("absent") && outcome.err().contains("made"), "{outcome}");
    }
    assert_eq!(holm.ok(["container", "pause", "one"]), "one");
    assert_eq!(holm.ok(["container", "unpause", "one"]), "one");
}

/// As with Docker the processes are listed: it is the host that tells of them.
#[test]
fn top_tells_what_stands_still() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "sleep 1000");
    holm.ok(["pause", "box"]);
    match holm.isolation() {
        holm_tests::Isolation::Container => assert!(holm.ok(["top", "box"]).contains("sleep 1000")),
        holm_tests::Isolation::Machine => drop(holm.run(["top", "box"]).refused(1, &["box", "paused"])),
    }
}

#[test]
fn signals_arrive_because_it_goes_on() {
    let holm = Holm::new();
    let script = "trap 'echo hup' HUP; trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    holm.start(&["--name", "box"], script);
    eventually("the traps are set", || holm.ok(["logs", "box"]).contains("ready"));
    holm.ok(["pause", "box"]);
    assert_eq!(holm.ok(["kill", "-s", "HUP", "box"]), "box");
    eventually("the signal arrives", || holm.ok(["logs", "box"]).contains("hup"));
    assert_eq!(holm.inspect("box", "{{.State.Status}}"), "running");
    holm.ok(["pause", "box"]);
    let mut waiting = holm.call(["wait", "box"]).spawn();
    std::thread::sleep(Duration::from_millis(100));
    assert!(!waiting.is_over(), "a paused workload has not ended");
    assert_eq!(holm.ok(["stop", "box"]), "box");
    assert_eq!(waiting.finish().ok(), "7");
    assert_eq!(holm.inspect("box", "{{.State.Status}} {{.State.Paused}}"), "exited false");
}

#[test]
fn it_can_be_killed_and_removed() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "sleep 1000");
    holm.ok(["pause", "box"]);
    holm.ok(["kill", "box"]);
    assert_eq!(holm.ok(["wait", "box"]), "137");
    holm.ok(["start", "box"]);
    assert_eq!(holm.inspect("box", "{{.State.Status}}"), "running", "a new run is not paused");
    holm.ok(["pause", "box"]);
    assert_eq!(holm.ok(["rm", "-f", "box"]), "box");
    assert!(holm.workloads().is_empty());
}

#[test]
fn a_signal_of_whoever_runs_it_arrives_as_well() {
    let holm = Holm::new();
    let script = "trap 'exit 5' INT; echo ready; while :; do sleep 0.05; done";
    let mut call = holm.call(["run", "--rm", "--name", "box", "base", "sh", "-c", script]).spawn();
    call.expect_stdout("ready");
    holm.ok(["pause", "box"]);
    call.signal(rustix::process::Signal::INT);
    call.finish().expect_code(5);
}

#[test]
fn the_clock_is_right_when_it_goes_on() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "sleep 1000");
    holm.ok(["pause", "box"]);
    std::thread::sleep(Duration::from_millis(2500));
    holm.ok(["unpause", "box"]);
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("now").as_secs();
    eventually("the clock is the host's", || {
        let inside: u64 = holm.ok(["exec", "box", "date", "+%s"]).parse().expect("a number");
        inside.abs_diff(now()) < 2
    });
}

holm_tests::also_in_machines!(
    what_is_paused_stands_still_and_goes_on,
    what_needs_its_processes_is_refused,
    top_tells_what_stands_still,
    signals_arrive_because_it_goes_on,
    it_can_be_killed_and_removed,
    the_clock_is_right_when_it_goes_on,
);
