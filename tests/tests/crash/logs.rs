//! A keeper that is killed while it puts a full log file aside, and one that is slow.

use std::path::PathBuf;
use std::time::Duration;

use holm_sys::fail_point;
use holm_tests::{Holm, eventually, host};
use rustix::process::Signal;

use super::kernel;

/// How the points of logs begin.
pub const POINTS: &str = "log-";

/// Numbers that the workload prints. A line has 8 bytes, so that every read ends where a line ends: with Docker's form the
/// beginning of a line is in the keeper's hands, and lost with it.
const NUMBERS: std::ops::RangeInclusive<u32> = 1_000_001..=1_020_000;

/// The workload waits for the next keeper, which goes on where the first one was killed.
#[test]
fn no_line_is_lost_or_doubled_where_a_file_is_put_aside() {
    for point in fail_point::ALL.iter().filter(|point| point.starts_with(POINTS)) {
        for driver in ["local", "json-file"] {
            let holm = Holm::new();
            let options =
                ["max-size=64k", "max-file=100", "compress=true"].map(|option| format!("--log-opt={option}"));
            let mut words = vec!["run", "-d", "--name", "box", "--log-driver", driver];
            words.extend(options.iter().map(String::as_str));
            let script = format!("seq {} {}; sleep 100000", NUMBERS.start(), NUMBERS.end());
            words.extend(["base", "sh", "-c", script.as_str()]);
            holm.call(words).env("HOLM_FAIL_POINT", point).run().ok();
            eventually("the keeper is killed", || !kernel::orphans(&holm).is_empty());
            holm.ok(["ps", "-a"]);
            eventually("the workload prints to the end", || {
                holm.ok(["logs", "-n", "1", "box"]) == NUMBERS.end().to_string()
            });
            let log = holm.ok(["logs", "box"]);
            let wrong =
                log.lines().zip(NUMBERS).find(|(line, number): &(&str, u32)| *line != number.to_string());
            assert_eq!(wrong, None, "{point}, {driver}: a line is lost, doubled or out of order");
            assert_eq!(log.lines().count(), NUMBERS.count(), "{point}, {driver}");
            nothing_is_half_made(&holm);
            holm.ok(["rm", "-f", "box"]);
        }
    }
}

/// As a slow disk does it: the workload waits, and every line comes.
#[test]
fn a_keeper_that_does_not_read_holds_the_workload_up() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "seq 1 200000; sleep 100000");
    let keeper = kernel::keeper_of(&holm, "box");
    for _ in 0..5 {
        host::signal(keeper, Signal::STOP);
        std::thread::sleep(Duration::from_millis(40));
        host::signal(keeper, Signal::CONT);
        std::thread::sleep(Duration::from_millis(5));
    }
    eventually("the workload prints to the end", || holm.ok(["logs", "-n", "1", "box"]) == "200000");
    let log = holm.ok(["logs", "box"]);
    assert!(log.lines().zip(1..).all(|(line, number): (&str, u32)| line == number.to_string()));
    assert_eq!(log.lines().count(), 200_000);
    holm.ok(["rm", "-f", "box"]);
}

fn nothing_is_half_made(holm: &Holm) {
    let path = PathBuf::from(holm.inspect("box", "{{.LogPath}}"));
    let names = || {
        let entries = std::fs::read_dir(path.parent().expect("a directory")).expect("there");
        entries
            .map(|entry| entry.expect("readable").file_name().into_string().expect("text"))
            .collect::<Vec<_>>()
    };
    eventually("what is half made is made or gone", || !names().iter().any(|name| name.ends_with(".new")));
}
