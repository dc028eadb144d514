//! `checkpoint` and `restore` with a stand-in for CRIU, on every kernel: a program that speaks its protocol and starts a
//! process of its own instead of restoring one. It shows what the runtime asks for and what it does around that.

use holm_tests::{Call, Outcome};
use serde_json::{Value, json};

use super::console::Receiver;
use super::machine;
use super::runtime::program;
use super::setup::Oci;

/// `criu swrk NUMBER`: a packet is a request; a field of it has its number and its form in front (1: what is asked for, 3:
/// whether a notification went well). Whatever is asked for lies in `$SEEN` afterwards.
const STAND_IN: &str = r#"#!/usr/bin/python3
import array, os, pty, socket, subprocess, sys
talk = socket.socket(fileno=int(sys.argv[2]))
def text(field, content): return bytes([field << 3 | 2, len(content)]) + content
def number(field, value):
    out = bytes([field << 3])
    while value > 127: out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])
def tell(point, pid, *descriptors):
    packet = number(1, 6) + number(2, 1) + text(5, text(1, point) + number(2, pid))
    cargo = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    talk.sendmsg([packet], cargo)
    if talk.recv(4096) == number(1, 6) + number(3, 0): fail(2)
def fail(subject):
    talk.send(number(1, subject) + number(2, 0) + number(7, 5))
    sys.exit(1)
request = talk.recv(65536)
if request[1] == 10:
    talk.send(number(1, 10) + number(2, 1) + text(10, number(1, 3) + number(2, 17) + number(4, 1)))
    sys.exit(0)
open(os.environ["SEEN"], "wb").write(request)
if "FAILS" in os.environ: fail(request[1])
if request[1] == 1:
    talk.send(number(1, 1) + number(2, 1))
    sys.exit(0)
master, slave = pty.openpty()
process = subprocess.Popen(["sh", "-c", "echo restored; exec sleep 1000"], stdin=slave, stdout=slave, stderr=slave)
for point in [b"setup-namespaces", b"orphan-pts-master", b"post-restore"]:
    tell(point, process.pid, *([master] if point == b"orphan-pts-master" else []))
talk.send(number(1, 2) + number(2, 1) + text(4, number(1, process.pid)))
"#;

/// A bundle with a terminal, files as of a dump, and the stand-in.
fn prepared() -> Option<Oci> {
    if program().file_name().is_some_and(|name| name == "runc") {
        println!("left out for runc: a process that is not its child it takes for one");
        return None;
    }
    let mut oci = Oci::script("sleep 1000");
    oci.set("/process/terminal", json!(true));
    oci.save();
    std::fs::create_dir_all(oci.path("i")).unwrap();
    std::fs::write(oci.path("i/descriptors.json"), r#"["/dev/pts/0","pipe:[77]","/dev/pts/0"]"#).unwrap();
    std::fs::create_dir(oci.path("bin")).unwrap();
    // Another process writes it, or a child that another thread starts could hold it open.
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "cat >criu; chmod +x criu"]).current_dir(oci.path("bin"));
    Call::new(command).stdin(STAND_IN).run().expect_code(0);
    Some(oci)
}

fn call(oci: &Oci, words: &[&str], variable: &str) -> Outcome {
    let path = format!("{}:{}", oci.path("bin").display(), std::env::var("PATH").unwrap());
    let call = oci.background("criu", words).env("PATH", &path).env(variable, "1");
    call.env("SEEN", oci.path("seen").to_str().unwrap()).run()
}

fn seen(oci: &Oci) -> String {
    String::from_utf8_lossy(&std::fs::read(oci.path("seen")).unwrap_or_default()).into_owned()
}

const RESTORE: [&str; 6] = ["restore", "-d", "--bundle", "b", "--image-path", "i"];

