//! Habits of runc and crun that their callers rely on, each once seen in the suites of those runtimes.

use std::process::Command;

use holm_tests::{Call, eventually};
use serde_json::json;

use super::runtime::{Feature, lacks, program};
use super::setup::Oci;

#[test]
fn a_terminal_in_the_foreground_makes_no_carriage_returns() {
    let mut oci = Oci::script("echo one; echo two");
    oci.set("/process/terminal", json!(true));
    assert_eq!(oci.foreground().expect_code(0).out(), "one\ntwo");
    oci.clean();
}

#[test]
fn a_hook_inside_gets_its_arguments_as_they_are() {
    let mut oci = Oci::new();
    let hook = json!({"path": "/bin/busybox", "args": ["sh", "-c", "echo $0 >/seen", "zero"]});
    oci.set("/hooks/startContainer", json!([hook]));
    oci.create();
    oci.start();
    assert_eq!(std::fs::read_to_string(oci.rootfs("seen")).unwrap(), "zero\n");
}

#[test]
fn a_hook_of_the_container_is_a_process_of_its_namespaces() {
    if lacks(Feature::HooksAreInside) {
        return;
    }
    let mut oci = Oci::new();
    let seen = oci.path("seen");
    let script = format!("test -e proc/self && readlink /proc/1/ns/pid >{}; cat >/dev/null", seen.display());
    oci.set("/hooks/createContainer", json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]));
    oci.create();
    assert!(seen.exists(), "the hook has no entry in the container's proc");
    let mut failing = Oci::new();
    failing.set("/hooks/createContainer", json!([{"path": "/bin/sh", "args": ["sh", "-c", "exit 5"]}]));
    assert!(failing.refused(&[]).contains("createContainer"));
}

#[test]
fn a_hook_of_the_container_that_hangs_is_ended() {
    if lacks(Feature::HooksAreInside) {
        return;
    }
    let mut oci = Oci::new();
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", "exec sleep 98765"], "timeout": 1});
    oci.set("/hooks/createContainer", json!([hook]));
    assert!(oci.refused(&[]).contains("timeout"));
    eventually("the hook is gone", || {
        let found = Command::new("pgrep").args(["-f", "sleep 98765"]).output().unwrap();
        found.stdout.is_empty()
    });
}

#[test]
fn a_container_may_use_every_processor() {
    if lacks(Feature::ExecAffinity) {
        return;
    }
    let mut oci = Oci::script("grep Cpus_allowed_list /proc/self/status");
    let all = |text: &str| text.split_whitespace().nth(1).unwrap().to_owned();
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find(|line| line.starts_with("Cpus_allowed_list")).unwrap();
    oci.set("/process/terminal", json!(false));
    oci.save();
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(program()).arg("--root").arg(oci.root());
    command.args(["run", "--bundle", "b", "box"]).current_dir(oci.directory.path());
    assert_eq!(all(&Call::new(command).run().ok()), all(own));
    oci.clean();
}

#[test]
fn variables_are_there_once_and_a_home_always() {
    if lacks(Feature::Environment) {
        return;
    }
    let mut oci = Oci::script("env | grep -E '^(ONE|HOME)='");
    oci.set("/process/env", json!(["PATH=/bin", "ONE=two", "HOME=", "ONE=", "ONE=three"]));
    let text = oci.foreground().ok();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with("HOME=/") && lines[1] == "ONE=three", "{text}");
}

#[test]
fn what_waits_for_its_start_can_be_ended_by_a_signal() {
    let oci = Oci::new();
    for signal in ["TERM", "INT", "HUP"] {
        oci.create();
        oci.ok(["kill", &oci.id, signal]);
        eventually("it has stopped", || oci.status() == "stopped");
        oci.ok(["delete", &oci.id]);
    }
    oci.clean();
}

#[test]
fn what_can_never_be_ambient_is_left_out_with_a_warning() {
    let mut oci = Oci::script("grep CapAmb /proc/self/status");
    oci.set(
        "/process/capabilities",
        json!({"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"],
        "permitted": ["CAP_KILL"], "ambient": ["CAP_KILL"]}),
    );
    let outcome = oci.foreground();
    assert_eq!(outcome.expect_code(0).out(), "CapAmb:\t0000000000000000");
    assert!(outcome.err().contains("CAP_KILL"), "{outcome}");
    oci.clean();
}

#[test]
fn mounts_have_the_names_that_the_configuration_gives_them() {
    let oci = Oci::script("cut -d' ' -f1,2 /proc/mounts");
    let text = oci.foreground().ok();
    for expected in
        ["proc /proc", "tmpfs /dev", "shm /dev/shm", "mqueue /dev/mqueue", "sysfs /sys", "devpts /dev/pts"]
    {
        assert!(text.lines().any(|line| line == expected), "{expected}: {text}");
    }
    oci.clean();
}

#[test]
fn a_path_that_is_masked_twice_is_covered_once() {
    if lacks(Feature::MaskedOnce) {
        return;
    }
    let mut oci = Oci::script("grep -c ' /masked ' /proc/self/mountinfo");
    std::fs::create_dir(oci.rootfs("masked")).unwrap();
    oci.set("/linux/maskedPaths", json!(["/masked", "/masked"]));
    assert_eq!(oci.foreground().ok(), "1");
    oci.clean();
}

#[test]
fn debugging_goes_to_the_log() {
    let oci = Oci::new();
    oci.create();
    let log = oci.path("log");
    let mut command = oci.program(&["--debug", "--log", log.to_str().unwrap()]);
    command.args(["state", &oci.id]);
    let outcome = Call::new(command).run();
    outcome.expect_code(0);
    assert_eq!(outcome.err(), "");
    assert!(log.exists());
}

#[test]
fn a_domain_name_is_set_in_one_way() {
    if lacks(Feature::DomainName) {
        return;
    }
    let mut oci = Oci::new();
    oci.set("/domainname", json!("one")).set("/linux/sysctl", json!({"kernel.domainname": "two"}));
    assert!(oci.refused(&[]).contains("kernel.domainname"));
}

#[test]
fn a_program_that_is_no_program_is_named() {
    let mut oci = Oci::new();
    std::fs::write(oci.rootfs("run.sh"), "#!/nonexistent/interpreter\n").unwrap();
    std::fs::set_permissions(oci.rootfs("run.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    oci.command(&["/run.sh"]);
    let outcome = oci.foreground();
    assert_ne!(outcome.code(), 0);
    assert!(outcome.err().contains("/run.sh"), "{outcome}");
}
