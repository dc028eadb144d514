//! `--memory`, `--cpus` and `--pids-limit`, read back from the kernel.

use std::time::Duration;

use holm_tests::{Holm, eventually, host};

/// Whether the controller is mounted as v1 on this host.
fn v1(controller: &str) -> bool {
    std::path::Path::new("/sys/fs/cgroup").join(controller).join("cgroup.procs").exists()
}

/// The limit as the kernel has it, by the name it has in v1 and in v2.
fn limit(holm: &Holm, id: &str, controller: &str, names: (&str, &str)) -> String {
    let name = if v1(controller) { names.0 } else { names.1 };
    host::group_value(holm.pid(id), controller, name).expect("the group has this file")
}

#[test]
fn memory() {
    let holm = Holm::new();
    for (text, bytes) in [
        ("64m", 64 << 20),
        ("0.5g", 512 << 20),
        ("16777216", 16 << 20),
        ("32M", 32 << 20),
        ("20000k", 20_000 << 10),
    ] {
        let id = holm.start(&["--memory", text], "sleep 60");
        let found = limit(&holm, &id, "memory", ("memory.limit_in_bytes", "memory.max"));
        assert_eq!(found, (bytes as u64).to_string(), "{text}");
        assert_eq!(holm.inspect(&id, "{{.HostConfig.Memory}}"), bytes.to_string());
        holm.ok(["rm", "-f", &id]);
    }
}

/// The keeper writes the log and holds connections: what limits its caller limits the workload, not the keeper.
#[test]
fn limits_of_the_caller_are_the_workloads_and_not_the_keepers() {
    let holm = Holm::new();
    let script = "ulimit -n; ulimit -f; head -c 300000 /dev/zero; sleep 60";
    let call =
        |limit| format!("ulimit -Sn 100; ulimit {limit} 8; $HOLM run -d --name box base sh -c '{script}'");
    holm.host_shell(&call("-Sf")).ok();
    eventually("all output is logged", || holm.run(["logs", "box"]).stdout.len() > 300_000);
    let output = holm.run(["logs", "box"]).stdout;
    let text = String::from_utf8_lossy(&output[..20]).into_owned();
    let words: Vec<_> = text.lines().take(2).collect();
    // A shell counts files in blocks of its own.
    assert!(words[0] == "100" && words[1] != "unlimited", "{words:?}");
    assert_eq!(holm.ok(["exec", "box", "sh", "-c", "ulimit -n"]), "100");
    holm.ok(["rm", "-f", "box"]);
    // One that the keeper may not have the right to lift, which then holds for the log alone.
    holm.host_shell(&call("-f")).ok();
    eventually("the beginning is logged", || holm.run(["logs", "box"]).stdout.len() > 4);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(holm.ok(["exec", "box", "echo", "in"]), "in");
    holm.ok(["logs", "box"]);
    holm.ok(["rm", "-f", "box"]);
}

#[test]
fn memory_and_swap_together_are_twice_the_memory() {
    let holm = Holm::new();
    let id = holm.start(&["-m", "64m"], "sleep 60");
    if let Some(found) = host::group_value(holm.pid(&id), "memory", "memory.memsw.limit_in_bytes") {
        assert_eq!(found, (128 << 20).to_string(), "as Docker does by default");
    }
}

