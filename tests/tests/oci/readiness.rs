//! Readiness (sd_notify(3)): what the container's program says at its socket reaches whoever waits at `$NOTIFY_SOCKET` of
//! the caller's, and nothing else does.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use holm_tests::{Call, Running, eventually};
use serde_json::json;

use super::runtime::{Feature, lacks};
use super::setup::Oci;

const INSIDE: &str = "/run/notify/notify.sock";

/// Whoever waits for the service, in place of systemd.
struct Receiver {
    socket: UnixDatagram,
    name: String,
}

impl Receiver {
    fn at_path(oci: &Oci) -> Self {
        let path = oci.path("host.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        Self { socket, name: path.into_os_string().into_string().unwrap() }
    }

    fn abstract_name() -> Self {
        let name = format!("holm-readiness-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        Self { socket: UnixDatagram::bind_addr(&address).unwrap(), name: format!("@{name}") }
    }

    fn call<S: AsRef<str>>(&self, oci: &Oci, arguments: impl IntoIterator<Item = S>) -> Call {
        oci.background("box", arguments).env("NOTIFY_SOCKET", &self.name)
    }

    fn create(&self, oci: &Oci) {
        oci.save();
        self.call(oci, oci.creation()).run().expect_code(0);
    }

    fn start(&self, oci: &Oci) -> Running {
        oci.call(["start", "box"]).env("NOTIFY_SOCKET", &self.name).spawn()
    }

    fn run(&self, oci: &Oci, flags: &[&str]) -> Running {
        oci.save();
        let bundle = oci.bundle().into_os_string().into_string().unwrap();
        let words = ["run", "--bundle", &bundle].into_iter().chain(flags.iter().copied());
        self.call(oci, words.chain(["box"])).spawn()
    }

    /// Demands that readiness of this process is all that is told.
    #[track_caller]
    fn hears(&self, pid: u32) {
        self.socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let wanted = ["READY=1".to_owned(), format!("MAINPID={pid}")];
        let mut lines = Vec::new();
        while !wanted.iter().all(|line| lines.contains(line)) {
            lines.extend(self.receive().expect("a message in time"));
        }
        assert_eq!(lines, wanted);
    }

    /// Demands that nothing more comes but a barrier, which asks only whether all was read.
    #[track_caller]
    fn hears_no_more(&self) {
        self.socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        while let Some(lines) = self.receive() {
            assert_eq!(lines, ["BARRIER=1"]);
        }
    }

    fn receive(&self) -> Option<Vec<String>> {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).ok()?;
        let text = std::str::from_utf8(&message[..length]).unwrap();
        Some(text.lines().map(str::to_owned).collect())
    }
}

/// Says something at the container's socket, as a program inside does.
fn say(pid: u32, message: &[u8]) {
    let path = format!("/proc/{pid}/root{INSIDE}");
    eventually("the socket is there", || std::path::Path::new(&path).exists());
    UnixDatagram::unbound().unwrap().send_to(message, &path).unwrap();
}

#[test]
fn start_waits_until_the_program_is_ready() {
    let oci = Oci::script("exec sleep 1000");
    let host = Receiver::at_path(&oci);
    host.create(&oci);
    assert_eq!(oci.status(), "created");
    let mut start = host.start(&oci);
    let pid = oci.pid();
    for message in ["STATUS=soon", "MAINPID=1", "STOPPING=1\nERRNO=2", "", "\0\u{7f}\n\n"] {
        say(pid, message.as_bytes());
    }
    oci.wait_for("running");
    assert!(!start.is_over(), "nobody has said that it is ready");
    say(pid, b"READY=1");
    host.hears(pid);
    host.hears_no_more();
    start.finish().expect_code(0);
    oci.remove();
}

#[test]
fn run_in_the_background_waits_too() {
    let oci = Oci::script("exec sleep 1000");
    let host = Receiver::abstract_name();
    let run = host.run(&oci, &["--detach"]);
    eventually("it is there", || oci.run(["state", "box"]).code() == 0);
    let pid = oci.pid();
    say(pid, b"READY=1\nSTATUS=up");
    host.hears(pid);
    host.hears_no_more();
    run.finish().expect_code(0);
    oci.remove();
}

#[test]
fn run_in_the_foreground_is_the_service_itself() {
    let oci = Oci::script("trap 'exit 7' TERM; echo ready; while :; do sleep 0.02; done");
    let host = Receiver::at_path(&oci);
    let run = host.run(&oci, &[]);
    oci.wait_for_output("ready");
    let pid = oci.pid();
    say(pid, b"READY=1");
    host.hears(run.pid());
    host.hears_no_more();
    run.signal(rustix::process::Signal::TERM);
    run.finish().expect_code(7);
    oci.clean();
}

#[test]
fn what_is_said_later_harms_nobody() {
    if lacks(Feature::ReadinessInForeground) {
        return;
    }
    let oci = Oci::script("echo ready; exec sleep 1000");
    let host = Receiver::at_path(&oci);
    let run = host.run(&oci, &[]);
    oci.wait_for_output("ready");
    let pid = oci.pid();
    say(pid, &[b'x'; 100_000]);
    say(pid, b"READY=0\nREADY=10\n READY=1");
    say(pid, &[b"READY=1\n".as_slice(), &[b'x'; 5000]].concat());
    say(pid, b"STATUS=up\nREADY=1\n");
    host.hears(run.pid());
    // More than a socket holds: a program that says so is not to wait for ever.
    for _ in 0..1000 {
        say(pid, b"READY=1");
    }
    host.hears_no_more();
    oci.ok(["kill", "box", "KILL"]);
    run.finish().expect_code(137);
    oci.clean();
}

#[test]
fn a_process_that_ends_before_is_not_waited_for() {
    let oci = Oci::script("exit 3");
    let host = Receiver::at_path(&oci);
    host.create(&oci);
    host.start(&oci).finish().expect_code(0);
    host.hears_no_more();
    assert_eq!(oci.status(), "stopped");
    oci.remove();
}

#[test]
fn a_process_in_the_foreground_that_ends_before_is_not_waited_for() {
    if lacks(Feature::ReadinessInForeground) {
        return;
    }
    let oci = Oci::script("exit 3");
    let host = Receiver::at_path(&oci);
    host.run(&oci, &[]).finish().expect_code(3);
    host.hears_no_more();
    oci.clean();
}

#[test]
fn the_program_is_told_of_a_socket_that_any_user_may_write_to() {
    let mut oci = Oci::script(
        "echo $NOTIFY_SOCKET; test -S $NOTIFY_SOCKET && test -w $NOTIFY_SOCKET && echo may; \
         touch /run/notify/x 2>/dev/null || echo no more; exec sleep 1000",
    );
    oci.set("root/readonly", json!(true)).set("/process/user", json!({"uid": 1000, "gid": 1000}));
    oci.set("/process/env", json!(["PATH=/bin", "NOTIFY_SOCKET=/of/the/image", "LAST=1"]));
    let host = Receiver::at_path(&oci);
    host.create(&oci);
    let start = host.start(&oci);
    oci.wait_for_output("no more");
    assert_eq!(oci.output("box"), format!("{INSIDE}\nmay\nno more"));
    let pid = oci.pid();
    assert!(std::fs::metadata(format!("/proc/{pid}/root{INSIDE}")).unwrap().file_type().is_socket());
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let entries = environment.split(|byte| *byte == 0).filter(|entry| entry.starts_with(b"NOTIFY_SOCKET="));
    assert!(entries.count() == 1 || lacks(Feature::Environment));
    say(pid, b"READY=1");
    host.hears(pid);
    host.hears_no_more();
    start.finish().expect_code(0);
    oci.remove();
}

#[test]
fn a_user_namespace_has_it_too() {
    let mut oci = Oci::script("test -w $NOTIFY_SOCKET && echo may; exec sleep 1000");
    oci.add("/linux/namespaces", json!({"type": "user"}));
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    oci.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
    // Whoever the user is there, the image is the host's: only what is there can be mounted on.
    std::fs::create_dir_all(oci.rootfs("run/notify")).unwrap();
    std::fs::set_permissions(oci.directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let host = Receiver::at_path(&oci);
    host.create(&oci);
    let start = host.start(&oci);
    oci.wait_for_output("may");
    let pid = oci.pid();
    say(pid, b"READY=1");
    host.hears(pid);
    host.hears_no_more();
    start.finish().expect_code(0);
    oci.remove();
}

#[test]
fn nobody_is_waited_for_where_nobody_asked() {
    if lacks(Feature::ReadinessInForeground) {
        return;
    }
    let oci = Oci::script("echo \"<$NOTIFY_SOCKET>\"; exec sleep 1000");
    let host = Receiver::at_path(&oci);
    oci.create();
    host.start(&oci).finish().expect_code(0);
    oci.wait_for_output("<>");
    oci.remove();
}

#[test]
fn a_service_works_though_nobody_hears_of_it() {
    if lacks(Feature::ReadinessInForeground) {
        return;
    }
    let oci = Oci::script("exec sleep 1000");
    let host = Receiver::at_path(&oci);
    host.create(&oci);
    let start = host.start(&oci);
    let name = host.name.clone();
    drop(host);
    say(oci.pid(), b"READY=1");
    let outcome = start.finish();
    outcome.expect_code(0);
    assert!(outcome.err().contains(&name), "{outcome}");
    assert_eq!(oci.status(), "running");
    oci.remove();
}

/// Its configuration knows nothing of the mount.
#[test]
fn a_container_that_tells_of_its_readiness_is_not_checkpointed() {
    let oci = Oci::script("exec sleep 1000");
    let receiver = Receiver::at_path(&oci);
    oci.save();
    receiver.create(&oci);
    oci.ok(["start", "box"]);
    let refused = oci.fails(1, ["checkpoint", "--image-path", "i", "box"]);
    assert!(refused.contains("NOTIFY_SOCKET"), "{refused}");
    assert!(!oci.path("i").exists());
    oci.wait_for("running");
}
