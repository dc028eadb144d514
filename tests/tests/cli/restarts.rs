//! Restart policies: what is started again, what is not, and that a stop is a stop.

use holm_tests::isolation::slowness;
use holm_tests::{Holm, also_in_machines, eventually, host};
use rustix::process::{Pid, Signal, kill_process};

fn restarts(holm: &Holm, workload: &str) -> u32 {
    holm.inspect(workload, "{{.RestartCount}}").parse().expect("a number")
}

fn status(holm: &Holm, workload: &str) -> String {
    holm.inspect(workload, "{{.State.Status}}")
}

#[test]
fn what_fails_is_tried_so_often() {
    let holm = Holm::new();
    holm.ok([
        "run",
        "-d",
        "--name",
        "job",
        "--restart",
        "on-failure:2",
        "base",
        "sh",
        "-c",
        "echo tried; exit 3",
    ]);
    eventually("the last failure", || status(&holm, "job") == "exited");
    assert_eq!(holm.ok(["logs", "job"]), "tried\ntried\ntried");
    assert_eq!(restarts(&holm, "job"), 2);
    assert_eq!(holm.inspect("job", "{{.State.ExitCode}} {{.HostConfig.RestartPolicy.Name}}"), "3 on-failure");
    // Somebody starts it: it counts from nothing.
    holm.ok(["start", "job"]);
    eventually("again the last failure", || {
        holm.ok(["logs", "job"]).lines().count() == 6 && status(&holm, "job") == "exited"
    });
    holm.ok(["run", "-d", "--name", "good", "--restart", "on-failure", "base", "true"]);
    eventually("an end that is none to mend", || status(&holm, "good") == "exited");
    assert_eq!(restarts(&holm, "good"), 0);
}

#[test]
fn a_stop_is_a_stop() {
    let holm = Holm::new();
    for policy in ["always", "unless-stopped"] {
        holm.start(&["--name", "web", "--restart", policy, "-t"], "sleep 1000");
        holm.ok(["stop", "-t", "0", "web"]);
        assert_eq!((status(&holm, "web").as_str(), restarts(&holm, "web")), ("exited", 0), "{policy}");
        holm.ok(["start", "web"]);
        holm.ok(["kill", "web"]);
        eventually("the end", || status(&holm, "web") == "exited");
        assert_eq!(restarts(&holm, "web"), 0, "{policy}");
        holm.ok(["rm", "web"]);
    }
}

#[test]
fn what_ends_by_itself_comes_back() {
    let holm = Holm::new();
    holm.start(
        &["--name", "web", "--restart", "unless-stopped"],
        "trap 'exit 0' USR1; echo up; while :; do sleep 0.1; done",
    );
    let first = holm.pid("web");
    eventually("the trap is set", || holm.ok(["logs", "web"]) == "up");
    // From inside: nobody asked for it.
    holm.ok(["exec", "web", "sh", "-c", "kill -USR1 1"]);
    eventually("another run", || restarts(&holm, "web") == 1 && status(&holm, "web") == "running");
    assert_ne!(holm.pid("web"), first);
    eventually("its output in the same log", || holm.ok(["logs", "web"]) == "up\nup");
    if slowness() == 1 {
        // From outside, as the kernel may.
        kill_process(Pid::from_raw(holm.pid("web") as i32).unwrap(), Signal::KILL).unwrap();
        eventually("a third run", || restarts(&holm, "web") == 2 && status(&holm, "web") == "running");
    }
    holm.ok(["stop", "-t", "0", "web"]);
    assert_eq!(status(&holm, "web"), "exited");
}

also_in_machines!(what_fails_is_tried_so_often, what_ends_by_itself_comes_back);

#[test]
fn what_waits_is_shown_and_can_be_ended() {
    let holm = Holm::new();
    holm.ok(["run", "-d", "--name", "job", "--restart", "always", "base", "sh", "-c", "exit 4"]);
    eventually("a long pause", || restarts(&holm, "job") >= 3 && status(&holm, "job") == "restarting");
    let shown = holm.ok(["ps", "--filter", "status=restarting", "--format", "{{.Names}} {{.Status}}"]);
    assert!(shown.starts_with("job Restarting (4)"), "{shown}");
    assert_eq!(holm.inspect("job", "{{.State.Restarting}} {{.State.ExitCode}}"), "true 4");
    holm.run(["rm", "job"]).refused(1, &["job", "restarting"]);
    holm.run(["exec", "job", "true"]).refused(1, &["not running"]);
    holm.ok(["stop", "job"]);
    assert_eq!(status(&holm, "job"), "exited");
    holm.ok(["start", "job"]);
    eventually("another pause", || status(&holm, "job") == "restarting");
    holm.ok(["rm", "-f", "job"]);
    assert!(holm.workloads().is_empty());
}

#[test]
fn a_killed_keeper_changes_nothing() {
    let holm = Holm::new();
    let script = "trap 'exit 5' USR1; echo up; while :; do sleep 0.1; done";
    holm.start(&["--name", "web", "--restart", "on-failure:9"], script);
    eventually("the trap is set", || holm.ok(["logs", "web"]) == "up");
    host::kill_keeper(&holm, "web");
    holm.ok(["exec", "web", "sh", "-c", "kill -USR1 1"]);
    eventually("another run after the adoption", || {
        restarts(&holm, "web") == 1 && status(&holm, "web") == "running"
    });
    // Both at once: the next command starts it again.
    let pid = holm.pid("web");
    host::kill_keeper(&holm, "web");
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
    eventually("another run after both", || {
        holm.run(["ps"]);
        restarts(&holm, "web") == 2 && status(&holm, "web") == "running"
    });
    // While it waits.
    holm.ok(["run", "-d", "--name", "job", "--restart", "always", "base", "false"]);
    eventually("a pause", || restarts(&holm, "job") >= 2 && status(&holm, "job") == "restarting");
    let before = restarts(&holm, "job");
    host::kill_keeper(&holm, "job");
    eventually("a further run", || {
        holm.run(["ps"]);
        restarts(&holm, "job") > before
    });
    holm.ok(["rm", "-f", "web", "job"]);
}

#[test]
fn by_hand() {
    let holm = Holm::new();
    holm.start(&["--name", "web"], "echo up; sleep 1000");
    let first = holm.pid("web");
    assert_eq!(holm.ok(["restart", "-t", "0", "web"]), "web");
    assert_ne!(holm.pid("web"), first);
    holm.ok(["stop", "-t", "0", "web"]);
    holm.ok(["restart", "web"]);
    assert_eq!(status(&holm, "web"), "running");
    holm.run(["restart", "nobody"]).refused(1, &["nobody"]);
    for (flags, name) in [
        (&["--restart", "sometimes"][..], "sometimes"),
        (&["--restart", "always:3"], "always"),
        (&["--restart", "on-failure:x"], "`x`"),
    ] {
        holm.script(flags, "true").refused(125, &["--restart", name]);
    }
    holm.run(["run", "--rm", "--restart", "always", "base", "true"]).refused(125, &["--restart", "--rm"]);
}
