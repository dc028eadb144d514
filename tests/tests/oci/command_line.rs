//! The command line itself: options in every form that callers use, help, version.

use holm_tests::Call;

use super::runtime::{Feature, lacks};
use super::setup::Oci;

#[test]
fn options_have_one_dash_or_two_and_may_follow_the_id() {
    let oci = Oci::script("sleep 100");
    oci.save();
    for words in [
        &["create", "box", "--bundle", "b", "--pid-file", "pid"][..],
        &["create", "-bundle", "b", "box"],
        &["create", "-b=b", "box"],
        &["create", "--bundle=b", "box", "-pid-file", "pid"],
        &["create", "--bundle=b", "--", "box"],
        &["create", "--bundle=b", "--no-pivot=false", "--no-new-keyring=true", "box"],
        &["create", "box", "--bundle=b", "--no-new-keyring"],
    ] {
        oci.background("box", words).run().expect_code(0);
        assert_eq!(oci.status(), "created", "{words:?}");
        oci.ok(["delete", "box", "--force"]);
        oci.clean();
    }
}

#[test]
fn the_bundle_is_the_current_directory_by_default() {
    let oci = Oci::script("sleep 100");
    oci.save();
    oci.background("box", ["create", "box"]).directory(&oci.bundle()).run().expect_code(0);
    assert_eq!(oci.state()["bundle"], oci.bundle().to_str().unwrap());
}

#[test]
fn unknown_options_and_missing_values_are_refused() {
    let oci = Oci::new();
    for (words, text) in [
        (&["state", "--no-such", "box"][..], "-no-such"),
        (&["create", "-it", "box"], "-i"),
        (&["create", "--bundle"], "bundle"),
    ] {
        let outcome = oci.run(words);
        outcome.expect_code(1);
        assert!(format!("{outcome}").contains(text), "{outcome}");
        assert!(!outcome.out().is_empty(), "what the usage is: {outcome}");
    }
}

#[test]
fn the_number_of_arguments_is_checked() {
    let oci = Oci::new();
    for words in [
        &["state"][..],
        &["create", "a", "b"],
        &["list", "a"],
        &["exec"],
        &["kill"],
        &["kill", "a", "9", "c"],
    ] {
        let message = oci.fails(1, words);
        assert!(message.contains("argument"), "{words:?}: {message}");
    }
}

#[test]
fn an_unknown_command_is_refused() {
    let oci = Oci::new();
    assert_ne!(oci.run(["frobnicate"]).code(), 0);
}

#[test]
fn every_command_has_help() {
    let oci = Oci::new();
    for command in [
        "create",
        "start",
        "state",
        "kill",
        "delete",
        "run",
        "exec",
        "list",
        "ps",
        "pause",
        "resume",
        "update",
        "events",
        "spec",
        "features",
        "checkpoint",
        "restore",
    ] {
        for flag in ["--help", "-h"] {
            let text = oci.ok([command, flag]);
            assert!(text.contains(&format!(" {command}")) && text.len() > 50, "{text}");
        }
    }
    assert!(oci.ok(["--help"]).contains("create"));
}

#[test]
fn the_version_is_what_containerd_parses() {
    let oci = Oci::new();
    for flag in ["--version", "-v"] {
        let text = oci.ok([flag]);
        let mut lines = text.lines();
        let first = lines.next().unwrap();
        assert!(first.contains(" version "), "{text}");
        assert!(lines.any(|line| line.starts_with("spec: 1.")), "{text}");
    }
}

#[test]
fn the_root_of_the_host_is_no_place_for_state() {
    let mut command = std::process::Command::new(super::runtime::program());
    command.args(["--root", "/", "list"]);
    let outcome = Call::new(command).run();
    if lacks(Feature::RootIsGuarded) {
        return;
    }
    outcome.expect_code(1);
    assert!(outcome.err().contains("Option --root argument should not be set to /"), "{outcome}");
}

#[test]
fn obsolete_global_options_are_taken() {
    let oci = Oci::new();
    let mut command = oci.program(&["--criu", "criu", "--rootless", "auto", "--debug=false"]);
    command.args(["list", "-q"]);
    Call::new(command).run().expect_code(0);
}

#[test]
fn relative_roots_are_the_callers() {
    let oci = Oci::script("sleep 100");
    oci.save();
    let mut command = std::process::Command::new(super::runtime::program());
    command.current_dir(oci.path("")).args(["--root", "run", "create", "--bundle", "b", "box"]);
    Call::new(command).files(oci.path("o"), oci.path("e")).run().expect_code(0);
    assert_eq!(oci.status(), "created");
}
