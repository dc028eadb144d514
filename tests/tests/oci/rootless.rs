//! Containers of a user who has no rights: the runtime is called by a user that no file of the host knows, with the
//! configuration that `spec --rootless` writes.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use holm_tests::{Call, Outcome};
use serde_json::{Value, json};

use super::notify;
use super::runtime::{Feature, lacks, program};
use super::setup::Oci;

const USER: u32 = 54_321;

/// A bundle that belongs to the user, with the configuration for it.
fn of_user(script: &str) -> Oci {
    let mut oci = Oci::new();
    let directory = oci.directory.path().to_owned();
    run(Command::new("cp").arg(program()).arg(directory.join("runtime")));
    run(Command::new("chown").args(["-R", &USER.to_string()]).arg(&directory));
    by_user(&oci, &["spec", "--rootless", "--bundle", "b"]).ok();
    let text = std::fs::read_to_string(oci.bundle().join("config.json")).unwrap();
    oci.config = serde_json::from_str(&text).unwrap();
    oci.set("/process/terminal", json!(false)).set("root/readonly", json!(false));
    oci.command(&["sh", "-c", script]);
    oci
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// A call of the runtime by the user, in the directory that the bundle lies in.
fn by_user(oci: &Oci, arguments: &[&str]) -> Outcome {
    call_by_user(oci, arguments).run()
}

fn call_by_user(oci: &Oci, arguments: &[&str]) -> Call {
    let user = USER.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "./runtime"]);
    command.args(arguments).current_dir(oci.directory.path());
    command.env("XDG_RUNTIME_DIR", oci.root()).env_remove("DBUS_SESSION_BUS_ADDRESS");
    Call::new(command)
}

#[track_caller]
fn foreground(oci: &Oci) -> Outcome {
    oci.save();
    by_user(oci, &["run", "--bundle", "b", "box"])
}

#[track_caller]
fn leaves_nothing(oci: &Oci) {
    assert_eq!(holm_tests::host::mounts_below(oci.directory.path()), Vec::<std::path::PathBuf>::new());
    let left = oci.root().join("holm-runtime/box");
    assert!(!left.exists(), "{}", left.display());
}

#[test]
fn the_user_is_root_inside_and_nobody_else_outside() {
    let oci = of_user(
        "id -u; cat /proc/self/uid_map; echo made > /made; hostname; touch /proc/sys/kernel/x 2>/dev/null; exit 7",
    );
    let outcome = foreground(&oci);
    outcome.expect_code(7);
    let text = outcome.out();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "0");
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["0", &USER.to_string(), "1"]);
    assert_eq!(oci.rootfs("made").metadata().unwrap().uid(), USER);
    leaves_nothing(&oci);
}

#[test]
fn a_container_lives_through_all_commands() {
    let oci = of_user("echo up; exec sleep 1000");
    oci.save();
    let place = |name: &str| oci.path(name);
    call_by_user(&oci, &["create", "--bundle", "b", "box"]).files(place("out"), place("err")).run().ok();
    let state = |outcome: Outcome| serde_json::from_str::<Value>(&outcome.ok()).unwrap();
    assert_eq!(state(by_user(&oci, &["state", "box"]))["status"], "created");
    by_user(&oci, &["start", "box"]).ok();
    assert_eq!(state(by_user(&oci, &["state", "box"]))["status"], "running");
    let exec = by_user(&oci, &["exec", "box", "sh", "-c", "id -u; grep CapEff /proc/self/status; exit 3"]);
    exec.expect_code(3);
    let effective = exec.out().lines().nth(1).unwrap().split_whitespace().nth(1).unwrap().to_owned();
    assert_eq!(effective, "0000000020000420", "the capabilities of `spec`");
    by_user(&oci, &["kill", "box", "KILL"]).ok();
    holm_tests::eventually("it has ended", || state(by_user(&oci, &["state", "box"]))["status"] == "stopped");
    by_user(&oci, &["delete", "box"]).ok();
    leaves_nothing(&oci);
}

#[test]
fn hooks_run_inside() {
    if lacks(Feature::HooksAreInside) {
        return;
    }
    let hook = |name: &str| {
        let script = format!("echo $(id -u) $$ of {name} >> said");
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
    };
    let mut oci = of_user("cat /said");
    oci.set(
        "/hooks",
        json!({"createContainer": hook("createContainer"), "startContainer": hook("startContainer")}),
    );
    let outcome = foreground(&oci);
    let said = outcome.ok();
    let lines: Vec<_> = said.lines().map(|line| line.split(' ').collect::<Vec<_>>()).collect();
    assert!(
        lines.iter().all(|line| line[0] == "0" && line[1].parse::<u32>().is_ok_and(|pid| pid < 10)),
        "{said}"
    );
    assert_eq!(lines.iter().map(|line| line[3]).collect::<Vec<_>>(), ["createContainer", "startContainer"]);
    leaves_nothing(&oci);
}

#[test]
fn limits_that_cannot_be_set_are_named() {
    if lacks(Feature::RootlessIsToldWhy) {
        return;
    }
    let mut oci = of_user("true");
    oci.set("/linux/resources", json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 50}}));
    let outcome = foreground(&oci);
    outcome.expect_code(0);
    let said = outcome.err();
    for word in ["memory", "pids", "not in force"] {
        assert!(said.contains(word), "{said}");
    }
    leaves_nothing(&oci);
}

