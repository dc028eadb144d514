//! Hooks: when, where, with what, and what their failure does.

use std::path::Path;

use holm_tests::eventually;
use serde_json::{Value, json};

use super::runtime::{Feature, lacks};
use super::setup::Oci;

/// The kinds that run in the runtime's namespaces.
const OUTSIDE: [&str; 4] = ["prestart", "createRuntime", "poststart", "poststop"];

fn log(oci: &Oci) -> String {
    std::fs::read_to_string(oci.path("log")).unwrap_or_default()
}

/// A hook that runs a script of the host; `$LOG` there is the test's file.
fn hook(oci: &Oci, script: &str) -> Value {
    let variable = format!("LOG={}", oci.path("log").display());
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": [variable, "PATH=/usr/bin:/bin"]})
}

/// A hook that runs a script inside; its folder is the root.
fn inner(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"]})
}

#[test]
fn they_run_in_their_order_and_at_their_time() {
    if lacks(Feature::PoststartAtStart) {
        return;
    }
    let mut oci = Oci::new();
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        for number in 1..=2 {
            let hook = hook(&oci, &format!("echo {kind}{number} >> $LOG"));
            oci.add(&format!("/hooks/{kind}"), hook);
        }
    }
    let mark = format!("echo startContainer >> {}", oci.path("log").display());
    let log_folder = oci.path("").into_os_string().into_string().unwrap();
    oci.mount(&log_folder, "bind", &log_folder, &["bind"]).add("/hooks/startContainer", inner(&mark));
    oci.command(&["sh", "-c", &format!("echo program >> {}; sleep 1000", oci.path("log").display())]);
    oci.create();
    let created = [
        "prestart1",
        "prestart2",
        "createRuntime1",
        "createRuntime2",
        "createContainer1",
        "createContainer2",
    ];
    let text = log(&oci);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines, created);
    oci.start();
    eventually("the program writes", || log(&oci).contains("program"));
    eventually("the last hook", || log(&oci).contains("poststart2"));
    let text = log(&oci);
    let place = |name: &str| {
        text.lines().position(|line| line == name).unwrap_or_else(|| panic!("no {name}: {text}"))
    };
    assert!(place("startContainer") < place("program"), "{text}");
    assert!(place("poststart1") < place("poststart2"), "{text}");
    assert_eq!(text.lines().count(), 10, "{text}");
    oci.ok(["kill", "box", "KILL"]);
    oci.wait_for("stopped");
    assert!(!log(&oci).contains("poststop"));
    oci.ok(["delete", "box"]);
    assert!(log(&oci).ends_with("poststop1\npoststop2\n"), "{}", log(&oci));
    oci.clean();
}

#[test]
fn run_runs_all_of_them() {
    let mut oci = Oci::new();
    for kind in OUTSIDE {
        let hook = hook(&oci, &format!("echo {kind} >> $LOG"));
        oci.add(&format!("/hooks/{kind}"), hook);
    }
    oci.sh("true");
    assert_eq!(log(&oci), "prestart\ncreateRuntime\npoststart\npoststop\n");
}

#[test]
fn they_read_the_state() {
    let mut oci = Oci::new();
    oci.set("/annotations", json!({"key": "value"}));
    for kind in OUTSIDE {
        let path = oci.path(kind);
        let hook = hook(&oci, &format!("cat > {}", path.display()));
        oci.add(&format!("/hooks/{kind}"), hook);
    }
    oci.up("sleep 1000");
    let pid = oci.pid();
    oci.ok(["delete", "-f", "box"]);
    let poststart = if lacks(Feature::PoststartAtStart) { "created" } else { "running" };
    for (kind, statuses) in [
        ("prestart", &["creating", "created"][..]),
        ("createRuntime", &["creating", "created"]),
        ("poststart", &[poststart]),
        ("poststop", &["stopped"]),
    ] {
        let text = std::fs::read_to_string(oci.path(kind)).unwrap();
        let state: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&state["id"], &state["bundle"]), (&json!("box"), &json!(oci.bundle())), "{kind}: {text}");
        assert_eq!(state["annotations"]["key"], "value", "{kind}: {text}");
        assert!(
            state["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")),
            "{kind}: {text}"
        );
        let status = state["status"].as_str().unwrap();
        assert!(statuses.contains(&status), "{kind}: {text}");
        let expected = if kind == "poststop" { 0 } else { u64::from(pid) };
        assert_eq!(state["pid"].as_u64().unwrap_or(0), expected, "{kind}: {text}");
    }
}

