//! Terminals: handed to an engine over a socket, or shared with the person in front of the runtime.

use holm_tests::Terminal;
use rustix::termios::{isatty, tcgetwinsize};
use serde_json::json;

use super::console::{Received, Receiver};
use super::setup::Oci;

fn with_terminal(script: &str) -> Oci {
    let mut oci = Oci::script(script);
    oci.set("/process/terminal", json!(true));
    oci
}

/// Creates the container; its terminal as it comes over the socket.
fn created(oci: &Oci) -> Received {
    oci.save();
    let socket = Receiver::listen(&oci.path("socket"));
    let words = ["create", "--bundle", "b", "--console-socket", socket.path(), "box"];
    oci.background("box", words).run().expect_code(0);
    socket.receive()
}

#[test]
fn create_hands_the_terminal_over() {
    let oci =
        with_terminal("tty; test -t 0 && test -t 1 && test -t 2 && echo all; read x; echo got $x; sleep 100");
    let terminal = created(&oci);
    assert!(!terminal.text.is_empty() && terminal.text.len() < 4096, "{:?}", terminal.text);
    assert!(isatty(&terminal.descriptor));
    oci.start();
    let text = terminal.read_until("all");
    assert!(text.contains("/dev/pts/0") || text.contains("/dev/console"), "{text}");
    terminal.keys("word\n");
    terminal.read_until("got word");
}

#[test]
fn a_detached_run_hands_it_over_too() {
    let oci = with_terminal("echo hello; sleep 100");
    oci.save();
    let socket = Receiver::listen(&oci.path("socket"));
    let words = ["run", "-d", "--bundle", "b", "--console-socket", socket.path(), "box"];
    oci.background("box", words).run().expect_code(0);
    socket.receive().read_until("hello");
}

#[test]
fn it_has_the_size_of_the_configuration() {
    let mut oci = with_terminal("stty size; sleep 100");
    oci.set("/process/consoleSize", json!({"height": 33, "width": 99}));
    let terminal = created(&oci);
    let size = tcgetwinsize(&terminal.descriptor).unwrap();
    assert_eq!((size.ws_row, size.ws_col), (33, 99));
    oci.start();
    terminal.read_until("33 99");
}

#[test]
fn the_console_is_the_terminal_and_the_sessions() {
    let oci = with_terminal("echo to the console > /dev/console; echo to tty > /dev/tty; sleep 100");
    let terminal = created(&oci);
    oci.start();
    assert!(terminal.read_until("to tty").contains("to the console"));
}

#[test]
fn its_owner_is_the_user_of_the_process() {
    let mut oci = with_terminal("stat -c '%u owns it' /proc/self/fd/0 -L; sleep 100");
    oci.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let terminal = created(&oci);
    oci.start();
    terminal.read_until("1000 owns it");
}

#[test]
fn exec_hands_one_over() {
    let mut oci = Oci::new();
    oci.up("sleep 1000");
    let socket = Receiver::listen(&oci.path("socket"));
    let words = [
        "exec",
        "-t",
        "-d",
        "--console-socket",
        socket.path(),
        "box",
        "sh",
        "-c",
        "tty; read x; echo got $x",
    ];
    oci.background("exec", words).run().expect_code(0);
    let terminal = socket.receive();
    terminal.read_until("/dev/pts/0");
    terminal.keys("word\n");
    terminal.read_until("got word");
}

#[test]
fn exec_of_a_document_hands_one_over() {
    let mut oci = Oci::new();
    oci.up("sleep 1000");
    let socket = Receiver::listen(&oci.path("socket"));
    let document = json!({"terminal": true, "cwd": "/", "args": ["sh", "-c", "stty size; sleep 100"],
        "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}, "consoleSize": {"height": 20, "width": 60}});
    std::fs::write(oci.path("p"), document.to_string()).unwrap();
    let words = ["exec", "--process", "p", "--detach", "--console-socket", socket.path(), "box"];
    oci.background("exec", words).run().expect_code(0);
    socket.receive().read_until("20 60");
}

#[test]
fn a_terminal_without_a_socket_is_refused_in_the_background() {
    let oci = with_terminal("true");
    let expected = "cannot allocate tty if runc will detach without setting console socket";
    oci.refused(&[expected]);
    let message = oci.fails(1, ["run", "-d", "--bundle", "b", "box"]);
    assert!(message.contains(expected), "{message}");
    oci.clean();
}

#[test]
fn a_socket_without_a_terminal_is_refused() {
    let oci = Oci::script("true");
    oci.save();
    let socket = Receiver::listen(&oci.path("socket"));
    let message = oci.fails(1, ["run", "--bundle", "b", "--console-socket", socket.path(), "box"]);
    assert!(
        message.contains("cannot use console socket if runc will not detach or allocate tty"),
        "{message}"
    );
    oci.clean();
}

#[test]
fn a_socket_that_nobody_listens_at_leaves_nothing() {
    let oci = with_terminal("true");
    oci.save();
    oci.fails(1, ["create", "--bundle", "b", "--console-socket", "/absent/socket", "box"]);
    oci.clean();
}

/// Tells the size of the terminal once it has one: the caller's may come a moment after the program has started.
const SIZE: &str = "until stty size 2>/dev/null | grep -v '^0 0'; do sleep 0.02; done";

/// The runtime as the leader of a session with a terminal.
fn on_terminal(oci: &Oci, words: &[&str]) -> Terminal {
    let program = oci.program(&[]);
    let mut command = std::process::Command::new("setsid");
    command
        .arg("--ctty")
        .arg(program.get_program())
        .args(program.get_args())
        .args(words)
        .current_dir(oci.path(""));
    Terminal::command(command, 24, 80)
}

#[test]
fn run_in_the_foreground_shares_the_callers_terminal() {
    let oci = with_terminal(&format!("{SIZE}; read x; echo got $x; exit 5"));
    oci.save();
    let mut terminal = on_terminal(&oci, &["run", "--bundle", "b", "box"]);
    terminal.expect("24 80");
    terminal.keys("word\n");
    terminal.expect("got word");
    assert_eq!(terminal.finish(), 5);
    assert!(terminal.rest().contains("got word\r\n"), "lines end once: {:?}", terminal.screen());
    oci.clean();
}

#[test]
fn keys_reach_the_container_as_they_are() {
    let oci = with_terminal("trap 'echo interrupted; exit 6' INT; echo ready; while :; do sleep 0.02; done");
    oci.save();
    let mut terminal = on_terminal(&oci, &["run", "--bundle", "b", "box"]);
    terminal.expect("ready");
    terminal.keys("\x03");
    terminal.expect("interrupted");
    assert_eq!(terminal.finish(), 6);
}

#[test]
fn the_window_follows() {
    let oci = with_terminal("trap 'stty size' WINCH; echo ready; while :; do sleep 0.02; done");
    oci.save();
    let terminal = on_terminal(&oci, &["run", "--bundle", "b", "box"]);
    terminal.expect("ready");
    terminal.resize(40, 100);
    terminal.expect("40 100");
    oci.ok(["kill", "box", "KILL"]);
}

#[test]
fn exec_in_the_foreground_shares_the_callers_terminal() {
    let mut oci = Oci::new();
    oci.up("sleep 1000");
    let mut terminal = on_terminal(
        &oci,
        &["exec", "-t", "box", "sh", "-c", &format!("{SIZE}; read x; echo got $x; exit 5")],
    );
    terminal.expect("24 80");
    terminal.keys("word\n");
    terminal.expect("got word");
    assert_eq!(terminal.finish(), 5);
}
