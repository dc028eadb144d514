//! kill -9 of each process that has to do with a machine.

use holm_tests::{Holm, eventually, host};
use rustix::process::Signal;

use super::traces::{emulator, is_gone, is_released, processes, with_machines};

/// The keeper of a workload: the parent of its process.
fn keeper(holm: &Holm, name: &str) -> u32 {
    let keeper = host::parent(holm.pid(name)).expect("it runs");
    assert_eq!(host::program(keeper), "holm-keeper");
    keeper
}

fn kill(pid: u32) {
    host::kill(pid);
    eventually("a killed process goes", || !host::runs(pid));
}

#[test]
#[ignore = "boots virtual machines"]
fn of_the_emulator() {
    with_machines(|holm| {
        let id = holm.start(&["--name", "box"], "echo up; sleep 1000");
        eventually("it is up", || holm.ok(["logs", "box"]) == "up");
        let waiting = holm.call(["wait", "box"]).spawn();
        let mut exec = holm.call(["exec", "box", "sh", "-c", "echo in; sleep 1000"]).spawn();
        exec.expect_stdout("in");
        kill(emulator(&id));
        assert_eq!(waiting.finish().ok(), "137");
        exec.finish().expect_code(137);
        assert_eq!(
            holm.inspect("box", "{{.State.ExitCode}} {{.State.Error}}"),
            "137 the emulator was killed"
        );
        is_released(holm, &id);
        holm.ok(["start", "box"]);
        eventually("it is up again", || holm.ok(["logs", "box"]) == "up\nup");
        holm.ok(["rm", "-f", "box"]);
        is_gone(holm, &id);
    });
}

#[test]
#[ignore = "boots virtual machines"]
fn of_the_machines_own_process() {
    with_machines(|holm| {
        let id = holm.start(&["--name", "box"], "sleep 1000");
        let qemu = emulator(&id);
        kill(holm.pid("box"));
        assert_eq!(holm.ok(["wait", "box"]), "137");
        assert!(!host::runs(qemu), "the emulator goes with it");
        assert_eq!(holm.inspect("box", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
        is_released(holm, &id);
        holm.ok(["rm", "box"]);
        is_gone(holm, &id);
    });
}

/// A guest that does not move any more, for whatever reason: nothing waits for it for ever, and it can be ended.
#[test]
#[ignore = "boots virtual machines"]
fn of_a_guest_that_hangs() {
    with_machines(|holm| {
        let id = holm.start(&["--name", "box"], "sleep 1000");
        host::signal(emulator(&id), Signal::STOP);
        assert_eq!(holm.ok(["ps", "--format", "{{.Names}} {{.State}}"]), "box running");
        holm.run(["top", "box"]).refused(1, &["does not answer within"]);
        assert!(
            holm.ok(["stats", "--no-stream", "--format", "{{.Name}} {{.CPUPerc}}", "box"]).ends_with("--")
        );
        holm.ok(["stop", "-t", "1", "box"]);
        assert_eq!(holm.inspect("box", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
        is_released(holm, &id);
        holm.ok(["rm", "box"]);
        is_gone(holm, &id);
    });
}

#[test]
#[ignore = "boots virtual machines"]
fn of_the_keeper() {
    with_machines(|holm| {
        let script = "i=0; while [ ! -e /go ]; do i=$((i+1)); echo $i; sleep 0.05; done; exit 5";
        let id = holm.start(&["--name", "box"], script);
        let (pid, qemu) = (holm.pid("box"), emulator(&id));
        eventually("output", || holm.ok(["logs", "box"]).lines().count() > 5);
        kill(keeper(holm, "box"));
        assert_eq!(holm.ok(["ps", "--format", "{{.Names}} {{.State}}"]), "box running");
        assert_eq!(holm.pid("box"), pid);
        assert!(host::runs(qemu));
        assert_eq!(holm.ok(["exec", "box", "echo", "in"]), "in");
        let before = holm.ok(["logs", "box"]).lines().count();
        eventually("output goes on", || holm.ok(["logs", "box"]).lines().count() > before + 5);
        let log = holm.ok(["logs", "box"]);
        assert!(log.lines().zip(1..).all(|(line, number)| line == number.to_string()), "{log}");
        let waiting = holm.call(["wait", "box"]).spawn();
        holm.ok(["exec", "box", "touch", "/go"]);
        // A kernel before 6.15 tells nobody but the parent.
        let code = waiting.finish().ok();
        assert!(code == "5" || code == "255" && older_than(6, 15), "{code}");
        is_released(holm, &id);
        holm.ok(["rm", "box"]);
        is_gone(holm, &id);
    });
}

fn older_than(major: u32, minor: u32) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("proc is mounted");
    let mut numbers = release.split('.').map(|part| part.parse().unwrap_or(0_u32));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (major, minor)
}

/// What of a machine that boots is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Command,
    Keeper,
    Machine,
    Emulator,
}

#[test]
#[ignore = "boots virtual machines"]
fn while_it_boots() {
    with_machines(|holm| {
        for victim in [Victim::Command, Victim::Keeper, Victim::Machine, Victim::Emulator] {
            let call = holm.call(["run", "--name", "box", "base", "sh", "-c", "sleep 1000"]).spawn();
            eventually("a workload", || holm.workloads().len() == 1);
            let id = holm.workloads()[0].clone();
            eventually("an emulator", || processes(&id, "qemu-system").len() == 1);
            let machine = host::parent(emulator(&id)).expect("it runs");
            match victim {
                Victim::Command => call.signal(Signal::KILL),
                Victim::Keeper => host::kill(host::parent(machine).expect("it runs")),
                Victim::Machine => host::kill(machine),
                Victim::Emulator => host::kill(emulator(&id)),
            }
            let outcome = call.wait();
            let outcome = outcome.unwrap_or_else(|text| panic!("{victim:?}: {text}"));
            assert_ne!(outcome.code(), 0, "{victim:?}: {outcome}");
            if matches!(victim, Victim::Machine | Victim::Emulator) {
                let text = outcome.refused(125, &[]);
                assert!(text.contains("the machine was ended") || text.contains("the emulator"), "{text}");
            }
            holm.ok(["ps", "-a"]);
            holm.ok(["rm", "-f", &id]);
            is_gone(holm, &id);
        }
    });
}
