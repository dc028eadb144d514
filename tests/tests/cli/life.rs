//! The life of a workload: create, start, stop, start again, remove.

use holm_tests::{Holm, eventually, host};

#[test]
fn create_starts_nothing() {
    let holm = Holm::new();
    let id = holm.ok(["create", "--name", "box", "base", "sh", "-c", "echo hi; exit 3"]);
    assert_eq!(holm.inspect("box", "{{.State.Status}} {{.State.Pid}} {{.State.Running}}"), "created 0 false");
    assert!(host::groups(&id).is_empty() && host::mounts_below(&holm.root()).is_empty());
    assert_eq!(holm.ok(["logs", "box"]), "");
    assert_eq!(holm.ok(["start", "box"]), "box");
    assert_eq!(holm.ok(["wait", "box"]), "3");
    assert_eq!(holm.ok(["logs", "box"]), "hi");
    assert_eq!(holm.inspect("box", "{{.State.Status}} {{.State.ExitCode}}"), "exited 3");
}

#[test]
fn files_outlive_a_stop() {
    let holm = Holm::new();
    let script = "cat /state 2>/dev/null; echo more >> /state; rm -f /etc/plain; test -e /etc/plain || echo removed; touch /tmp/x";
    holm.ok(["create", "--name", "box", "base", "sh", "-c", script]);
    assert_eq!(holm.ok(["start", "-a", "box"]), "removed");
    assert_eq!(holm.ok(["start", "-a", "box"]), "more\nremoved");
    assert_eq!(holm.ok(["start", "-a", "box"]), "more\nmore\nremoved");
    assert_eq!(
        holm.sh(&[], "cat /state 2>/dev/null; cat /etc/plain"),
        "not a program",
        "the image is untouched"
    );
}

#[test]
fn memory_file_systems_do_not() {
    let holm = Holm::new();
    holm.ok([
        "create",
        "--name",
        "box",
        "--tmpfs",
        "/t",
        "base",
        "sh",
        "-c",
        "ls /t /dev/shm; touch /t/x /dev/shm/y",
    ]);
    let first = holm.ok(["start", "-a", "box"]);
    assert_eq!(holm.ok(["start", "-a", "box"]), first);
}

#[test]
fn start_of_what_runs_is_fine() {
    let holm = Holm::new();
    let id = holm.start(&["--name", "box"], "sleep 60");
    let pid = holm.pid("box");
    assert_eq!(holm.ok(["start", "box"]), "box");
    assert_eq!(holm.ok(["start", &id[..10]]), &id[..10], "what was given is what is printed");
    assert_eq!(holm.pid("box"), pid);
}

#[test]
fn several_at_once() {
    let holm = Holm::new();
    for name in ["one", "two"] {
        holm.ok(["create", "--name", name, "base", "sleep", "60"]);
    }
    let outcome = holm.run(["start", "one", "absent", "two"]);
    outcome.expect_code(1);
    assert_eq!(outcome.out(), "one\ntwo");
    assert!(outcome.err().contains("absent"), "{outcome}");
    let outcome = holm.run(["kill", "absent", "one", "two"]);
    outcome.expect_code(1);
    assert_eq!(outcome.out(), "one\ntwo");
    assert_eq!(holm.ok(["wait", "one", "two"]), "137\n137");
    let outcome = holm.run(["rm", "one", "absent", "two"]);
    outcome.expect_code(1);
    assert_eq!(outcome.out(), "one\ntwo");
    assert!(outcome.err().contains("absent"), "{outcome}");
    assert!(holm.workloads().is_empty());
}

#[test]
fn remove() {
    let holm = Holm::new();
    let id = holm.start(&["--name", "box"], "sleep 60");
    holm.run(["rm", "box"]).refused(1, &["box", "running"]);
    let pid = holm.pid("box");
    assert_eq!(holm.ok(["rm", "-f", "box"]), "box");
    assert!(!host::runs(pid));
    assert!(host::groups(&id).is_empty() && host::mounts_below(&holm.root()).is_empty());
    holm.run(["rm", "box"]).refused(1, &["box"]);
    holm.run(["rm", "-f", "box"]).expect_code(0);
    holm.run(["rm"]).expect_code(1);
    assert!(holm.workloads().is_empty());
}

#[test]
fn remove_what_is_damaged() {
    let holm = Holm::new();
    for content in [Some("{"), None] {
        let id = holm.ok(["create", "--name", "box", "base", "true"]);
        let path = holm.root().join("workloads").join(&id).join("config.json");
        match content {
            Some(content) => std::fs::write(path, content).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        assert_eq!(holm.ok(["rm", "box"]), "box");
        assert!(holm.workloads().is_empty());
    }
}

#[test]
fn remove_when_it_ends() {
    let holm = Holm::new();
    let id = holm.start(&["--rm", "--name", "box"], "while [ ! -e /go ]; do sleep 0.02; done");
    assert_eq!(holm.inspect("box", "{{.HostConfig.AutoRemove}}"), "true");
    holm.ok(["exec", "box", "touch", "/go"]);
    eventually("it is gone", || holm.workloads().is_empty() && host::groups(&id).is_empty());
    holm.run(["inspect", "box"]).expect_code(1);
    // Its name is free again at once.
    assert_eq!(holm.sh(&["--name", "box"], "echo again"), "again");
    assert_eq!(holm.sh(&["--name", "box"], "echo again"), "again");
    let id = holm.start(&["--rm"], "sleep 60");
    holm.ok(["stop", "-t", "0", &id]);
    eventually("it is gone", || holm.workloads().is_empty());
    let id = holm.ok(["create", "--rm", "base", "true"]);
    assert_eq!(holm.workloads(), std::slice::from_ref(&id));
    holm.ok(["start", "-a", &id]);
    eventually("it is gone", || holm.workloads().is_empty());
}

#[test]
fn a_second_start_does_not_confuse_the_first() {
    let holm = Holm::new();
    holm.ok(["create", "--name", "box", "base", "sh", "-c", "sleep 0.3; echo once"]);
    let calls: Vec<_> = (0..5).map(|_| holm.call(["start", "box"]).spawn()).collect();
    for call in calls {
        assert_eq!(call.finish().ok(), "box");
    }
    holm.ok(["wait", "box"]);
    assert_eq!(holm.ok(["logs", "box"]), "once");
}

#[test]
fn one_name_among_many_callers() {
    let holm = Holm::new();
    let calls: Vec<_> =
        (0..8).map(|_| holm.call(["create", "--name", "box", "base", "true"]).spawn()).collect();
    let codes: Vec<_> = calls.into_iter().map(|call| call.finish().code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 125).count(), 7, "{codes:?}");
    assert_eq!(holm.workloads().len(), 1);
}

holm_tests::also_in_machines!(create_starts_nothing);
