//! `kill`: which signals, to whom, and when not.

use holm_tests::{eventually, host};

use super::runtime::{Feature, lacks};
use super::setup::Oci;

/// A container that writes the name of what it gets and goes on.
fn listening() -> Oci {
    let mut oci = Oci::new();
    let traps = "for s in TERM USR1 USR2 HUP; do trap \"echo got $s\" $s; done";
    oci.up(&format!("{traps}; echo ready; while :; do sleep 0.02; done"));
    oci.wait_for_output("ready");
    oci
}

#[test]
fn the_default_is_term() {
    let oci = listening();
    oci.ok(["kill", "box"]);
    oci.wait_for_output("got TERM");
}

#[test]
fn signals_have_names_and_numbers() {
    let oci = listening();
    for (signal, name) in
        [("USR1", "USR1"), ("SIGUSR2", "USR2"), ("sighup", "HUP"), ("hup", "HUP"), ("15", "TERM")]
    {
        std::fs::write(oci.path("box.out"), "").unwrap();
        oci.ok(["kill", "box", signal]);
        oci.wait_for_output(&format!("got {name}"));
    }
}

#[test]
fn an_unknown_signal_is_refused_and_changes_nothing() {
    let oci = listening();
    for signal in ["FOO", "SIGFOO", "TERM1"] {
        let message = oci.fails(1, ["kill", "box", signal]);
        assert!(message.contains("unknown signal"), "{signal}: {message}");
    }
    assert_eq!(oci.status(), "running");
}

#[test]
fn signal_zero_only_looks() {
    let oci = listening();
    oci.ok(["kill", "box", "0"]);
    assert_eq!(oci.status(), "running");
    oci.ok(["kill", "box", "9"]);
    oci.wait_for("stopped");
    assert_eq!(oci.fails(1, ["kill", "box", "0"]), "container not running");
}

#[test]
fn what_was_only_created_can_be_killed() {
    let oci = Oci::script("sleep 100");
    oci.create();
    oci.ok(["kill", "box", "KILL"]);
    oci.wait_for("stopped");
    oci.ok(["delete", "box"]);
    oci.clean();
}

#[test]
fn what_has_stopped_is_not_running() {
    let mut oci = Oci::new();
    oci.up("true");
    oci.wait_for("stopped");
    let before = oci.ok(["state", "box"]);
    assert_eq!(oci.fails(1, ["kill", "box", "KILL"]), "container not running");
    assert_eq!(oci.ok(["state", "box"]), before);
}

#[test]
fn all_of_what_has_stopped_is_fine() {
    let mut oci = Oci::new();
    oci.up("true");
    oci.wait_for("stopped");
    oci.ok(["kill", "--all", "box", "KILL"]);
}

/// Without a pid namespace the end of the first process ends no other.
#[test]
fn kill_ends_every_process_where_the_pid_namespace_is_the_hosts() {
    if lacks(Feature::KillEndsAll) {
        return;
    }
    let mut oci = Oci::new();
    oci.without_namespace("pid");
    oci.up("sleep 1001 & sleep 1002 & echo ready; sleep 1003");
    oci.wait_for_output("ready");
    eventually("all of them run", || super::machine::processes(&oci.group()).len() == 3);
    oci.ok(["kill", "box", "KILL"]);
    eventually("none of them runs", || super::machine::processes(&oci.group()).is_empty());
    oci.ok(["delete", "box"]);
    oci.clean();
}

#[test]
fn delete_ends_orphans_where_the_pid_namespace_is_the_hosts() {
    let mut oci = Oci::new();
    oci.without_namespace("pid");
    oci.up("sleep 1001 & exit 0");
    oci.wait_for("stopped");
    oci.ok(["delete", "box"]);
    oci.clean();
}

#[test]
fn all_is_still_taken() {
    let mut oci = Oci::new();
    oci.up("trap 'echo first' USR1; echo ready; while :; do sleep 0.02; done");
    oci.wait_for_output("ready");
    oci.ok(["kill", "-a", "box", "USR1"]);
    oci.wait_for_output("first");
}

#[test]
fn the_pid_of_another_process_is_not_killed() {
    let mut oci = Oci::new();
    oci.up("sleep 100");
    let pid = oci.pid();
    oci.ok(["kill", "box", "KILL"]);
    eventually("it has ended", || !host::runs(pid));
    assert_eq!(oci.state()["pid"], 0, "a process that has ended has no number");
}
