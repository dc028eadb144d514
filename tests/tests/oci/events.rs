//! `events`: figures, once or again and again, and the news that memory ran out.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::setup::Oci;

#[test]
fn stats_are_one_line_of_json() {
    let mut oci = Oci::new();
    oci.set("/linux/resources/memory", json!({"limit": 64 << 20}));
    oci.set("/linux/resources/pids", json!({"limit": 40}));
    oci.set("/linux/resources/cpu", json!({"shares": 512}));
    oci.up("while :; do :; done");
    let outcome = oci.run(["events", "--stats", "box"]);
    assert_eq!(outcome.ok().lines().count(), 1);
    let event: Value = serde_json::from_str(&outcome.out()).unwrap();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!("box")));
    let data = &event["data"];
    for name in ["cpu", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"] {
        assert!(data.get(name).is_some(), "{name}: {data}");
    }
    assert!(data["memory"]["usage"]["usage"].as_u64() > Some(0), "{data}");
    assert_eq!(data["memory"]["usage"]["limit"], 64 << 20);
    assert!(data["memory"]["raw"].as_object().is_some_and(|raw| !raw.is_empty()), "{data}");
    assert_eq!(data["pids"], json!({"current": 1, "limit": 40}));
    for name in ["kernel", "user"] {
        assert!(data["cpu"]["usage"][name].is_u64(), "{data}");
    }
}

#[test]
fn processor_time_grows() {
    let mut oci = Oci::new();
    oci.set("/linux/resources/cpu", json!({"shares": 512}));
    oci.up("while :; do :; done");
    let total = || {
        let event: Value = serde_json::from_str(&oci.ok(["events", "--stats", "box"])).unwrap();
        event["data"]["cpu"]["usage"]["total"].as_u64().unwrap_or(0)
    };
    holm_tests::eventually("it has used a little", || total() > 0);
    let before = total();
    holm_tests::eventually("it uses more", || total() > before);
}

#[test]
fn an_interval_gives_line_after_line() {
    let mut oci = Oci::new();
    oci.up("sleep 100");
    for interval in ["--interval=50ms", "-interval=0.05s"] {
        let mut call = oci.call(["events", interval, "box"]).spawn();
        holm_tests::eventually("three lines", || call.stdout().lines().count() >= 3);
        assert!(!call.is_over());
        call.signal(Signal::KILL);
        let outcome = call.finish();
        let first = outcome.out().lines().next().unwrap().to_owned();
        assert_eq!(serde_json::from_str::<Value>(&first).unwrap()["type"], "stats");
    }
}

#[test]
fn it_ends_with_the_container() {
    let mut oci = Oci::new();
    oci.up("sleep 100");
    let mut call = oci.call(["events", "--interval", "50ms", "box"]).spawn();
    call.expect_stdout("stats");
    oci.ok(["kill", "box", "KILL"]);
    oci.wait_for("stopped");
    oci.ok(["delete", "box"]);
    call.finish();
}

#[test]
fn an_interval_must_be_positive_and_a_duration() {
    let mut oci = Oci::new();
    oci.up("sleep 100");
    assert!(
        oci.fails(1, ["events", "--interval", "0s", "box"])
            .contains("duration interval must be greater than 0")
    );
    oci.run(["events", "--interval", "soon", "box"]).expect_code(1);
}

#[test]
fn what_has_stopped_has_no_events() {
    let mut oci = Oci::new();
    oci.up("true");
    oci.wait_for("stopped");
    let message = oci.fails(1, ["events", "--stats", "box"]);
    assert!(message.contains("is not running"), "{message}");
}

#[test]
fn the_end_of_memory_is_told() {
    let mut oci = Oci::new();
    oci.set("/linux/resources/memory", json!({"limit": 16 << 20, "swap": 16 << 20}));
    oci.up("while [ ! -e /go ]; do sleep 0.02; done; dd if=/dev/zero of=/dev/null bs=64M count=1; sleep 100");
    let mut call = oci.call(["events", "--interval", "50ms", "box"]).spawn();
    call.expect_stdout("stats");
    std::fs::write(oci.rootfs("go"), "").unwrap();
    call.expect_stdout(r#"{"type":"oom","id":"box""#);
}