#[test]
fn what_needs_a_group_says_so() {
    if lacks(Feature::RootlessIsToldWhy) {
        return;
    }
    let oci = of_user("exec sleep 1000");
    oci.save();
    call_by_user(&oci, &["create", "--bundle", "b", "box"])
        .files(oci.path("out"), oci.path("err"))
        .run()
        .ok();
    for command in ["pause", "ps"] {
        let outcome = by_user(&oci, &[command, "box"]);
        outcome.expect_code(1);
        assert!(outcome.err().contains("no control group"), "{outcome}");
    }
    by_user(&oci, &["delete", "--force", "box"]).ok();
    leaves_nothing(&oci);
}

#[test]
fn a_user_namespace_is_needed_and_its_root_is_the_user() {
    if lacks(Feature::RootlessIsToldWhy) {
        return;
    }
    let mut oci = of_user("true");
    oci.without_namespace("user");
    oci.unset("/linux/uidMappings");
    oci.unset("/linux/gidMappings");
    let outcome = foreground(&oci);
    outcome.expect_code(1);
    assert!(outcome.err().contains("linux.namespaces"), "{outcome}");
    let mut oci = of_user("true");
    oci.set("/linux/uidMappings/0/hostID", json!(0));
    let outcome = foreground(&oci);
    outcome.expect_code(1);
    assert!(outcome.err().contains("linux.uidMappings"), "{outcome}");
    leaves_nothing(&oci);
}

#[test]
fn maps_beyond_the_users_own_ids_are_refused() {
    if lacks(Feature::RootlessIsToldWhy) {
        return;
    }
    let mut oci = of_user("true");
    oci.add("/linux/uidMappings", json!({"containerID": 1, "hostID": 1, "size": 10}));
    let outcome = foreground(&oci);
    outcome.expect_code(1);
    assert!(outcome.err().contains("linux.uidMappings"), "{outcome}");
    leaves_nothing(&oci);
}

#[test]
fn systemd_is_not_looked_for_where_it_does_not_run() {
    if Path::new("/run/systemd/system").exists() {
        println!("left out: systemd runs here");
        return;
    }
    let mut oci = Oci::new();
    oci.set("/linux/cgroupsPath", json!("system.slice:test:box"));
    oci.save();
    let mut arguments = vec!["--systemd-cgroup".to_owned()];
    arguments.extend(oci.creation());
    let outcome = oci.run(arguments);
    outcome.expect_code(1);
    assert!(outcome.err().contains("systemd not running on this host"), "{outcome}");
}

/// What joins a container may not be traced, and whoever starts it has no rights on the host to do so all the same.
#[test]
fn listeners_of_hooks_and_of_exec_are_handed_over() {
    let mut oci = of_user("mkdir /first 2>&1; exec sleep 1000");
    notify::filter(&mut oci);
    oci.set(
        "/hooks",
        json!({"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "mkdir /hook 2>&1; true"]}]}),
    );
    oci.save();
    let mut agent = notify::agent_for(&oci, 3);
    run(Command::new("chown").arg(USER.to_string()).arg(oci.path("agent")));
    let detached = call_by_user(&oci, &["run", "--detach", "--bundle", "b", "box"]);
    detached.files(oci.path("out"), oci.path("err")).run().expect_code(0);
    agent.expect_stdout("created");
    let refused = by_user(&oci, &["exec", "box", "sh", "-c", "mkdir /second 2>&1"]);
    assert!(refused.out().contains("No space left on device"), "{refused}");
    for name in ["first", "hook", "second"] {
        assert!(!oci.rootfs(name).exists(), "{name}");
    }
    by_user(&oci, &["delete", "--force", "box"]).ok();
    agent.finish().expect_code(0);
    leaves_nothing(&oci);
}

#[test]
fn readiness_is_handed_on() {
    let oci = of_user("test -w $NOTIFY_SOCKET && echo may; exec sleep 1000");
    oci.save();
    let host = oci.path("host.sock");
    let socket = std::os::unix::net::UnixDatagram::bind(&host).unwrap();
    std::os::unix::fs::chown(&host, Some(USER), Some(USER)).unwrap();
    let call = |arguments: &[&str]| {
        let call = call_by_user(&oci, arguments).files(oci.path("out"), oci.path("err"));
        call.env("NOTIFY_SOCKET", host.to_str().unwrap())
    };
    call(&["create", "--bundle", "b", "box"]).run().expect_code(0);
    let start = call(&["start", "box"]).spawn();
    let state: Value = serde_json::from_str(&by_user(&oci, &["state", "box"]).ok()).unwrap();
    let inside = format!("/proc/{}/root/run/notify/notify.sock", state["pid"]);
    holm_tests::eventually("the socket is there", || Path::new(&inside).exists());
    socket.send_to(b"READY=1", &inside).unwrap();
    let mut message = [0; 4096];
    socket.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let mut told = String::new();
    while !told.contains(&format!("MAINPID={}", state["pid"])) {
        let length = socket.recv(&mut message).unwrap();
        told.push_str(std::str::from_utf8(&message[..length]).unwrap());
    }
    assert!(told.starts_with("READY=1\n"), "{told}");
    drop(socket);
    start.finish().expect_code(0);
    by_user(&oci, &["delete", "--force", "box"]).ok();
    leaves_nothing(&oci);
}
