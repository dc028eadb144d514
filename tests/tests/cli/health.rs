//! Health checks: Docker's states, times and documents.

use holm_tests::{Holm, also_in_machines, eventually};

const QUICK: [&str; 2] = ["--health-interval", "50ms"];

fn health(holm: &Holm, workload: &str) -> String {
    holm.inspect(workload, "{{.State.Health.Status}}")
}

fn checks(holm: &Holm, workload: &str) -> usize {
    holm.inspect(workload, "{{range .State.Health.Log}}{{.Start}} {{end}}").split_whitespace().count()
}

#[test]
fn follows_the_checks() {
    let holm = Holm::new();
    let check = ["--health-cmd", "echo looked; test -e /ok", "--health-retries", "2"];
    let flags = [&["--name", "web"][..], &QUICK, &check].concat();
    holm.start(&flags, "sleep 1000");
    eventually("enough failures", || health(&holm, "web") == "unhealthy");
    assert_eq!(holm.ok(["ps", "--filter", "health=unhealthy", "--format", "{{.Names}}"]), "web");
    assert!(holm.ok(["ps", "--format", "{{.Status}}"]).ends_with("(unhealthy)"));
    holm.ok(["exec", "web", "touch", "/ok"]);
    eventually("a check that is passed", || health(&holm, "web") == "healthy");
    assert_eq!(holm.inspect("web", "{{.State.Health.FailingStreak}}"), "0");
    let shown = holm.inspect("web", "{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}");
    assert!(shown.contains("0 looked"), "{shown}");
    eventually("the last five", || checks(&holm, "web") == 5);
    assert_eq!(
        holm.inspect("web", "{{.Config.Healthcheck.Retries}} {{.Config.Healthcheck.Interval}}"),
        "2 50000000"
    );
    assert_eq!(holm.ok(["logs", "web"]), "", "checks write into no log");
    // It begins anew with each run.
    holm.ok(["exec", "web", "rm", "/ok"]);
    holm.ok(["restart", "-t", "0", "web"]);
    assert_ne!(health(&holm, "web"), "healthy");
    holm.ok(["rm", "-f", "web"]);
}

also_in_machines!(follows_the_checks);

#[test]
fn a_check_that_takes_too_long_has_failed() {
    let holm = Holm::new();
    let check =
        ["--health-cmd", "echo begun; sleep 1000", "--health-timeout", "100ms", "--health-retries", "1"];
    holm.start(&[&["--name", "web"][..], &QUICK, &check].concat(), "sleep 1000");
    eventually("it is unhealthy", || health(&holm, "web") == "unhealthy");
    let shown = holm.inspect("web", "{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}\n{{end}}");
    assert!(shown.starts_with("-1 Health check exceeded timeout (0.1s)"), "{shown}");
    holm.start(
        &["--name", "lost", QUICK[0], QUICK[1], "--health-cmd", "x", "-u", "1", "-w", "/"],
        "sleep 1000",
    );
    eventually("a check that cannot be run", || {
        holm.inspect("lost", "{{.State.Health.FailingStreak}}") != "0"
    });
}

#[test]
fn failures_of_the_start_do_not_count() {
    let holm = Holm::new();
    let grace = ["--health-start-period", "1h", "--health-start-interval", "20ms", "--health-retries", "1"];
    let flags = [&["--name", "web", "--health-cmd", "test -e /ok"][..], &grace].concat();
    holm.start(&flags, "sleep 1000");
    eventually("some checks", || checks(&holm, "web") >= 3);
    assert_eq!(health(&holm, "web"), "starting");
    assert!(holm.ok(["ps", "--format", "{{.Status}}"]).ends_with("(health: starting)"));
    holm.ok(["exec", "web", "touch", "/ok"]);
    eventually("it is healthy", || health(&holm, "web") == "healthy");
}

#[test]
fn a_paused_workload_is_left_alone() {
    let holm = Holm::new();
    holm.start(&[&["--name", "web", "--health-cmd", "true"][..], &QUICK].concat(), "sleep 1000");
    eventually("it is healthy", || health(&holm, "web") == "healthy");
    holm.ok(["pause", "web"]);
    let last = holm.inspect("web", "{{json .State.Health.Log}}");
    // Its keeper answers: no check of it is frozen.
    holm.run(["exec", "web", "true"]).refused(1, &["paused"]);
    assert_eq!(holm.inspect("web", "{{json .State.Health.Log}}"), last);
    holm.ok(["unpause", "web"]);
    eventually("further checks", || holm.inspect("web", "{{json .State.Health.Log}}") != last);
    holm.ok(["stop", "-t", "0", "web"]);
}

#[test]
fn what_is_asked_makes_sense() {
    let holm = Holm::new();
    for (flags, name) in [
        (&["--health-cmd", "true", "--health-interval", "soon"][..], "soon"),
        (&["--health-cmd", "true", "--health-interval", "1us"], "1ms"),
        (&["--health-cmd", "true", "--health-retries", "-1"], "-1"),
        (&["--health-cmd", "true", "--no-healthcheck"], "--no-healthcheck"),
    ] {
        holm.script(flags, "true").refused(125, &[name]);
    }
    holm.start(&["--name", "web", "--no-healthcheck"], "sleep 1000");
    assert_eq!(holm.inspect("web", "{{json .Config.Healthcheck}}"), "null");
    assert_eq!(holm.ok(["ps", "--filter", "health=none", "--format", "{{.Names}}"]), "web");
}
