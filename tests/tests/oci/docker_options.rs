//! What Docker's options of a container ask of the runtime: walls and limits, and the figures that come back.

use holm_tests::eventually;

use super::daemon::Daemon;
use super::docker::{docker, inspect, run, sh, up};

#[test]
#[ignore = "starts dockerd: cargo xtask test --slow"]
fn docker_keeps_containers_apart() {
    let daemon = docker();
    let text = sh(
        &daemon,
        "--read-only --tmpfs /run:size=1m",
        "touch /run/x; touch /x 2>/dev/null || echo sealed; df /run | tail -1 | tr -s ' ' | cut -d' ' -f2",
    );
    assert_eq!(text, "sealed\n1024");
    let status = "grep -hE '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status | cut -f2";
    for (flags, expected) in [
        ("", "00000000a80425fb 0 2"),
        ("--cap-drop all --cap-add net_raw", "0000000000002000 0 2"),
        ("--security-opt no-new-privileges", "00000000a80425fb 1 2"),
        ("--security-opt seccomp=unconfined", "00000000a80425fb 0 0"),
        ("--user 1000:5", "0000000000000000 0 2"),
    ] {
        assert_eq!(sh(&daemon, flags, status).replace('\n', " "), expected, "{flags}");
    }
    std::fs::create_dir(daemon.path("shared")).unwrap();
    std::fs::write(daemon.path("shared/file"), "of the host").unwrap();
    let volume = format!("-v {}:/mnt", daemon.path("shared"));
    assert_eq!(sh(&daemon, &volume, "cat /mnt/file; echo made > /mnt/made"), "of the host");
    assert_eq!(std::fs::read_to_string(daemon.path("shared/made")).unwrap(), "made\n");
    let sealed = sh(&daemon, &format!("{volume}:ro"), "touch /mnt/x 2>/dev/null || echo sealed");
    assert_eq!(sealed, "sealed");
    for (flags, script, expected) in [
        ("--user 1000:5 --workdir /new", "id -u; id -g; pwd", "1000\n5\n/new"),
        ("--hostname named --env A=b", "hostname; echo $A", "named\nb"),
        ("--init", "cat /proc/1/comm", "docker-init"),
        ("--ulimit nofile=100:200", "ulimit -n; ulimit -Hn", "100\n200"),
        ("--sysctl net.ipv4.ip_forward=1", "cat /proc/sys/net/ipv4/ip_forward", "1"),
        ("--shm-size 1m", "df /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2", "1024"),
        ("--device /dev/null:/dev/other", "test -c /dev/other && echo there", "there"),
        ("--oom-score-adj 300", "cat /proc/self/oom_score_adj", "300"),
        ("--pid host --ipc host --uts host --userns host", "echo ran", "ran"),
        ("--cgroupns private", "grep -c / /proc/self/cgroup > /dev/null && echo ran", "ran"),
    ] {
        assert_eq!(sh(&daemon, flags, script), expected, "{flags}");
    }
}

#[test]
#[ignore = "starts dockerd: cargo xtask test --slow"]
fn docker_limits_containers() {
    let daemon = docker();
    let memory = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null";
    assert_eq!(sh(&daemon, "--memory 32m", &format!("{memory} || true")), "33554432");
    let pids = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null || true";
    assert_eq!(sh(&daemon, "--pids-limit 20", pids), "20");
    assert_eq!(sh(&daemon, "--cpuset-cpus 0", "nproc"), "1");
    let outcome = run(&daemon, "--pids-limit 3", "sleep 1 & sleep 1 & sleep 1 & sleep 1 & echo all");
    assert!(outcome.err().contains("can't fork"), "{outcome}");
    up(&daemon, "--memory 32m", "tail /dev/zero");
    assert_eq!(daemon.ok("wait box", &[]), "137");
    eventually("it says why", || inspect(&daemon, "{{.State.OOMKilled}} {{.State.ExitCode}}") == "true 137");
    daemon.ok("rm box", &[]);
}

#[test]
#[ignore = "starts dockerd: cargo xtask test --slow"]
fn docker_changes_limits() {
    let daemon = docker();
    let limits = |daemon: &Daemon| {
        let pid: u32 = inspect(daemon, "{{.State.Pid}}").parse().unwrap();
        daemon.group_values(pid, &[("memory", "memory.limit_in_bytes"), ("pids", "pids.max")])
    };
    for flags in ["--memory 48m --pids-limit 30", ""] {
        up(&daemon, flags, "exec sleep 1000");
        daemon.ok("update --memory 64m --memory-swap 128m --cpu-shares 100 --pids-limit 50 box", &[]);
        assert_eq!(limits(&daemon), ["67108864", "50"], "{flags}");
        daemon.ok("rm --force box", &[]);
    }
}

#[test]
#[ignore = "starts dockerd: cargo xtask test --slow"]
fn docker_counts_a_container() {
    let daemon = docker();
    let used = |daemon: &Daemon| {
        let figures = "{{.PIDs}} {{.MemUsage}} {{.CPUPerc}}";
        daemon.ok("stats --no-stream box --format", &[figures])
    };
    up(&daemon, "--memory 48m --pids-limit 30", "exec sleep 1000");
    let text = used(&daemon);
    assert!(text.starts_with("1 ") && text.contains("48MiB"), "{text}");
    daemon.ok("rm --force box", &[]);
    up(&daemon, "", "exec sleep 1000");
    let text = used(&daemon);
    daemon.ok("rm --force box", &[]);
    let memory = text.split(' ').nth(1).unwrap_or_default();
    let small = ["KiB", "MiB"].iter().find_map(|unit| memory.strip_suffix(unit)).is_some_and(|number| {
        memory.ends_with("KiB") || number.parse::<f64>().is_ok_and(|number| number < 32.0)
    });
    assert!(text.starts_with("1 ") && small, "{text}");
}
