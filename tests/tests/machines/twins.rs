//! Machines restored from one snapshot, with Holm's agent in the guest: what it says to whoever comes next.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use holm_spec::agent::{Command, Report};

use super::agent::{Owner, describe, describe_twin, now};
use super::back_end::{BACK_ENDS, BackEnd, PATIENCE, Subject};
use super::workload::{script, workload};

/// The workload's first process.
const MAIN: u32 = 1;
/// Another process in it.
const ASKED: u32 = 2;
/// What it says in front of random numbers: of the scratch disk, and of a file in the layer that nobody read before.
const SAID: &str = "written\n1048576\n";
/// Says numbers as fast as it can.
const COUNT: &str = "i=0; while :; do i=$((i+1)); echo line $i; done";

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn twins_both_live_with_random_numbers_and_a_disk_of_their_own() {
    for back_end in BACK_ENDS {
        let (mut subject, _) = started(back_end, "exec sleep 1000");
        let snapshot = snapshot_of(&mut subject);
        let mut all =
            ["one", "two"].map(|name| restore(&subject, &snapshot, name)).into_iter().collect::<Vec<_>>();
        subject.machine.resume().expect("it goes on, too");
        all.push(subject);
        let said: Vec<String> = all.iter_mut().zip(1..).map(|(machine, seed)| live(machine, seed)).collect();
        let random: BTreeSet<&str> = said.iter().filter_map(|said| said.strip_prefix(SAID)).collect();
        assert!(random.len() == all.len() && random.iter().all(|bytes| bytes.len() == 64), "{said:?}");
    }
}

/// A machine whose workload runs, and its owner.
fn started(back_end: &'static BackEnd, script: &str) -> (Subject, Owner) {
    let mut subject = Subject::create_from(back_end, describe);
    let machine = &mut *subject.machine;
    machine.boot().expect("booted");
    let mut owner = Owner::default();
    assert!(owner.greet(machine, 0).is_empty());
    let mut workload = workload(7, script);
    workload.scratch = true;
    let id = workload.id;
    owner.say(machine, &Command::Create { request: 1, workload: Box::new(workload) });
    owner.wait_for(machine, |report| matches!(report, Report::Done { request: 1 }).then_some(()));
    owner.say(machine, &Command::Start { session: MAIN, workload: id, window: None });
    owner.wait_for(machine, |report| matches!(report, Report::Started { session: MAIN, .. }).then_some(()));
    (subject, owner)
}

fn snapshot_of(subject: &mut Subject) -> File {
    subject.machine.pause().expect("paused");
    let file = tempfile::tempfile().expect("a file");
    subject.machine.snapshot(file.as_fd()).expect("taken");
    file
}

fn restore(subject: &Subject, snapshot: &File, name: &str) -> Subject {
    let mut twin = subject.restore_as(describe_twin(&subject.description, name), snapshot).expect("restored");
    twin.machine.resume().expect("resumed");
    twin
}

/// What a machine's owner does after it was restored, and then a process: what that said.
fn live(twin: &mut Subject, seed: u8) -> String {
    let machine = &*twin.machine;
    let mut owner = Owner::default();
    assert_eq!(owner.greet(machine, seed), [MAIN]);
    owner.say(machine, &Command::Time { clock: now() });
    owner.say(machine, &Command::Reseed { seed: format!("{seed:02x}").repeat(32) });
    let process = script(
        "echo written >/file; sync; cat /file; tr -d y </big | wc -c; hexdump -v -n 32 -e '1/1 \"%02x\"' /dev/urandom",
    );
    let workload = workload(7, "").id;
    owner.say(machine, &Command::Exec { session: ASKED, workload, process, stdin: false, window: None });
    let code = owner.wait_for(machine, |report| match report {
        Report::Exited { session: ASKED, code, .. } => Some(*code),
        _ => None,
    });
    assert_eq!(code, 0, "{}", owner.text());
    owner.text()
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn output_on_its_way_at_a_snapshot_is_neither_lost_nor_said_twice() {
    for back_end in BACK_ENDS {
        let (mut subject, mut first) = started(back_end, COUNT);
        read_beyond(&mut first, &subject, 50_000);
        // Nobody reads for a while: everything on the way is full.
        std::thread::sleep(Duration::from_millis(300));
        subject.machine.pause().expect("paused");
        first.drain(&*subject.machine);
        let snapshot = snapshot_of(&mut subject);
        subject.machine.stop().expect("stopped");

        let restored = restore(&subject, &snapshot, "one");
        let mut second = Owner::default();
        assert_eq!(second.greet(&*restored.machine, 1), [MAIN]);
        read_beyond(&mut second, &restored, 200_000);
        check_lines(&(first.text() + &second.text()));
    }
}

fn read_beyond(owner: &mut Owner, subject: &Subject, bytes: usize) {
    let deadline = Instant::now() + PATIENCE;
    while owner.output.len() < bytes {
        assert!(Instant::now() < deadline, "only {} bytes came; {}", owner.output.len(), subject.console());
        if !owner.read(&*subject.machine) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Every line has the number after that of the line before; the last one may be cut.
fn check_lines(text: &str) {
    let whole = &text[..text.rfind('\n').expect("lines")];
    for (at, line) in whole.lines().enumerate() {
        assert_eq!(line, format!("line {}", at + 1));
    }
}
