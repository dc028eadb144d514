//! `exec`: another process in a container.

use holm_tests::{eventually, host};
use serde_json::json;

use super::machine;
use super::runtime::{Feature, lacks};
use super::setup::Oci;

fn up() -> Oci {
    let mut oci = Oci::new();
    oci.up("sleep 1000");
    oci
}

#[test]
fn it_sees_what_the_first_process_sees() {
    let oci = up();
    let script = "for n in cgroup ipc mnt net pid uts user time; do readlink /proc/$P/ns/$n; done; cat /proc/$P/cgroup; \
        grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/$P/status; readlink /proc/$P/root; cat /proc/$P/mountinfo";
    let show = |pid: &str| oci.exec(&script.replace("$P", pid));
    assert_eq!(show("$$"), show("1"));
}

#[test]
fn the_exit_code_is_the_programs() {
    let oci = up();
    for code in [0, 1, 42, 127] {
        oci.run(["exec", "box", "sh", "-c", &format!("exit {code}")]).expect_code(code);
    }
    oci.run(["exec", "box", "sh", "-c", "kill -KILL $$"]).expect_code(137);
    oci.run(["exec", "box", "sh", "-c", "kill -TERM $$"]).expect_code(143);
}

#[test]
fn failures_of_the_runtime_are_255() {
    let oci = up();
    for (words, text) in [
        (&["box", "absent"][..], "executable file not found in $PATH"),
        (&["box", "/absent"], "no such file or directory"),
        (&["box", "/etc/passwd"], "permission denied"),
        (&["--cwd", "/absent", "box", "true"], "no such file or directory"),
        (&["--cwd", "relative", "box", "true"], "Cwd must be an absolute path"),
        (&["--user", "x", "box", "true"], ""),
        (&["--process", "/absent", "box"], "no such file or directory"),
        (&["box"], "args cannot be empty"),
    ] {
        let message = oci.fails(255, ["exec"].iter().chain(words));
        assert!(message.contains(text), "{words:?}: {message}");
    }
    assert_eq!(oci.status(), "running");
    assert_eq!(machine::processes(&oci.group()).len(), 1, "nothing else runs there");
}

#[test]
fn the_message_begins_as_runcs() {
    let oci = up();
    std::fs::write(oci.rootfs("script"), "#!/absent/interpreter\n").unwrap();
    std::process::Command::new("chmod").arg("755").arg(oci.rootfs("script")).status().unwrap();
    let outcome = oci.run(["exec", "box", "/script"]);
    assert!(outcome.err().contains("exec /script: no such file or directory"), "{outcome}");
    let message = oci.fails(255, ["exec", "box", "absent"]);
    assert!(message.starts_with("exec failed: "), "{message}");
    assert!(
        message.contains("absent") && message.contains("executable file not found in $PATH"),
        "{message}"
    );
}

#[test]
fn streams_are_handed_on() {
    let oci = up();
    let text = "line\n".repeat(10_000);
    let outcome = oci.call(["exec", "box", "sh", "-c", "cat; echo err >&2"]).stdin(text.clone()).run();
    outcome.expect_code(0);
    assert_eq!((outcome.stdout, outcome.stderr), (text.into_bytes(), b"err\n".to_vec()));
}

#[test]
fn what_follows_the_id_belongs_to_the_command() {
    let oci = up();
    assert_eq!(oci.ok(["exec", "box", "echo", "--cwd", "-t", "-x"]), "--cwd -t -x");
    assert_eq!(oci.ok(["exec", "box", "echo", "a", "--", "b"]), "a -- b");
    assert_eq!(oci.ok(["exec", "--", "box", "echo", "-e"]), "");
}

#[test]
fn the_environment_is_the_containers_and_more() {
    let mut oci = Oci::new();
    oci.set("/process/env", json!(["PATH=/bin", "A=1", "B=2"]));
    oci.up("sleep 1000");
    let text = oci.ok(["exec", "--env", "B=3", "--env=C=4,5", "box", "sh", "-c", "echo $A $B $C"]);
    assert_eq!(text, "1 3 4,5");
    assert_eq!(oci.ok(["exec", "-e", "B=", "box", "sh", "-c", "echo $A$B"]), "1");
}

#[test]
fn the_working_directory_is_the_containers_or_another() {
    let mut oci = Oci::new();
    oci.set("/process/cwd", json!("/etc"));
    oci.up("sleep 1000");
    assert_eq!(oci.ok(["exec", "box", "pwd"]), "/etc");
    assert_eq!(oci.ok(["exec", "--cwd", "/tmp", "box", "pwd"]), "/tmp");
}

