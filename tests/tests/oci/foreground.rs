//! `run`: in the foreground, with streams, signals and exit codes; and in the background.

use holm_tests::{eventually, host};
use rustix::process::Signal;

use super::setup::Oci;

fn run(oci: &Oci, flags: &[&str]) -> Vec<String> {
    oci.save();
    let bundle = oci.bundle().into_os_string().into_string().unwrap();
    let words = ["run", "--bundle", &bundle].into_iter().chain(flags.iter().copied());
    words.chain([oci.id.as_str()]).map(String::from).collect()
}

#[test]
fn the_exit_code_is_the_programs() {
    for code in [0, 1, 42, 125, 126, 127, 255] {
        let oci = Oci::script(&format!("exit {code}"));
        oci.foreground().expect_code(code);
        oci.clean();
    }
}

#[test]
fn a_signal_that_ends_it_counts_from_128() {
    let mut oci = Oci::new();
    oci.without_namespace("pid");
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139)] {
        oci.command(&["sh", "-c", &format!("ulimit -c 0; kill -{signal} $$")]);
        oci.foreground().expect_code(code);
        oci.clean();
    }
}

#[test]
fn streams_are_handed_on() {
    let oci = Oci::script("cat; echo err >&2");
    let text: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    let outcome = oci.call(run(&oci, &[])).stdin(text.clone()).run();
    outcome.expect_code(0);
    assert_eq!(outcome.stdout, text.as_bytes());
    assert_eq!(outcome.err(), "err");
    oci.clean();
}

#[test]
fn what_was_written_last_is_not_lost() {
    let oci = Oci::script("yes 0123456789 | head -c 3000000");
    std::os::unix::fs::symlink("busybox", oci.rootfs("bin/yes")).unwrap();
    assert_eq!(oci.foreground().stdout.len(), 3_000_000);
}

#[test]
fn an_end_of_the_input_ends_it_there() {
    let oci = Oci::script("cat; echo over");
    let mut call = oci.call(run(&oci, &[])).open_stdin().spawn();
    call.write("first\n");
    call.expect_stdout("first");
    call.close_stdin();
    let outcome = call.finish();
    assert_eq!(outcome.ok(), "first\nover");
}

#[test]
fn the_container_keeps_no_descriptor_but_its_streams() {
    let mut oci = Oci::new();
    assert_eq!(
        oci.sh("ls /proc/self/fd | tr '\\n' ' '"),
        "0 1 2 3 ",
        "the fourth is the folder that `ls` reads"
    );
}

#[test]
fn signals_are_handed_on() {
    for (signal, name) in
        [(Signal::TERM, "TERM"), (Signal::HUP, "HUP"), (Signal::USR1, "USR1"), (Signal::INT, "INT")]
    {
        let script =
            format!("trap 'echo got {name}; exit 7' {name}; echo ready; while :; do sleep 0.02; done");
        let oci = Oci::script(&script);
        let mut call = oci.call(run(&oci, &[])).spawn();
        call.expect_stdout("ready");
        call.signal(signal);
        let outcome = call.finish();
        outcome.expect_code(7);
        assert_eq!(outcome.out(), format!("ready\ngot {name}"));
        oci.clean();
    }
}

#[test]
fn it_can_be_seen_and_killed_from_beside() {
    let oci = Oci::script("echo ready; sleep 100");
    let mut call = oci.call(run(&oci, &[])).spawn();
    call.expect_stdout("ready");
    assert_eq!(oci.status(), "running");
    oci.ok(["kill", "box", "KILL"]);
    call.finish().expect_code(137);
    oci.clean();
}

#[test]
fn keep_leaves_it_stopped() {
    let oci = Oci::script("exit 3");
    oci.run(run(&oci, &["--keep"])).expect_code(3);
    assert_eq!(oci.status(), "stopped");
    oci.ok(["delete", "box"]);
    oci.clean();
}

#[test]
fn detach_returns_at_once_and_leaves_it_running() {
    for flag in ["--detach", "-d"] {
        let oci = Oci::script("echo out; echo err >&2; sleep 100");
        oci.background("box", run(&oci, &[flag])).run().expect_code(0);
        assert_eq!(oci.status(), "running");
        oci.wait_for_output("out");
        let parent = host::parent(oci.pid()).unwrap();
        assert!(!["runc", "holm-runtime"].contains(&host::program(parent).as_str()), "nobody else waits");
        oci.remove();
    }
}

#[test]
fn no_subreaper_is_known() {
    let oci = Oci::script("exit 4");
    // Without it the runtime cannot wait for a grandchild, so only that the flag is taken can be asked for.
    oci.background("box", run(&oci, &["--no-subreaper", "--detach"])).run().expect_code(0);
    oci.wait_for("stopped");
}

#[test]
fn no_new_keyring_keeps_the_callers() {
    let mut oci = Oci::new();
    oci.command(&["true"]);
    oci.run(run(&oci, &["--no-new-keyring"])).expect_code(0);
    oci.clean();
}

#[test]
fn no_pivot_still_shows_only_the_root() {
    let mut oci = Oci::new();
    std::fs::write(oci.rootfs("mark"), "").unwrap();
    oci.command(&["ls", "/"]);
    let outcome = oci.run(run(&oci, &["--no-pivot"]));
    assert_eq!(outcome.ok(), "bin\ndev\netc\nmark\nproc\nsys\ntmp");
    oci.clean();
}

#[test]
fn a_command_that_is_not_there_leaves_nothing() {
    let mut oci = Oci::new();
    for (command, texts) in [
        ("absent", ["absent", "executable file not found in $PATH"]),
        ("/absent", ["/absent", "no such file or directory"]),
        ("/etc/passwd", ["/etc/passwd", "permission denied"]),
        ("/etc", ["/etc", ""]),
    ] {
        oci.command(&[command]);
        let message = oci.fails(1, run(&oci, &[]));
        texts.iter().for_each(|text| assert!(message.contains(text), "{text:?}: {message}"));
        oci.clean();
        oci.refused(&texts);
    }
}

#[test]
fn a_file_that_is_no_program_is_found_out_when_it_is_executed() {
    let mut oci = Oci::new();
    std::fs::write(oci.rootfs("bin/text"), b"\x7fELF not a program").unwrap();
    std::process::Command::new("chmod").arg("755").arg(oci.rootfs("bin/text")).status().unwrap();
    oci.command(&["/bin/text"]);
    let outcome = oci.foreground();
    assert_ne!(outcome.code(), 0);
    assert!(outcome.err().contains("exec format error"), "{outcome}");
    oci.clean();
}

#[test]
fn a_killed_caller_leaves_a_container_that_can_be_deleted() {
    let oci = Oci::script("echo ready; sleep 100");
    let mut call = oci.call(run(&oci, &[])).spawn();
    call.expect_stdout("ready");
    call.signal(Signal::KILL);
    // The container holds what the caller had for its streams, until it is gone.
    eventually("it can be deleted", || oci.run(["delete", "--force", "box"]).code() == 0);
    call.finish().expect_code(137);
    oci.clean();
}
