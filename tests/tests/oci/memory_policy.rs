//! `linux.memoryPolicy`: where the memory of the container's processes comes from, as the kernel tells it in
//! `/proc/<pid>/numa_maps` (proc_pid_numa_maps(5)) for what has no policy of its own.

use serde_json::{Value, json};

use super::runtime::{Feature, lacks};
use super::setup::Oci;

const SCRIPT: &str = "head -n 1 /proc/self/numa_maps | cut -d' ' -f2";

/// Whether a test can be made here.
fn possible() -> bool {
    let known = std::path::Path::new("/proc/self/numa_maps").exists();
    if !known {
        println!("left out: this kernel knows no memory policies");
    }
    known && !lacks(Feature::MemoryPolicy)
}

fn with(policy: Value) -> Oci {
    let mut oci = Oci::new();
    oci.set("/linux/memoryPolicy", policy);
    oci
}

#[test]
fn every_mode_reaches_the_kernel() {
    if !possible() {
        return;
    }
    for (policy, expected) in [
        (json!({"mode": "MPOL_DEFAULT"}), "default"),
        (json!({"mode": "MPOL_LOCAL"}), "local"),
        (json!({"mode": "MPOL_PREFERRED", "nodes": "0"}), "prefer:0"),
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), "bind:0"),
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0-0"}), "interleave:0"),
        (json!({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}), "prefer (many):0"),
    ] {
        let script = "head -n 1 /proc/self/numa_maps | cut -d' ' -f2- | sed 's/ [a-z]*=.*//'";
        assert_eq!(with(policy.clone()).sh(script), expected, "{policy}");
    }
}

#[test]
fn flags_reach_the_kernel() {
    if !possible() {
        return;
    }
    for (flag, expected) in [
        ("MPOL_F_STATIC_NODES", "bind=static:0"),
        ("MPOL_F_RELATIVE_NODES", "bind=relative:0"),
        ("MPOL_F_NUMA_BALANCING", "bind=balancing:0"),
    ] {
        let text = with(json!({"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]})).sh(SCRIPT);
        assert_eq!(text, expected, "{flag}");
    }
}

#[test]
fn without_it_the_policy_is_the_callers() {
    if possible() {
        assert_eq!(Oci::new().sh(SCRIPT), "default");
    }
}

#[test]
fn it_holds_for_exec_too() {
    if !possible() {
        return;
    }
    let mut oci = with(json!({"mode": "MPOL_BIND", "nodes": "0"}));
    oci.up("sleep 1000");
    assert_eq!(oci.exec(SCRIPT), "bind:0");
    let process =
        json!({"cwd": "/", "args": ["sh", "-c", SCRIPT], "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    std::fs::write(oci.path("process.json"), process.to_string()).unwrap();
    assert_eq!(oci.ok(["exec", "--process", "process.json", "box"]), "bind:0");
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    if !possible() {
        return;
    }
    for (policy, what) in [
        (json!({"nodes": "0"}), "mode"),
        (json!({"mode": "MPOL_X", "nodes": "0"}), "mode"),
        (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_X"]}), "flag"),
        (json!({"mode": "MPOL_BIND", "nodes": "x"}), "node"),
        (json!({"mode": "MPOL_BIND", "nodes": "3-1"}), "node"),
        (json!({"mode": "MPOL_BIND", "nodes": "4294967296"}), "node"),
    ] {
        let message = with(policy.clone()).refused(&[&format!("invalid memory policy {what}")]);
        assert!(message.contains("memoryPolicy"), "{policy}: {message}");
    }
}

#[test]
fn what_the_kernel_refuses_leaves_nothing() {
    if !possible() {
        return;
    }
    for policy in [
        json!({"mode": "MPOL_BIND"}),
        json!({"mode": "MPOL_BIND", "nodes": "1000"}),
        json!({"mode": "MPOL_DEFAULT", "nodes": "0"}),
        json!({"mode": "MPOL_LOCAL", "nodes": "0"}),
        json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}),
    ] {
        with(policy).refused(&["memory policy"]);
    }
}
