//! `compare`: what it says where there is no machine to compare with, and what both cost; that nothing is left.

use std::time::Duration;

use holm_tests::{Holm, debian, eventually, host};
use rustix::process::Signal;
use serde_json::Value;

fn document(holm: &Holm, arguments: &[&str]) -> (i32, Value) {
    let call = holm.call(["compare", "--format", "json"].iter().chain(arguments));
    let outcome = call.timeout(Duration::from_secs(300)).run();
    (outcome.code(), serde_json::from_str(&outcome.out()).expect("JSON"))
}

#[track_caller]
fn nothing_is_left(holm: &Holm) {
    let directory = holm.root().parent().expect("the root lies below").to_owned();
    eventually("no workload is left", || holm.workloads().is_empty());
    let name = directory.display().to_string();
    eventually("no process is left", || host::processes_naming(&name).is_empty());
    eventually("no mount is left", || host::mounts_below(&directory).is_empty());
    assert_eq!(std::fs::read_dir(holm.root().join("snapshots")).expect("a directory").count(), 0);
}

#[test]
fn without_a_kernel_the_container_is_shown_with_what_is_missing() {
    let holm = Holm::new();
    let (code, document) = document(&holm, &["--runs", "1", "base", "sh", "-c", "exit 3"]);
    assert_eq!(code, 1);
    let (container, machine) = (&document["Container"], &document["Machine"]);
    assert_eq!((&container["ExitCode"], &container["Hypervisor"]), (&Value::from(3), &Value::Null));
    assert_eq!(container["Kernel"], document["HostKernel"]);
    assert!(container["Memory"].as_u64() > container["KeeperMemory"].as_u64(), "{container}");
    let names = container["Processes"].as_array().expect("processes").iter().map(|one| &one["Name"]);
    assert_eq!(names.collect::<Vec<_>>(), ["holm-keeper", "sh"]);
    assert!(machine["Missing"].as_str().is_some_and(|why| why.contains("kernel")), "{machine}");
    assert!(machine["Hints"][0].as_str().is_some_and(|hint| hint.contains("holm kernel import")));
    assert_eq!(document["Stacks"].as_array().map(Vec::len), Some(1));
    nothing_is_left(&holm);
}

#[test]
fn people_get_a_table_and_a_drawing_in_their_characters() {
    let holm = Holm::new();
    let shown = |locale: &str| {
        let outcome = holm.call(["compare", "--runs", "1", "base"]).env("LC_ALL", locale).run();
        outcome.expect_code(1).out()
    };
    let (boxes, ascii) = (shown("C.UTF-8"), shown("C"));
    assert!(boxes.contains("CONTAINER") && boxes.contains("until `true` is gone"), "{boxes}");
    assert!(boxes.contains("No virtual machine: ") && boxes.contains("  hint: "), "{boxes}");
    assert!(boxes.contains("│ holm-keeper") && !boxes.contains('\u{1b}'), "{boxes}");
    assert!(ascii.contains("| holm-keeper") && ascii.is_ascii(), "{ascii}");
}

#[test]
fn what_neither_can_run_is_an_error() {
    let holm = Holm::new();
    holm.run(["compare", "none"]).refused(1, &["none"]);
    holm.run(["compare", "base", "no-such-command"]).refused(1, &["no-such-command"]);
    holm.run(["compare", "--runs", "0", "base"]).refused(125, &["--runs"]);
    holm.run(["compare", "--hypervisor", "xen", "base"]).refused(125, &["--hypervisor", "xen"]);
    holm.run(["compare", "--format", "{{.Nope", "base"]).refused(1, &["--format"]);
    nothing_is_left(&holm);
}

#[test]
fn a_signal_ends_it_and_what_it_runs() {
    let holm = Holm::new();
    let running = holm.call(["compare", "base", "sleep", "1000"]).spawn();
    eventually("a container runs", || !holm.ok(["ps", "-q"]).is_empty());
    running.signal(Signal::INT);
    running.finish().refused(1, &["SIGINT"]);
    nothing_is_left(&holm);
}

#[test]
#[ignore = "boots virtual machines"]
fn both_ways_beside_each_other() {
    let holm = Holm::new();
    debian::import_kernel(&holm);
    let (code, document) = document(&holm, &["base"]);
    assert_eq!(code, 0, "{document}");
    let (container, machine) = (&document["Container"], &document["Machine"]);
    for side in [container, machine] {
        assert_eq!(side["ExitCode"], 0);
        assert!(side["StartSeconds"].as_f64() < side["WholeSeconds"].as_f64(), "{side}");
        assert_eq!(side["Processes"][0]["Name"], "holm-keeper");
        assert!(
            side["Processes"].as_array().expect("some").iter().all(|one| one["Memory"].as_u64() > Some(0))
        );
    }
    assert_eq!(container["Kernel"], document["HostKernel"]);
    assert!(machine["Kernel"].as_str().is_some_and(|release| release.starts_with("6.1.")), "{machine}");
    assert_eq!(machine["Processes"][1]["Name"], "holm-machine");
    assert!(machine["Memory"].as_u64() > container["Memory"].as_u64(), "{document}");
    let hypervisor = &machine["Hypervisor"];
    let kind = if hypervisor["Accelerator"] == "kvm" { "type 2" } else { "emulator" };
    assert_eq!(hypervisor["Kind"], kind);
    assert!(hypervisor["Reason"].as_str().is_some_and(|reason| reason.contains("KVM")), "{hypervisor}");
    assert_eq!(document["Stacks"][1].as_array().map(Vec::len), Some(7));
    nothing_is_left(&holm);
}
