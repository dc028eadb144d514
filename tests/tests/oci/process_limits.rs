//! `process`: limits, priorities, and the personality.

use serde_json::json;

use super::runtime::{Feature, lacks};
use super::setup::Oci;

#[test]
fn limits() {
    let mut oci = Oci::new();
    let limits = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_CPU", "soft": 1000, "hard": 2000}, {"type": "RLIMIT_FSIZE", "soft": 4096, "hard": 8192}]);
    oci.set("/process/rlimits", limits);
    let text = oci.sh("grep -E '^Max (open|core|cpu|file size)' /proc/self/limits | tr -s ' ' | sort");
    let expected = [
        "Max core file size 0 0 bytes",
        "Max cpu time 1000 2000 seconds",
        "Max file size 4096 8192 bytes",
        "Max open files 100 200 files",
    ];
    assert_eq!(text.lines().map(str::trim_end).collect::<Vec<_>>(), expected);
}

#[test]
fn every_limit_has_its_name() {
    let mut oci = Oci::new();
    for name in [
        "AS",
        "CORE",
        "CPU",
        "DATA",
        "FSIZE",
        "LOCKS",
        "MEMLOCK",
        "MSGQUEUE",
        "NICE",
        "NOFILE",
        "NPROC",
        "RSS",
        "RTPRIO",
        "RTTIME",
        "SIGPENDING",
        "STACK",
    ] {
        // What the caller has: raising needs a right that a test machine may lack.
        let (soft, hard) =
            if ["NICE", "RTPRIO", "CORE"].contains(&name) { (0, 0) } else { (1 << 10, 1 << 10) };
        let (soft, hard) = if ["AS", "DATA", "RSS", "STACK", "FSIZE"].contains(&name) {
            (1 << 26, 1 << 26)
        } else {
            (soft, hard)
        };
        oci.set("/process/rlimits", json!([{"type": format!("RLIMIT_{name}"), "soft": soft, "hard": hard}]));
        oci.sh("true");
    }
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let mut oci = Oci::new();
    for limits in [
        json!([{"type": "RLIMIT_X", "soft": 1, "hard": 1}]),
        json!([{"type": "RLIMIT_NOFILE", "soft": 200, "hard": 100}]),
        json!([{"type": "RLIMIT_NOFILE", "soft": u64::MAX, "hard": u64::MAX}]),
    ] {
        oci.set("/process/rlimits", limits);
        oci.refused(&[]);
    }
    if lacks(Feature::StrictConfiguration) {
        return;
    }
    let twice = json!({"type": "RLIMIT_NOFILE", "soft": 100, "hard": 100});
    oci.set("/process/rlimits", json!([twice, twice]));
    oci.refused(&["RLIMIT_NOFILE"]);
}

#[test]
fn the_score_of_the_killer_is_raised() {
    let mut oci = Oci::new();
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(oci.sh("cat /proc/self/oom_score_adj"), own.trim(), "without a word it is the caller's");
    oci.set("/process/oomScoreAdj", json!(321));
    assert_eq!(oci.sh("cat /proc/self/oom_score_adj"), "321");
    oci.set("/process/oomScoreAdj", json!(2000));
    oci.refused(&[]);
}

#[test]
fn the_personality() {
    if lacks(Feature::Personality) {
        return;
    }
    let mut oci = Oci::new();
    oci.set("/linux/personality", json!({"domain": "LINUX32"}));
    assert_eq!(oci.sh("uname -m"), "i686");
    oci.set("/linux/personality", json!({"domain": "LINUX"}));
    assert_eq!(oci.sh("uname -m"), std::env::consts::ARCH);
    oci.set("/linux/personality", json!({"domain": "PLAN9"}));
    oci.refused(&["personality"]);
}

