//! The `holm` in the foreground is only a client: it may be killed, stopped, or slow.

use std::time::Duration;

use holm_tests::{Holm, eventually, host};
use rustix::process::Signal;

#[test]
fn killing_it_ends_nothing() {
    let holm = Holm::new();
    let script = "echo ready; while [ ! -e /go ]; do sleep 0.02; done; echo later; sleep 60";
    let mut call = holm.call(["run", "--name", "box", "base", "sh", "-c", script]).spawn();
    call.expect_stdout("ready");
    let pid = holm.pid("box");
    call.signal(Signal::KILL);
    call.finish().expect_code(137);
    assert!(host::runs(pid));
    assert_eq!(holm.ok(["ps", "--format", "{{.Names}}"]), "box");
    holm.ok(["exec", "box", "touch", "/go"]);
    eventually("output after the client's death", || holm.ok(["logs", "box"]) == "ready\nlater");
    assert_eq!(holm.pid("box"), pid);
}

#[test]
fn killing_it_keeps_rm() {
    let holm = Holm::new();
    let script = "echo ready; while [ ! -e /go ]; do sleep 0.02; done";
    let mut call =
        holm.call(["run", "--rm", "-i", "--name", "box", "base", "sh", "-c", script]).open_stdin().spawn();
    call.expect_stdout("ready");
    let id = holm.inspect("box", "{{.Id}}");
    call.signal(Signal::KILL);
    call.finish().expect_code(137);
    holm.ok(["exec", "box", "touch", "/go"]);
    eventually("removal", || holm.workloads().is_empty() && host::groups(&id).is_empty());
    eventually("no mounts", || host::mounts_below(&holm.root()).is_empty());
}

#[test]
fn stopping_it_loses_nothing() {
    let holm = Holm::new();
    let script = "echo ready; read x; seq 1 300000; echo end >&2";
    let call = holm.call(["run", "--rm", "-i", "base", "sh", "-c", script]).open_stdin();
    let mut call = call.spawn();
    call.expect_stdout("ready");
    call.write("go\n");
    call.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(1));
    call.signal(Signal::CONT);
    call.close_stdin();
    let outcome = call.finish();
    let lines: Vec<_> = outcome.ok().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 300_001);
    assert!(lines[1..].iter().enumerate().all(|(index, line)| *line == (index + 1).to_string()));
    assert_eq!(outcome.err(), "end");
}

#[test]
fn a_slow_reader_loses_nothing() {
    let holm = Holm::new();
    // The reader sleeps first, so every pipe on the way fills up.
    let outcome =
        holm.host_shell("$HOLM run --rm base seq 1 400000 | (sleep 1; sha256sum); seq 1 400000 | sha256sum");
    let lines: Vec<_> = outcome.ok().lines().map(str::to_owned).collect();
    assert_eq!(lines[0], lines[1]);
}

#[test]
fn a_stopped_client_does_not_hold_up_others() {
    let holm = Holm::new();
    let script = "echo ready; while [ ! -e /go ]; do sleep 0.02; done; head -c 1000000 /dev/zero | tr '\\0' x; echo; echo done";
    let mut call = holm.call(["run", "--name", "box", "base", "sh", "-c", script]).spawn();
    call.expect_stdout("ready");
    call.signal(Signal::STOP);
    assert_eq!(holm.ok(["ps", "-q"]).len(), 12);
    assert_eq!(holm.ok(["exec", "box", "echo", "alive"]), "alive");
    holm.ok(["exec", "box", "touch", "/go"]);
    assert!(holm.ok(["logs", "box"]).starts_with("ready"));
    call.signal(Signal::CONT);
    let outcome = call.finish();
    assert_eq!(outcome.ok().len(), "ready\n".len() + 1_000_001 + "done".len());
}

#[test]
fn closed_streams() {
    let holm = Holm::new();
    let outcome =
        holm.host_shell("$HOLM run --rm base sh -c 'ls /proc/self/fd | wc -l; exit 3' <&- ; echo code $?");
    assert!(outcome.ok().ends_with("code 3"), "{outcome}");
    let outcome = holm.host_shell("$HOLM run --rm base sh -c 'echo x; exit 3' >&- 2>&-; echo code $?");
    // Nobody can be told, but nothing may write into a file that took the place of a stream.
    assert!(outcome.ok().starts_with("code "), "{outcome}");
    let outcome = holm.host_shell("$HOLM run --name box base echo out >&- ; $HOLM wait box; $HOLM logs box");
    assert_eq!(outcome.out(), "0\nout", "{outcome}");
}

#[test]
fn descriptors_of_the_caller_stay_outside() {
    let holm = Holm::new();
    let outcome = holm.host_shell("$HOLM run --rm base sh -c 'ls /proc/1/fd; true' 7</etc/passwd 9</");
    assert_eq!(outcome.ok(), "0\n1\n2");
    let outcome = holm.host_shell("$HOLM run -d --name box base sleep 60 7</etc/passwd 9</ >/dev/null; $HOLM exec box sh -c 'ls /proc/$$/fd; true' 7</etc/passwd");
    assert_eq!(outcome.ok(), "0\n1\n2");
}

holm_tests::also_in_machines!(
    killing_it_ends_nothing,
    stopping_it_loses_nothing,
    a_stopped_client_does_not_hold_up_others
);
