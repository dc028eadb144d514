//! Create, start, state, kill, delete: every status, and every call that a status refuses.

use super::runtime::{Feature, lacks};
use super::setup::Oci;
use holm_tests::{eventually, host};

#[test]
fn a_container_goes_through_all_its_statuses() {
    let oci = Oci::script("echo hello; exec sleep 100");
    oci.create();
    assert_eq!(oci.status(), "created");
    let pid = oci.pid();
    assert!(host::runs(pid), "its first process waits");
    assert_eq!(oci.output("box"), "", "and has not run the program");
    oci.start();
    assert_eq!(oci.status(), "running");
    assert_eq!(oci.pid(), pid, "it is the same process");
    oci.wait_for_output("hello");
    oci.ok(["kill", "box", "KILL"]);
    oci.wait_for("stopped");
    assert_eq!(oci.state()["pid"], 0);
    oci.ok(["delete", "box"]);
    oci.clean();
}

#[test]
fn state_has_the_fields_of_runc_in_their_order() {
    let mut oci = Oci::script("sleep 100");
    oci.set("/annotations", serde_json::json!({"b.key": "<&>", "a.key": "1"}));
    oci.create();
    let text = oci.ok(["state", "box"]);
    let bundle = oci.bundle().display().to_string();
    assert!(text.starts_with("{\n  \"ociVersion\": \"1."), "{text}");
    assert!(text.contains("\n  \"id\": \"box\",\n  \"pid\": "), "{text}");
    assert!(
        text.contains(&format!(",\n  \"status\": \"created\",\n  \"bundle\": \"{bundle}\",\n")),
        "{text}"
    );
    assert!(text.contains(&format!("\n  \"rootfs\": \"{bundle}/rootfs\",\n  \"created\": \"20")), "{text}");
    let annotations =
        "\n  \"annotations\": {\n    \"a.key\": \"1\",\n    \"b.key\": \"\\u003c\\u0026\\u003e\"\n  },\n";
    assert!(text.contains(annotations), "{text}");
    assert!(text.ends_with("\n  \"owner\": \"\"\n}"), "{text}");
    let created = oci.state()["created"].as_str().unwrap().to_owned();
    assert!(created.ends_with('Z') && created.len() > 20, "{created}");
}

#[test]
fn state_ends_without_a_line_break() {
    let oci = Oci::script("sleep 100");
    oci.create();
    assert!(oci.run(["state", "box"]).stdout.ends_with(b"}"));
}

#[test]
fn an_unknown_id_does_not_exist() {
    let oci = Oci::new();
    for arguments in [
        &["state", "absent"][..],
        &["start", "absent"],
        &["kill", "absent", "TERM"],
        &["delete", "absent"],
        &["pause", "absent"],
        &["resume", "absent"],
        &["ps", "absent"],
        &["update", "--pids-limit", "5", "absent"],
        &["events", "--stats", "absent"],
    ] {
        assert_eq!(oci.fails(1, arguments), "container does not exist", "{arguments:?}");
    }
    let message = oci.fails(255, ["exec", "absent", "true"]);
    assert!(message.contains("container does not exist"), "{message}");
}

#[test]
fn an_id_can_be_used_once() {
    let oci = Oci::script("sleep 100");
    oci.create();
    let pid = oci.pid();
    let bundle = oci.bundle();
    let message = oci.fails(1, ["create", "--bundle", bundle.to_str().unwrap(), "box"]);
    assert!(message.contains("container with given ID already exists"), "{message}");
    assert_eq!(oci.pid(), pid, "the first one is as it was");
    oci.remove();
    oci.create();
    oci.remove();
}

#[test]
fn ids_that_could_be_paths_are_refused() {
    let oci = Oci::new();
    oci.save();
    let bundle = oci.bundle();
    for id in [".", "..", "a/b", "../x", "a b", "a\n", "ä", "a:b"] {
        let message = oci.fails(1, ["create", "--bundle", bundle.to_str().unwrap(), id]);
        assert!(message.contains("invalid container ID format"), "{id:?}: {message}");
    }
    assert_eq!(oci.containers(), Vec::<String>::new());
    assert_eq!(oci.fails(1, ["delete", "--force", "../x"]), "invalid container ID format");
}

#[test]
fn an_empty_id_is_refused() {
    let oci = Oci::new();
    oci.save();
    oci.fails(1, ["create", "--bundle", oci.bundle().to_str().unwrap(), ""]);
    assert_eq!(oci.containers(), Vec::<String>::new());
}

