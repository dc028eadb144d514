//! Debian's containerd, told by `ctr` to run containers with this runtime.
//!
//! `HOLM_OCI_RUNTIME=/usr/sbin/runc` runs the same with its usual runtime.

use std::fmt::Write as _;
use std::process::Command;

use holm_tests::{Outcome, Tarball, eventually, tarball};
use serde_json::{Value, json};

use super::daemon::{Daemon, Engine};
use super::runtime::program;

/// The name that `ctr` gives the image.
const IMAGE: &str = "docker.io/library/base:latest";

/// Nothing of Kubernetes, and no snapshots that need file systems of their own.
const CONFIG: &str = r#"
version = 2
root = "/run/holm/root"
state = "/run/holm/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = "/run/holm/socket"
"#;

fn containerd() -> Daemon {
    let script =
        r#"printf %s "$1" > /run/holm/config.toml && exec containerd --config /run/holm/config.toml"#;
    let engine = Engine {
        daemon: ["sh", "-c", script, "sh", CONFIG].map(String::from).to_vec(),
        client: "/usr/bin/ctr --address /run/holm/socket --namespace GROUP",
        question: "version",
        states: "/run/containerd/runc/GROUP",
    };
    let daemon = Daemon::start(&engine);
    std::fs::write(daemon.path("archive.tar"), archive(&daemon.path("base.tar"))).unwrap();
    daemon.ok("images import", &[&daemon.path("archive.tar")]);
    daemon
}

/// An image of one layer in the form that `docker save` writes.
fn archive(layer: &str) -> Vec<u8> {
    let output = Command::new("sha256sum").arg(layer).output().expect("coreutils are installed");
    let digest = String::from_utf8(output.stdout[..64].to_vec()).unwrap();
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]}});
    let manifest = json!([{"Config": "config.json", "RepoTags": ["base:latest"], "Layers": ["layer.tar"]}]);
    let mut tar = Tarball::new();
    tar.file("manifest.json", 0o644, manifest.to_string());
    tar.file("config.json", 0o644, config.to_string());
    tar.file("layer.tar", 0o644, tarball::base());
    tar.finish()
}

/// `ctr run` with these flags; the container's id is `box`.
fn line(flags: &str) -> String {
    format!("run --runc-binary {} {flags} {IMAGE} box", program().display())
}

fn run(daemon: &Daemon, flags: &str, script: &str) -> Outcome {
    daemon.run(&line(&format!("--rm {flags}")), &["sh", "-c", script])
}

#[track_caller]
fn sh(daemon: &Daemon, flags: &str, script: &str) -> String {
    run(daemon, flags, script).ok()
}

/// A container in the background whose output goes to a file, and its task's first process.
fn up(daemon: &Daemon, flags: &str, script: &str) {
    let log = format!("--log-uri file://{}", daemon.path("log"));
    daemon.ok(&line(&format!("--detach {log} {flags}")), &["sh", "-c", script]);
}

#[track_caller]
fn wait_for_log(daemon: &Daemon, text: &str) {
    let log = || std::fs::read_to_string(daemon.path("log")).unwrap_or_default();
    eventually(&format!("{text:?} is in the log"), || log().contains(text));
}

/// The status of the task `box` in the list of all.
fn status(daemon: &Daemon) -> String {
    let table = daemon.ok("tasks list", &[]);
    let task = table.lines().find(|line| line.starts_with("box"));
    task.and_then(|line| line.split_whitespace().nth(2)).unwrap_or("none").to_owned()
}

#[track_caller]
fn wait_for(daemon: &Daemon, wanted: &str) {
    eventually(&format!("it is {wanted}"), || status(daemon) == wanted);
}

#[test]
#[ignore = "starts containerd: cargo xtask test --slow"]
fn containerd_runs_and_tells_how_it_ended() {
    let daemon = containerd();
    let outcome = run(&daemon, "", "echo ran as $$; echo aside >&2; exit 3");
    outcome.expect_code(3);
    assert_eq!((outcome.out(), outcome.err()), ("ran as 1".to_owned(), "aside".to_owned()));
    for (program, text) in [("absent", "executable file not found in $PATH"), ("/etc", "permission denied")] {
        let outcome = daemon.run(&line("--rm"), &[program]);
        outcome.expect_code(1);
        assert!(outcome.err().contains("OCI runtime create failed"), "{outcome}");
        assert!(outcome.err().contains(text), "{outcome}");
    }
    // What a container is killed by says its code.
    assert_eq!(run(&daemon, "", "sh -c 'kill -9 $$'; exit $?").code(), 137);
    let text = sh(&daemon, "", "seq 20000");
    assert_eq!((text.lines().count(), text.lines().last()), (20000, Some("20000")));
}