#[test]
fn those_outside_are_in_the_runtimes_namespaces() {
    let mut oci = Oci::new();
    for kind in OUTSIDE {
        let hook = hook(&oci, "for n in mnt uts ipc net pid; do readlink /proc/self/ns/$n; done >> $LOG");
        oci.add(&format!("/hooks/{kind}"), hook);
    }
    oci.sh("true");
    let own: String = ["mnt", "uts", "ipc", "net", "pid"]
        .map(|name| format!("{}\n", std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display()))
        .concat();
    assert_eq!(log(&oci), own.repeat(4));
}

#[test]
fn create_container_is_inside_before_the_root_is_changed() {
    let mut oci = Oci::new();
    // A shell of the host, run in the container's namespaces, still sees the host's files.
    let hook = hook(
        &oci,
        "echo $(hostname) $(readlink /proc/self/ns/mnt) $(test -e \"$LOG\" && echo seen) >> $LOG; pwd >> $LOG; \
        readlink /proc/self/ns/net >> $LOG",
    );
    std::fs::write(oci.path("log"), "").unwrap();
    oci.add("/hooks/createContainer", hook);
    let inside = oci.sh("readlink /proc/self/ns/mnt; readlink /proc/self/ns/net");
    let text = log(&oci);
    let (first, rest) = text.split_once('\n').unwrap();
    let own = std::fs::read_link("/proc/self/ns/mnt").unwrap();
    assert!(first.ends_with("seen") && !first.contains(own.to_str().unwrap()), "{text}");
    assert_eq!(inside.lines().count(), 2);
    assert!(rest.contains("net:["), "{text}");
    let host = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert!(!rest.contains(host.to_str().unwrap()), "{text}");
}

#[test]
fn start_container_is_inside_the_root() {
    let mut oci = Oci::new();
    oci.add(
        "/hooks/startContainer",
        inner("hostname > /made; readlink /proc/self/ns/mnt >> /made; cat > /state; echo $$ >> /made"),
    );
    let text = oci.sh("cat /made; readlink /proc/self/ns/mnt; cat /state");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "box");
    assert_eq!(lines[1], lines[3]);
    let state: Value = serde_json::from_str(lines[4]).unwrap();
    assert_eq!(state["id"], "box");
}

#[test]
fn arguments_and_environment_are_as_given() {
    let mut oci = Oci::new();
    let script =
        format!("printf '%s|' \"$0\" \"$@\" \"$A\" \"$HOME\" \"$TERM\" > {}", oci.path("log").display());
    oci.add(
        "/hooks/createRuntime",
        json!({"path": "/bin/sh", "args": ["name", "-c", script, "zero", "a b", ""], "env": ["A=1 2"]}),
    );
    oci.sh("true");
    assert_eq!(log(&oci), "zero|a b||1 2|||");
}

#[test]
fn a_start_container_hook_without_an_environment_has_the_processes() {
    let mut oci = Oci::new();
    oci.set("/process/env", json!(["PATH=/bin", "OF_PROCESS=yes"]));
    oci.add(
        "/hooks/startContainer",
        json!({"path": "/bin/sh", "args": ["sh", "-c", "echo $OF_PROCESS > /made"]}),
    );
    assert_eq!(oci.sh("cat /made"), "yes");
}

#[test]
fn the_folder_of_those_outside_is_the_bundle_at_create() {
    let mut oci = Oci::new();
    let hook = hook(&oci, "pwd >> $LOG");
    oci.add("/hooks/createRuntime", hook.clone()).add("/hooks/prestart", hook);
    oci.sh("true");
    let bundle = oci.bundle();
    assert_eq!(log(&oci).lines().map(Path::new).collect::<Vec<_>>(), [bundle.as_path(), bundle.as_path()]);
}

#[test]
fn a_hook_may_change_the_network_of_the_container() {
    let mut oci = Oci::new();
    let script = "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); nsenter --net=/proc/$pid/ns/net sh -c \
        'echo 1 > /proc/sys/net/ipv4/ip_forward' || echo failed >> $LOG";
    let hook = hook(&oci, script);
    oci.add("/hooks/createRuntime", hook);
    oci.sh("true");
    assert_eq!(log(&oci), "");
}
