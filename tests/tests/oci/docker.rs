//! Debian's Docker with this runtime as its default: the daemon, a containerd of its own, and the everyday commands.
//!
//! `HOLM_OCI_RUNTIME=/usr/sbin/runc` runs the same with its usual runtime.

use holm_tests::{Outcome, eventually};

use super::daemon::{Daemon, Engine};
use super::runtime::program;

const OPTIONS: &str = "--data-root /run/holm/root --exec-root /run/docker --pidfile /run/docker.pid \
    --host unix:///run/docker.sock --iptables=false --ip6tables=false --bridge=none --cgroup-parent /GROUP \
    --default-runtime holm";

/// A daemon with the image `base`.
pub fn docker() -> Daemon {
    docker_with("")
}

/// A daemon for which a shell does something first; `$@` there are the daemon's options.
fn docker_with(first: &str) -> Daemon {
    let script = format!("set -e; {first}\nexec dockerd \"$@\"");
    let mut daemon: Vec<String> = ["sh", "-c", &script, "sh"].map(String::from).to_vec();
    daemon.push(format!("--add-runtime=holm={}", program().display()));
    daemon.extend(OPTIONS.split_whitespace().map(String::from));
    let engine = Engine {
        daemon,
        client: "/usr/bin/docker --host unix:///run/docker.sock",
        question: "version",
        states: "/run/docker/runtime-holm/moby",
    };
    let daemon = Daemon::start(&engine);
    daemon.ok("import", &[&daemon.path("base.tar"), "base"]);
    daemon
}

/// Runs a script in a container that nothing stays of.
pub fn run(daemon: &Daemon, flags: &str, script: &str) -> Outcome {
    daemon.run(&format!("run --rm --network none {flags} base"), &["sh", "-c", script])
}

/// As [`run`]; demands success and returns what the script wrote.
#[track_caller]
pub fn sh(daemon: &Daemon, flags: &str, script: &str) -> String {
    run(daemon, flags, script).ok()
}

/// A container `box` in the background.
#[track_caller]
pub fn up(daemon: &Daemon, flags: &str, script: &str) {
    daemon.ok(&format!("run --detach --network none --name box {flags} base"), &["sh", "-c", script]);
}

/// What `inspect` says about the container `box`.
#[track_caller]
pub fn inspect(daemon: &Daemon, template: &str) -> String {
    daemon.ok("inspect box --format", &[template])
}

#[track_caller]
fn wait_for_log(daemon: &Daemon, text: &str) {
    eventually(&format!("{text:?} is in the log"), || daemon.ok("logs box", &[]).contains(text));
}

#[test]
#[ignore = "starts dockerd: cargo xtask test --slow"]
fn docker_runs_and_tells_how_it_ended() {
    let daemon = docker();
    let outcome = run(&daemon, "", "echo ran as $$; echo aside >&2; exit 3");
    outcome.expect_code(3);
    assert_eq!((outcome.out(), outcome.err()), ("ran as 1".to_owned(), "aside".to_owned()));
    for (flags, program, code, text) in [
        ("", "absent", 127, "executable file not found in $PATH"),
        ("", "/etc", 126, "permission denied"),
        ("", "/etc/plain", 126, "permission denied"),
        ("--workdir relative", "true", 125, "relative"),
        ("--ulimit nofile=20:10", "true", 125, "ulimit"),
    ] {
        let outcome = daemon.run(&format!("run --rm --network none {flags} base {program}"), &[]);
        outcome.expect_code(code);
        assert!(outcome.err().contains(text), "{outcome}");
    }
    assert_eq!(run(&daemon, "", "sh -c 'kill -9 $$'; exit $?").code(), 137);
    let typed = daemon.call("run --rm -i --network none base cat", &[]).stdin("typed\n").run();
    assert_eq!(typed.ok(), "typed");
    assert_eq!(sh(&daemon, "", "seq 20000").lines().count(), 20000);
    assert_eq!(daemon.ok("ps --all --quiet", &[]), "");
}

#[test]
#[ignore = "starts dockerd: cargo xtask test --slow"]
fn docker_leads_a_container_through_its_life() {
    let daemon = docker();
    let script = "trap 'echo term; exit 7' TERM; trap 'echo usr' USR1; echo up; while :; do sleep 0.05; done";
    daemon.ok("create --network none --name box base", &["sh", "-c", script]);
    assert_eq!(inspect(&daemon, "{{.State.Status}}"), "created");
    daemon.ok("start box", &[]);
    wait_for_log(&daemon, "up");
    assert_eq!(inspect(&daemon, "{{.State.Status}} {{.HostConfig.Runtime}}"), "running holm");
    daemon.ok("pause box", &[]);
    assert_eq!(inspect(&daemon, "{{.State.Status}}"), "paused");
    assert_eq!(daemon.run("exec box true", &[]).code(), 1);
    daemon.ok("unpause box", &[]);
    daemon.ok("kill --signal USR1 box", &[]);
    wait_for_log(&daemon, "usr");
    daemon.ok("rename box other", &[]);
    daemon.ok("rename other box", &[]);
    daemon.ok("stop box", &[]);
    assert_eq!(inspect(&daemon, "{{.State.Status}} {{.State.ExitCode}}"), "exited 7");
    assert_eq!(daemon.ok("logs box", &[]), "up\nusr\nterm");
    daemon.ok("start box", &[]);
    daemon.ok("restart --time 0 box", &[]);
    daemon.ok("kill box", &[]);
    assert_eq!(daemon.ok("wait box", &[]), "137");
    daemon.ok("rm box", &[]);
}

