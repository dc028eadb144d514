//! The runtime is killed in the middle of what it does, as a host under pressure kills: whatever it had made by then,
//! `delete --force` takes away.

use std::time::Duration;

use holm_tests::Running;
use rustix::process::Signal;
use serde_json::json;

use super::runtime::{Feature, lacks};
use super::setup::Oci;

const STEPS: [&str; 7] = [
    "start box",
    "exec -d box sleep 1000",
    "update --pids-limit 15 box",
    "pause box",
    "resume box",
    "kill box KILL",
    "delete --force box",
];

/// Numbers that are different in every run; a failure names the seed, and `HOLM_OCI_SEED` repeats it as far as a machine
/// can.
struct Dice(u64);

impl Dice {
    fn new(salt: u64) -> Self {
        let given = std::env::var("HOLM_OCI_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
        println!("HOLM_OCI_SEED={seed}");
        Self((seed << 8 | salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below a limit (xorshift64).
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Kills a call after a part of the time that it may take, or lets it end.
fn cut(call: Running, dice: &mut Dice, longest: u64) {
    std::thread::sleep(Duration::from_micros(dice.below(longest)));
    if dice.below(4) != 0 {
        call.signal(Signal::KILL);
    }
    call.finish();
}

/// One life in which every command may be cut; at the end nothing is left.
fn life(oci: &Oci, dice: &mut Dice) {
    oci.save();
    let longest = 1 << (10 + dice.below(6));
    cut(oci.background(&oci.id, oci.creation()).spawn(), dice, longest);
    for words in STEPS {
        if dice.below(3) != 0 {
            cut(oci.background("later", words.split(' ')).spawn(), dice, longest);
        }
    }
    oci.remove();
    assert_eq!(half_made(oci), Vec::<String>::new(), "the root of the runtime's state");
}

/// What is in the directory of the runtime's states but for what it keeps for all containers.
fn half_made(oci: &Oci) -> Vec<String> {
    let entries = std::fs::read_dir(oci.root()).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !name.starts_with(".seccomp")).collect()
}

#[test]
fn twenty_at_once_killed_at_random_leave_nothing() {
    if lacks(Feature::SuddenEnds) {
        return;
    }
    let threads: Vec<_> = (0..20)
        .map(|number| {
            std::thread::spawn(move || {
                let mut oci = Oci::script("exec sleep 1000");
                oci.set("/linux/resources", json!({"pids": {"limit": 20}, "memory": {"limit": 32 << 20}}));
                let mut dice = Dice::new(number);
                (0..5).for_each(|_| life(&oci, &mut dice));
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}
