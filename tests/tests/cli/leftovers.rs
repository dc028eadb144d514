//! What stays behind: nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use holm_tests::{Holm, eventually, host};
use rustix::process::Signal;

/// Both roots, but for the log of what happened.
fn trees(holm: &Holm) -> [BTreeMap<PathBuf, String>; 2] {
    let mut trees = [host::tree(&holm.root()), host::tree(&holm.run_root())];
    trees[1].retain(|path, _| !path.starts_with("events"));
    trees
}

/// Demands that no trace of these workloads is left, at once.
#[track_caller]
fn clean(holm: &Holm, ids: &[String]) {
    let directory = holm.root().parent().expect("the root lies below").to_owned();
    assert_eq!(host::mounts_below(&directory), Vec::<PathBuf>::new());
    for id in ids {
        assert_eq!(host::groups(id), Vec::<PathBuf>::new());
    }
    assert_eq!(holm.workloads(), Vec::<String>::new());
    // The keeper itself may take a moment to end.
    let text = directory.to_str().expect("temporary paths are text").to_owned();
    eventually("no process is left", || host::processes_naming(&text).is_empty());
}

fn id_of(holm: &Holm, file: &str) -> String {
    std::fs::read_to_string(holm.scratch(file)).expect("the id was written")
}

#[test]
fn after_a_foreground_run() {
    let holm = Holm::new();
    holm.sh(&[], "true");
    let before = trees(&holm);
    for (number, flags) in [
        &[][..],
        &["--init"],
        &["-i"],
        &["--memory", "64m", "--cpus", "1", "--pids-limit", "9"],
        &["--privileged"],
        &["--network", "host"],
        &["--tmpfs", "/t"],
        &["-t"],
    ]
    .iter()
    .enumerate()
    {
        let file = format!("cid{number}");
        let flags: Vec<_> = flags.iter().copied().chain(["--cidfile", &file]).collect();
        holm.sh(&flags, "touch /made; echo out");
        clean(&holm, &[id_of(&holm, &file)]);
        assert_eq!(trees(&holm), before, "{flags:?}");
    }
}

#[test]
fn after_a_run_that_fails() {
    let holm = Holm::new();
    holm.sh(&[], "true");
    let before = trees(&holm);
    holm.run(["run", "--rm", "base", "absent"]).expect_code(127);
    holm.run(["run", "--rm", "base", "/etc"]).expect_code(126);
    holm.run(["run", "--rm", "-u", "nobody-here", "base", "true"]).expect_code(125);
    holm.run(["run", "--rm", "-w", "/etc/passwd", "base", "true"]).expect_code(125);
    holm.run(["run", "--rm", "--memory", "1m", "base", "true"]).expect_code(125);
    holm.run(["run", "--rm", "absent", "true"]).expect_code(125);
    holm.run(["run", "-u", "nobody-here", "base", "true"]).expect_code(125);
    for id in holm.workloads() {
        holm.ok(["rm", &id]);
    }
    clean(&holm, &[]);
    assert_eq!(trees(&holm), before);
}

#[test]
fn after_a_signal() {
    let holm = Holm::new();
    holm.sh(&[], "true");
    let before = trees(&holm);
    for signal in [Signal::TERM, Signal::INT] {
        let script = "trap 'exit 1' TERM INT; echo ready; while :; do sleep 0.02; done";
        let mut call = holm.call(["run", "--rm", "base", "sh", "-c", script]).spawn();
        call.expect_stdout("ready");
        call.signal(signal);
        call.finish().expect_code(1);
        clean(&holm, &[]);
        assert_eq!(trees(&holm), before);
    }
}

#[test]
fn after_a_mix_of_commands() {
    let holm = Holm::new();
    holm.sh(&[], "true");
    let before = trees(&holm);
    let mut ids = vec![
        holm.start(&["--name", "one"], "sleep 60"),
        holm.start(&["--name", "two", "--init", "--memory", "32m"], "seq 1 1000; sleep 60"),
    ];
    ids.push(holm.ok(["create", "--name", "three", "base", "true"]));
    holm.ok(["exec", "one", "sh", "-c", "touch /a; sleep 60 & echo x"]);
    holm.ok(["exec", "-d", "two", "sleep", "60"]);
    holm.run(["exec", "two", "absent"]).expect_code(127);
    holm.ok(["logs", "two"]);
    holm.ok(["top", "one"]);
    holm.ok(["stop", "-t", "0", "one"]);
    holm.ok(["start", "one", "three"]);
    holm.ok(["wait", "three"]);
    holm.ok(["kill", "two"]);
    holm.ok(["wait", "two"]);
    holm.ok(["tag", "base", "again"]);
    holm.ok(["rmi", "again"]);
    holm.ok(["rm", "two", "three"]);
    holm.ok(["rm", "-f", "one"]);
    clean(&holm, &ids);
    assert_eq!(trees(&holm), before);
}

#[test]
fn after_a_stop_only_what_is_needed() {
    let holm = Holm::new();
    let id = holm.start(&["--memory", "32m"], "touch /x; sleep 60");
    holm.ok(["stop", "-t", "0", &id]);
    assert_eq!(host::groups(&id), Vec::<PathBuf>::new(), "no groups");
    assert_eq!(host::mounts_below(holm.root().parent().unwrap()), Vec::<PathBuf>::new(), "no mounts");
    eventually("no keeper", || host::processes_naming(&id).is_empty());
    assert_eq!(holm.workloads(), [id]);
}

#[test]
fn mounts_stay_out_of_the_hosts_sight() {
    let holm = Holm::new();
    holm.start(&[], "sleep 60");
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let root = holm.root().parent().unwrap().display().to_string();
    let seen: Vec<_> = table.lines().filter(|line| line.contains(&root)).collect();
    // Layers may be mounted once for all; the root file system of a workload is its own affair.
    assert!(seen.iter().all(|line| line.contains(" - erofs ")), "{seen:?}");
}

holm_tests::also_in_machines!(after_a_stop_only_what_is_needed);