#[test]
fn a_restored_terminal_goes_to_the_console_socket() {
    let Some(oci) = prepared() else { return };
    let socket = Receiver::listen(&oci.path("socket"));
    let more = ["--console-socket", socket.path(), "--pid-file", "pid", "--lsm-profile", "apparmor:x", "box"];
    call(&oci, &[&RESTORE[..], &more].concat(), "FINE").expect_code(0);
    socket.receive().read_until("restored");
    assert_eq!(oci.status(), "running");
    assert_eq!(std::fs::read_to_string(oci.path("pid")).unwrap(), oci.pid().to_string());
    assert_eq!(machine::processes(&oci.group()), [oci.pid()], "born in the container's group");
    let request = seen(&oci);
    let rootfs = oci.rootfs("").canonicalize().unwrap();
    let rootfs = rootfs.to_str().unwrap().trim_end_matches('/');
    for text in [rootfs, "restore.log", "/etc/criu/runc.conf", "pipe:[77]", "apparmor:x", &oci.group()] {
        assert!(request.contains(text), "{text}: {request:?}");
    }
    oci.ok(["kill", "box", "KILL"]);
    oci.wait_for("stopped");
    oci.ok(["delete", "box"]);
    oci.clean();
}

#[test]
fn hooks_run_when_the_namespaces_are_there_and_may_refuse() {
    let Some(mut oci) = prepared() else { return };
    let hook = |script: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    let log = oci.path("log").display().to_string();
    oci.set("/hooks", json!({"prestart": hook(&format!("cat >{log}")), "createRuntime": hook("exit 7")}));
    oci.save();
    let socket = Receiver::listen(&oci.path("socket"));
    let outcome = call(&oci, &[&RESTORE[..], &["--console-socket", socket.path(), "box"]].concat(), "FINE");
    outcome.expect_code(1);
    assert!(outcome.err().contains("error running createRuntime hook #0: exit status 7"), "{outcome}");
    let state: Value = serde_json::from_str(&std::fs::read_to_string(oci.path("log")).unwrap()).unwrap();
    assert_eq!((&state["id"], &state["status"]), (&json!("box"), &json!("creating")));
    assert!(state["pid"].as_u64().is_some_and(|pid| pid > 1), "{state}");
    oci.clean();
}

#[test]
fn a_restore_that_fails_at_its_end_leaves_nothing() {
    let Some(oci) = prepared() else { return };
    let socket = Receiver::listen(&oci.path("socket"));
    let words =
        [&RESTORE[..], &["--console-socket", socket.path(), "--pid-file", "/absent/pid", "box"]].concat();
    let outcome = call(&oci, &words, "FINE");
    outcome.expect_code(1);
    assert!(outcome.err().contains("pid file"), "{outcome}");
    oci.clean();
    let words = [&RESTORE[..], &["--console-socket", socket.path(), "box"]].concat();
    let outcome = call(&oci, &words, "FAILS");
    outcome.expect_code(1);
    assert!(outcome.err().contains("criu failed: type RESTORE errno 5"), "{outcome}");
    oci.clean();
}

#[test]
fn a_container_ends_with_its_checkpoint_unless_it_failed() {
    let Some(mut oci) = prepared() else { return };
    let shared = oci.shared();
    oci.set("/process/terminal", json!(false)).mount("/a/b", "bind", &shared, &["bind"]);
    oci.set("/linux/maskedPaths", json!(["/proc/version", "/sys/firmware"]));
    oci.up("sleep 1000");
    let words = ["checkpoint", "--image-path", "new/i", "--page-server", "10.0.0.1:27", "box"];
    let outcome = call(&oci, &words, "FAILS");
    outcome.expect_code(1);
    assert!(outcome.err().contains("criu failed: type DUMP errno 5"), "{outcome}");
    assert_eq!(oci.status(), "running");
    call(&oci, &words, "FINE").expect_code(0);
    oci.clean();
    let request = seen(&oci);
    for text in ["dump.log", "/a/b", "/proc/version", "/dev/null", "10.0.0.1"] {
        assert!(request.contains(text), "{text}: {request:?}");
    }
    assert!(!request.contains("/sys/firmware"), "a folder is covered by a file system that CRIU knows");
    let descriptors = std::fs::read_to_string(oci.path("new/i/descriptors.json")).unwrap();
    assert!(descriptors.contains("box.out"), "{descriptors}");
}