#[test]
#[ignore = "starts containerd: cargo xtask test --slow"]
fn containerd_leads_a_task_through_its_life() {
    let daemon = containerd();
    up(&daemon, "", "trap 'exit 7' TERM; trap 'echo usr' USR1; echo up; while :; do sleep 0.05; done");
    wait_for_log(&daemon, "up");
    assert_eq!(status(&daemon), "RUNNING");
    daemon.ok("tasks pause box", &[]);
    assert_eq!(status(&daemon), "PAUSED");
    daemon.ok("tasks resume box", &[]);
    assert_eq!(status(&daemon), "RUNNING");
    daemon.ok("tasks kill --signal USR1 box", &[]);
    wait_for_log(&daemon, "usr");
    daemon.ok("tasks kill --signal TERM box", &[]);
    wait_for(&daemon, "STOPPED");
    let outcome = daemon.run("tasks delete box", &[]);
    assert!(outcome.err().contains("exit code 7") || outcome.code() == 7, "{outcome}");
    daemon.ok(&format!("tasks start --detach --log-uri file://{} box", daemon.path("again")), &[]);
    wait_for(&daemon, "RUNNING");
    daemon.ok("tasks kill --all --signal KILL box", &[]);
    wait_for(&daemon, "STOPPED");
    let outcome = daemon.run("tasks delete box", &[]);
    assert!(outcome.err().contains("exit code 137") || outcome.code() == 137, "{outcome}");
    daemon.ok("containers delete box", &[]);
}

#[test]
#[ignore = "starts containerd: cargo xtask test --slow"]
fn containerd_executes_in_a_task() {
    let daemon = containerd();
    up(&daemon, "", "exec sleep 1000");
    wait_for(&daemon, "RUNNING");
    let exec = |flags: &str, words: &[&str]| daemon.run(&format!("tasks exec {flags} box"), words);
    let outcome = exec("--exec-id a", &["sh", "-c", "echo inside; echo aside >&2; exit 4"]);
    outcome.expect_code(4);
    assert_eq!((outcome.out(), outcome.err()), ("inside".to_owned(), "aside".to_owned()));
    let text = exec("--exec-id b --user 1000 --cwd /tmp", &["sh", "-c", "id -u; pwd"]).ok();
    assert_eq!(text, "1000\n/tmp");
    let outcome = exec("--exec-id c", &["absent"]);
    outcome.expect_code(1);
    assert!(outcome.err().contains("executable file not found in $PATH"), "{outcome}");
    let typed = daemon.call("tasks exec --exec-id d box", &["cat"]).stdin("typed\n").run();
    assert_eq!(typed.ok(), "typed");
    exec("--exec-id e --detach", &["sleep", "77"]).ok();
    let listed = || daemon.ok("tasks ps box", &[]);
    assert!(listed().contains("ExecID:e"), "{}", listed());
    assert_eq!(listed().lines().count(), 3, "a head, the first process, and the other one");
    daemon.ok("tasks kill --exec-id e --signal KILL box", &[]);
    eventually("it has ended", || listed().lines().count() == 2);
    daemon.ok("tasks delete --force box", &[]);
    daemon.ok("containers delete box", &[]);
}

#[test]
#[ignore = "starts containerd: cargo xtask test --slow"]
fn containerd_gives_a_terminal() {
    let daemon = containerd();
    let script = "tty; (while sleep 0.1; do stty size <&1; done) & read x; echo got $x; exit 5";
    let mut terminal = daemon.terminal(&line("--rm --tty"), &["sh", "-c", script], 30, 90);
    terminal.expect("/dev/pts/0");
    terminal.expect("30 90");
    terminal.resize(33, 99);
    terminal.expect("33 99");
    terminal.keys("keys\r");
    terminal.expect("got keys");
    assert_eq!(terminal.finish(), 5);
    up(&daemon, "", "exec sleep 1000");
    wait_for(&daemon, "RUNNING");
    let mut terminal =
        daemon.terminal("tasks exec --tty --exec-id t box", &["sh", "-c", "read x; echo got $x"], 24, 80);
    terminal.keys("keys\r");
    terminal.expect("got keys");
    assert_eq!(terminal.finish(), 0);
    daemon.ok("tasks delete --force box", &[]);
    daemon.ok("containers delete box", &[]);
}

