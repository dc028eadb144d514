//! The command line itself: options in every form that callers use, help, version, logs.

use holm_tests::Call;
use serde_json::Value;

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
        (&["state", "--no-such", "box"][..], "flag provided but not defined: -no-such"),
        (&["create", "-it", "box"], "flag provided but not defined: -it"),
        (&["create", "--bundle"], "flag needs an argument"),
    ] {
        let outcome = oci.run(words);
        outcome.expect_code(1);
        assert!(format!("{outcome}").contains(text), "{outcome}");
        assert!(outcome.out().contains("Incorrect Usage"), "{outcome}");
    }
}

#[test]
fn the_number_of_arguments_is_checked() {
    let oci = Oci::new();
    for (words, text) in [
        (&["state"][..], "\"state\" requires exactly 1 argument"),
        (&["create", "a", "b"], "\"create\" requires exactly 1 argument"),
        (&["list", "a"], "\"list\" requires exactly 0 argument"),
        (&["exec"], "\"exec\" requires a minimum of 1 argument"),
        (&["kill"], "\"kill\" requires a minimum of 1 argument"),
        (&["kill", "a", "9", "c"], "\"kill\" requires a maximum of 2 argument"),
    ] {
        let message = oci.fails(1, words);
        assert!(message.contains(text), "{words:?}: {message}");
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
            let mut lines = text.lines();
            assert_eq!(lines.next(), Some("NAME:"), "{text}");
            assert!(lines.next().unwrap().contains(&format!("runc {command}")), "{text}");
        }
    }
    assert!(oci.ok(["--help"]).starts_with("NAME:"));
}

#[test]
fn the_version_is_what_containerd_parses() {
    let oci = Oci::new();
    for flag in ["--version", "-v"] {
        let text = oci.ok([flag]);
        let mut lines = text.lines();
        let first = lines.next().unwrap();
        assert!(first.starts_with("runc version 1."), "{text}");
        assert!(lines.any(|line| line.starts_with("spec: 1.")), "{text}");
    }
}

#[test]
fn an_error_is_one_line_of_text_on_standard_error() {
    let oci = Oci::new();
    let outcome = oci.run(["state", "absent"]);
    outcome.expect_code(1);
    let text = outcome.err();
    assert!(text.starts_with("time=\"20") && text.lines().count() == 1, "{text}");
    assert!(text.ends_with("\" level=error msg=\"container does not exist\""), "{text}");
    assert!(outcome.stdout.is_empty(), "{outcome}");
}

#[test]
fn json_on_standard_error() {
    let oci = Oci::new();
    let outcome = Call::new({
        let mut command = oci.program(&["--log-format", "json"]);
        command.args(["state", "absent"]);
        command
    })
    .run();
    let text = outcome.err();
    assert!(text.starts_with(r#"{"level":"error","msg":"container does not exist","time":"20"#), "{text}");
    assert_eq!(text.lines().count(), 1);
    let record: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record.as_object().unwrap().len(), 3);
}

#[test]
fn a_log_file_is_appended_to_and_the_error_is_plain_beside_it() {
    let oci = Oci::new();
    let log = oci.path("log.json");
    std::fs::write(&log, "before\n").unwrap();
    let mut command = oci.program(&["--log", log.to_str().unwrap(), "--log-format=json"]);
    command.args(["delete", "absent"]);
    let outcome = Call::new(command).run();
    outcome.expect_code(1);
    assert_eq!(outcome.err(), "container does not exist");
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, "before"), "{text}");
    assert!(lines[1].starts_with(r#"{"level":"error","msg":"container does not exist","#), "{text}");
}

/// Podman takes the whole file for one object.
#[test]
fn a_failed_create_writes_exactly_one_record() {
    let mut oci = Oci::new();
    oci.command(&["absent"]).save();
    let log = oci.path("log.json");
    let mut command = oci.program(&["--log", log.to_str().unwrap(), "--log-format", "json"]);
    command.args(["create", "--bundle", "b", "box"]);
    Call::new(command).run().expect_code(1);
    let record: Value = serde_json::from_str(&std::fs::read_to_string(&log).unwrap()).expect("one record");
    assert!(record["msg"].as_str().unwrap().contains("executable file not found in $PATH"), "{record}");
}

#[test]
fn success_writes_nothing() {
    let oci = Oci::script("sleep 100");
    oci.save();
    let log = oci.path("log.json");
    let run = |words: &[&str]| {
        let mut command = oci.program(&["--log", log.to_str().unwrap(), "--log-format", "json"]);
        command.args(words);
        let outcome = Call::new(command).files(oci.path("o"), oci.path("e")).run();
        outcome.expect_code(0);
        assert!(outcome.stdout.is_empty() && outcome.stderr.is_empty(), "{words:?}: {outcome}");
    };
    for words in [
        &["create", "--bundle", "b", "box"][..],
        &["start", "box"],
        &["pause", "box"],
        &["resume", "box"],
        &["update", "--pids-limit", "100", "box"],
        &["exec", "box", "true"],
        &["exec", "-d", "box", "true"],
        &["kill", "box", "0"],
        &["delete", "-f", "box"],
    ] {
        run(words);
    }
    assert_eq!(std::fs::read_to_string(&log).unwrap_or_default(), "");
}

#[test]
fn a_bad_log_format_is_refused() {
    let oci = Oci::new();
    let mut command = oci.program(&["--log-format", "xml"]);
    command.args(["list"]);
    let outcome = Call::new(command).run();
    outcome.expect_code(1);
    let text = outcome.err();
    assert!(
        text.contains("invalid log-format: xml") || text.contains("unknown log-format \\\"xml\\\""),
        "{text}"
    );
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
fn debug_says_more_and_never_the_word_error() {
    let oci = Oci::script("true");
    oci.save();
    let mut command = oci.program(&["--debug"]);
    command.args(["run", "--bundle", "b", "box"]);
    let outcome = Call::new(command).run();
    outcome.expect_code(0);
    assert!(outcome.err().contains("level=debug"), "{outcome}");
    assert!(!outcome.err().to_lowercase().contains("level=error"), "{outcome}");
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
