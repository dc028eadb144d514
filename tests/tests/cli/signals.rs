//! Signals: `kill`, `stop`, `wait`, and those that the caller's `holm` hands on.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use holm_tests::{Holm, eventually, host};
use rustix::process::Signal;

/// Says when it is ready, names each signal it gets, and ends by SIGUSR2.
const NAMES_THEM: &str = "for s in HUP INT QUIT TERM USR1; do trap \"echo got $s\" $s; done; trap 'exit 9' USR2; echo ready; while :; do sleep 0.05; done";

/// Ends with code 5 when asked by SIGTERM.
const OBEYS: &str = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done";

fn ready(holm: &Holm, id: &str) {
    eventually("ready", || holm.ok(["logs", id]).contains("ready"));
}

#[test]
fn are_handed_on() {
    let holm = Holm::new();
    let mut call = holm.call(["run", "--rm", "base", "sh", "-c", NAMES_THEM]).spawn();
    call.expect_stdout("ready");
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::HUP, "HUP"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
    ] {
        call.signal(signal);
        call.expect_stdout(&format!("got {name}"));
    }
    call.signal(Signal::USR2);
    call.finish().expect_code(9);
}

/// The process reads nothing, so its input stands still; a signal must not stand behind it.
#[test]
fn pass_input_that_nobody_reads() {
    let holm = Holm::new();
    let call = holm.call(["run", "--rm", "-i", "base", "sh", "-c", NAMES_THEM]).stdin(vec![b'x'; 1 << 20]);
    let mut call = call.spawn();
    call.expect_stdout("ready");
    // Long enough for every buffer on the way to fill.
    std::thread::sleep(Duration::from_millis(200));
    call.signal(Signal::INT);
    call.expect_stdout("got INT");
    call.signal(Signal::USR2);
    call.finish().expect_code(9);
}

#[test]
fn are_not_handed_on_if_so_asked() {
    let holm = Holm::new();
    let mut call =
        holm.call(["run", "--name", "box", "--sig-proxy=false", "base", "sh", "-c", OBEYS]).spawn();
    call.expect_stdout("ready");
    call.signal(Signal::TERM);
    call.finish().expect_code(143);
    assert_eq!(holm.inspect("box", "{{.State.Status}}"), "running");
}

#[test]
fn kill() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], NAMES_THEM);
    ready(&holm, "box");
    for (signal, name) in [("USR1", "USR1"), ("SIGHUP", "HUP"), ("15", "TERM"), ("int", "INT")] {
        assert_eq!(holm.ok(["kill", "-s", signal, "box"]), "box");
        eventually(name, || holm.ok(["logs", "box"]).contains(&format!("got {name}")));
    }
    holm.run(["kill", "-s", "NOSUCH", "box"]).refused(125, &["NOSUCH"]);
    holm.run(["kill", "-s", "99", "box"]).refused(125, &["99"]);
    holm.ok(["kill", "box"]);
    assert_eq!(holm.ok(["wait", "box"]), "137");
    holm.run(["kill", "box"]).refused(1, &["workload `box` is not running"]);
    holm.run(["kill", "absent"]).refused(1, &["absent"]);
}

#[test]
fn real_time_signals_come_through() {
    let holm = Holm::new();
    for flags in [&[][..], &["--init"]] {
        let flags: Vec<_> = flags.iter().copied().chain(["--stop-signal", "RTMIN+3"]).collect();
        let script = "trap 'exit 5' 37; trap 'echo got 34' 34; echo ready; while :; do sleep 0.05; done";
        let id = holm.start(&flags, script);
        ready(&holm, &id);
        holm.ok(["kill", "-s", "34", &id]);
        eventually("the first real-time signal", || holm.ok(["logs", &id]).contains("got 34"));
        holm.ok(["stop", &id]);
        assert_eq!(holm.ok(["wait", &id]), "5", "{flags:?}");
    }
}

#[test]
fn stop_asks_first() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], OBEYS);
    ready(&holm, "box");
    let start = Instant::now();
    assert_eq!(holm.ok(["stop", "box"]), "box");
    assert!(start.elapsed() < Duration::from_secs(8), "it obeyed at once");
    assert_eq!(holm.inspect("box", "{{.State.Status}} {{.State.ExitCode}}"), "exited 5");
    assert_eq!(holm.ok(["stop", "box"]), "box", "stopping what has stopped is fine");
    assert_eq!(holm.ok(["logs", "box"]), "ready\nbye");
    holm.run(["stop", "absent"]).refused(1, &["absent"]);
}

#[test]
fn stop_with_more_time_than_a_clock_counts() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], OBEYS);
    ready(&holm, "box");
    holm.ok(["stop", "-t", "9223372036854775807", "box"]);
    assert_eq!(holm.ok(["wait", "box"]), "5");
}

#[test]
fn stop_kills_what_does_not_obey() {
    let holm = Holm::new();
    for (flags, stop) in [
        (&["--name", "one"][..], &["stop", "-t", "1", "one"][..]),
        (&["--name", "two", "--stop-timeout", "1"], &["stop", "two"]),
    ] {
        let id = holm.start(flags, "trap '' TERM; echo ready; while :; do sleep 0.05; done");
        ready(&holm, &id);
        let start = Instant::now();
        holm.ok(stop);
        let time = start.elapsed();
        assert!(time >= Duration::from_millis(900) && time < Duration::from_secs(8), "{time:?}");
        assert_eq!(holm.inspect(&id, "{{.State.ExitCode}}"), "137");
    }
}

