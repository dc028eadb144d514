//! `--pidfd-socket`: who calls the runtime gets the process itself, and not only its number.

use std::os::fd::AsFd as _;

use holm_tests::eventually;
use rustix::process::{Signal, pidfd_send_signal};

use super::console::{Received, Receiver};
use super::runtime::{Feature, lacks};
use super::setup::Oci;

/// The number of the process that a descriptor means (proc_pid_fdinfo(5)).
fn pid(received: &Received) -> String {
    use std::os::fd::AsRawFd as _;
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", received.descriptor.as_raw_fd()));
    let info = info.unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap_or_else(|| panic!("{info}"));
    line.trim().to_owned()
}

fn kill(received: &Received) {
    pidfd_send_signal(received.descriptor.as_fd(), Signal::KILL).unwrap();
}

#[test]
fn create_and_run_send_the_first_process() {
    if lacks(Feature::PidfdSocket) {
        return;
    }
    for command in [&["create"][..], &["run", "-d"]] {
        let oci = Oci::script("exec sleep 1000");
        oci.save();
        let socket = Receiver::listen(&oci.path("socket"));
        let mut words = command.to_vec();
        words.extend(["--bundle", "b", "--pidfd-socket", socket.path(), "--pid-file", "pid", "box"]);
        oci.background("box", &words).run().expect_code(0);
        let received = socket.receive();
        assert_eq!(received.text, "standard");
        assert_eq!(pid(&received), oci.pid().to_string());
        assert_eq!(pid(&received), std::fs::read_to_string(oci.path("pid")).unwrap());
        kill(&received);
        oci.wait_for("stopped");
        oci.ok(["delete", "box"]);
        oci.clean();
    }
}

#[test]
fn run_in_the_foreground_sends_it_too() {
    if lacks(Feature::PidfdSocket) {
        return;
    }
    let oci = Oci::script("echo up; exec sleep 1000");
    oci.save();
    let socket = Receiver::listen(&oci.path("socket"));
    let words = ["run", "--bundle", "b", "--pidfd-socket", socket.path(), "box"];
    let run = oci.background("box", words).spawn();
    let received = socket.receive();
    oci.wait_for_output("up");
    kill(&received);
    assert_eq!(run.finish().code(), 137);
    oci.clean();
}

#[test]
fn exec_sends_the_process_that_it_starts() {
    if lacks(Feature::PidfdSocket) {
        return;
    }
    let mut oci = Oci::new();
    oci.up("sleep 1000");
    let socket = Receiver::listen(&oci.path("detached"));
    let words = ["exec", "-d", "--pidfd-socket", socket.path(), "--pid-file", "pid", "box", "sleep", "77"];
    oci.background("exec", words).run().expect_code(0);
    let received = socket.receive();
    assert_eq!(received.text, "setns");
    assert_eq!(pid(&received), std::fs::read_to_string(oci.path("pid")).unwrap());
    kill(&received);
    let socket = Receiver::listen(&oci.path("waiting"));
    let words = ["exec", "--pidfd-socket", socket.path(), "box", "sh", "-c", "echo inside; exec sleep 77"];
    let exec = oci.background("held", words).spawn();
    let received = socket.receive();
    eventually("it runs", || oci.output("held") == "inside");
    kill(&received);
    assert_eq!(exec.finish().code(), 137);
    assert_eq!(oci.status(), "running");
}

#[test]
fn a_socket_that_is_not_there_leaves_nothing() {
    if lacks(Feature::PidfdSocket) {
        return;
    }
    let mut oci = Oci::script("exec sleep 1000");
    oci.save();
    for command in ["create", "run"] {
        let words = [command, "--bundle", "b", "--pidfd-socket", "absent", "box"];
        let message = oci.fails(1, words);
        assert!(message.contains("absent"), "{message}");
        oci.clean();
    }
    oci.up("sleep 1000");
    let message = oci.fails(255, ["exec", "-d", "--pidfd-socket", "absent", "box", "sleep", "78"]);
    assert!(message.contains("absent"), "{message}");
    assert!(!oci.ok(["ps", "box"]).contains("sleep 78"));
}
