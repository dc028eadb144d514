//! `process.execCPUAffinity`: the processors of what `exec` starts.

use serde_json::{Value, json};

use super::machine;
use super::runtime::{Feature, lacks};
use super::setup::Oci;

const SCRIPT: &str = "grep Cpus_allowed_list /proc/self/status | cut -f2";

/// Whether a test can be made here.
fn possible() -> bool {
    let all = std::fs::read_to_string("/proc/self/status").unwrap();
    let several = all.lines().any(|line| line.starts_with("Cpus_allowed_list:\t0-"));
    if !several {
        println!("left out: this host has no two processors");
    }
    several && !lacks(Feature::ProcessorsOfExec)
}

/// A running container whose configuration says so.
fn up(affinity: Value) -> Oci {
    let mut oci = Oci::new();
    oci.set("/process/execCPUAffinity", affinity);
    oci.up("sleep 1000");
    oci
}

fn process(oci: &Oci, affinity: Value) -> holm_tests::Outcome {
    let mut document =
        json!({"cwd": "/", "args": ["sh", "-c", SCRIPT], "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    document["execCPUAffinity"] = affinity;
    std::fs::write(oci.path("process.json"), document.to_string()).unwrap();
    oci.run(["exec", "--process", "process.json", "box"])
}

/// Every processor that this test may run on.
fn everything() -> String {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    line.trim().to_owned()
}

#[test]
fn the_configuration_says_where_exec_runs() {
    if !possible() {
        return;
    }
    for (affinity, expected) in [
        (json!({"final": "1"}), "1"),
        (json!({"initial": "1"}), "1"),
        (json!({"initial": "0", "final": "1"}), "1"),
        (json!({"initial": "0-1", "final": "0"}), "0"),
    ] {
        let oci = up(affinity.clone());
        assert_eq!(oci.exec(SCRIPT), expected, "{affinity}");
    }
}

#[test]
fn without_lists_it_may_run_everywhere() {
    if !possible() {
        return;
    }
    assert_eq!(up(json!({})).exec(SCRIPT), everything());
    assert_eq!(Oci::new().up("sleep 1000").exec(SCRIPT), everything());
}

/// As runc and the kernel's own lists have it.
#[test]
fn lists_may_be_empty_and_have_blanks() {
    if !possible() {
        return;
    }
    let oci = up(json!({}));
    for (list, expected) in [("", everything()), (" 0, 1 ", "0-1".to_owned()), ("1,", "1".to_owned())] {
        let outcome = process(&oci, json!({"final": list}));
        let holds = outcome.code() == 0 && outcome.out() == expected;
        assert!(holds, "{list:?}: {outcome}");
    }
}

#[test]
fn lists_that_are_none_are_refused_when_the_container_is_made() {
    if !possible() {
        return;
    }
    for affinity in [json!({"initial": "3-1"}), json!({"final": "9999999"})] {
        let mut oci = Oci::new();
        oci.set("/process/execCPUAffinity", affinity);
        oci.save();
        let outcome = oci.background("box", oci.creation()).run();
        let holds = outcome.code() == 1 && outcome.err().contains("execCPUAffinity");
        assert!(holds, "{outcome}");
    }
}

#[test]
fn the_callers_processors_are_not_those_of_exec() {
    if !possible() {
        return;
    }
    let mut oci = Oci::new();
    oci.up("sleep 1000");
    let text = on_one_processor(&oci, &["exec", "box", "sh", "-c", SCRIPT]).ok();
    assert_eq!(text, everything());
}

/// A call of the runtime by who runs on the first processor only.
fn on_one_processor(oci: &Oci, words: &[&str]) -> holm_tests::Outcome {
    let program = oci.program(words);
    let mut command = std::process::Command::new("taskset");
    command.args(["--cpu-list", "0"]).arg(program.get_program()).args(program.get_args());
    holm_tests::Call::new(command).directory(&oci.path("")).run()
}

#[test]
fn the_first_process_is_not_meant() {
    if !possible() {
        return;
    }
    let mut oci = Oci::new();
    oci.set("/process/execCPUAffinity", json!({"initial": "1", "final": "1"}));
    assert_eq!(oci.sh(SCRIPT), everything());
}

#[test]
fn a_process_document_has_its_own() {
    if !possible() {
        return;
    }
    let oci = up(json!({"final": "0"}));
    assert_eq!(process(&oci, json!({"final": "1"})).ok(), "1");
    assert_eq!(process(&oci, json!({"initial": "1"})).ok(), "1");
    assert_eq!(process(&oci, json!({})).ok(), everything());
}

#[test]
fn lists_that_are_none_are_refused_by_name() {
    if !possible() {
        return;
    }
    let oci = up(json!({}));
    for list in ["x", "1-", "-1", "3-1", "0;1", "0x1", "4294967296", "99999999"] {
        for name in ["initial", "final"] {
            let outcome = process(&oci, json!({name: list}));
            outcome.expect_code(255);
            assert!(outcome.err().contains(&format!("execCPUAffinity.{name}")), "{list}: {outcome}");
        }
    }
    assert_eq!(oci.exec("echo lives"), "lives");
}

#[test]
fn processors_that_are_not_there_are_refused() {
    if !possible() {
        return;
    }
    let oci = up(json!({}));
    for name in ["initial", "final"] {
        let outcome = process(&oci, json!({name: "1000"}));
        outcome.expect_code(255);
        assert!(outcome.err().to_lowercase().contains("invalid argument"), "{outcome}");
    }
}

#[test]
fn processors_outside_the_containers_are_refused() {
    let mut oci = Oci::new();
    oci.set("/linux/resources/cpu", json!({"cpus": "0"}));
    if !possible() || machine::v1("cpuset", "").is_none() {
        return;
    }
    oci.up("sleep 1000");
    assert_eq!(oci.exec(SCRIPT), "0");
    // The first list is the runtime's, which is not in the container; its group has the last word on what it starts.
    assert_eq!(process(&oci, json!({"initial": "1", "final": "0"})).ok(), "0");
    let outcome = process(&oci, json!({"final": "1"}));
    outcome.expect_code(255);
}
