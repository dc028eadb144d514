//! Exit codes of `run` and `exec`: the process's own, 125, 126 and 127, with and without an init.

use holm_tests::Holm;

#[test]
fn that_of_the_process() {
    let holm = Holm::new();
    for init in [&[][..], &["--init"]] {
        for code in [0, 1, 7, 125, 126, 127, 128, 200, 255] {
            holm.script(init, &format!("exit {code}")).expect_code(code);
        }
    }
}

#[test]
fn a_signal_adds_128() {
    let holm = Holm::new();
    // The first process of a PID namespace gets no signal from inside that it does not handle, so the
    // one that dies by its own hand runs below an init.
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139), ("USR1", 138)] {
        holm.script(&["--init"], &format!("kill -{signal} $$")).expect_code(code);
    }
    let id = holm.start(&[], "sleep 60");
    holm.ok(["kill", &id]);
    assert_eq!(holm.ok(["wait", &id]), "137");
}

#[test]
fn what_cannot_be_executed() {
    let holm = Holm::new();
    for init in [&[][..], &["--init"]] {
        let run = |program: &str| {
            let flags = ["run", "--rm"].iter().chain(init);
            holm.run(flags.chain(&["base", program]))
        };
        run("/etc").refused(126, &["/etc"]);
        run("/etc/plain").refused(126, &["/etc/plain"]);
        run("/bin/garbage").refused(126, &["/bin/garbage"]);
        run("/bin/absent").refused(127, &["/bin/absent"]);
        run("").refused(127, &["empty"]);
        run("absent").refused(127, &["absent"]);
        run("/absent/absent").refused(127, &["/absent/absent"]);
    }
    assert_eq!(holm.ok(["ps", "-aq"]), "", "--rm holds also for what did not start");
}

#[test]
fn a_detached_workload_that_cannot_be_executed() {
    let holm = Holm::new();
    let outcome = holm.run(["run", "-d", "--name", "broken", "base", "absent"]);
    outcome.expect_code(127);
    assert!(outcome.err().contains("absent"), "{outcome}");
    assert_eq!(holm.inspect("broken", "{{.State.Status}} {{.State.ExitCode}}"), "created 127");
    assert!(holm.inspect("broken", "{{.State.Error}}").contains("absent"));
}

#[test]
fn a_script_without_its_interpreter() {
    let holm = Holm::new();
    let script = holm.file("script", "#!/absent/interpreter\n");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let volume = format!("{script}:/bin/script");
    holm.run(["run", "--rm", "-v", &volume, "base", "/bin/script"]).refused(127, &["/bin/script"]);
}

#[test]
fn of_holm_itself() {
    let holm = Holm::new();
    holm.run(["run", "--no-such-flag", "base"]).refused(125, &["--no-such-flag"]);
    holm.run(["run", "--rm", "absent", "true"]).refused(125, &["absent"]);
    holm.run(["run"]).expect_code(125);
    holm.run(["run", "--rm", "base"]).refused(125, &["command"]);
}

#[test]
fn of_exec() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "sleep 60");
    let exec = |program: &[&str]| holm.run(["exec", "box"].iter().chain(program));
    exec(&["sh", "-c", "exit 42"]).expect_code(42);
    exec(&["sh", "-c", "kill -KILL $$"]).expect_code(137);
    exec(&["sh", "-c", "kill -TERM $$"]).expect_code(143);
    exec(&["/etc"]).refused(126, &["/etc"]);
    exec(&["/etc/plain"]).refused(126, &["/etc/plain"]);
    exec(&["/bin/garbage"]).refused(126, &["/bin/garbage"]);
    exec(&["absent"]).refused(127, &["absent"]);
    assert_eq!(holm.inspect("box", "{{.State.Status}}"), "running");
}

holm_tests::also_in_machines!(a_detached_workload_that_cannot_be_executed, of_exec);
