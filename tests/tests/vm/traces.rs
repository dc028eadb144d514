//! What a machine leaves on the host: nothing.

use std::path::PathBuf;

use holm_tests::{Holm, eventually, host};

/// Runs a test with an installation whose workloads are machines.
pub fn with_machines(test: impl FnOnce(&Holm)) {
    holm_tests::isolation::in_machines(|| test(&Holm::new()));
}

/// Processes of a workload on the host whose program is of this name, or begins with it.
pub fn processes(id: &str, program: &str) -> Vec<u32> {
    let mut pids = host::processes(id);
    pids.retain(|pid| host::program(*pid).starts_with(program));
    pids
}

/// The emulator of a workload.
#[track_caller]
pub fn emulator(id: &str) -> u32 {
    let found = processes(id, "qemu-system");
    assert_eq!(found.len(), 1, "emulators of {id}: {found:?}");
    found[0]
}

/// Demands that of a workload that has ended nothing is left but its files, and that these go with it.
#[track_caller]
pub fn is_released(holm: &Holm, id: &str) {
    eventually("no group is left", || host::groups(id).is_empty());
    eventually("no keeper is left", || host::processes_naming(id).is_empty());
    let directory = holm.root().parent().expect("the root lies below").to_owned();
    assert_eq!(host::mounts_below(&directory), Vec::<PathBuf>::new());
}

/// Demands that no trace of any workload is left, after the removal of this one.
#[track_caller]
pub fn is_gone(holm: &Holm, id: &str) {
    is_released(holm, id);
    eventually("no directory is left", || holm.workloads().is_empty());
    let left = std::fs::read_dir(holm.root().join("snapshots")).expect("a directory").count();
    assert_eq!(left, 0, "disks of what was removed");
    let directory = holm.root().parent().expect("the root lies below").display().to_string();
    eventually("no process is left", || host::processes_naming(&directory).is_empty());
}