/// crun once took `-u 1` for 0: CVE-2026-30892.
#[test]
fn the_user_is_a_number_and_perhaps_a_group() {
    let mut oci = Oci::new();
    oci.set("/process/user", json!({"uid": 7, "gid": 8, "additionalGids": [10, 11]}));
    oci.up("sleep 1000");
    assert_eq!(oci.ok(["exec", "box", "sh", "-c", "id -u; id -g"]), "7\n8");
    assert_eq!(oci.ok(["exec", "-u", "1", "box", "sh", "-c", "id -u; id -g"]), "1\n8");
    assert_eq!(oci.ok(["exec", "--user", "1:2", "box", "sh", "-c", "id -u; id -g"]), "1\n2");
    assert_eq!(oci.ok(["exec", "-u", "0", "box", "id", "-u"]), "0");
    assert_eq!(oci.ok(["exec", "-u", "65534", "box", "id", "-u"]), "65534");
}

#[test]
fn users_that_are_no_numbers_are_refused() {
    let oci = up();
    for user in ["1x", ":5", "root", "1:x", " 1", "0x1"] {
        oci.fails(255, ["exec", "--user", user, "box", "id"]);
    }
}

#[test]
fn users_beyond_the_range_are_refused() {
    if lacks(Feature::UserRange) {
        return;
    }
    let oci = up();
    for user in ["-1", "-2", "4294967296", "18446744073709551617", "1:-1", "1:4294967296"] {
        oci.fails(255, ["exec", "--user", user, "box", "id"]);
    }
}

#[test]
fn more_groups() {
    let oci = up();
    let script = "grep ^Groups: /proc/self/status";
    assert_eq!(
        oci.ok(["exec", "-g", "100", "-g", "65534", "box", "sh", "-c", script]).trim(),
        "Groups:\t100 65534"
    );
    assert_eq!(oci.ok(["exec", "--additional-gids=7", "box", "sh", "-c", script]).trim(), "Groups:\t7");
}

#[test]
fn detach_returns_and_leaves_it_running() {
    let oci = up();
    oci.background("exec", ["exec", "--detach", "box", "sh", "-c", "echo out; sleep 77"])
        .run()
        .expect_code(0);
    eventually("it writes", || oci.output("exec") == "out");
    assert_eq!(machine::processes(&oci.group()).len(), 2);
    oci.ok(["kill", "box", "KILL"]);
    eventually("both end", || machine::processes(&oci.group()).is_empty());
}

#[test]
fn a_detached_command_that_is_not_there_fails_at_once() {
    let oci = up();
    let message = oci.fails(255, ["exec", "-d", "box", "absent"]);
    assert!(message.contains("executable file not found in $PATH"), "{message}");
}

#[test]
fn it_works_before_start() {
    let oci = Oci::script("echo started; sleep 100");
    oci.create();
    assert_eq!(oci.exec("echo inside; hostname"), "inside\nbox");
    assert_eq!((oci.status().as_str(), oci.output("box").as_str()), ("created", ""));
    oci.start();
    oci.wait_for_output("started");
}

#[test]
fn it_needs_a_container_that_has_not_stopped() {
    let mut oci = Oci::new();
    oci.up("true");
    oci.wait_for("stopped");
    let message = oci.fails(255, ["exec", "box", "true"]);
    assert!(
        message.contains("cannot exec in a stopped container")
            || message.contains("in a container that has stopped"),
        "{message}"
    );
}

#[test]
fn it_ends_with_the_container() {
    let oci = up();
    let mut call = oci.call(["exec", "box", "sh", "-c", "echo ready; sleep 1000"]).spawn();
    call.expect_stdout("ready");
    oci.ok(["kill", "box", "KILL"]);
    call.finish().expect_code(137);
}

#[test]
fn signals_are_handed_on() {
    let oci = up();
    let script = "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 0.02; done";
    let mut call = oci.call(["exec", "box", "sh", "-c", script]).spawn();
    call.expect_stdout("ready");
    call.signal(rustix::process::Signal::TERM);
    let outcome = call.finish();
    outcome.expect_code(9);
    assert_eq!(outcome.out(), "ready\ngot");
}

#[test]
fn it_keeps_no_descriptor_but_its_streams() {
    let oci = up();
    assert_eq!(
        oci.exec("ls /proc/self/fd | tr '\\n' ' '"),
        "0 1 2 3 ",
        "the fourth is the folder that `ls` reads"
    );
}

#[test]
fn many_at_once() {
    let oci = up();
    let calls: Vec<_> =
        (0..20).map(|number| oci.call(["exec", "box", "echo", &number.to_string()]).spawn()).collect();
    for (number, call) in calls.into_iter().enumerate() {
        assert_eq!(call.finish().ok(), number.to_string());
    }
    assert!(host::runs(oci.pid()));
}
