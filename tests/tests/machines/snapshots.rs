//! Snapshots: what is kept, and what is refused.
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use holm_vmm::machine::{Description, Event};

use super::back_end::{MEMORY, Subject, copy, each};

/// Long enough for some ten beats of a guest in quiet.
const WHILE: Duration = Duration::from_secs(1);

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_guest_goes_on_in_another_machine_where_the_snapshot_was_taken() {
    each(|subject| {
        let start = Instant::now();
        subject.boot();
        let booted = start.elapsed();
        say_and_wait(subject, "keep what was known before", "kept");
        subject.machine.pause().expect("paused");
        let start = Instant::now();
        let snapshot = subject.snapshot();
        let saved = start.elapsed();
        let bytes = snapshot.metadata().expect("a file").len();
        subject.machine.stop().expect("stopped");

        let start = Instant::now();
        let mut restored = subject.restore(&snapshot);
        let loaded = start.elapsed();
        assert_eq!(restored.beats_within(WHILE), 0, "it is paused");
        restored.machine.resume().expect("resumed");
        let start = Instant::now();
        restored.say("recall");
        assert_eq!(restored.wait_for("recalled"), "what was known before");
        let answered = loaded + start.elapsed();
        restored.wait_for("beat");
        println!(
            "boot {booted:?}; snapshot {saved:?}, {bytes} bytes; restored {loaded:?}, answered {answered:?}"
        );
        restored.say("off");
        restored.wait_for_event(|event| *event == Event::PoweredOff);
    });
}

fn say_and_wait(subject: &mut Subject, words: &str, answer: &str) {
    subject.say(words);
    subject.wait_for(answer);
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_machine_goes_on_after_snapshots_and_can_be_taken_again_from_a_restored_one() {
    each(|subject| {
        subject.boot();
        say_and_wait(subject, "keep one", "kept");
        subject.machine.pause().expect("paused");
        let first = subject.snapshot();
        let error = refused(subject);
        assert_eq!(error, "take a snapshot of the machine: there was one since it was paused");
        subject.machine.resume().expect("resumed");
        say_and_wait(subject, "keep two", "kept");
        subject.machine.pause().expect("paused again");
        let second = subject.snapshot();
        for (snapshot, known) in [(first, "one"), (second, "two")] {
            let mut restored = subject.restore(&snapshot);
            let again = restored.snapshot();
            drop(restored);
            restored = subject.restore(&again);
            restored.machine.resume().expect("resumed");
            restored.say("recall");
            assert_eq!(restored.wait_for("recalled"), known);
        }
    });
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn only_a_machine_that_is_paused_has_snapshots() {
    each(|subject| {
        assert_eq!(refused(subject), "take a snapshot of the machine: the machine was not booted");
        subject.boot();
        assert_eq!(refused(subject), "take a snapshot of the machine: the machine is not paused");
        say_and_wait(subject, "echo it runs on", "echo");
        let full = File::options().write(true).read(true).open("/dev/full").expect("it is there");
        subject.machine.pause().expect("paused");
        assert!(subject.machine.snapshot(full.as_fd()).is_err());
        subject.machine.resume().expect("resumed");
        say_and_wait(subject, "echo it still does", "echo");
        subject.machine.stop().expect("stopped");
        assert!(refused(subject).starts_with("take a snapshot of the machine: "));
    });
}

fn refused(subject: &mut Subject) -> String {
    let file = tempfile::tempfile().expect("a file");
    subject.machine.snapshot(file.as_fd()).expect_err("refused").to_string()
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn what_is_no_snapshot_of_the_machine_is_refused_and_leaves_nothing() {
    each(|subject| {
        subject.boot();
        subject.machine.pause().expect("paused");
        let snapshot = subject.snapshot();
        let foreign = Description { memory: MEMORY * 2, ..copy(&subject.description) };
        let difference = format!("its `memory` was {MEMORY} and is {}", MEMORY * 2);
        expect_refusal(subject, foreign, &snapshot, &difference);

        let expect = |snapshot: &File, words: &str| {
            expect_refusal(subject, copy(&subject.description), snapshot, words);
        };
        let size = snapshot.metadata().expect("a file").len();
        let mut byte = [0];
        for place in [size / 2, size - 1] {
            snapshot.read_exact_at(&mut byte, place).expect("read");
            snapshot.write_all_at(&[!byte[0]], place).expect("damaged");
            // The emulator may find it first.
            expect(&snapshot, "restore the machine: ");
            snapshot.write_all_at(&byte, place).expect("repaired");
        }
        assert!(subject.restore_as(copy(&subject.description), &snapshot).is_ok());
        snapshot.set_len(size - 1).expect("cut");
        expect(&snapshot, "the snapshot is not whole");
        let garbage = tempfile::tempfile().expect("a file");
        garbage.write_all_at(&[0x5a; 10_000], 0).expect("written");
        expect(&garbage, "restore the machine: the file is no snapshot");
    });
}

fn expect_refusal(subject: &Subject, description: Description, snapshot: &File, words: &str) {
    let before = children();
    let error = subject.restore_as(description, snapshot).err().expect("refused").to_string();
    assert!(error.contains(words), "{error}");
    assert_eq!(children(), before, "{error}");
}

/// Processes that this one has, also those that it has not waited for.
fn children() -> String {
    let path = format!("/proc/self/task/{}/children", rustix::thread::gettid());
    std::fs::read_to_string(path).expect("proc is mounted")
}

#[test]
#[ignore = "needs the emulator: cargo xtask test --slow"]
fn shared_directories_of_the_host_are_refused_by_name() {
    each(|subject| {
        let (shares, _server) = std::os::unix::net::UnixStream::pair().expect("sockets");
        let description = Description { shares: Some(shares.into()), ..copy(&subject.description) };
        let file = tempfile::tempfile().expect("a file");
        let error = subject.restore_as(description, &file).err().expect("refused");
        assert!(error.to_string().contains("directories of the host are shared"), "{error}");
        assert_eq!(error.hint(), Some("run it without volumes"));
    });
}
