//! `exec`: another process in a running workload.

use holm_tests::{Holm, eventually, host};

#[test]
fn sees_the_same() {
    let holm = Holm::new();
    for flags in [
        &[][..],
        &["--cap-drop", "CHOWN", "--security-opt", "no-new-privileges"],
        &["--privileged"],
        &["--init"],
        &["--memory", "64m"],
    ] {
        let id = holm.start(flags, "sleep 60");
        let script = "for n in cgroup ipc mnt net pid uts; do readlink /proc/$P/ns/$n; done; \
            grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/$P/status; cat /proc/$P/cgroup; readlink /proc/$P/root; cat /proc/$P/oom_score_adj";
        let show = |pid: &str| holm.ok(["exec", &id, "sh", "-c", &script.replace("$P", pid)]);
        assert_eq!(show("$$"), show("1"), "{flags:?}");
        assert_eq!(
            holm.ok(["exec", &id, "cat", "/proc/self/mountinfo"]),
            holm.ok(["exec", &id, "cat", "/proc/1/mountinfo"])
        );
        holm.ok(["rm", "-f", &id]);
    }
}

#[test]
fn is_inside_the_same_groups() {
    let holm = Holm::new();
    let id = holm.start(&["--memory", "64m", "--pids-limit", "50", "--cpus", "0.5"], "sleep 60");
    holm.ok(["exec", "-d", &id, "sleep", "61"]);
    let pids = || host::processes(&id);
    let second =
        |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"sleep\x0061\0");
    eventually("the second process", || pids().iter().any(second));
    let first = std::fs::read_to_string(format!("/proc/{}/cgroup", holm.pid(&id))).unwrap();
    let pid = pids().into_iter().find(second).unwrap();
    assert_eq!(std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap(), first);
}

#[test]
fn settings() {
    let holm = Holm::new();
    let flags = ["--name", "box", "-e", "KEPT=yes", "-w", "/tmp", "-u", "app"];
    holm.start(&flags, "sleep 60");
    let exec = |flags: &[&str], script: &str| {
        holm.ok(["exec"].iter().chain(flags).chain(&["box", "sh", "-c", script]))
    };
    assert_eq!(exec(&[], "id -u; pwd; echo $KEPT $HOME"), "1000\n/tmp\nyes /home/app");
    assert_eq!(exec(&["-u", "root"], "id -u; id -g"), "0\n0");
    assert_eq!(exec(&["-u", "4242:4343"], "id -u; id -g"), "4242\n4343");
    assert_eq!(exec(&["-w", "/etc"], "pwd"), "/etc");
    assert_eq!(exec(&["-e", "KEPT=no", "-e", "NEW=1"], "echo $KEPT $NEW"), "no 1");
    let file = holm.file("env", "FILE=f\n");
    assert_eq!(exec(&["--env-file", &file], "echo $FILE"), "f");
    let outcome = holm.run(["exec", "-u", "nobody-here", "box", "true"]);
    assert_ne!(outcome.code(), 0);
    assert!(outcome.err().contains("nobody-here"), "{outcome}");
}

#[test]
fn makes_no_directory() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "sleep 60");
    let outcome = holm.run(["exec", "-w", "/absent", "box", "true"]);
    assert_ne!(outcome.code(), 0, "{outcome}");
    assert!(outcome.err().contains("/absent"), "{outcome}");
    assert_eq!(holm.ok(["exec", "box", "sh", "-c", "test -e /absent || echo none"]), "none");
}

#[test]
fn privileged() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "sleep 60");
    let status = holm.ok(["exec", "--privileged", "box", "grep", "CapEff", "/proc/self/status"]);
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let bounding = own.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
    assert_eq!(status, format!("CapEff:\t{bounding}"));
    let status = holm.ok(["exec", "box", "grep", "CapEff", "/proc/self/status"]);
    assert_eq!(status, "CapEff:\t00000000a80425fb", "and only that process");
}

#[test]
fn in_the_background() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "sleep 60");
    assert_eq!(holm.ok(["exec", "-d", "box", "sh", "-c", "sleep 0.2; echo done > /tmp/out; sleep 60"]), "");
    eventually("its work", || holm.run(["exec", "box", "cat", "/tmp/out"]).out() == "done");
}

#[test]
fn needs_something_that_runs() {
    let holm = Holm::new();
    holm.ok(["create", "--name", "box", "base", "true"]);
    let refused = |name: &str, text: &str| {
        let outcome = holm.run(["exec", name, "true"]);
        outcome.refused(outcome.code(), &[text]);
        assert_ne!(outcome.code(), 0);
    };
    refused("box", "not running");
    holm.ok(["start", "-a", "box"]);
    refused("box", "not running");
    refused("absent", "absent");
}

/// As with Docker, where 125 belongs to `run` alone: a caller of `exec` sees 1.
#[test]
fn failure_of_holm_is_code_1() {
    let holm = Holm::new();
    holm.ok(["create", "--name", "box", "base", "true"]);
    holm.run(["exec", "box", "true"]).expect_code(1);
    holm.run(["exec", "absent", "true"]).expect_code(1);
}

#[test]
fn ends_with_the_workload() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "sleep 60");
    let mut call = holm.call(["exec", "box", "sh", "-c", "echo ready; sleep 60"]).spawn();
    call.expect_stdout("ready");
    holm.ok(["kill", "box"]);
    call.finish().expect_code(137);
}

#[test]
fn killing_the_client_leaves_no_zombie() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "sleep 60");
    let mut call = holm.call(["exec", "box", "sh", "-c", "echo ready; sleep 0.5; exit 1"]).spawn();
    call.expect_stdout("ready");
    call.signal(rustix::process::Signal::KILL);
    call.finish().expect_code(137);
    eventually("its process is reaped", || {
        let list = holm.ok(["exec", "box", "ps", "-o", "stat,args"]);
        !list.contains("echo ready") && !list.lines().any(|line| line.starts_with('Z'))
    });
}

#[test]
fn many_at_once() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "sleep 60");
    let calls: Vec<_> =
        (0..20).map(|number| holm.call(["exec", "box", "echo", &number.to_string()]).spawn()).collect();
    for (number, call) in calls.into_iter().enumerate() {
        assert_eq!(call.finish().ok(), number.to_string());
    }
}

holm_tests::also_in_machines!(
    settings,
    ends_with_the_workload,
    killing_the_client_leaves_no_zombie,
    many_at_once
);
