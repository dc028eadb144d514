//! A guest whose first process is systemd, with a message bus, sessions of users, and AppArmor: a small Debian 12 that
//! `cargo xtask test --slow` makes (`xtask/src/guest_disk.rs`), below what a boot writes.

pub mod debian;

mod engine;
mod profiles;
mod scopes;
mod users;

use std::time::Duration;

use super::machine::{Guest, Plan};
use super::record::Answer;

static GUEST: Guest = Guest::new(Plan {
    areas: &[
        ("scopes", scopes::STEPS),
        ("users", users::STEPS),
        ("profiles", profiles::STEPS),
        ("engine", engine::STEPS),
    ],
    life: Duration::from_secs(500),
    ..debian::PLAN
});

#[track_caller]
fn answer(step: &str) -> &'static Answer {
    GUEST.answer(step)
}

#[track_caller]
fn leaves_nothing(area: &str) {
    GUEST.leaves_nothing(area);
}
