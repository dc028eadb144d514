//! Fail points in the start of a virtual machine: its keeper dies there, and nothing is left.

use holm_sys::fail_point;
use holm_tests::{Holm, eventually, host};

use super::kernel;

/// How the names of these points begin.
pub const POINTS: &str = "machine-";
/// Behind it the machine is known to run: the next command adopts it.
const ADOPTED: &str = "machine-told";

#[test]
#[ignore = "boots virtual machines"]
fn a_start_of_a_machine_that_is_killed() {
    holm_tests::isolation::in_machines(|| {
        let holm = Holm::new();
        for point in fail_point::ALL.iter().filter(|point| point.starts_with(POINTS)) {
            crash(&holm, point);
        }
    });
}

fn crash(holm: &Holm, point: &str) {
    let shared = holm.scratch("");
    let volume = format!("{}:/shared", shared.display());
    let words = ["run", "-d", "--name", "victim", "-v", &volume, "base", "sleep", "100000"];
    let outcome = holm.call(words).env("HOLM_FAIL_POINT", point).run();
    let said = outcome.err().contains("keeper ended before it answered");
    eventually(point, || said || !kernel::orphans(holm).is_empty());
    let ids = holm.workloads();

    let state = holm.ok(["ps", "-a", "--format", "{{.State}}"]);
    let right: &[&str] = if point == ADOPTED { &["running", "exited"] } else { &["", "created", "exited"] };
    assert!(right.contains(&state.as_str()), "{point}: the workload is `{state}`; {outcome}");
    if !state.is_empty() {
        holm.ok(["rm", "-f", "victim"]);
    }
    is_gone(holm, point, &ids);

    let again = holm.ok(words);
    holm.ok(["rm", "-f", "victim"]);
    is_gone(holm, point, &[again]);
}

/// No trace of these workloads is left.
#[track_caller]
fn is_gone(holm: &Holm, point: &str, ids: &[String]) {
    for id in ids {
        eventually(&format!("{point}: no group is left"), || host::groups(id).is_empty());
        eventually(&format!("{point}: no process is left"), || host::processes_naming(id).is_empty());
    }
    eventually(&format!("{point}: no directory is left"), || holm.workloads().is_empty());
    let disks = std::fs::read_dir(holm.root().join("snapshots")).expect("a directory").count();
    assert_eq!(disks, 0, "{point}: disks of what was removed");
    let directory = holm.root().parent().expect("the root lies below").to_owned();
    assert!(host::mounts_below(&directory).is_empty(), "{point}: mounts are left");
}
