//! Standard input, output and error of a workload in the foreground: all bytes, in order, to the end.

use std::io::Read;
use std::time::Duration;

use holm_tests::Holm;

/// Bytes that no two pieces of are alike.
fn noise(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    std::fs::File::open("/dev/urandom")
        .expect("every host has it")
        .read_exact(&mut bytes)
        .expect("it never ends");
    bytes
}

#[test]
fn output_and_error_stay_apart() {
    let holm = Holm::new();
    for flags in [&[][..], &["--init"], &["-i"]] {
        let outcome = holm.script(flags, "echo out; echo err >&2; printf end");
        outcome.expect_code(0);
        assert_eq!((outcome.stdout, outcome.stderr), (b"out\nend".to_vec(), b"err\n".to_vec()), "{flags:?}");
    }
}

#[test]
fn input_of_ten_megabytes_comes_back() {
    let holm = Holm::new();
    let bytes = noise(10_000_000);
    let outcome = holm.call(["run", "--rm", "-i", "base", "cat"]).stdin(bytes.clone()).run();
    outcome.expect_code(0);
    assert!(outcome.stdout == bytes, "{} bytes came back", outcome.stdout.len());
}

#[test]
fn input_is_attached_whatever_else_is_named() {
    let holm = Holm::new();
    let outcome = holm.call(["run", "--rm", "-i", "-a", "stdout", "base", "cat"]).stdin("all of it").run();
    assert_eq!(outcome.ok(), "all of it");
}

#[test]
fn output_of_fifty_megabytes() {
    let holm = Holm::new();
    let bytes = noise(50 << 20);
    let file = holm.file("noise", &bytes);
    let volume = format!("{file}:/noise:ro");
    let call = holm.call(["run", "--rm", "-v", &volume, "base", "cat", "/noise"]);
    let outcome = call.timeout(Duration::from_secs(60)).run();
    outcome.expect_code(0);
    assert!(outcome.stdout == bytes, "{} bytes came", outcome.stdout.len());
}

#[test]
fn both_streams_at_full_speed() {
    let holm = Holm::new();
    let script = "yes out | head -c 4000000 & yes err | head -c 4000000 >&2; wait";
    let outcome = holm.script(&[], script);
    outcome.expect_code(0);
    assert_eq!((outcome.stdout.len(), outcome.stderr.len()), (4_000_000, 4_000_000));
    assert!(outcome.stdout.chunks(4).all(|line| line == b"out\n"));
    assert!(outcome.stderr.chunks(4).all(|line| line == b"err\n"));
}

#[test]
fn input_ends() {
    let holm = Holm::new();
    let run = |flags: &[&str], bytes: &str| {
        let command = ["base", "sh", "-c", "cat; echo; echo end"];
        holm.call(["run", "--rm"].iter().chain(flags).chain(&command)).stdin(bytes).run().ok()
    };
    assert_eq!(run(&["-i"], "x"), "x\nend");
    assert_eq!(run(&["-i"], ""), "\nend");
    assert_eq!(run(&[], "not handed on"), "\nend");
    assert_eq!(run(&["-i", "--init"], "x"), "x\nend");
}

#[test]
fn input_comes_as_it_is_written() {
    let holm = Holm::new();
    let mut call = holm.call(["run", "--rm", "-i", "base", "cat"]).open_stdin().spawn();
    for word in ["one\n", "two\n", "three\n"] {
        call.write(word);
        call.expect_stdout(word);
    }
    call.close_stdin();
    assert_eq!(call.finish().ok(), "one\ntwo\nthree");
}

#[test]
fn a_process_that_does_not_read() {
    let holm = Holm::new();
    let outcome = holm.call(["run", "--rm", "-i", "base", "true"]).stdin(noise(1 << 20)).run();
    outcome.expect_code(0);
    assert_eq!(outcome.err(), "", "unread input is no error");
    let outcome = holm.call(["run", "--rm", "-i", "base", "head", "-c", "3"]).stdin("abcdef").run();
    assert_eq!(outcome.ok(), "abc");
}

