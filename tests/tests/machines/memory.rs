//! What a guest has, and what it gives back.

use std::time::{Duration, Instant};

use super::back_end::{MEMORY, PATIENCE, Subject, each};

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn memory_is_taken_from_a_guest_and_given_back() {
    each(|subject| {
        subject.boot();
        assert_eq!(subject.machine.metrics().expect("figures").memory, MEMORY);
        let whole = total(subject);
        change(subject, MEMORY / 2);
        let half = total(subject);
        assert!(half + MEMORY / 4 < whole, "{half} of {whole} bytes are left");
        change(subject, MEMORY);
        assert_eq!(total(subject), whole);
    });
}

fn change(subject: &mut Subject, bytes: u64) {
    subject.machine.set_memory(bytes).expect("asked");
    let deadline = Instant::now() + PATIENCE;
    while subject.machine.metrics().expect("figures").memory != bytes {
        assert!(Instant::now() < deadline, "{:?}", subject.machine.metrics());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Bytes that the guest says it has.
fn total(subject: &mut Subject) -> u64 {
    subject.say("memory");
    let said = subject.wait_for("memory");
    said.trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}
