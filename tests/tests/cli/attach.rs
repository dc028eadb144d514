//! `attach`, and `start -a -i`.

use holm_tests::{Holm, eventually};
use rustix::process::Signal;

/// Counts aloud until `/go` is there, then says a last word.
const COUNTS: &str =
    "i=0; while [ ! -e /go ]; do i=$((i+1)); echo $i; sleep 0.02; done; echo last words; exit 5";

#[test]
fn shows_what_comes_to_all() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], COUNTS);
    eventually("output", || holm.ok(["logs", "box"]).lines().count() > 20);
    let mut calls: Vec<_> = (0..2).map(|_| holm.call(["attach", "--no-stdin", "box"]).spawn()).collect();
    calls.iter_mut().for_each(|call| call.expect_stdout("\n"));
    holm.ok(["exec", "box", "touch", "/go"]);
    for call in calls {
        let outcome = call.finish();
        outcome.expect_code(5);
        assert!(outcome.out().ends_with("last words"), "{outcome}");
        assert!(!outcome.out().starts_with("1\n"), "what was printed before is for `logs`: {outcome}");
    }
}

#[test]
fn hands_input_on() {
    let holm = Holm::new();
    holm.ok(["run", "-d", "-i", "--name", "box", "base", "cat"]);
    let mut call = holm.call(["attach", "box"]).open_stdin().spawn();
    call.write("hello\n");
    call.expect_stdout("hello");
    assert_eq!(holm.inspect("box", "{{.State.Status}}"), "running");
    call.close_stdin();
    call.finish().expect_code(0);
    assert_eq!(holm.ok(["wait", "box"]), "0", "the end of input is handed on, once");
}

#[test]
fn hands_signals_on() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "trap 'exit 6' TERM; while :; do echo x; sleep 0.02; done");
    let mut call = holm.call(["attach", "--no-stdin", "--sig-proxy=false", "box"]).spawn();
    call.expect_stdout("x");
    call.signal(Signal::TERM);
    call.finish().expect_code(143);
    assert_eq!(holm.inspect("box", "{{.State.Status}}"), "running");
    let mut call = holm.call(["attach", "--no-stdin", "box"]).spawn();
    call.expect_stdout("x");
    call.signal(Signal::TERM);
    call.finish().expect_code(6);
}

#[test]
fn needs_something_that_runs() {
    let holm = Holm::new();
    holm.ok(["create", "--name", "box", "base", "true"]);
    holm.run(["attach", "box"]).refused(1, &["box"]);
    holm.ok(["start", "-a", "box"]);
    holm.run(["attach", "box"]).refused(1, &["box"]);
    holm.run(["attach", "absent"]).refused(1, &["absent"]);
}

#[test]
fn start_and_stay() {
    let holm = Holm::new();
    holm.ok(["create", "--name", "speaks", "base", "sh", "-c", "echo out; echo err >&2; exit 4"]);
    for _ in 0..2 {
        let outcome = holm.run(["start", "-a", "speaks"]);
        outcome.expect_code(4);
        assert_eq!((outcome.out().as_str(), outcome.err().as_str()), ("out", "err"));
    }
    holm.ok(["create", "-i", "--name", "listens", "base", "cat"]);
    for word in ["first", "second"] {
        assert_eq!(holm.call(["start", "-ai", "listens"]).stdin(word).run().ok(), word);
    }
    assert_eq!(holm.ok(["logs", "listens"]), "firstsecond");
    holm.run(["start", "-a", "speaks", "listens"]).refused(1, &[]);
}

#[test]
fn start_that_fails() {
    let holm = Holm::new();
    holm.ok(["create", "--name", "box", "base", "absent"]);
    let outcome = holm.run(["start", "box"]);
    outcome.expect_code(1);
    assert!(outcome.err().contains("absent"), "{outcome}");
    holm.run(["start", "nobody"]).refused(1, &["nobody"]);
}

holm_tests::also_in_machines!(shows_what_comes_to_all, hands_input_on, hands_signals_on);