/// A short-lived process and input that ends at once: whatever comes first, the outcome is the same.
#[test]
fn input_beside_the_end_of_the_process() {
    let holm = Holm::new();
    for input in ["hello\n".to_owned(), "x".repeat(1_000_000)] {
        for _ in 0..15 {
            let outcome = holm.call(["run", "--rm", "-i", "base", "true"]).stdin(input.clone()).run();
            assert_eq!((outcome.code(), outcome.err().as_str()), (0, ""), "{outcome}");
        }
    }
}

/// `/dev/stdin` opens also when the caller's input has already ended, as it does with a plain pipe.
#[test]
fn input_may_be_opened_again() {
    let holm = Holm::new();
    for flags in [&[][..], &["-u", "app"]] {
        for _ in 0..10 {
            let arguments = ["run", "--rm", "-i"].iter().chain(flags).chain(&["base", "cat", "/dev/stdin"]);
            let outcome = holm.call(arguments).stdin("hello").timeout(Duration::from_secs(5)).run();
            assert_eq!(outcome.ok(), "hello", "{flags:?}");
        }
    }
}

#[test]
fn a_reader_that_leaves() {
    let holm = Holm::new();
    let script = "yes | head -c 3000000; echo done >&2; exit 4";
    let outcome = holm.host_shell(&format!("$HOLM run --cidfile cid base sh -c '{script}' | head -1"));
    assert_eq!(outcome.out(), "y");
    // The workload goes on by itself: its pipe has another reader.
    let id = std::fs::read_to_string(holm.scratch("cid")).unwrap();
    assert_eq!(holm.ok(["wait", &id]), "4");
    assert_eq!(holm.run(["logs", &id]).err(), "done");
}

#[test]
fn what_outlives_the_first_process_is_ended() {
    let holm = Holm::new();
    let outcome = holm.script(&[], "sleep 60 & echo started");
    assert_eq!(outcome.ok(), "started", "the namespace dies with its first process");
}

#[test]
fn only_chosen_streams() {
    let holm = Holm::new();
    let outcome = holm.script(&["-a", "STDERR"], "echo out; echo err >&2");
    assert_eq!((outcome.ok().as_str(), outcome.err().as_str()), ("", "err"));
    let outcome = holm.script(&["-a", "stdout"], "echo out; echo err >&2");
    assert_eq!((outcome.ok().as_str(), outcome.err().as_str()), ("out", ""));
}

#[test]
fn exec_carries_the_same() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "sleep 60");
    let bytes = noise(3_000_000);
    let outcome = holm.call(["exec", "-i", "box", "cat"]).stdin(bytes.clone()).run();
    outcome.expect_code(0);
    assert!(outcome.stdout == bytes, "{} bytes came back", outcome.stdout.len());
    let outcome = holm.run(["exec", "box", "sh", "-c", "echo out; echo err >&2; exit 9"]);
    assert_eq!((outcome.code(), outcome.out().as_str(), outcome.err().as_str()), (9, "out", "err"));
    let outcome = holm.call(["exec", "box", "sh", "-c", "cat; echo end"]).stdin("not handed on").run();
    assert_eq!(outcome.ok(), "end");
}

#[test]
fn ten_at_once() {
    let holm = Holm::new();
    let calls: Vec<_> = (0..10)
        .map(|number| {
            holm.call(["run", "--rm", "base", "sh", "-c", &format!("echo {number}; exit {number}")]).spawn()
        })
        .collect();
    for (number, call) in calls.into_iter().enumerate() {
        let outcome = call.finish();
        assert_eq!(
            (outcome.code(), outcome.out()),
            (i32::try_from(number).unwrap(), number.to_string()),
            "{outcome}"
        );
        assert_eq!(outcome.err(), "");
    }
    assert!(holm.workloads().is_empty());
}

holm_tests::also_in_machines!(
    input_of_ten_megabytes_comes_back,
    both_streams_at_full_speed,
    input_comes_as_it_is_written,
    what_outlives_the_first_process_is_ended,
    exec_carries_the_same,
);