#[test]
#[ignore = "starts dockerd: cargo xtask test --slow"]
fn docker_executes_in_a_container() {
    let daemon = docker();
    up(&daemon, "", "exec sleep 1000");
    let outcome = daemon.run("exec box", &["sh", "-c", "echo inside; echo aside >&2; exit 9"]);
    outcome.expect_code(9);
    assert_eq!((outcome.out(), outcome.err()), ("inside".to_owned(), "aside".to_owned()));
    let text = daemon.ok("exec -u 1000 -w /tmp -e B=c box", &["sh", "-c", "id -u; pwd; echo $B"]);
    assert_eq!(text, "1000\n/tmp\nc");
    let typed = daemon.call("exec -i box cat", &[]).stdin("typed\n").run();
    assert_eq!(typed.ok(), "typed");
    for (program, text) in [("absent", "executable file not found in $PATH"), ("/etc", "permission denied")] {
        let outcome = daemon.run("exec box", &[program]);
        assert!([126, 127].contains(&outcome.code()), "{outcome}");
        assert!(format!("{outcome}").contains(text), "{outcome}");
    }
    daemon.ok("exec --detach box sleep 55", &[]);
    eventually("both are listed", || {
        let table = daemon.ok("top box", &[]);
        table.contains("sleep 1000") && table.contains("sleep 55")
    });
    daemon.ok("cp", &[&daemon.path("base.tar"), "box:/tmp/copied"]);
    assert_eq!(daemon.ok("exec box ls /tmp", &[]), "copied");
    assert_eq!(daemon.ok("diff box", &[]), "C /tmp\nA /tmp/copied");
    let calls: Vec<_> = (0..10).map(|_| daemon.call("exec box echo ran", &[]).spawn()).collect();
    calls.into_iter().for_each(|call| assert_eq!(call.finish().ok(), "ran"));
    daemon.ok("rm --force box", &[]);
}

#[test]
#[ignore = "starts dockerd: cargo xtask test --slow"]
fn docker_gives_a_terminal() {
    let daemon = docker();
    let script = "tty; (while sleep 0.1; do stty size <&1; done) & read x; echo got $x; exit 5";
    let run = "run --rm -it --network none base";
    let mut terminal = daemon.terminal(run, &["sh", "-c", script], 30, 90);
    terminal.expect("/dev/pts/0");
    terminal.expect("30 90");
    terminal.resize(33, 99);
    terminal.expect("33 99");
    terminal.keys("keys\r");
    terminal.expect("got keys");
    assert_eq!(terminal.finish(), 5);
    let mut terminal = daemon.terminal(run, &["sh", "-c", "trap 'exit 6' INT; echo up; sleep 1000"], 24, 80);
    terminal.expect("up");
    terminal.keys("\x03");
    assert_eq!(terminal.finish(), 6);
}

#[test]
#[ignore = "starts dockerd: cargo xtask test --slow"]
fn docker_attaches_and_detaches() {
    let daemon = docker();
    let script = "while read x; do echo got $x; [ $x = end ] && exit 8; done";
    up(&daemon, "-it", script);
    let mut terminal = daemon.terminal("attach box", &[], 24, 80);
    terminal.keys("one\r");
    terminal.expect("got one");
    terminal.keys("\x10\x11");
    // Some clients take a detachment for a failure.
    terminal.finish();
    assert_eq!(inspect(&daemon, "{{.State.Status}}"), "running");
    let mut exec = daemon.terminal("exec -it box", &["sh", "-c", "tty; read x; exit 4"], 24, 80);
    exec.expect("/dev/pts/1");
    exec.keys("x\r");
    assert_eq!(exec.finish(), 4);
    let mut terminal = daemon.terminal("attach box", &[], 24, 80);
    terminal.keys("end\r");
    terminal.expect("got end");
    assert_eq!(terminal.finish(), 8);
    daemon.ok("rm box", &[]);
}

