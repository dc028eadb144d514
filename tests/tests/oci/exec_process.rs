//! `exec --process`, rights of what `exec` starts, descriptors, and the group that it starts in.

use std::process::Command;

use holm_tests::Call;
use serde_json::{Value, json};

use super::machine;
use super::runtime::{Feature, lacks};
use super::setup::Oci;

fn up() -> Oci {
    let mut oci = Oci::new();
    oci.up("sleep 1000");
    oci
}

fn process(oci: &Oci, value: &Value) -> holm_tests::Outcome {
    std::fs::write(oci.path("process.json"), value.to_string()).unwrap();
    oci.run(["exec", "--process", "process.json", "box"])
}

fn plain(script: &str) -> Value {
    json!({"cwd": "/", "args": ["sh", "-c", script], "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}})
}

#[test]
fn a_process_document_says_everything() {
    let oci = up();
    let script =
        "pwd; id -u; id -g; echo $A $B; ulimit -n; grep -E '^(Groups|NoNewPrivs|CapEff):' /proc/self/status";
    let mut document = plain(script);
    document["cwd"] = json!("/tmp");
    document["user"] = json!({"uid": 5, "gid": 6, "additionalGids": [7]});
    document["env"] = json!(["PATH=/bin", "A=1"]);
    document["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
    document["noNewPrivileges"] = json!(true);
    document["capabilities"] = json!({"bounding": ["CAP_KILL"]});
    let text = process(&oci, &document).ok();
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    assert_eq!(lines[..5], ["/tmp", "5", "6", "1", "100"]);
    assert_eq!(lines[5..], ["Groups:\t7", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"]);
}

#[test]
fn other_options_are_ignored_beside_it() {
    let oci = up();
    std::fs::write(oci.path("p"), plain("id -u; pwd; echo $X").to_string()).unwrap();
    let text = oci.ok(["exec", "-p", "p", "--user", "5", "--cwd", "/tmp", "--env", "X=1", "box"]);
    assert_eq!(text, "0\n/\n");
}

#[test]
fn a_document_that_lacks_something_is_refused() {
    let oci = up();
    for (name, value, text) in [
        ("args", json!([]), "args must not be empty"),
        ("cwd", json!(""), "Cwd property must not be empty"),
        ("cwd", json!("tmp"), "Cwd must be an absolute path"),
        ("user", json!("root"), ""),
        ("rlimits", json!([{"type": "RLIMIT_X", "soft": 1, "hard": 1}]), ""),
    ] {
        let mut document = plain("true");
        document[name] = value;
        let outcome = process(&oci, &document);
        outcome.expect_code(255);
        assert!(outcome.err().contains(text), "{outcome}");
    }
    std::fs::write(oci.path("p"), "{").unwrap();
    oci.fails(255, ["exec", "--process", "p", "box"]);
}

#[test]
fn new_privileges_can_be_refused() {
    let mut oci = Oci::new();
    oci.set("/process/noNewPrivileges", json!(false));
    oci.up("sleep 1000");
    let script = "grep NoNewPrivs /proc/self/status";
    assert_eq!(oci.exec(script), "NoNewPrivs:\t0");
    assert_eq!(oci.ok(["exec", "--no-new-privs", "box", "sh", "-c", script]), "NoNewPrivs:\t1");
}

/// CVE-2022-29162 and, in crun, CVE-2022-27650: what is inheritable comes back through files.
#[test]
fn more_capabilities_are_never_inheritable() {
    let oci = up();
    let script = "grep -E '^Cap' /proc/self/status";
    let text = oci.ok(["exec", "--cap", "CAP_SYS_PTRACE", "--cap", "CAP_NET_RAW", "box", "sh", "-c", script]);
    let set = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{text}"));
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    let wanted = (1 << 19) | (1 << 13);
    for name in ["CapEff:", "CapPrm:", "CapBnd:"] {
        assert_eq!(set(name) & wanted, wanted, "{text}");
    }
    assert_eq!((set("CapInh:"), set("CapAmb:")), (0, 0), "{text}");
}

#[test]
fn limits_of_the_container_hold_for_it_too() {
    let mut oci = Oci::new();
    oci.set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 199}]));
    oci.up("sleep 1000");
    assert_eq!(oci.exec("ulimit -Sn; ulimit -Hn"), "99\n199");
}

#[test]
fn the_seccomp_filter_of_the_container_holds_for_it_too() {
    let mut oci = Oci::new();
    oci.set(
        "/linux/seccomp",
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}),
    );
    oci.up("sleep 1000");
    assert_eq!(
        oci.exec("mkdir /x 2>/dev/null || echo refused; grep Seccomp: /proc/self/status"),
        "refused\nSeccomp:\t2"
    );
}

