//! Seccomp's `SCMP_ACT_NOTIFY`: a listener of the host answers for a container's system calls.

use std::process::Command;

use holm_tests::{Call, Running};
use serde_json::{Value, json};

use super::setup::Oci;

/// Takes a message from the socket as often as it is told, prints it, and answers each notification with an error until
/// nobody is left, each in a process of its own. Python has what it takes: a socket that receives descriptors, and `ioctl`
/// on bytes.
const AGENT: &str = r#"
import array, errno, fcntl, os, select, socket, struct, sys
listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
listener.bind(sys.argv[1]); listener.listen(1)
print("listening", flush=True)
for left in reversed(range(int(sys.argv[2]))):
    stream, _ = listener.accept()
    if left == 0 or os.fork() == 0: break
data, ancillary, _, _ = stream.recvmsg(65536, socket.CMSG_SPACE(16))
descriptors = array.array("i", ancillary[0][2])
print(data.decode(), len(descriptors), flush=True)
fd = descriptors[0]
RECEIVE, SEND = 0xc0502100, 0xc0182101
poll = select.poll(); poll.register(fd, select.POLLIN)
while True:
    _, events = poll.poll()[0]
    if events & select.POLLHUP and not events & select.POLLIN: break
    request = bytearray(80)
    try: fcntl.ioctl(fd, RECEIVE, request)
    except OSError: continue
    identity, = struct.unpack_from("=Q", request)
    answer = bytearray(struct.pack("=QqiI", identity, 0, -errno.ENOSPC, 0))
    try: fcntl.ioctl(fd, SEND, answer)
    except OSError: pass
assert stream.recv(1) == b"", "one message, then the end"
print("over", flush=True)
"#;

fn agent(oci: &Oci) -> Running {
    agent_for(oci, 1)
}

/// An agent for so many filters.
pub fn agent_for(oci: &Oci, filters: u32) -> Running {
    let mut command = Command::new("python3");
    command.args(["-c", AGENT]).arg(oci.path("agent")).arg(filters.to_string());
    let mut agent = Call::new(command).spawn();
    agent.expect_stdout("listening");
    agent
}

fn filtered(script: &str) -> Oci {
    let mut oci = Oci::script(script);
    filter(&mut oci);
    oci
}

/// Lets the agent answer for the making of directories.
pub fn filter(oci: &mut Oci) {
    let path = oci.path("agent");
    oci.set(
        "/linux/seccomp",
        json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "for the agent",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]}),
    );
}

/// The message of the agent: JSON, and the number of descriptors behind it.
fn message(agent: &Running) -> (Value, String) {
    let text = agent.stdout();
    let line = text.lines().nth(1).unwrap();
    let (json, count) = line.rsplit_once(' ').unwrap();
    (serde_json::from_str(json).unwrap(), count.to_owned())
}

#[test]
fn a_listener_answers() {
    for rights in [true, false] {
        let mut oci = filtered("mkdir /x 2>&1; sleep 1000");
        oci.set("/process/noNewPrivileges", json!(rights));
        let mut agent = agent(&oci);
        oci.create();
        agent.expect_stdout("seccompFd");
        let (state, count) = message(&agent);
        assert_eq!(count, "1");
        assert_eq!(state["fds"], json!(["seccompFd"]));
        assert_eq!(state["metadata"], "for the agent");
        assert_eq!((&state["state"]["id"], &state["state"]["status"]), (&json!("box"), &json!("creating")));
        assert_eq!(state["pid"], oci.pid());
        assert_eq!(state["state"]["pid"], oci.pid());
        assert_eq!(state["state"]["bundle"], json!(oci.bundle()));
        oci.start();
        oci.wait_for_output("No space left on device");
        oci.remove();
        agent.expect_stdout("over");
        agent.finish().expect_code(0);
    }
}

#[test]
fn exec_has_a_listener_of_its_own() {
    let oci = filtered("sleep 1000");
    let first = agent(&oci);
    oci.create();
    oci.start();
    std::fs::remove_file(oci.path("agent")).unwrap();
    let mut second = agent(&oci);
    let outcome = oci.run(["exec", "box", "sh", "-c", "mkdir /x 2>&1"]);
    assert!(outcome.out().contains("No space left on device"), "{outcome}");
    second.expect_stdout("over");
    let (state, _) = message(&second);
    assert_eq!(state["state"]["status"], "running");
    assert_ne!(state["pid"], oci.pid());
    oci.remove();
    first.finish().expect_code(0);
    second.finish().expect_code(0);
}

#[test]
fn a_listener_that_is_not_there_is_refused() {
    filtered("true").refused(&["agent"]);
}

#[test]
fn what_a_listener_cannot_judge_is_refused() {
    let mut oci = filtered("true");
    oci.set("/linux/seccomp/syscalls/0/names", json!(["write"]));
    oci.refused(&["SCMP_ACT_NOTIFY cannot be used for the write syscall"]);
    let mut oci = filtered("true");
    oci.set("/linux/seccomp/defaultAction", json!("SCMP_ACT_NOTIFY"));
    oci.refused(&["SCMP_ACT_NOTIFY cannot be used as default action"]);
}

#[test]
fn metadata_without_a_listener_is_refused() {
    let mut oci = filtered("true");
    oci.unset("/linux/seccomp/listenerPath");
    oci.refused(&["listener"]);
}

#[test]
fn a_listener_without_such_a_rule_is_not_called() {
    let mut oci = filtered("true");
    oci.set("/linux/seccomp/syscalls/0/action", json!("SCMP_ACT_ERRNO"));
    assert_eq!(oci.sh("mkdir /x 2>/dev/null || echo refused"), "refused");
}
