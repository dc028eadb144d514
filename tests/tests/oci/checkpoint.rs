//! `checkpoint` and `restore`: what they refuse, and, where CRIU works with this kernel, that a container goes on.
//!
//! CRIU 3.17 of Debian 12 does not know kernels from 6.13 on. What a checkpoint holds, the tests in the guest look at
//! (`guest::checkpoints`): its kernel is one that it knows.

use std::process::Command;

use holm_tests::{Call, eventually};
use serde_json::{Value, json};

use super::setup::Oci;

/// Whether CRIU does anything here; a test returns if not, and says why.
fn criu_fails() -> bool {
    let output = match Command::new("criu").arg("check").output() {
        Ok(output) if output.status.success() => return false,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => format!("no `criu`: {error}"),
    };
    println!("left out, since CRIU does not work here: {}", output.lines().next().unwrap_or_default());
    true
}

/// A container that counts in `/count`, without any stream that leads outside.
fn counting() -> Oci {
    let oci = Oci::script("i=0; while :; do i=$((i+1)); echo $i >/count; sleep 0.02; done");
    oci.save();
    let mut command = Command::new("sh");
    let runtime = oci.program(&["run", "-d", "--bundle", "b", "box"]);
    command.args(["-c", "exec \"$@\" </dev/null >/dev/null 2>&1", "sh"]).arg(runtime.get_program());
    command.args(runtime.get_args()).current_dir(oci.path(""));
    Call::new(command).run().expect_code(0);
    eventually("it counts", || count(&oci) > 0);
    oci
}

fn count(oci: &Oci) -> u32 {
    std::fs::read_to_string(oci.rootfs("count")).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[track_caller]
fn goes_on(oci: &Oci) {
    let before = count(oci);
    eventually("it goes on counting", || count(oci) > before);
}

#[test]
fn only_what_runs_can_be_checkpointed() {
    let oci = Oci::script("sleep 100");
    oci.create();
    let words = ["checkpoint", "--image-path", "i", "box"];
    assert_eq!(oci.fails(1, words), "Container cannot be checkpointed in created state");
    oci.start();
    oci.ok(["kill", "box", "KILL"]);
    oci.wait_for("stopped");
    assert_eq!(oci.fails(1, words), "Container cannot be checkpointed in stopped state");
    assert!(oci.fails(1, ["checkpoint", "none"]).contains("container does not exist"));
}

#[test]
fn options_are_looked_at_before_anything_is_done() {
    let oci = counting();
    let refused = |words: &[&str], text: &str| {
        let message = oci.fails(1, ["checkpoint", "--image-path", "i"].iter().chain(words).chain(&["box"]));
        assert!(message.contains(text), "{message}");
    };
    refused(&["--empty-ns", "ipc"], "namespace \"ipc\" is not supported");
    refused(&["--manage-cgroups-mode", "none"], "cgroups");
    refused(&["--parent-path", "/tmp"], "--parent-path must be relative");
    refused(&["--parent-path", "../absent"], "invalid --parent-path");
    refused(&["--page-server", "here"], "Use --page-server ADDRESS:PORT to specify page server");
    goes_on(&oci);
}

#[test]
fn without_criu_it_is_said_and_nothing_has_happened() {
    let oci = counting();
    std::fs::create_dir_all(oci.path("i")).unwrap();
    for words in [
        &["checkpoint", "--image-path", "i", "box"][..],
        &["restore", "-d", "-b", "b", "--image-path", "i", "new"],
    ] {
        if words[0] == "restore" {
            oci.ok(["delete", "-f", "box"]);
        }
        let outcome = oci.call(words).env("PATH", "/nowhere").run();
        outcome.expect_code(1);
        assert!(outcome.err().contains("criu"), "{outcome}");
        if words[0] == "checkpoint" {
            assert_eq!(oci.status(), "running");
            goes_on(&oci);
        }
    }
    oci.clean();
}

#[test]
fn a_restore_without_files_leaves_nothing() {
    let oci = Oci::script("sleep 100");
    oci.save();
    oci.fails(1, ["restore", "-d", "--bundle", "b", "--image-path", "absent", "box"]);
    std::fs::create_dir(oci.path("empty")).unwrap();
    oci.fails(1, ["restore", "-d", "--bundle", "b", "--image-path", "empty", "box"]);
    oci.clean();
}

#[test]
fn a_restore_needs_somebody_for_the_terminal() {
    let mut oci = Oci::script("true");
    oci.set("/process/terminal", json!(true));
    oci.save();
    let message = oci.fails(1, ["restore", "-d", "--bundle", "b", "--image-path", "i", "box"]);
    assert!(message.contains("cannot allocate tty if runc will detach"), "{message}");
    oci.clean();
}

#[test]
fn what_criu_cannot_do_is_told_from_its_log() {
    let oci = counting();
    let call = oci.call(["checkpoint", "--image-path", "i", "--work-path", "w", "--leave-running", "box"]);
    let outcome = call.run();
    if outcome.code() != 0 && oci.path("w/dump.log").exists() {
        assert!(outcome.err().contains("log file: ") && outcome.err().contains("w/dump.log"), "{outcome}");
    }
    assert_eq!(oci.status(), "running");
    goes_on(&oci);
}

#[test]
fn a_container_goes_on_where_it_was() {
    if criu_fails() {
        return;
    }
    let oci = counting();
    oci.ok(["checkpoint", "--image-path", "i", "box"]);
    let before = count(&oci);
    oci.clean();
    let descriptors = std::fs::read_to_string(oci.path("i/descriptors.json")).unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&descriptors).unwrap(),
        json!(["/dev/null", "/dev/null", "/dev/null"])
    );
    let words = ["restore", "-d", "--bundle", "b", "--image-path", "i", "--pid-file", "pid", "box"];
    oci.background("restore", words).run().expect_code(0);
    eventually("it goes on", || count(&oci) > before);
    assert_eq!(std::fs::read_to_string(oci.path("pid")).unwrap(), oci.pid().to_string());
    assert_eq!(oci.exec("hostname"), "box");
    oci.ok(["kill", "box", "KILL"]);
    oci.wait_for("stopped");
    oci.ok(["delete", "box"]);
    oci.clean();
}
