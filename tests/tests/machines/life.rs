//! From creation to the end.

use std::time::{Duration, Instant};

use holm_vmm::machine::Event;

use super::back_end::{PATIENCE, Subject, each};

/// Long enough for some ten beats of a guest in quiet.
const WHILE: Duration = Duration::from_secs(1);

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_machine_that_was_created_does_nothing_until_it_is_booted() {
    each(|subject| {
        std::thread::sleep(WHILE);
        assert_eq!(subject.console(), "");
        assert_eq!(subject.machine.next_event(), None);
        subject.boot();
        subject.say("words");
        let words = subject.wait_for("words");
        assert!(words.ends_with("holm.test=1"), "{words}");
    });
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn channel_and_console_are_streams_of_their_own() {
    each(|subject| {
        subject.boot();
        subject.console();
        subject.say("console words for people");
        subject.say("echo words for programs");
        assert_eq!(subject.wait_for("echo"), "words for programs");
        let deadline = Instant::now() + PATIENCE;
        let mut printed = subject.console();
        while !printed.contains("words for people") && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
            printed.push_str(&subject.console());
        }
        assert!(printed.contains("words for people") && !printed.contains("programs"), "{printed}");
    });
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn somebody_who_comes_to_the_channel_is_told_of() {
    each(|subject| {
        subject.boot();
        subject.wait_for_event(|event| *event == Event::Agent(true));
    });
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_guest_that_is_paused_stands_still_and_goes_on() {
    each(|subject| {
        subject.boot();
        subject.wait_for("beat");
        subject.machine.pause().expect("paused");
        subject.beats_within(Duration::ZERO);
        assert_eq!(subject.beats_within(WHILE), 0);
        subject.say("echo while it stands");
        subject.machine.pause().expect("a second time is the same");
        subject.machine.resume().expect("resumed");
        assert_eq!(subject.wait_for("echo"), "while it stands");
        subject.wait_for("beat");
    });
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn ends_are_told_apart() {
    each(power_off);
    each(|subject| end_by(subject, "reset"));
    each(|subject| end_by(subject, "panic"));
}

fn power_off(subject: &mut Subject) {
    subject.boot();
    subject.say("off");
    subject.wait_for_event(|event| *event == Event::PoweredOff);
    subject.machine.stop().expect("stopped");
}

fn end_by(subject: &mut Subject, word: &str) {
    subject.boot();
    subject.say(word);
    let ended = |event: &Event| !matches!(event, Event::Agent(_));
    assert_eq!(subject.wait_for_event(ended), Event::Reset, "{word}");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_back_end_that_is_killed_is_told_of_and_refuses_what_is_asked() {
    each(|subject| {
        subject.boot();
        let process = rustix::process::Pid::from_raw(subject.process()).expect("an id");
        rustix::process::kill_process(process, rustix::process::Signal::KILL).expect("killed");
        let event = subject.wait_for_event(|event| matches!(event, Event::Died(_)));
        assert_eq!(event, Event::Died(String::new()));
        assert!(subject.machine.pause().is_err() && subject.machine.metrics().is_err());
        subject.machine.stop().expect("there is nothing to stop");
    });
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_machine_is_gone_once_it_is_stopped_or_dropped() {
    each(|subject| {
        subject.boot();
        let process = subject.process();
        subject.machine.stop().expect("stopped");
        assert!(!is_there(process));
        subject.machine.stop().expect("a second time is the same");
        assert!(subject.machine.resume().is_err());
    });
    for back_end in super::back_end::BACK_ENDS {
        let subject = Subject::create(back_end);
        let process = subject.process();
        drop(subject);
        assert!(!is_there(process));
    }
}

fn is_there(process: i32) -> bool {
    std::path::Path::new(&format!("/proc/{process}")).exists()
}
