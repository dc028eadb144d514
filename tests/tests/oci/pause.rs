//! `pause` and `resume`.

use holm_tests::eventually;

use super::setup::Oci;

/// A container that writes a line again and again.
fn ticking() -> Oci {
    let mut oci = Oci::new();
    oci.up("while :; do echo tick; sleep 0.01; done");
    oci.wait_for_output("tick");
    oci
}

#[test]
fn a_paused_container_does_nothing_until_it_is_resumed() {
    let oci = ticking();
    oci.ok(["pause", "box"]);
    assert_eq!(oci.status(), "paused");
    let before = oci.output("box").len();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(oci.output("box").len(), before);
    oci.ok(["resume", "box"]);
    assert_eq!(oci.status(), "running");
    eventually("it goes on", || oci.output("box").len() > before);
}

#[test]
fn what_is_paused_refuses_start_delete_and_exec() {
    let oci = ticking();
    oci.ok(["pause", "box"]);
    assert_eq!(oci.fails(1, ["start", "box"]), "cannot start a container in the paused state");
    assert_eq!(oci.fails(1, ["delete", "box"]), "cannot delete container box that is not stopped: paused");
    assert!(oci.fails(255, ["exec", "box", "true"]).contains("cannot exec in a paused container"));
    assert_eq!(oci.status(), "paused");
}

#[test]
fn exec_can_ignore_that_it_is_paused() {
    let oci = ticking();
    oci.ok(["pause", "box"]);
    let mut call = oci.call(["exec", "--ignore-paused", "box", "echo", "inside"]).spawn();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(!call.is_over(), "it waits in the frozen group");
    oci.ok(["resume", "box"]);
    call.expect_stdout("inside");
    call.finish().expect_code(0);
}

#[test]
fn what_is_paused_can_be_killed_and_deleted() {
    let oci = ticking();
    oci.ok(["pause", "box"]);
    oci.ok(["kill", "box", "KILL"]);
    oci.wait_for("stopped");
    oci.ok(["delete", "box"]);
    oci.clean();
}

#[test]
fn force_deletes_what_is_paused() {
    let oci = ticking();
    oci.ok(["pause", "box"]);
    oci.remove();
}

#[test]
fn what_was_only_created_can_be_paused() {
    let oci = Oci::script("sleep 100");
    oci.create();
    oci.ok(["pause", "box"]);
    assert_eq!(oci.status(), "paused");
    oci.ok(["resume", "box"]);
    assert_eq!(oci.status(), "created");
    oci.start();
    assert_eq!(oci.status(), "running");
}

#[test]
fn only_what_runs_is_paused_and_only_what_is_paused_is_resumed() {
    let mut oci = Oci::new();
    oci.up("while [ ! -e /go ]; do sleep 0.02; done");
    assert_eq!(oci.fails(1, ["resume", "box"]), "container not paused");
    std::fs::write(oci.rootfs("go"), "").unwrap();
    oci.wait_for("stopped");
    assert_eq!(oci.fails(1, ["pause", "box"]), "container not running");
    assert_eq!(oci.fails(1, ["resume", "box"]), "container not paused");
}