#[test]
fn the_umask_of_the_container_holds_for_it_too() {
    if lacks(Feature::ExecUmask) {
        return;
    }
    let mut oci = Oci::new();
    oci.set("/process/user/umask", json!(0o077));
    oci.up("sleep 1000");
    assert_eq!(oci.exec("umask"), "0077");
}

#[test]
fn the_personality_of_the_container_holds_for_it_too() {
    if lacks(Feature::Personality) {
        return;
    }
    let mut oci = Oci::new();
    oci.set("/linux/personality", json!({"domain": "LINUX32"}));
    oci.up("sleep 1000");
    assert_eq!(oci.ok(["exec", "box", "uname", "-m"]), "i686");
}

/// Runs the runtime from a shell that opens descriptors first.
fn with_descriptors(oci: &Oci, opening: &str, words: &[&str]) -> holm_tests::Outcome {
    let program = oci.program(&[]);
    let mut command = Command::new("bash");
    command.arg("-c").arg(format!("{opening}; exec \"$@\"")).arg("bash");
    command.arg(program.get_program()).args(program.get_args()).args(words).current_dir(oci.path(""));
    Call::new(command).run()
}

#[test]
fn descriptors_are_preserved_by_number_and_others_closed() {
    let oci = up();
    std::fs::write(oci.path("text"), "kept").unwrap();
    let opening = "exec 3<text 4<text 5<text";
    let words =
        ["exec", "--preserve-fds", "2", "box", "sh", "-c", "cat <&3; ls /proc/self/fd | tr '\\n' ' '"];
    let outcome = with_descriptors(&oci, opening, &words);
    assert_eq!(outcome.ok(), "kept0 1 2 3 4 5 ", "the sixth is the folder that `ls` reads");
}

#[test]
fn run_preserves_descriptors_too() {
    let oci = Oci::script("cat <&3; ls /proc/self/fd | tr '\\n' ' '");
    oci.save();
    std::fs::write(oci.path("text"), "kept").unwrap();
    let words = ["run", "--bundle", "b", "--preserve-fds", "1", "box"];
    assert_eq!(with_descriptors(&oci, "exec 3<text 4<text 9<text", &words).ok(), "kept0 1 2 3 4 ");
    let words = ["run", "--bundle", "b", "box"];
    oci.save();
    let outcome = with_descriptors(&oci, "exec 3<text 4<text 9<text", &words);
    assert!(
        outcome.err().contains("Bad file descriptor") || outcome.err().contains("bad file descriptor"),
        "{outcome}"
    );
}

#[test]
fn sockets_of_a_supervisor_are_handed_on_by_number() {
    let oci = Oci::script("echo $LISTEN_FDS $LISTEN_PID; cat <&3");
    oci.save();
    std::fs::write(oci.path("text"), "kept").unwrap();
    let opening = "exec 3<text; export LISTEN_FDS=1 LISTEN_PID=$$";
    let outcome = with_descriptors(&oci, opening, &["run", "--bundle", "b", "box"]);
    assert_eq!(outcome.ok(), "1 1\nkept");
}