#[test]
fn too_much_memory() {
    let holm = Holm::new();
    let id = holm.ok([
        "run",
        "-d",
        "--memory",
        "16m",
        "base",
        "dd",
        "if=/dev/zero",
        "of=/dev/null",
        "bs=64M",
        "count=1",
    ]);
    assert_eq!(holm.ok(["wait", &id]), "137");
    assert_eq!(holm.inspect(&id, "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
    let outcome = holm.run([
        "run",
        "--rm",
        "--memory",
        "16m",
        "base",
        "dd",
        "if=/dev/zero",
        "of=/dev/null",
        "bs=64M",
        "count=1",
    ]);
    outcome.expect_code(137);
    // A child that is killed is not the workload.
    let id = holm.start(&["--memory", "16m"], "dd if=/dev/zero of=/dev/null bs=64M count=1; echo $?; exit 3");
    assert_eq!(holm.ok(["wait", &id]), "3");
    assert_eq!(holm.run(["logs", &id]).out(), "137");
    assert_eq!(holm.inspect(&id, "{{.State.OOMKilled}}"), "true", "Docker reports that of any process");
    let fine = holm.start(&["--memory", "16m"], "exit 0");
    holm.ok(["wait", &fine]);
    assert_eq!(holm.inspect(&fine, "{{.State.OOMKilled}}"), "false");
}

#[test]
fn processors() {
    let holm = Holm::new();
    for (text, quota) in [("0.5", 50_000), ("1.25", 125_000), ("2", 200_000)] {
        let id = holm.start(&["--cpus", text], "sleep 60");
        let found = limit(&holm, &id, "cpu", ("cpu.cfs_quota_us", "cpu.max"));
        assert_eq!(found.split(' ').next(), Some(quota.to_string().as_str()), "--cpus {text}");
        if v1("cpu") {
            assert_eq!(
                host::group_value(holm.pid(&id), "cpu", "cpu.cfs_period_us").as_deref(),
                Some("100000")
            );
        }
        assert_eq!(holm.inspect(&id, "{{.HostConfig.NanoCpus}}"), (quota * 10_000).to_string());
        holm.ok(["rm", "-f", &id]);
    }
}

#[test]
fn processors_have_effect() {
    let holm = Holm::new();
    let script = "timeout 2 sh -c 'while :; do :; done'; cat /proc/self/stat | cut -d' ' -f16,17";
    let ticks: u64 =
        holm.sh(&["--cpus", "0.1"], script).split(' ').map(|number| number.parse::<u64>().unwrap()).sum();
    // 2 s at a tenth of a processor are 20 ticks of 10 ms; without the limit, 200 on an idle machine.
    assert!(ticks <= 60, "{ticks}");
}

#[test]
fn number_of_processes() {
    let holm = Holm::new();
    let id = holm.start(&["--pids-limit", "20"], "sleep 60");
    assert_eq!(limit(&holm, &id, "pids", ("pids.max", "pids.max")), "20");
    assert_eq!(holm.inspect(&id, "{{.HostConfig.PidsLimit}}"), "20");
    let outcome = holm.script(&["--pids-limit", "20"], "for i in $(seq 60); do sleep 5 & done; echo no");
    assert!(outcome.err().contains("Resource temporarily unavailable"), "{outcome}");
    // A shell that multiplies until it cannot, for a second: the host and its neighbours stay usable.
    let bomb = holm
        .call([
            "run",
            "--rm",
            "--pids-limit",
            "30",
            "base",
            "sh",
            "-c",
            "b() { b | b & }; b 2>/dev/null; sleep 1",
        ])
        .spawn();
    assert_eq!(holm.sh(&[], "echo fine"), "fine");
    assert!(bomb.wait().is_ok(), "and it ends");
    let unlimited = holm.start(&["--pids-limit", "-1"], "sleep 60");
    let found = host::group_value(holm.pid(&unlimited), "pids", "pids.max");
    assert!(found.as_deref().is_none_or(|value| value == "max"), "{found:?}");
}

#[test]
fn are_seen_inside() {
    let holm = Holm::new();
    let flags = ["--memory", "64m", "--pids-limit", "50", "--cpus", "0.5"];
    let script = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory.max 2>/dev/null; cat pids/pids.max pids.max 2>/dev/null; true";
    assert_eq!(holm.sh(&flags, script), format!("{}\n50", 64 << 20));
}

#[test]
fn outlive_a_restart() {
    let holm = Holm::new();
    holm.start(&["--name", "box", "--memory", "64m", "--pids-limit", "50"], "sleep 60");
    holm.ok(["kill", "box"]);
    holm.ok(["wait", "box"]);
    holm.ok(["start", "box"]);
    assert_eq!(
        limit(&holm, "box", "memory", ("memory.limit_in_bytes", "memory.max")),
        (64 << 20).to_string()
    );
    assert_eq!(limit(&holm, "box", "pids", ("pids.max", "pids.max")), "50");
}

#[test]
fn what_is_no_limit() {
    let holm = Holm::new();
    for (flag, value) in [
        ("--memory", "4m"),
        ("--memory", "6291455"),
        ("--memory", "lots"),
        ("--memory", "-1m"),
        ("--memory", "1e99g"),
        ("--memory", "99999999999999999999"),
        ("--memory", ""),
        ("--cpus", "-1"),
        ("--cpus", "many"),
        ("--cpus", "0.0001"),
        ("--cpus", "nan"),
        ("--cpus", "inf"),
        ("--cpus", "4096"),
        ("--pids-limit", "x"),
        ("--pids-limit", "99999999999999999999"),
        ("--stop-timeout", "soon"),
        ("--stop-timeout", "99999999999999999999"),
    ] {
        let outcome = holm.script(&[&format!("{flag}={value}")], "true");
        outcome.refused(125, &[]);
        let text = outcome.err();
        assert!(text.contains(value) || text.contains(flag.trim_start_matches('-')), "{outcome}");
    }
    let outcome = holm.script(&["--memory", "4m"], "true");
    assert!(outcome.err().contains("6"), "says the least it takes: {outcome}");
    assert!(holm.workloads().is_empty());
    assert_eq!(holm.sh(&["--memory", "6m"], "echo starts"), "starts", "the least is enough to start");
}

#[test]
fn memory_counts_the_workload_only() {
    let holm = Holm::new();
    // Output that nobody reads must not be charged to the workload, nor kill it.
    let id = holm.start(&["--memory", "16m"], "head -c 40000000 /dev/zero | tr '\\0' x; echo; echo end >&2");
    let outcome = holm.call(["wait", &id]).timeout(Duration::from_secs(60)).run();
    assert_eq!(outcome.ok(), "0");
    let outcome = holm.run(["logs", &id]);
    assert_eq!((outcome.stdout.len(), outcome.err().as_str()), (40_000_001, "end"));
}
