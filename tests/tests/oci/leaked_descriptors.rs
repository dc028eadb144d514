//! CVE-2024-21626: a working directory by way of a descriptor that the runtime, or whoever calls it, has open.

use std::process::Command;

use holm_tests::{Call, Outcome};
use serde_json::json;

use super::setup::Oci;

/// Calls the runtime from a shell that has folders of the host open, by several numbers.
fn leaking(oci: &Oci, words: &[&str]) -> Outcome {
    let program = oci.program(&[]);
    let mut command = Command::new("bash");
    let opening = "exec 3</ 4</sys/fs/cgroup 7</ 9</etc 20</ 63</; exec \"$@\"";
    command
        .arg("-c")
        .arg(opening)
        .arg("bash")
        .arg(program.get_program())
        .args(program.get_args())
        .args(words);
    command.current_dir(oci.path(""));
    Call::new(command).files(oci.path("leak.out"), oci.path("leak.err")).run()
}

/// A file that is on the host's side of any folder that could leak.
fn mark(oci: &Oci) -> String {
    std::fs::write(oci.path("mark"), "").unwrap();
    oci.path("mark").strip_prefix("/").unwrap().to_str().unwrap().to_owned()
}

#[test]
fn run_never_starts_in_one() {
    let mut oci = Oci::new();
    let mark = mark(&oci);
    for (prefix, step) in [("/proc/self/fd", 1), ("/proc/1/fd", 7), ("/proc/thread-self/fd", 5)] {
        for number in (3..=64).step_by(step) {
            oci.set("/process/cwd", json!(format!("{prefix}/{number}")));
            let script = format!(
                "for up in . .. ../.. ../../.. ../../../../..; do test -e $up/{mark} && echo escaped; done; true"
            );
            oci.command(&["sh", "-c", &script]).save();
            let outcome = leaking(&oci, &["run", "--bundle", "b", "box"]);
            assert_ne!(outcome.code(), 0, "{prefix}/{number}: {outcome}");
            assert!(!outcome.out().contains("escaped"), "{prefix}/{number}: {outcome}");
            oci.clean();
        }
    }
}

#[test]
fn exec_never_starts_in_one() {
    let mut oci = Oci::new();
    let mark = mark(&oci);
    oci.up("sleep 1000");
    for number in 3..=64 {
        let cwd = format!("/proc/self/fd/{number}");
        let script = format!(
            "for up in . .. ../.. ../../.. ../../../../..; do test -e $up/{mark} && echo escaped; done; true"
        );
        let outcome = leaking(&oci, &["exec", "--cwd", &cwd, "box", "sh", "-c", &script]);
        outcome.expect_code(255);
        assert!(!outcome.out().contains("escaped"), "{number}: {outcome}");
    }
}

#[test]
fn a_link_in_the_image_is_no_way_round() {
    let mut oci = Oci::new();
    let mark = mark(&oci);
    for number in [3, 4, 7, 9, 20, 63] {
        let _ = std::fs::remove_file(oci.rootfs("link"));
        std::os::unix::fs::symlink(format!("/proc/self/fd/{number}"), oci.rootfs("link")).unwrap();
        oci.set("/process/cwd", json!("/link"));
        oci.command(&["sh", "-c", &format!("test -e ../../../../{mark} && echo escaped; true")]).save();
        let outcome = leaking(&oci, &["run", "--bundle", "b", "box"]);
        assert!(outcome.code() != 0 && !outcome.out().contains("escaped"), "{outcome}");
        oci.clean();
    }
}

#[test]
fn the_program_is_never_found_by_way_of_one() {
    let mut oci = Oci::new();
    let busybox = "bin/busybox";
    for number in [3, 7, 20, 63] {
        oci.command(&[&format!("/proc/self/fd/{number}/{busybox}"), "true"]).save();
        let outcome = leaking(&oci, &["run", "--bundle", "b", "box"]);
        assert_ne!(outcome.code(), 0, "{number}: {outcome}");
        oci.clean();
    }
}

#[test]
fn nothing_that_the_caller_has_open_reaches_the_program() {
    let mut oci = Oci::new();
    oci.command(&["sh", "-c", "ls /proc/self/fd | tr '\\n' ' '"]).save();
    let outcome = leaking(&oci, &["run", "--bundle", "b", "box"]);
    assert_eq!(outcome.ok(), "0 1 2 3 ");
    std::fs::remove_file(oci.path("leak.out")).unwrap();
    oci.up("sleep 1000");
    let outcome = leaking(&oci, &["exec", "box", "sh", "-c", "ls /proc/self/fd | tr '\\n' ' '"]);
    assert_eq!(outcome.ok(), "0 1 2 3 ");
}

#[test]
fn the_waiting_process_holds_nothing_of_the_hosts() {
    let oci = Oci::script("sleep 1000");
    oci.save();
    leaking(&oci, &["create", "--bundle", "b", "box"]).expect_code(0);
    let entries = std::fs::read_dir(format!("/proc/{}/fd", oci.pid())).unwrap();
    let targets: Vec<_> =
        entries.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok()).collect();
    for folder in ["/", "/etc", "/sys/fs/cgroup"] {
        let found = targets.iter().filter(|target| *target == std::path::Path::new(folder)).count();
        assert_eq!(found, 0, "{targets:?}");
    }
}
