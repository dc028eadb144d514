//! `process.landlock`: access to files that a process gives up. Left out where the kernel has no Landlock.

use serde_json::{Value, json};

use super::runtime::{Feature, lacks};
use super::setup::Oci;

fn is_there() -> bool {
    if lacks(Feature::Landlock) {
        return false;
    }
    let there = holm_sys::landlock::version().is_ok();
    if !there {
        println!("left out: this kernel has no Landlock");
    }
    there
}

fn with(landlock: Value, script: &str) -> Oci {
    let mut oci = Oci::script(script);
    std::fs::create_dir(oci.rootfs("data")).unwrap();
    std::fs::create_dir(oci.rootfs("other")).unwrap();
    oci.set("/process/landlock", landlock);
    oci
}

fn writes_below_data() -> Value {
    json!({"ruleset": {"handledAccessFS": ["write_file", "make_reg"]},
        "rules": {"pathBeneath": [{"paths": ["/data", "/dev"], "allowedAccess": ["write_file", "make_reg"]}]}})
}

const WRITE: &str = "echo x >/data/file && echo below; echo x >/other/file || echo nowhere else";

#[test]
fn what_no_rule_allows_is_forbidden() {
    if !is_there() {
        return;
    }
    for no_new_privileges in [true, false] {
        let mut oci = with(writes_below_data(), WRITE);
        oci.set("/process/noNewPrivileges", json!(no_new_privileges));
        for set in ["bounding", "effective", "permitted"] {
            oci.add(&format!("/process/capabilities/{set}"), json!("CAP_DAC_OVERRIDE"));
        }
        assert_eq!(oci.foreground().expect_code(0).out(), "below\nnowhere else", "{no_new_privileges}");
        oci.clean();
    }
}

#[test]
fn exec_is_restricted_too() {
    if !is_there() {
        return;
    }
    let mut oci = with(writes_below_data(), "");
    oci.up("sleep 1000");
    assert_eq!(oci.exec(WRITE), "below\nnowhere else\n".trim_end());
}

#[test]
fn a_path_that_is_not_there_is_passed_over_unless_all_must_hold() {
    if !is_there() {
        return;
    }
    let mut rules = writes_below_data();
    rules["rules"]["pathBeneath"][0]["paths"] = json!(["/data", "/not/there"]);
    let oci = with(rules.clone(), "echo x >/data/file && echo below");
    assert_eq!(oci.foreground().expect_code(0).out(), "below");
    rules["disableBestEffort"] = json!(true);
    let oci = with(rules, "true");
    assert!(oci.refused(&[]).contains("/not/there"));
}

#[test]
fn what_is_wrong_is_named() {
    if lacks(Feature::Landlock) {
        return;
    }
    let oci = with(json!({"ruleset": {"handledAccessFS": ["fly"]}}), "true");
    assert!(oci.refused(&[]).contains("process.landlock.ruleset.handledAccessFS"));
}
