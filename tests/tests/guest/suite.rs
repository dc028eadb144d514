//! All tests of `oci.rs`, in the guest with systemd: another kernel, nothing but cgroup v2, and AppArmor in force. They take
//! ten minutes, so that only a filter that names them runs them: `cargo xtask test --slow guest::suite`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::archive::Archive;
use super::machine::{Guest, Plan};
use super::step::{Area, Step, step};
use super::systemd::debian;

static GUEST: Guest = Guest::new(Plan {
    areas: &AREAS,
    patience: Duration::from_secs(1200),
    life: Duration::from_secs(1300),
    files,
    ..debian::PLAN
});

const AREAS: [Area; 1] = [("suite", STEPS)];

const STEPS: &[Step] = &[step(
    "suite",
    "HOLM_BIN_DIR=/usr/lib/holm HOLM_NETWORK=none RUST_BACKTRACE=0 /usr/lib/holm/tests --test-threads 2",
)];

fn files(archive: &mut Archive) -> Result<()> {
    debian::files(archive)?;
    archive.file("usr/lib/holm/tests", 0o755, suite()?);
    Ok(())
}

/// The suite without what only a debugger reads, which is most of it.
fn suite() -> Result<Vec<u8>> {
    let place = tempfile::tempdir()?;
    let small = place.path().join("oci");
    let status = Command::new("strip").arg("--strip-debug").arg("-o").arg(&small).arg(built()?).status();
    if !status.context("running strip")?.success() {
        bail!("strip failed");
    }
    Ok(std::fs::read(small)?)
}

/// The suite as cargo has built it, together with the tests that run now.
fn built() -> Result<PathBuf> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["test", "--workspace", "--test", "oci", "--no-run", "--message-format", "json"]);
    let output = command.output().context("asking cargo for the suite")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let suite = messages.rev().find(|message| message["target"]["name"] == "oci");
    let program = suite.as_ref().and_then(|message| message["executable"].as_str());
    program
        .map(PathBuf::from)
        .with_context(|| format!("cargo builds no suite: {}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
#[ignore = "takes ten minutes: cargo xtask test --slow guest::suite"]
fn every_test_passes_there() {
    println!("{}", GUEST.boot().times());
    let answer = GUEST.answer("suite");
    let out = answer.out();
    let result = out.lines().find(|line| line.starts_with("test result: ")).unwrap_or_default();
    println!("{result}");
    for line in out.lines().filter(|line| line.starts_with("left out")) {
        println!("{line}");
    }
    assert!(result.starts_with("test result: ok. "), "{answer}");
    let passed = result.split(' ').nth(3).and_then(|count| count.parse::<u32>().ok());
    assert!(passed.is_some_and(|passed| passed > 0), "{result}");
}

#[test]
#[ignore = "takes ten minutes: cargo xtask test --slow guest::suite"]
fn nothing_is_left() {
    GUEST.leaves_nothing("suite");
}
