//! How a workload in a machine ends, and what that says.

use holm_tests::{Holm, eventually};

use super::traces::{is_gone, with_machines};

#[test]
#[ignore = "boots virtual machines"]
fn exit_codes() {
    with_machines(|holm| {
        holm.sh(&[], "exit 0");
        holm.script(&[], "exit 7").expect_code(7);
        holm.script(&[], "exit 255").expect_code(255);
        holm.script(&["--init"], "kill -SEGV $$").expect_code(139);
        holm.script(&["--init"], "kill -KILL $$").expect_code(137);
        assert_eq!(holm.ok(["ps", "-aq"]), "");
    });
}

#[test]
#[ignore = "boots virtual machines"]
fn what_cannot_be_executed() {
    with_machines(|holm| {
        let run = |program: &str| holm.run(["run", "--rm", "base", program]);
        run("/etc/plain").refused(126, &["/etc/plain"]);
        run("/bin/garbage").refused(126, &["/bin/garbage"]);
        run("absent").refused(127, &["absent"]);
        holm.script(&["-u", "nobody-here"], "true").refused(125, &["nobody-here"]);
        assert_eq!(holm.ok(["ps", "-aq"]), "", "--rm holds also for what did not start");
    });
}

#[test]
#[ignore = "boots virtual machines"]
fn removal_by_itself_leaves_nothing() {
    with_machines(|holm| {
        let id = holm.start(&["--rm", "--name", "box"], "while [ ! -e /go ]; do sleep 0.05; done; exit 3");
        let waiting = holm.call(["wait", "box"]).spawn();
        holm.ok(["exec", "box", "touch", "/go"]);
        assert_eq!(waiting.finish().ok(), "3");
        is_gone(holm, &id);
        let id = holm.start(&["--rm"], "sleep 1000");
        holm.ok(["rm", "-f", &id]);
        is_gone(holm, &id);
    });
}

/// Nobody may be told of the guest's end before all that the workload wrote is there.
#[test]
#[ignore = "boots virtual machines"]
fn a_flood_of_output_is_complete_and_in_order() {
    const LINES: usize = 2_600_000;
    with_machines(|holm| {
        let outcome = holm.script(&["--name", "flood"], &format!("seq 1 {LINES}; echo end >&2; exit 4"));
        outcome.expect_code(4);
        assert!(outcome.stdout.len() > 20_000_000 - 1_000_000, "{} bytes", outcome.stdout.len());
        assert_eq!(outcome.err(), "end");
        is_counted(&outcome.stdout, LINES);
    });
}

fn is_counted(bytes: &[u8], lines: usize) {
    let mut number = 0;
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        number += 1;
        assert_eq!(line, number.to_string().as_bytes(), "line {number}");
    }
    assert_eq!(number, lines);
}

#[test]
#[ignore = "boots virtual machines"]
fn what_a_full_disk_or_a_stop_ends_keeps_its_files() {
    with_machines(|holm| {
        holm.start(&["--name", "box"], "trap 'exit 0' TERM; while :; do sleep 0.05; done");
        holm.ok(["exec", "box", "sh", "-c", "echo kept > /file; mkdir /d; ln -s x /d/l; rm /etc/plain"]);
        holm.ok(["stop", "box"]);
        assert_eq!(holm.inspect("box", "{{.State.Status}} {{.State.ExitCode}}"), "exited 0");
        holm.ok(["start", "box"]);
        let look = "cat /file; readlink /d/l; test -e /etc/plain || echo removed";
        assert_eq!(holm.ok(["exec", "box", "sh", "-c", look]), "kept\nx\nremoved");
        // Not what was written last before the power went, but a file system that can be mounted.
        holm.ok(["kill", "box"]);
        holm.ok(["wait", "box"]);
        holm.ok(["start", "box"]);
        assert_eq!(holm.ok(["exec", "box", "cat", "/file"]), "kept");
    });
}

#[test]
#[ignore = "boots virtual machines"]
fn two_at_once_are_two_machines() {
    with_machines(|holm| {
        let start = |name: &str| {
            let script = "echo $HOSTNAME > /tmp/mine; sleep 1000";
            let command = ["run", "-d", "--name", name, "--hostname", name, "base", "sh", "-c", script];
            holm.call(command).spawn()
        };
        let calls = ["one", "two"].map(start);
        let ids = calls.map(|call| call.finish().ok());
        holm.run(["run", "--name", "one", "base", "true"]).refused(125, &["`one`"]);
        for (name, id) in ["one", "two"].iter().zip(&ids) {
            let mine = || holm.run(["exec", name, "cat", "/tmp/mine"]).out();
            eventually("its file", || mine() == *name);
            assert_eq!(holm.inspect(&id[..12], "{{.Name}}"), format!("/{name}"));
        }
        assert_ne!(boot_id(holm, "one"), boot_id(holm, "two"));
        let mut names: Vec<_> =
            holm.ok(["ps", "--format", "{{.Names}}"]).lines().map(str::to_owned).collect();
        names.sort();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(holm.ok(["rm", "-f", "one", "two"]), "one\ntwo");
        ids.iter().for_each(|id| is_gone(holm, id));
    });
}

fn boot_id(holm: &Holm, name: &str) -> String {
    holm.ok(["exec", name, "cat", "/proc/sys/kernel/random/boot_id"])
}
