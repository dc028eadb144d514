//! What the runtime says, where, and in which format: engines read it.

use holm_tests::Call;
use serde_json::Value;

use super::setup::Oci;

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
fn debug_has_the_format_of_the_log() {
    let oci = Oci::script("true");
    oci.save();
    let log = oci.path("log");
    let options = ["--debug", "--log-format", "json", "--log", log.to_str().unwrap()];
    let mut command = oci.program(&options);
    command.args(["run", "--bundle", "b", "box"]);
    let outcome = Call::new(command).run();
    outcome.expect_code(0);
    assert_eq!(outcome.err(), "");
    let text = std::fs::read_to_string(&log).unwrap();
    let levels: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["level"].clone())
        .collect();
    assert!(levels.contains(&Value::from("debug")), "{text}");
}
