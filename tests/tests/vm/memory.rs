//! Memory that a guest has used and freed goes back to the host.

use std::time::{Duration, Instant};

use holm_tests::Holm;

use super::traces::{emulator, is_gone, with_machines};

/// Bytes that the workload uses and frees.
const USED: u64 = 300 << 20;
/// How long the guest may take to report what is free: it does so two seconds after it was freed.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
#[ignore = "boots virtual machines"]
fn what_is_freed_goes_back_to_the_host() {
    with_machines(|holm| {
        let id = holm.start(&["--name", "box", "--tmpfs", "/t:size=400m"], "exec sleep 1000");
        let before = used_by(&id);
        let (full, after, time) = use_and_free(holm, &id, before);
        // The rest comes in pieces.
        std::thread::sleep(Duration::from_secs(3));
        let later = used_by(&id);
        eprintln!("{before} bytes before, {full} used, {after} after {time:?}, {later} later");
        assert!(after + USED / 2 <= full, "{after} bytes of {full} are still held");
        holm.ok(["rm", "-f", "box"]);
        is_gone(holm, &id);
    });
}

/// What is used when the guest uses more, and what when half of that came back or time is up.
fn use_and_free(holm: &Holm, id: &str, before: u64) -> (u64, u64, Duration) {
    holm.ok(["exec", "box", "sh", "-c", "dd if=/dev/zero of=/t/file bs=1M count=300"]);
    let full = used_by(id);
    assert!(full > before + USED / 2, "{before} bytes before, {full} with {USED} more in the guest");
    holm.ok(["exec", "box", "rm", "/t/file"]);
    let start = Instant::now();
    let mut after = used_by(id);
    while after + USED / 2 > full && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(100));
        after = used_by(id);
    }
    (full, after, start.elapsed())
}

/// Bytes of the emulator's share of memory (Pss).
fn used_by(id: &str) -> u64 {
    let path = format!("/proc/{}/smaps_rollup", emulator(id));
    let text = std::fs::read_to_string(path).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).expect("the kernel counts it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}
