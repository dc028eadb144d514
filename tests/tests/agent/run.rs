//! The boots that all tests share.
#![expect(
    clippy::print_stdout,
    reason = "how long a boot takes, and what was said: for whoever looks for a failure"
)]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::BOOTS;
use super::cases::Table;
use super::disks::{Disks, is_clean};
use super::talk::Guest;

/// How a case went: nothing, or what it panicked with.
type Outcomes = BTreeMap<&'static str, Option<String>>;

/// Demands that a case went well.
///
/// # Panics
/// If it did not, or if its guest did not come so far.
#[track_caller]
pub fn outcome(case: &str) {
    static RUN: OnceLock<Result<Outcomes, String>> = OnceLock::new();
    match RUN.get_or_init(|| run().map_err(|error| format!("{error:#}"))) {
        Err(error) => panic!("no guest: {error}"),
        Ok(outcomes) => {
            if let Some(text) = outcomes.get(case).unwrap_or_else(|| panic!("no case `{case}`")) {
                panic!("{text}");
            }
        }
    }
}

fn run() -> Result<Outcomes> {
    let place = tempfile::Builder::new().prefix("ha").tempdir()?;
    let disks = Disks::make(place.path())?;
    let mut outcomes = Outcomes::new();
    for (number, tables) in BOOTS.into_iter().enumerate() {
        let folder = place.path().join(number.to_string());
        std::fs::create_dir(&folder)?;
        boot(&folder, &disks, tables, &mut outcomes).with_context(|| format!("in boot {number}"))?;
    }
    Ok(outcomes)
}

fn boot(folder: &std::path::Path, disks: &Disks, tables: &[Table], outcomes: &mut Outcomes) -> Result<()> {
    let mut guest = Guest::boot(folder, disks)?;
    println!("{:?} from the emulator's start to the welcome", guest.boot_time);
    for (name, case) in tables.iter().copied().flatten() {
        guest.acknowledges = true;
        let result = catch_unwind(AssertUnwindSafe(|| case(&mut guest)));
        let text = result.err().map(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        });
        if let Some(text) = &text {
            println!("{name}: {text}");
        }
        outcomes.insert(name, text);
    }
    let console = guest.console();
    let end = guest.shut_down(Duration::from_secs(60));
    ensure!(end.is_some_and(|status| status.success()), "it does not power off: {console}");
    ensure!(!console.contains("Kernel panic"), "the guest's kernel panicked: {console}");
    ensure!(is_clean(&disks.scratch), "the scratch disk was not unmounted: {console}");
    println!("what the agent said:\n{console}");
    Ok(())
}
