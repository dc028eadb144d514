//! `holm service`: what a boot brings back, and keepers that are missed at once.

use std::fs;

use holm_tests::call::{Call, Running};
use holm_tests::{Holm, also_in_machines, eventually, host};
use rustix::process::{Pid, Signal, kill_process};

/// The service, which watches by now.
fn service(holm: &Holm) -> Running {
    watching(holm, holm.call(["service", "run"]))
}

fn watching(holm: &Holm, service: Call) -> Running {
    let service = service.spawn();
    let lock = holm.root().join("locks/service");
    let is_held = || {
        let Ok(file) = fs::File::open(&lock) else { return false };
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared).is_err()
    };
    eventually("the service watches", is_held);
    service
}

fn end(service: Running) {
    service.signal(Signal::TERM);
    assert_eq!(service.finish().code(), 0);
}

/// What a boot does to an installation: nothing runs, and the run root is empty.
fn boot(holm: &Holm, workloads: &[&str]) {
    for workload in workloads {
        let (id, pid) = (holm.inspect(workload, "{{.Id}}"), holm.inspect(workload, "{{.State.Pid}}"));
        host::kill_keeper(holm, workload);
        if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let exit = holm.root().join("workloads").join(&id).join("exit.json");
        let text = fs::read_to_string(&exit).expect("it has run");
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot id");
        fs::write(&exit, text.replace(boot.trim(), "00000000-0000-0000-0000-000000000000")).expect("written");
        eventually("its keeper is gone", || host::keepers(&id).is_empty());
        for group in host::groups(&id) {
            eventually("its control group is empty", || fs::remove_dir(&group).is_ok());
        }
        let sandbox = holm.run_root().join("sandboxes").join(&id);
        let _ = fs::remove_dir_all(sandbox);
    }
}

fn status(holm: &Holm, workload: &str) -> String {
    holm.inspect(workload, "{{.State.Status}}")
}

#[test]
fn a_killed_keeper_is_replaced_at_once() {
    let holm = Holm::new();
    let service = service(&holm);
    holm.start(&["--name", "web"], "sleep 1000");
    let id = holm.inspect("web", "{{.Id}}");
    let first = host::keepers(&id);
    host::kill_keeper(&holm, "web");
    // By no command of ours.
    eventually("another keeper", || host::keepers(&id).iter().any(|keeper| !first.contains(keeper)));
    holm.start(&["--name", "job", "--restart", "always"], "sleep 1000");
    let (id, pid) = (holm.inspect("job", "{{.Id}}"), holm.pid("job"));
    let first = host::keepers(&id);
    host::kill_keeper(&holm, "job");
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
    eventually("a further run", || host::keepers(&id).iter().any(|keeper| !first.contains(keeper)));
    eventually("it runs", || {
        holm.inspect("job", "{{.State.Pid}}") != pid.to_string() && status(&holm, "job") == "running"
    });
    holm.run(["service", "run"]).refused(1, &["another process does"]);
    end(service);
    assert_eq!(status(&holm, "job"), "running", "it owns nothing");
    holm.ok(["rm", "-f", "web", "job"]);
}

#[test]
fn a_boot_brings_back_what_its_policy_says_once() {
    let holm = Holm::new();
    let policies = [
        ("plain", "no", "exited"),
        ("always", "always", "running"),
        ("kept", "unless-stopped", "running"),
        ("failed", "on-failure", "running"),
        ("stopped", "unless-stopped", "exited"),
        ("forced", "always", "running"),
    ];
    for (name, policy, _) in policies {
        holm.start(&["--name", name, "--restart", policy], "sleep 1000");
    }
    holm.ok(["stop", "-t", "0", "stopped", "forced"]);
    boot(&holm, &policies.map(|(name, ..)| name));
    let first = service(&holm);
    for (name, _, expected) in policies {
        eventually(name, || status(&holm, name) == expected);
    }
    let finished = || holm.inspect("plain", "{{.State.FinishedAt}}");
    assert_eq!(finished(), finished(), "an end that nobody saw does not move");
    end(first);
    // In the same boot what was stopped stays.
    holm.ok(["stop", "-t", "0", "always"]);
    let second = service(&holm);
    eventually("it has looked", || status(&holm, "kept") == "running");
    end(second);
    assert_eq!(status(&holm, "always"), "exited");
    holm.ok(["rm", "-f", "plain", "always", "kept", "failed", "stopped", "forced"]);
}