#[test]
fn ids_may_have_these_characters() {
    let mut oci = Oci::script("sleep 100");
    for id in ["A_z+9.-", "_", "0"] {
        oci.id = id.to_owned();
        let group = oci.group();
        oci.set("/linux/cgroupsPath", group.into());
        oci.create();
        assert_eq!(oci.state()["id"], id);
        oci.remove();
    }
}

#[test]
fn what_runs_cannot_be_started() {
    let mut oci = Oci::new();
    oci.up("sleep 100");
    assert_eq!(oci.fails(1, ["start", "box"]), "cannot start an already running container");
    assert_eq!(oci.status(), "running");
}

#[test]
fn what_has_stopped_cannot_be_started() {
    let mut oci = Oci::new();
    oci.up("true");
    oci.wait_for("stopped");
    assert_eq!(oci.fails(1, ["start", "box"]), "cannot start a container that has stopped");
    oci.ok(["delete", "box"]);
    oci.clean();
}

#[test]
fn what_runs_cannot_be_deleted() {
    let mut oci = Oci::new();
    oci.up("sleep 100");
    let before = oci.ok(["state", "box"]);
    assert_eq!(oci.fails(1, ["delete", "box"]), "cannot delete container box that is not stopped: running");
    assert_eq!(oci.ok(["state", "box"]), before, "nothing has changed");
}

#[test]
fn what_was_only_created_can_be_deleted() {
    let oci = Oci::script("sleep 100");
    oci.create();
    let pid = oci.pid();
    oci.ok(["delete", "box"]);
    oci.clean();
    eventually("its process has ended", || !host::runs(pid));
}

#[test]
fn force_deletes_what_runs_and_what_does_not_exist() {
    let mut oci = Oci::new();
    oci.up("trap '' TERM; sleep 100");
    let pid = oci.pid();
    let outcome = oci.run(["delete", "--force", "box"]);
    outcome.expect_code(0);
    assert_eq!((outcome.out(), outcome.err()), (String::new(), String::new()));
    oci.clean();
    assert!(!host::runs(pid));
    let outcome = oci.run(["delete", "-f", "box"]);
    outcome.expect_code(0);
    assert_eq!((outcome.out(), outcome.err()), (String::new(), String::new()));
}

#[test]
fn the_configuration_is_read_once() {
    let mut oci = Oci::script("hostname; sleep 100");
    oci.create();
    oci.set("/hostname", "changed".into());
    oci.save();
    oci.start();
    oci.wait_for_output("box");
}

#[test]
fn start_returns_once_the_program_is_let_go() {
    let mut oci = Oci::new();
    oci.up("sleep 100");
    assert_eq!(oci.status(), "running");
    assert!(!oci.root().join("box/exec.fifo").exists(), "the fifo says `created` to other tools");
}

#[test]
fn two_starts_at_once_start_once() {
    if lacks(Feature::StartRace) {
        return;
    }
    let oci = Oci::script("echo once; sleep 100");
    oci.create();
    let calls: Vec<_> = (0..5).map(|_| oci.call(["start", "box"]).spawn()).collect();
    let codes: Vec<_> = calls.into_iter().map(|call| call.finish().code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    oci.wait_for_output("once");
    assert_eq!(oci.output("box"), "once");
}

#[test]
fn the_first_process_becomes_a_child_of_the_callers_parent_reaper() {
    let oci = Oci::script("sleep 100");
    oci.create();
    let parent = host::parent(oci.pid()).unwrap();
    let name = host::program(parent);
    assert!(
        !name.contains("runc") && !name.contains("holm-runtime"),
        "nothing of the runtime is left: {name}"
    );
}

/// A `create` that is killed leaves nothing that runs for ever, and nothing that `delete --force` does not find.
#[test]
fn a_killed_create_leaves_nothing_that_lasts() {
    if !super::runtime::program().ends_with("holm-runtime") {
        return;
    }
    for point in ["keeper-process-cloned", "keeper-process-started"] {
        let oci = Oci::script("sleep 1000");
        oci.save();
        let call = oci.background("box", ["create", "--bundle", "b", "box"]).env("HOLM_FAIL_POINT", point);
        call.run().expect_code(137);
        assert_eq!(oci.fails(1, ["state", "box"]), "container does not exist", "{point}");
        eventually("its process ends", || super::machine::processes(&oci.group()).is_empty());
        oci.ok(["delete", "--force", "box"]);
        oci.clean();
        oci.create();
        oci.ok(["delete", "--force", "box"]);
        oci.clean();
    }
}