#[test]
fn another_group_below_the_containers() {
    let mut oci = Oci::new();
    oci.set("/linux/resources/pids", json!({"limit": 40}));
    oci.up("sleep 1000");
    let Some(group) = machine::v1("pids", &oci.group()) else { return };
    std::fs::create_dir(group.join("sub")).unwrap();
    if lacks(Feature::ExecGroups) {
        std::fs::remove_dir(group.join("sub")).unwrap();
        return;
    }
    let expected = "pids:/sub";
    assert!(oci.ok(["exec", "--cgroup", "pids:sub", "box", "cat", "/proc/self/cgroup"]).contains(expected));
    for bad in ["pids:../..", "nothing:sub", "pids:absent", "pids,pids:sub", ":sub"] {
        oci.fails(255, ["exec", "--cgroup", bad, "box", "true"]);
    }
}

#[test]
fn every_process_is_in_the_containers_groups() {
    let oci = up();
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", oci.pid())).unwrap();
    oci.background("exec", ["exec", "-d", "--pid-file", "pid", "box", "sleep", "77"]).run().expect_code(0);
    let pid = std::fs::read_to_string(oci.path("pid")).unwrap();
    assert_eq!(std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap(), own);
}

/// A container may move its own first process elsewhere, and even remove the group that it began in.
#[test]
fn where_the_first_process_has_gone_if_its_group_is_gone() {
    if lacks(Feature::ExecGroups) {
        return;
    }
    let oci = up();
    let (old, new) = (machine::unified(&oci.group()), machine::unified(&format!("{}/new", oci.base)));
    std::fs::create_dir(&new).unwrap();
    std::fs::write(new.join("cgroup.procs"), oci.pid().to_string()).unwrap();
    // Of v1 groups the container keeps its own.
    std::fs::remove_dir(&old).unwrap();
    oci.background("exec", ["exec", "-d", "--pid-file", "pid", "box", "sleep", "77"]).run().expect_code(0);
    let pid = std::fs::read_to_string(oci.path("pid")).unwrap();
    assert!(machine::value(&new, "cgroup.procs").lines().any(|line| line == pid));
    let message = oci.fails(255, ["exec", "--cgroup", "/", "box", "true"]);
    assert!(message.contains("no such file or directory"), "{message}");
    oci.ok(["kill", "box", "KILL"]);
    oci.wait_for("stopped");
    machine::destroy(&format!("{}/new", oci.base));
}

#[test]
fn where_the_first_process_has_gone_if_its_group_takes_none() {
    if lacks(Feature::ExecGroups) {
        return;
    }
    let oci = up();
    let group = machine::unified(&oci.group());
    let below = group.join("below");
    std::fs::create_dir(&below).unwrap();
    std::fs::write(below.join("cgroup.procs"), oci.pid().to_string()).unwrap();
    let Some(controller) = lent_to(&oci) else { return };
    std::fs::write(group.join("cgroup.subtree_control"), format!("+{controller}")).unwrap();
    oci.background("exec", ["exec", "-d", "--pid-file", "pid", "box", "sleep", "77"]).run().expect_code(0);
    let pid = std::fs::read_to_string(oci.path("pid")).unwrap();
    assert!(machine::value(&below, "cgroup.procs").lines().any(|line| line == pid));
    let message = oci.fails(255, ["exec", "--cgroup", "/", "box", "true"]);
    assert!(message.contains(" adding pid ") && message.contains("device or resource busy"), "{message}");
}

/// A controller that the container's group may hand on.
fn lent_to(oci: &Oci) -> Option<String> {
    let base = machine::unified(&oci.base);
    let controller = machine::value(&base, "cgroup.controllers").split(' ').next()?.to_owned();
    if controller.is_empty() {
        println!("left out: no controller of v2 reaches so far down");
        return None;
    }
    std::fs::write(base.join("cgroup.subtree_control"), format!("+{controller}")).ok()?;
    Some(controller)
}