#[test]
#[ignore = "starts containerd: cargo xtask test --slow"]
fn containerd_keeps_containers_apart() {
    let daemon = containerd();
    let outcome = run(&daemon, "--read-only", "touch /x");
    assert!(outcome.code() == 1 && outcome.err().contains("Read-only"), "{outcome}");
    let status = "grep -hE '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | cut -f2";
    assert_eq!(sh(&daemon, "--seccomp", status), "00000000a80425fb\n00000000a80425fb\n1\n2");
    let flags = "--allow-new-privs --cap-add CAP_NET_ADMIN --cap-drop CAP_CHOWN";
    assert_eq!(sh(&daemon, flags, status), "00000000a80435fa\n00000000a80435fa\n0\n0");
    std::fs::create_dir(daemon.path("shared")).unwrap();
    std::fs::write(daemon.path("shared/file"), "of the host").unwrap();
    let mount = format!("--mount type=bind,src={},dst=/mnt,options=rbind:ro", daemon.path("shared"));
    let text = sh(&daemon, &mount, "cat /mnt/file; touch /mnt/x 2>/dev/null || echo ' sealed'");
    assert_eq!(text, "of the host sealed");
    let mount = "--mount type=tmpfs,src=tmpfs,dst=/mnt,options=size=1m";
    assert_eq!(sh(&daemon, mount, "df /mnt | tail -1 | tr -s ' ' | cut -d' ' -f2"), "1024");
    let maps = "--uidmap 0:100000:65536 --gidmap 0:100000:65536";
    assert_eq!(
        sh(&daemon, maps, "id -u; tr -s ' ' < /proc/self/uid_map; touch /tmp/x"),
        "0\n 0 100000 65536"
    );
    for flags in ["--no-pivot", "--rootfs-propagation shared", "--net-host", "--cwd /tmp --env A=b"] {
        assert_eq!(sh(&daemon, flags, "echo ran"), "ran", "{flags}");
    }
    assert_eq!(sh(&daemon, "--runc-root /run/holm/other", "echo ran"), "ran");
}

#[test]
#[ignore = "starts containerd: cargo xtask test --slow"]
fn containerd_limits_tasks() {
    let daemon = containerd();
    assert_eq!(daemon.run(&line("--rm --memory-limit 33554432"), &["tail", "/dev/zero"]).code(), 137);
    up(&daemon, "--memory-limit 67108864 --cpus 0.5 --cpu-shares 512", "exec sleep 1000");
    wait_for(&daemon, "RUNNING");
    let figures = figures(&daemon);
    let of = |pointers: [&str; 2]| {
        pointers.iter().find_map(|pointer| figures.pointer(pointer).and_then(Value::as_u64)).unwrap()
    };
    assert_eq!(of(["/memory/usage/limit", "/memory/usage_limit"]), 64 << 20, "{figures}");
    let used = of(["/memory/usage/usage", "/memory/usage"]);
    assert!((1..64 << 20).contains(&used), "{figures}");
    daemon.ok("tasks delete --force box", &[]);
    daemon.ok("containers delete box", &[]);
}

/// The figures that `ctr` prints as JSON.
fn figures(daemon: &Daemon) -> Value {
    serde_json::from_str(&daemon.ok("tasks metrics --format json box", &[])).unwrap()
}

#[test]
#[ignore = "starts containerd: cargo xtask test --slow"]
fn containerd_counts_a_task_without_limits() {
    let daemon = containerd();
    up(&daemon, "", "exec sleep 1000");
    wait_for(&daemon, "RUNNING");
    let figures = figures(&daemon);
    let mut wrong = String::new();
    for (pointer, most) in [
        ("/pids/current", 4),
        ("/memory/usage/usage", 32 << 20),
        ("/memory/usage", 32 << 20),
        ("/cpu/usage/total", 5_000_000_000),
        ("/cpu/usage_usec", 5_000_000),
    ] {
        let figure = figures.pointer(pointer).and_then(Value::as_u64);
        if figure.is_some_and(|figure| figure == 0 || figure > most) {
            write!(wrong, "{pointer} = {figure:?}; ").unwrap();
        }
    }
    if figures.pointer("/pids/current").is_none() {
        wrong.push_str("no figure of processes; ");
    }
    daemon.ok("tasks delete --force box", &[]);
    daemon.ok("containers delete box", &[]);
    assert!(wrong.is_empty(), "{wrong}");
}
