//! `holm update`: limits of what runs, and policies, that stay.

use holm_tests::isolation::Isolation;
use holm_tests::{Holm, also_in_machines, eventually};

fn memory_limit(holm: &Holm, workload: &str) -> String {
    let usage = holm.ok(["stats", "--no-stream", "--format", "{{.MemUsage}}", workload]);
    usage.split("/ ").nth(1).expect("a limit").to_owned()
}

#[test]
fn limits_change_while_it_runs() {
    let holm = Holm::new();
    holm.start(&["--name", "web"], "sleep 1000");
    assert_eq!(holm.ok(["update", "--memory", "64m", "--pids-limit", "4", "--cpus", "0.5", "web"]), "web");
    let shown = "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.NanoCpus}}";
    assert_eq!(holm.inspect("web", shown), "67108864 4 500000000");
    assert_eq!(memory_limit(&holm, "web"), "64MiB");
    let forks = holm.run(["exec", "web", "sh", "-c", "sleep 9 & sleep 9 & sleep 9 & sleep 9 & echo all"]);
    assert!(forks.err().contains("fork"), "{forks}");
    // It stays so, and goes on from there.
    holm.ok(["restart", "-t", "0", "web"]);
    assert_eq!(memory_limit(&holm, "web"), "64MiB");
    holm.ok(["update", "--memory", "128m", "web"]);
    assert_eq!(
        (memory_limit(&holm, "web").as_str(), holm.inspect("web", shown).as_str()),
        ("128MiB", "134217728 4 500000000")
    );
    holm.ok(["update", "--pids-limit", "-1", "web"]);
    assert_eq!(
        holm.ok(["exec", "web", "sh", "-c", "sleep 9 & sleep 9 & sleep 9 & sleep 9 & echo all"]),
        "all"
    );
    // What is refused changes nothing.
    for (flags, name) in [
        (&["--memory", "1m"][..], "6m"),
        (&["--cpus", "4000"], "cpus"),
        (&["--cpu-shares", "2"], "--cpu-shares"),
        (&["--restart", "maybe"], "maybe"),
        (&[], "--memory"),
    ] {
        let outcome = holm.run(["update"].iter().chain(flags).chain(&["web"]));
        assert!(outcome.code() != 0 && outcome.err().contains(name), "{outcome}");
    }
    assert_eq!(holm.inspect("web", "{{.HostConfig.Memory}}"), "134217728");
    holm.run(["update", "--memory", "64m", "nobody"]).refused(1, &["nobody"]);
}

#[test]
fn policies_change_while_it_runs() {
    let holm = Holm::new();
    holm.start(&["--name", "web"], "trap 'exit 3' USR1; echo up; while :; do sleep 0.1; done");
    let runs = |count: usize| holm.ok(["logs", "web"]).lines().count() == count;
    eventually("it is up", || runs(1));
    holm.ok(["update", "--restart", "always", "web"]);
    assert_eq!(holm.inspect("web", "{{.HostConfig.RestartPolicy.Name}}"), "always");
    holm.ok(["exec", "web", "sh", "-c", "kill -USR1 1"]);
    eventually("a second run", || runs(2) && holm.inspect("web", "{{.State.Status}}") == "running");
    holm.ok(["update", "--restart", "no", "web"]);
    holm.ok(["exec", "web", "sh", "-c", "kill -USR1 1"]);
    eventually("its end", || holm.inspect("web", "{{.State.Status}}") == "exited");
    assert_eq!(holm.inspect("web", "{{.State.ExitCode}}"), "3");
    if holm.isolation() == Isolation::Machine {
        holm.ok(["start", "web"]);
        holm.run(["update", "--memory", "200m", "web"]).refused(1, &["virtual machine runs"]);
        holm.ok(["stop", "-t", "0", "web"]);
        let before: u64 = holm.inspect("web", "{{.Holm.Machine.Memory}}").parse().unwrap();
        holm.ok(["update", "--memory", "200m", "web"]);
        let after: u64 = holm.inspect("web", "{{.Holm.Machine.Memory}}").parse().unwrap();
        assert!(before != after && after > 200 << 20);
    }
    holm.ok(["run", "-d", "--rm", "--name", "job", "base", "sleep", "1000"]);
    holm.run(["update", "--restart", "always", "job"]).refused(1, &["--rm"]);
    holm.ok(["rm", "-f", "job"]);
}

also_in_machines!(policies_change_while_it_runs);