#[test]
fn the_scheduler() {
    if lacks(Feature::Scheduler) {
        return;
    }
    let mut oci = Oci::new();
    for (scheduler, fields) in [
        (json!({"policy": "SCHED_BATCH", "nice": 5}), "5 0 3"),
        (json!({"policy": "SCHED_OTHER", "nice": -3}), "-3 0 0"),
        (json!({"policy": "SCHED_FIFO", "priority": 7}), "0 7 1"),
        (json!({"policy": "SCHED_RR", "priority": 9}), "0 9 2"),
        (json!({"policy": "SCHED_IDLE"}), "0 0 5"),
    ] {
        oci.set("/process/scheduler", scheduler.clone());
        assert_eq!(oci.sh("cut -d' ' -f19,40,41 /proc/self/stat"), fields, "{scheduler}");
    }
    for bad in [
        json!({"policy": "SCHED_X"}),
        json!({"policy": "SCHED_OTHER", "nice": 99}),
        json!({"policy": "SCHED_OTHER", "priority": 5}),
        json!({"nice": 5}),
        json!({"policy": "SCHED_FIFO", "priority": 500}),
    ] {
        oci.set("/process/scheduler", bad);
        oci.refused(&[]);
    }
}

#[test]
fn a_deadline_needs_its_times_and_all_processors() {
    if lacks(Feature::Scheduler) {
        return;
    }
    let mut oci = Oci::new();
    let times = |runtime: u64, deadline: u64, period: u64| json!({"policy": "SCHED_DEADLINE", "runtime": runtime, "deadline": deadline, "period": period});
    for (bad, why) in [
        (times(0, 20_000_000, 20_000_000), "greater than 0"),
        (times(30_000_000, 20_000_000, 40_000_000), "must be <= deadline"),
        (times(10_000_000, 50_000_000, 40_000_000), "must be <= period"),
    ] {
        oci.set("/process/scheduler", bad);
        oci.refused(&["process.scheduler", why]);
    }
    if super::machine::v1("cpuset", "/").is_none() {
        return;
    }
    oci.set("/process/scheduler", times(42_000, 1_000_000, 1_000_000));
    oci.set("/linux/resources/cpu", json!({"cpus": "0"}));
    oci.refused(&["can't be used together with AllowedCPUs"]);
}

#[test]
fn the_priority_of_input_and_output() {
    if lacks(Feature::IoPriority) {
        return;
    }
    let mut oci = Oci::new();
    for (class, priority, text) in [
        ("IOPRIO_CLASS_BE", 6, "best-effort: prio 6"),
        ("IOPRIO_CLASS_RT", 2, "realtime: prio 2"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
    ] {
        oci.set("/process/ioPriority", json!({"class": class, "priority": priority}));
        assert!(oci.sh("ionice -p $$").contains(text), "{class}");
    }
    for bad in [
        json!({"class": "IOPRIO_CLASS_X", "priority": 1}),
        json!({"class": "IOPRIO_CLASS_BE", "priority": 8}),
    ] {
        oci.set("/process/ioPriority", bad);
        oci.refused(&[]);
    }
}

#[test]
fn the_priority_of_input_and_output_of_exec() {
    if lacks(Feature::IoPriority) {
        return;
    }
    let mut oci = Oci::new();
    oci.set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 6}));
    oci.up("sleep 1000");
    assert!(oci.exec("ionice -p $$").contains("best-effort: prio 6"), "the container's own");
    let mut document = json!({"cwd": "/", "args": ["sh", "-c", "ionice -p $$"], "env": ["PATH=/bin"],
        "user": {"uid": 0, "gid": 0}, "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 0}});
    std::fs::write(oci.path("process.json"), document.to_string()).unwrap();
    assert!(oci.ok(["exec", "--process", "process.json", "box"]).contains("idle"), "its own");
    document["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 8});
    std::fs::write(oci.path("process.json"), document.to_string()).unwrap();
    let message = oci.fails(255, ["exec", "--process", "process.json", "box"]);
    assert!(message.contains("ioPriority"), "{message}");
}

/// The kernel gives the highest class only to who has a right for it; the runtime has it, the container need not.
#[test]
fn a_priority_of_input_and_output_is_set_before_rights_are_dropped() {
    if lacks(Feature::IoPriority) {
        return;
    }
    let mut oci = Oci::new();
    oci.set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_RT", "priority": 0}));
    oci.set("/process/user", json!({"uid": 1000, "gid": 1000})).set("/process/capabilities", json!({}));
    assert!(oci.sh("ionice -p $$").contains("realtime: prio 0"));
}
