//! `process`: who runs, where, with which limits.

use serde_json::json;

use super::runtime::{Feature, lacks};
use super::setup::Oci;

#[test]
fn the_working_directory_is_made_if_it_is_not_there() {
    let mut oci = Oci::new();
    oci.set("/process/cwd", json!("/new/folder"));
    assert_eq!(oci.sh("pwd; stat -c %a /new"), "/new/folder\n755");
    assert!(oci.rootfs("new/folder").is_dir());
}

#[test]
fn a_working_directory_that_is_a_file_is_refused() {
    let mut oci = Oci::new();
    oci.set("/process/cwd", json!("/etc/passwd"));
    oci.refused(&["/etc/passwd", "not a directory"]);
    oci.set("/process/cwd", json!("etc"));
    oci.refused(&["absolute"]);
}

#[test]
fn a_working_directory_of_the_user_alone_can_be_entered() {
    let mut oci = Oci::new();
    let folder = oci.rootfs("own");
    std::fs::create_dir(&folder).unwrap();
    std::os::unix::fs::chown(&folder, Some(1000), Some(1000)).unwrap();
    std::process::Command::new("chmod").arg("700").arg(&folder).status().unwrap();
    oci.set("/process/user", json!({"uid": 1000, "gid": 1000})).set("/process/cwd", json!("/own"));
    oci.set("/process/capabilities", json!({}));
    assert_eq!(oci.sh("pwd; touch x; id -u"), "/own\n1000");
}

#[test]
fn home_is_found_in_passwd() {
    let mut oci = Oci::new();
    assert_eq!(oci.sh("echo $HOME"), "/tmp");
    oci.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    assert_eq!(oci.sh("echo $HOME"), "/home/user");
    oci.set("/process/user", json!({"uid": 4242, "gid": 1000}));
    assert_eq!(oci.sh("echo $HOME"), "/");
    oci.set("/process/env", json!(["PATH=/bin", "HOME=/given"]));
    assert_eq!(oci.sh("echo $HOME"), "/given");
}

#[test]
fn passwd_may_be_missing_or_a_link_out() {
    let mut oci = Oci::new();
    std::fs::remove_file(oci.rootfs("etc/passwd")).unwrap();
    assert_eq!(oci.sh("echo $HOME"), "/");
    std::os::unix::fs::symlink("../../../../../../etc/passwd", oci.rootfs("etc/passwd")).unwrap();
    oci.sh("true");
}

#[test]
fn the_environment_is_as_given() {
    let mut oci = Oci::new();
    oci.set("/process/env", json!(["PATH=/bin", "A=1 2", "B==", "C=", "D=ä"]));
    let text = oci.sh("env | grep -vE '^(HOME|PWD|SHLVL)=' | sort");
    assert_eq!(text, "A=1 2\nB==\nC=\nD=ä\nPATH=/bin");
}

#[test]
fn the_program_is_found_in_the_path_of_the_environment() {
    let mut oci = Oci::new();
    std::fs::create_dir(oci.rootfs("other")).unwrap();
    std::fs::rename(oci.rootfs("bin/busybox"), oci.rootfs("other/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", oci.rootfs("other/echo")).unwrap();
    oci.set("/process/env", json!(["PATH=/bin:/other"])).command(&["echo", "found"]);
    assert_eq!(oci.foreground().ok(), "found");
    oci.set("/process/env", json!(["PATH=/absent"]));
    oci.refused(&["executable file not found in $PATH"]);
}

#[test]
fn a_path_is_relative_to_the_working_directory() {
    let mut oci = Oci::new();
    oci.set("/process/cwd", json!("/bin")).command(&["./busybox", "echo", "found"]);
    assert_eq!(oci.foreground().ok(), "found");
}

#[test]
fn groups_are_exactly_those_given() {
    let mut oci = Oci::new();
    let script = "id -u; id -g; grep ^Groups: /proc/self/status";
    assert_eq!(oci.sh(script).trim_end(), "0\n0\nGroups:");
    oci.set("/process/user", json!({"uid": 5, "gid": 6, "additionalGids": [10, 65534, 7]}));
    assert_eq!(oci.sh(script).trim_end(), "5\n6\nGroups:\t7 10 65534");
}

#[test]
fn the_mask_of_files() {
    let mut oci = Oci::new();
    assert_eq!(oci.sh("umask"), "0022");
    oci.set("/process/user/umask", json!(0o027));
    assert_eq!(oci.sh("umask; touch /made; stat -c %a /made"), "0027\n640");
    oci.set("/process/user/umask", json!(0));
    assert_eq!(oci.sh("umask"), "0000");
}

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
fn new_privileges_are_refused() {
    let mut oci = Oci::new();
    for (value, text) in [(true, "1"), (false, "0")] {
        oci.set("/process/noNewPrivileges", json!(value));
        assert_eq!(oci.sh("grep NoNewPrivs /proc/self/status"), format!("NoNewPrivs:\t{text}"));
    }
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
fn arguments_are_as_given() {
    let mut oci = Oci::new();
    oci.command(&["printf", "[%s]", "", "a b", "\n", "ä", "--", "-x"]);
    assert_eq!(oci.foreground().ok(), "[][a b][\n][ä][--][-x]");
    oci.clean();
}