#[test]
#[ignore = "starts dockerd: cargo xtask test --slow"]
fn docker_starts_again_what_failed() {
    let daemon = docker();
    up(&daemon, "--restart on-failure:3", "exit 5");
    let end = "3 exited 5";
    let state = |daemon: &Daemon| inspect(daemon, "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}");
    eventually("it gave up", || state(&daemon) == end);
    daemon.ok("rm box", &[]);
    up(&daemon, "--restart always", "echo up; exec sleep 1000");
    let first = inspect(&daemon, "{{.State.Pid}}");
    daemon.kill_inside(&first);
    eventually("it runs again", || {
        let text = inspect(&daemon, "{{.State.Status}} {{.State.Pid}}");
        text.starts_with("running") && !text.ends_with(&format!(" {first}"))
    });
    daemon.ok("rm --force box", &[]);
}

#[test]
#[ignore = "starts dockerd: cargo xtask test --slow"]
fn docker_runs_many_at_once() {
    let daemon = docker();
    let line = "run --rm --network none --memory 32m --pids-limit 20 base echo ran";
    let calls: Vec<_> = (0..10).map(|_| daemon.call(line, &[]).spawn()).collect();
    calls.into_iter().for_each(|call| assert_eq!(call.finish().ok(), "ran"));
}

#[test]
#[ignore = "starts dockerd: cargo xtask test --slow"]
fn docker_saves_and_loads() {
    let daemon = docker();
    up(&daemon, "", "echo made > /made; exec sleep 1000");
    eventually("it is there", || daemon.run("exec box cat /made", &[]).code() == 0);
    daemon.ok("commit --pause box second", &[]);
    daemon.ok("rm --force box", &[]);
    daemon.ok("save --output", &[&daemon.path("saved.tar"), "second"]);
    daemon.ok("rmi second", &[]);
    daemon.ok("load --input", &[&daemon.path("saved.tar")]);
    assert_eq!(daemon.ok("run --rm --network none second cat /made", &[]), "made");
}

#[test]
#[ignore = "starts dockerd: cargo xtask test --slow"]
fn docker_builds() {
    let daemon = docker();
    std::fs::create_dir(daemon.path("context")).unwrap();
    let text = "FROM base\nRUN echo built > /built && id -u\nUSER 1000\nCMD cat /built; id -u\n";
    std::fs::write(daemon.path("context/Dockerfile"), text).unwrap();
    daemon.ok("build --network none --tag made", &[&daemon.path("context")]);
    assert_eq!(daemon.ok("run --rm --network none made", &[]), "built\n1000");
}

#[test]
#[ignore = "starts dockerd: cargo xtask test --slow"]
fn docker_looks_after_health_and_joins_namespaces() {
    let daemon = docker();
    up(&daemon, "--ipc shareable --health-cmd true --health-interval 100ms", "exec sleep 1000");
    eventually("it is healthy", || inspect(&daemon, "{{.State.Health.Status}}") == "healthy");
    let namespaces = "readlink /proc/self/ns/net; readlink /proc/self/ns/ipc";
    let own = daemon.ok("exec box", &["sh", "-c", namespaces]);
    let joined = "run --rm --network container:box --ipc container:box --pid container:box base";
    let script = format!("{namespaces}; cat /proc/1/cmdline | tr '\\0' ' '");
    assert_eq!(daemon.ok(joined, &["sh", "-c", &script]), format!("{own}\nsleep 1000 "));
    daemon.ok("rm --force box", &[]);
}

/// A user for the maps, in an `/etc` that only the daemon sees.
const REMAPPED: &str = r#"
mkdir /run/etc /run/work
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/work etc /etc
echo remapped:x:100000:100000::/:/bin/false >> /etc/passwd
echo remapped:x:100000: >> /etc/group
echo remapped:100000:65536 > /etc/subuid
echo remapped:100000:65536 > /etc/subgid
set -- --userns-remap remapped "$@"
"#;

#[test]
#[ignore = "starts dockerd: cargo xtask test --slow"]
fn docker_maps_users() {
    let daemon = docker_with(REMAPPED);
    let script = "id -u; tr -s ' ' < /proc/self/uid_map; touch /made; stat -c %u /made";
    assert_eq!(sh(&daemon, "", script), "0\n 0 100000 65536\n0");
    std::fs::create_dir(daemon.path("shared")).unwrap();
    let volume = format!("-v {}:/mnt", daemon.path("shared"));
    let script = "stat -c %u /mnt; touch /mnt/x 2> /dev/null || echo sealed";
    assert_eq!(sh(&daemon, &volume, script), "65534\nsealed");
    assert_eq!(sh(&daemon, "--userns host", "tr -s ' ' < /proc/self/uid_map"), " 0 0 4294967295");
    assert_eq!(daemon.run("run --rm --network none --memory 32m base tail /dev/zero", &[]).code(), 137);
    up(&daemon, "", "exec sleep 1000");
    assert_eq!(daemon.ok("exec --user 1000 box id -u", &[]), "1000");
    daemon.ok("pause box", &[]);
    daemon.ok("unpause box", &[]);
    daemon.ok("rm --force box", &[]);
}
