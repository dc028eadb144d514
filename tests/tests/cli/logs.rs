//! `logs`.

use std::time::Duration;

use holm_tests::{Holm, eventually};

#[test]
fn streams_stay_apart_and_in_order() {
    let holm = Holm::new();
    holm.start(
        &["--name", "box"],
        "for i in 1 2 3; do echo o$i; sleep 0.03; echo e$i >&2; sleep 0.03; done; printf end",
    );
    holm.ok(["wait", "box"]);
    let outcome = holm.run(["logs", "box"]);
    assert_eq!((outcome.ok().as_str(), outcome.err().as_str()), ("o1\no2\no3\nend", "e1\ne2\ne3"));
    let together = holm.host_shell("$HOLM logs box 2>&1");
    assert_eq!(together.ok(), "o1\ne1\no2\ne2\no3\ne3\nend");
}

#[test]
fn tail() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "seq 1 1000");
    holm.ok(["wait", "box"]);
    assert_eq!(holm.ok(["logs", "--tail", "3", "box"]), "998\n999\n1000");
    assert_eq!(holm.ok(["logs", "-n", "1", "box"]), "1000");
    assert_eq!(holm.ok(["logs", "-n", "0", "box"]), "");
    assert_eq!(holm.ok(["logs", "-n", "all", "box"]).lines().count(), 1000);
    assert_eq!(holm.ok(["logs", "-n", "5000", "box"]).lines().count(), 1000);
    holm.run(["logs", "-n", "some", "box"]).refused(125, &["some"]);
}

#[test]
fn times() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "echo one; sleep 0.2; echo two; sleep 0.2; echo three >&2");
    holm.ok(["wait", "box"]);
    let outcome = holm.run(["logs", "-t", "box"]);
    let lines: Vec<_> = outcome
        .ok()
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(time, text)| (time.to_owned(), text.to_owned()))
        .collect();
    assert_eq!(lines.iter().map(|line| line.1.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    for (time, _) in &lines {
        assert!(
            time.len() == "2024-01-31T12:00:00.000000000Z".len()
                && time.ends_with('Z')
                && time.as_bytes()[10] == b'T',
            "{time}"
        );
    }
    assert!(outcome.err().ends_with(" three"), "{outcome}");
    let second = &lines[1].0;
    assert_eq!(holm.ok(["logs", "--since", second, "box"]), "two");
    assert_eq!(holm.run(["logs", "--since", second, "box"]).err(), "three");
    assert_eq!(holm.ok(["logs", "--since", "10m", "box"]), "one\ntwo");
    assert_eq!(holm.ok(["logs", "--since", "1h30m", "box"]), "one\ntwo");
    assert_eq!(holm.ok(["logs", "--until", "10m", "box"]), "");
    assert_eq!(holm.ok(["logs", "--since", "0", "box"]), "one\ntwo");
    assert_eq!(holm.ok(["logs", "--since", "4000000000", "box"]), "");
    assert_eq!(holm.ok(["logs", "--since", "2001-02-03", "box"]), "one\ntwo");
    holm.run(["logs", "--since", "yesterday", "box"]).refused(125, &["yesterday"]);
}

#[test]
fn both_limits_of_time_belong_to_it() {
    let holm = Holm::new();
    holm.ok(["run", "--name", "box", "base", "echo", "one"]);
    let line = holm.ok(["logs", "-t", "box"]);
    let time = line.split(' ').next().unwrap();
    assert_eq!(holm.ok(["logs", "--since", time, "box"]), "one");
    assert_eq!(holm.ok(["logs", "--until", time, "box"]), "one");
}

#[test]
fn follow_ends_with_the_workload() {
    let holm = Holm::new();
    holm.start(
        &["--name", "box"],
        "echo first; while [ ! -e /go ]; do sleep 0.02; done; echo last; echo err >&2; exit 3",
    );
    let mut call = holm.call(["logs", "-f", "box"]).spawn();
    call.expect_stdout("first");
    assert!(!call.is_over());
    holm.ok(["exec", "box", "touch", "/go"]);
    let outcome = call.finish();
    assert_eq!((outcome.ok().as_str(), outcome.err().as_str()), ("first\nlast", "err"));
    assert_eq!(holm.ok(["logs", "-f", "box"]), "first\nlast", "of what has ended, too");
    let tail = holm.call(["logs", "-f", "--tail", "1", "box"]).timeout(Duration::from_secs(10)).run();
    assert_eq!(tail.err(), "err");
}

#[test]
fn follow_through_removal() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "while :; do echo x; sleep 0.02; done");
    let mut call = holm.call(["logs", "-f", "box"]).spawn();
    call.expect_stdout("x");
    holm.ok(["rm", "-f", "box"]);
    call.finish().expect_code(0);
}

#[test]
fn bytes_are_kept() {
    let holm = Holm::new();
    // No line break at the end, a NUL, bytes that are no UTF-8, a line longer than any buffer.
    let script = r"printf 'a\0b\377\n'; head -c 300000 /dev/zero | tr '\0' x; printf '\n\nend'";
    holm.start(&["--name", "box"], script);
    holm.ok(["wait", "box"]);
    let mut expected = b"a\0b\xff\n".to_vec();
    expected.extend(vec![b'x'; 300_000]);
    expected.extend(b"\n\nend");
    let found = holm.run(["logs", "box"]).stdout;
    assert!(found == expected, "{} bytes of {}", found.len(), expected.len());
    let lines = holm.run(["logs", "-t", "box"]).stdout;
    assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 3);
}

#[test]
fn go_on_over_starts() {
    let holm = Holm::new();
    holm.ok(["create", "--name", "box", "base", "sh", "-c", "echo run"]);
    for _ in 0..3 {
        holm.ok(["start", "-a", "box"]);
    }
    assert_eq!(holm.ok(["logs", "box"]), "run\nrun\nrun");
}

#[test]
fn of_a_foreground_run() {
    let holm = Holm::new();
    holm.ok(["run", "--name", "box", "base", "echo", "kept"]);
    assert_eq!(holm.ok(["logs", "box"]), "kept");
    holm.run(["logs", "absent"]).refused(1, &["absent"]);
}

#[test]
fn large() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "seq 1 500000");
    holm.ok(["wait", "box"]);
    let outcome = holm.run(["logs", "box"]);
    outcome.expect_code(0);
    let mut number = 0;
    assert!(String::from_utf8(outcome.stdout).unwrap().lines().all(|line| {
        number += 1;
        line == number.to_string()
    }));
    assert_eq!(number, 500_000);
    eventually("a quick tail", || holm.ok(["logs", "--tail", "1", "box"]) == "500000");
}

holm_tests::also_in_machines!(follow_ends_with_the_workload, bytes_are_kept);
