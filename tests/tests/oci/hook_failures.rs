//! Hooks that fail, hang, or leave something running.

use serde_json::{Value, json};

use super::runtime::{Feature, lacks};
use super::setup::Oci;

fn log(oci: &Oci) -> String {
    std::fs::read_to_string(oci.path("log")).unwrap_or_default()
}

fn hook(oci: &Oci, script: &str) -> Value {
    let variable = format!("LOG={}", oci.path("log").display());
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": [variable, "PATH=/usr/bin:/bin"]})
}

/// Three hooks of a kind of which the second fails, and a `poststop` hook that says so.
fn failing(kind: &str) -> Oci {
    let mut oci = Oci::new();
    let pointer = format!("/hooks/{kind}");
    for script in ["echo 1 >> $LOG", "echo 2 >> $LOG; echo said >&2; exit 3", "echo 3 >> $LOG"] {
        let hook = hook(&oci, script);
        oci.add(&pointer, hook);
    }
    oci.command(&["sh", "-c", "touch /ran; sleep 1000"]);
    oci
}

#[test]
fn a_failure_before_the_end_of_create_is_one_of_create() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let oci = failing(kind);
        let message = oci.refused(&["exit status 3"]);
        assert!(message.contains("hook #1"), "the second has number 1: {message}");
        assert_eq!(log(&oci), "1\n2\n");
        assert!(!oci.rootfs("ran").exists());
    }
}

#[test]
fn the_message_names_the_kind_and_what_the_hook_said() {
    if lacks(Feature::HookMessage) {
        return;
    }
    for kind in ["prestart", "createRuntime", "createContainer"] {
        failing(kind)
            .refused(&[&format!("error running {kind} hook #1: exit status 3, stdout: , stderr: said")]);
    }
}

#[test]
fn a_failing_run_leaves_nothing_either() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let oci = failing(kind);
        let outcome = oci.foreground();
        assert_ne!(outcome.code(), 0);
        oci.clean();
    }
}

#[test]
fn a_failing_poststart_stops_the_container() {
    if lacks(Feature::PoststartAtStart) {
        return;
    }
    let oci = failing("poststart");
    oci.create();
    assert_eq!(log(&oci), "");
    oci.run(["start", "box"]).expect_code(1);
    assert_eq!(log(&oci), "1\n2\n");
    let outcome = oci.run(["state", "box"]);
    assert!(outcome.code() != 0 || outcome.out().contains("stopped"), "{outcome}");
    oci.remove();
}

#[test]
fn a_failing_poststop_does_not_keep_the_container() {
    let mut oci = failing("poststop");
    oci.up("true");
    oci.wait_for("stopped");
    oci.run(["delete", "box"]);
    assert!(log(&oci).starts_with("1\n2\n"), "{}", log(&oci));
    oci.clean();
    // The foreground has nobody else to tell, and tells the cause.
    oci.command(&["true"]);
    let outcome = oci.foreground();
    assert!(outcome.err().contains("exit status 3"), "{outcome}");
    oci.clean();
}

#[test]
fn a_failing_start_container_keeps_the_program_from_running() {
    let mut oci = Oci::new();
    oci.add(
        "/hooks/startContainer",
        json!({"path": "/bin/sh", "args": ["sh", "-c", "exit 1"], "env": ["PATH=/bin"]}),
    );
    oci.command(&["sh", "-c", "touch /ran"]);
    oci.create();
    oci.run(["start", "box"]);
    oci.wait_for("stopped");
    assert!(!oci.rootfs("ran").exists());
    oci.ok(["delete", "box"]);
    oci.clean();
}

#[test]
fn a_hook_that_takes_too_long_is_killed() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let mut oci = Oci::new();
        let mut hook = hook(&oci, "exec sleep 7654");
        hook["timeout"] = json!(1);
        oci.add(&format!("/hooks/{kind}"), hook);
        oci.refused(&["hook ran past specified timeout of 1"]);
        assert_eq!(holm_tests::host::processes_naming("7654"), Vec::<u32>::new());
    }
}

#[test]
fn a_child_of_a_hook_that_holds_its_output_does_not_hold_create() {
    if lacks(Feature::HookChildren) {
        return;
    }
    let mut oci = Oci::new();
    let marker = oci.path("pid");
    let mut hook = hook(&oci, &format!("sleep 60 & echo $! > {}", marker.display()));
    hook["timeout"] = json!(2);
    oci.add("/hooks/createRuntime", hook).command(&["sleep", "1000"]);
    oci.save();
    oci.background("box", ["create", "--bundle", "b", "box"]).run();
    let pid: u32 = std::fs::read_to_string(marker).unwrap().trim().parse().unwrap();
    holm_tests::host::kill(pid);
}

#[test]
fn a_program_that_is_not_there_is_a_failure() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let mut oci = Oci::new();
        oci.add(&format!("/hooks/{kind}"), json!({"path": "/absent/hook"}));
        oci.refused(&["/absent/hook", "no such file or directory"]);
    }
}

#[test]
fn a_path_must_be_absolute_and_a_timeout_positive() {
    if lacks(Feature::StrictConfiguration) {
        return;
    }
    for bad in [
        json!({"path": "bin/true"}),
        json!({"path": ""}),
        json!({"path": "/bin/true", "timeout": 0}),
        json!({"path": "/bin/true", "timeout": -1}),
    ] {
        for kind in
            ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
        {
            let mut oci = Oci::new();
            oci.add(&format!("/hooks/{kind}"), bad.clone());
            oci.refused(&[&format!("hooks.{kind}[0]")]);
        }
    }
}

#[test]
fn a_hook_that_does_not_read_its_input_is_fine() {
    let mut oci = Oci::new();
    oci.set("/annotations", json!({"large": "x".repeat(300_000)}));
    oci.add("/hooks/createRuntime", json!({"path": "/bin/true"}));
    oci.add("/hooks/prestart", json!({"path": "/bin/sh", "args": ["sh", "-c", "exec 0<&-; exit 0"]}));
    oci.sh("true");
}

#[test]
fn much_output_of_a_hook_does_not_stop_it() {
    let mut oci = Oci::new();
    oci.add("/hooks/createRuntime", json!({"path": "/bin/sh", "args": ["sh", "-c", "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2"],
        "env": ["PATH=/usr/bin:/bin"]}));
    assert_eq!(oci.sh("echo out"), "out", "and it is not the container's");
}
