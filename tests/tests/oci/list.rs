//! `list` and `ps`: what people and engines read.

use serde_json::Value;

use super::runtime::{Feature, lacks};
use super::setup::Oci;

#[test]
fn nothing_is_an_empty_table_and_null() {
    let oci = Oci::new();
    assert_eq!(oci.ok(["list"]), "ID          PID         STATUS      BUNDLE      CREATED     OWNER");
    assert_eq!(oci.ok(["list", "--format", "json"]), "null");
    assert_eq!(oci.run(["list", "--quiet"]).stdout, b"");
}

#[test]
fn the_table_has_columns_as_wide_as_their_longest_cell() {
    let mut oci = Oci::new();
    oci.up("sleep 100");
    let text = oci.ok(["list"]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    let state = oci.state();
    let (bundle, created) = (state["bundle"].as_str().unwrap(), state["created"].as_str().unwrap());
    let row = |cells: [&str; 6]| {
        let widths = [12, 12, 12, bundle.len() + 3, created.len() + 3, 0];
        let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<String>()
    };
    assert_eq!(lines[0], row(["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]));
    assert_eq!(lines[1], row(["box", &state["pid"].to_string(), "running", bundle, created, "root"]));
}

#[test]
fn json_has_all_of_the_state_in_one_line() {
    let mut oci = Oci::new();
    oci.set("/annotations", serde_json::json!({"k": "v"}));
    oci.up("sleep 100");
    let outcome = oci.run(["list", "-f", "json"]);
    assert!(outcome.stdout.ends_with(b"]\n") && outcome.out().lines().count() == 1, "{outcome}");
    let list: Value = serde_json::from_str(&outcome.out()).unwrap();
    let mut state = oci.state();
    state["owner"] = "root".into();
    assert_eq!(list, Value::Array(vec![state]));
}

#[test]
fn quiet_prints_ids_in_order() {
    let mut oci = Oci::script("sleep 100");
    for id in ["c", "a", "b"] {
        oci.id = id.to_owned();
        let group = oci.group();
        oci.set("/linux/cgroupsPath", group.into());
        oci.create();
    }
    assert_eq!(oci.ok(["list", "-q"]), "a\nb\nc");
    assert_eq!(oci.ok(["list", "--quiet", "--format", "json"]), "a\nb\nc", "quiet wins");
}

#[test]
fn what_has_stopped_has_pid_0() {
    let mut oci = Oci::new();
    oci.up("true");
    oci.wait_for("stopped");
    let list: Value = serde_json::from_str(&oci.ok(["list", "--format=json"])).unwrap();
    assert_eq!((&list[0]["pid"], &list[0]["status"]), (&0.into(), &"stopped".into()));
}

#[test]
fn another_format_is_refused() {
    let mut oci = Oci::new();
    assert_eq!(oci.fails(1, ["list", "--format", "xml"]), "invalid format option");
    oci.up("sleep 100");
    assert_eq!(oci.fails(1, ["ps", "--format", "xml", "box"]), "invalid format option");
}

#[test]
fn what_cannot_be_read_is_skipped() {
    let oci = Oci::script("sleep 100");
    oci.create();
    std::fs::create_dir(oci.root().join("broken")).unwrap();
    let outcome = oci.run(["list", "-q"]);
    outcome.expect_code(0);
    assert_eq!(outcome.out(), "box");
    assert!(outcome.err().contains("broken"), "{outcome}");
    std::fs::remove_dir(oci.root().join("broken")).unwrap();
}

#[test]
fn a_root_that_is_not_there_is_an_error() {
    if lacks(Feature::MissingRootIsAnError) {
        return;
    }
    let oci = Oci::new();
    std::fs::remove_dir(oci.root()).unwrap();
    oci.fails(1, ["list"]);
    std::fs::create_dir(oci.root()).unwrap();
}

#[test]
fn ps_lists_the_hosts_numbers() {
    let mut oci = Oci::new();
    oci.up("sleep 100 & echo ready; sleep 101");
    oci.wait_for_output("ready");
    holm_tests::eventually("both are listed", || {
        let pids: Vec<u32> = serde_json::from_str(&oci.ok(["ps", "--format", "json", "box"])).unwrap();
        pids.len() == 2 && pids.contains(&oci.pid())
    });
}

#[test]
fn ps_prints_the_lines_of_ps() {
    let mut oci = Oci::new();
    oci.up("exec sleep 1234");
    let pid = oci.pid().to_string();
    let text = oci.ok(["ps", "box"]);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("UID") && lines.len() == 2, "{text}");
    assert!(lines[1].split_whitespace().nth(1) == Some(&pid) && lines[1].ends_with("sleep 1234"), "{text}");
    let text = oci.ok(["ps", "box", "-o", "pid,comm"]);
    assert_eq!(text.lines().last().unwrap().split_whitespace().collect::<Vec<_>>(), [&pid, "sleep"]);
}

#[test]
fn ps_refuses_what_it_cannot_read() {
    let mut oci = Oci::new();
    oci.up("sleep 100");
    assert!(oci.fails(1, ["ps", "box", "-o", "comm"]).contains("couldn't find PID field in ps output"));
    assert!(oci.fails(1, ["ps", "box", "--no-such-option"]).contains("exit status 1"));
}