#[test]
fn stop_with_the_chosen_signal() {
    let holm = Holm::new();
    let script = "trap 'exit 11' USR1; trap 'exit 12' HUP; echo ready; while :; do sleep 0.05; done";
    let id = holm.start(&["--stop-signal", "SIGUSR1"], script);
    ready(&holm, &id);
    holm.ok(["stop", &id]);
    assert_eq!(holm.ok(["wait", &id]), "11");
    let id = holm.start(&["--stop-signal", "10"], script);
    ready(&holm, &id);
    holm.ok(["stop", "-s", "HUP", &id]);
    assert_eq!(holm.ok(["wait", &id]), "12");
    holm.script(&["--stop-signal", "NOSUCH"], "true").refused(125, &["NOSUCH"]);
}

#[test]
fn an_init_makes_defaults_work() {
    let holm = Holm::new();
    // Without an init `sleep` is the first process, and TERM has no effect on it.
    let id = holm.ok(["run", "-d", "base", "sleep", "60"]);
    holm.ok(["kill", "-s", "TERM", &id]);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(holm.inspect(&id, "{{.State.Status}}"), "running");
    let id = holm.ok(["run", "-d", "--init", "base", "sleep", "60"]);
    holm.ok(["kill", "-s", "TERM", &id]);
    assert_eq!(holm.ok(["wait", &id]), "143");
}

#[test]
fn an_init_hears_what_is_sent_right_after_the_start() {
    let holm = Holm::new();
    for round in 0..20 {
        let id = holm.ok(["run", "-d", "--init", "base", "sleep", "60"]);
        holm.ok(["kill", "-s", "TERM", &id]);
        assert_eq!(holm.ok(["wait", &id]), "143", "round {round}");
    }
}

/// An init that takes long to come so far as to listen.
#[test]
fn an_init_hears_what_is_sent_before_it_listens() {
    let holm = Holm::new();
    let directory = holm.scratch("programs");
    std::fs::create_dir(&directory).expect("a directory of the test's own");
    holm_tests::copy_binaries(&directory, &["holm", "holm-keeper", "holm-init"]);
    std::fs::rename(directory.join("holm-init"), directory.join("init")).expect("renamed");
    let slow = "#!/bin/sh\nsleep 0.5\nexec /init \"$@\"\n";
    std::fs::write(directory.join("holm-init"), slow).expect("written");
    std::fs::set_permissions(directory.join("holm-init"), Permissions::from_mode(0o755)).expect("changed");
    let call = |arguments: &[&str]| {
        let mut command = std::process::Command::new(directory.join("holm"));
        command.arg("--root").arg(holm.root()).arg("--run-root").arg(holm.run_root()).args(arguments);
        holm_tests::Call::new(command).run().ok()
    };
    let volume = format!("{}:/init:ro", directory.join("init").display());
    let id = call(&["run", "-d", "--init", "-v", &volume, "base", "sleep", "60"]);
    call(&["kill", "-s", "TERM", &id]);
    assert_eq!(call(&["wait", &id]), "143");
}

#[test]
fn an_init_reaps() {
    let holm = Holm::new();
    let script = "(sleep 0.1 & exec sh -c 'exit 0'); (sh -c 'sleep 0.1 &'); sleep 0.5; ps -o stat,comm | grep -c ^Z; true";
    assert_eq!(holm.sh(&["--init"], script), "0");
    let list = holm.sh(&["--init"], "cat /proc/1/comm; ps -o pid,comm; true");
    assert!(list.contains("init") && list.contains("sh"), "{list}");
}

#[test]
fn wait_takes_several() {
    let holm = Holm::new();
    holm.start(&["--name", "one"], "sleep 0.3; exit 1");
    holm.start(&["--name", "two"], "exit 2");
    assert_eq!(holm.ok(["wait", "one", "two"]), "1\n2");
    assert_eq!(holm.ok(["wait", "two", "one"]), "2\n1", "also when they have ended");
    let outcome = holm.run(["wait", "one", "absent"]);
    outcome.expect_code(1);
    assert_eq!(outcome.out(), "1");
    assert!(outcome.err().contains("absent"), "{outcome}");
}

/// The process ends while it is waited for, at any moment: the answer is its exit code.
#[test]
fn wait_beside_the_end() {
    let holm = Holm::new();
    for round in 0..20 {
        let id = holm.start(&[], "exit 3");
        std::thread::sleep(Duration::from_millis(round));
        assert_eq!(holm.ok(["wait", &id]), "3");
        let id = holm.ok(["run", "-d", "base", "sleep", "60"]);
        holm.ok(["kill", &id]);
        assert_eq!(holm.ok(["wait", &id]), "137");
        holm.ok(["rm", &id]);
    }
}

/// As [`wait_beside_the_end`], for `exec`: its own exit code, or the one line that says why not.
#[test]
fn exec_beside_the_end() {
    let holm = Holm::new();
    for round in 0..20 {
        let id = holm.start(&[], &format!("sleep 0.0{round:02}"));
        loop {
            let outcome = holm.run(["exec", &id, "true"]);
            if outcome.code() != 0 && outcome.code() != 137 {
                let text = outcome.err();
                assert!(text.contains("not run") || text.contains("ended"), "{outcome}");
                break;
            }
        }
    }
}

#[test]
fn a_process_killed_from_the_host() {
    let holm = Holm::new();
    let id = holm.ok(["run", "-d", "base", "sleep", "60"]);
    host::kill(holm.pid(&id));
    assert_eq!(holm.ok(["wait", &id]), "137");
    assert_eq!(holm.inspect(&id, "{{.State.Status}} {{.State.Pid}} {{.State.OOMKilled}}"), "exited 0 false");
}

holm_tests::also_in_machines!(
    an_init_makes_defaults_work,
    are_handed_on,
    pass_input_that_nobody_reads,
    kill,
    real_time_signals_come_through,
    stop_asks_first,
    stop_kills_what_does_not_obey
);
