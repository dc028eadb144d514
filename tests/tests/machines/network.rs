//! Network devices: what goes through them, and what becomes of them with a snapshot.

use std::process::Command;

use holm_spec::network::HardwareAddress;
use holm_sys::interface::make_tap;
use holm_sys::process::{Namespaces, unshare};
use holm_vmm::machine::{Description, Tap};

use super::back_end::{BACK_ENDS, Subject, copy, description};
use super::guest;

const HARDWARE: HardwareAddress = HardwareAddress([2, 0, 0, 0, 0, 7]);
const HOST: &str = "10.7.0.1/24";
const GUEST: &str = "10.7.0.2/24";

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_guest_is_reached_before_a_snapshot_and_through_another_device_after_it() {
    for back_end in BACK_ENDS {
        on_a_host(|| {
            let mut subject = Subject::create_from(back_end, |directory| {
                let (kernel, initrd) = guest::files(directory);
                Description { taps: vec![tap("one")], ..description(kernel, &initrd) }
            });
            subject.boot();
            subject.say(&format!("net {GUEST}"));
            subject.wait_for("net");
            assert!(reaches_guest());
            subject.machine.pause().expect("paused");
            let snapshot = subject.snapshot();
            subject.machine.stop().expect("stopped");
            subject.description.taps.clear();
            assert!(!reaches_guest(), "the device has gone with its machine");

            let error = subject.restore_as(copy(&subject.description), &snapshot).err().expect("refused");
            assert!(error.to_string().contains("its `network` was"), "{error}");
            let again = Description { taps: vec![tap("two")], ..copy(&subject.description) };
            let mut restored = subject.restore_as(again, &snapshot).expect("restored");
            // The host's end is the emulator's alone.
            restored.description.taps.clear();
            restored.machine.resume().expect("resumed");
            assert!(reaches_guest(), "by the address that it had");
        });
    }
}

/// In a thread with a network of its own.
fn on_a_host(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(Namespaces::NETWORK).expect("a network namespace");
            test();
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn tap(name: &str) -> Tap {
    let descriptor = make_tap(name).expect("a device");
    run(&["ip", "addr", "add", HOST, "dev", name]);
    run(&["ip", "link", "set", name, "up"]);
    Tap { descriptor, hardware: HARDWARE, mtu: Some(1400) }
}

fn run(words: &[&str]) {
    assert!(
        Command::new(words[0]).args(&words[1..]).status().expect("it is installed").success(),
        "{words:?}"
    );
}

fn reaches_guest() -> bool {
    let address = GUEST.trim_end_matches("/24");
    let output = Command::new("busybox").args(["ping", "-c", "1", "-W", "3", address]).output();
    output.expect("it is installed").status.success()
}