/// Here somebody else is at it and does not come to an end, as with a volume whose server is gone.
#[test]
fn a_workload_that_cannot_start_holds_up_nobody() {
    let holm = Holm::new();
    for name in ["first", "second"] {
        holm.start(&["--name", name, "--restart", "always"], "sleep 1000");
    }
    boot(&holm, &["first", "second"]);
    let lock = holm.root().join("workloads").join(holm.inspect("first", "{{.Id}}")).join("lock");
    let lock = fs::File::open(lock).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let service = service(&holm);
    eventually("the other one runs", || status(&holm, "second") == "running");
    host::kill_keeper(&holm, "second");
    let id = holm.inspect("second", "{{.Id}}");
    eventually("it is watched over", || !host::keepers(&id).is_empty());
    assert_eq!(status(&holm, "first"), "exited");
    drop(lock);
    eventually("it runs, too", || status(&holm, "first") == "running");
    end(service);
    holm.ok(["rm", "-f", "first", "second"]);
}

#[test]
fn what_ended_with_the_host_comes_back() {
    let holm = Holm::new();
    let script = "trap 'echo asked; exit 0' TERM; echo begun; sleep 1000 & wait";
    let policies = [("web", "unless-stopped"), ("job", "on-failure"), ("plain", "no")];
    for (name, policy) in policies {
        holm.start(&["--name", name, "--restart", policy], script);
        eventually("it is ready", || holm.ok(["logs", name]) == "begun");
    }
    // A systemd that takes the host down.
    holm.host_shell(
        "mkdir bin; printf '#!/bin/sh\\necho stopping\\n' >bin/systemctl; chmod 755 bin/systemctl",
    )
    .ok();
    let path = format!("{}:{}", holm.scratch("bin").display(), std::env::var("PATH").unwrap());
    end(watching(&holm, holm.call(["service", "run"]).env("PATH", &path)));
    for (name, _) in policies {
        assert_eq!(holm.inspect(name, "{{.State.Status}} {{.State.ExitCode}}"), "exited 0", "{name}");
        assert_eq!(holm.ok(["logs", name]), "begun\nasked");
    }
    boot(&holm, &policies.map(|(name, _)| name));
    let service = service(&holm);
    for (name, expected) in [("web", "running"), ("job", "running"), ("plain", "exited")] {
        eventually(name, || status(&holm, name) == expected);
    }
    end(service);
    holm.ok(["rm", "-f", "web", "job", "plain"]);
}

also_in_machines!(what_ended_with_the_host_comes_back);

#[test]
fn the_unit_says_how_it_is_run() {
    let holm = Holm::new();
    let units = holm.scratch("units");
    fs::create_dir(&units).unwrap();
    let directory = units.to_str().unwrap();
    let path = holm.ok(["service", "install", "--directory", directory]);
    let unit = fs::read_to_string(&path).unwrap();
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    for words in
        [holm.root().display().to_string(), holm.run_root().display().to_string(), "service run".into()]
    {
        assert!(line.contains(&words), "{line}");
    }
    assert!(unit.contains("KillMode=process") && unit.contains("WantedBy=multi-user.target"), "{unit}");
    holm.ok(["service", "uninstall", "--directory", directory]);
    assert_eq!(fs::read_dir(&units).unwrap().count(), 0);
    holm.run(["service", "uninstall", "--directory", directory]).refused(1, &["holm.service"]);
}
