//! Every fail point killed once, in every command that meets it.
//!
//! Each scenario has roots of its own. After the kill comes one next command, `holm ps -a`, and behind an
//! image's fail point `holm images`, too. Then what is there must be one of the states that are right: as
//! before, or as the command would have left it, or, where a command has two effects, with the first one
//! done; and the same command must succeed.

use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use holm_sys::fail_point;
use holm_tests::{Call, Outcome, kernels};

use super::footprint::Footprint;
use super::island::{Island, import, third};
use super::kernel;

const SIGKILL: i32 = 9;
/// How long a keeper may take to reach its point.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a command may take whose keeper dies: it must notice.
const LIMIT: Duration = Duration::from_secs(10);

/// A state in which an installation may rightly be, beside image `base` and the bystander.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Clean,
    Imported,
    WithKernel,
    Created,
    Running,
    Exited,
}

/// Commands that change state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Import,
    ImportKernel,
    RemoveImage,
    RemoveKernel,
    Create,
    RunDetached,
    RunToEnd,
    RunRemoved,
    Start,
    Remove,
    RemoveRunning,
}

use Operation::{
    Create, Import, ImportKernel, Remove, RemoveImage, RemoveKernel, RemoveRunning, RunDetached, RunRemoved,
    RunToEnd, Start,
};

const OPERATIONS: [Operation; 11] = [
    Import,
    ImportKernel,
    RemoveImage,
    RemoveKernel,
    Create,
    RunDetached,
    RunToEnd,
    RunRemoved,
    Start,
    Remove,
    RemoveRunning,
];

/// The commands that meet a fail point.
fn operations(point: &str) -> &'static [Operation] {
    match point {
        "keeper-exit-seen" | "keeper-exit-written" | "keeper-cgroup-removed" | "keeper-layers-released" => {
            &[RunToEnd, RunRemoved, RemoveRunning]
        }
        _ if point.starts_with("import-") => &[Import],
        _ if point.starts_with("kernel-") => &[ImportKernel],
        _ if point.starts_with("rmi-") => &[RemoveImage, RemoveKernel],
        _ if point.starts_with("create-") => &[Create, RunDetached, RunRemoved],
        _ if point.starts_with("start-") || point.starts_with("keeper-") => &[RunDetached, RunRemoved, Start],
        _ if point.starts_with("remove-") => &[RunRemoved, Remove],
        _ => &[],
    }
}

impl Operation {
    fn call(self, island: &Island) -> Call {
        let words: &[&str] = match self {
            Import => return import(&island.holm, "third", third()),
            ImportKernel => {
                let call = island.holm.call(["kernel", "import", "--tag", "fourth", "-"]);
                return call.stdin(kernels::package("6.1.0"));
            }
            RemoveImage => &["rmi", "third"],
            RemoveKernel => &["kernel", "rm", "fourth"],
            Create => &["create", "--name", "victim", "base", "sleep", "100000"],
            // Its keeper has the fail point; what meets it is the removal by force that follows.
            RunDetached | RemoveRunning => &["run", "-d", "--name", "victim", "base", "sleep", "100000"],
            RunToEnd => &["run", "--name", "victim", "base", "true"],
            RunRemoved => &["run", "--rm", "--name", "victim", "base", "true"],
            Start => &["start", "victim"],
            Remove => &["rm", "victim"],
        };
        island.holm.call(words)
    }

    /// The state that it begins with.
    fn from(self) -> Stage {
        match self {
            RemoveImage => Stage::Imported,
            RemoveKernel => Stage::WithKernel,
            Start | Remove => Stage::Created,
            _ => Stage::Clean,
        }
    }

    /// The state that it leaves.
    fn goal(self) -> Stage {
        match self {
            Import => Stage::Imported,
            ImportKernel => Stage::WithKernel,
            Create => Stage::Created,
            RunDetached | Start => Stage::Running,
            RunToEnd => Stage::Exited,
            RemoveImage | RemoveKernel | RunRemoved | Remove | RemoveRunning => Stage::Clean,
        }
    }

    /// The states that are right behind its crash.
    fn right(self) -> &'static [Stage] {
        match self {
            Import | RemoveImage => &[Stage::Clean, Stage::Imported],
            ImportKernel | RemoveKernel => &[Stage::Clean, Stage::WithKernel],
            Create | Remove => &[Stage::Clean, Stage::Created],
            // Two effects: created, then started.
            RunDetached => &[Stage::Clean, Stage::Created, Stage::Running],
            Start => &[Stage::Created, Stage::Running],
            // Its points lie behind the end of the process.
            RunToEnd => &[Stage::Exited],
            RunRemoved | RemoveRunning => &[Stage::Clean],
        }
    }
}

/// The footprint of each state, taken where nothing was killed.
fn reference(stage: Stage) -> &'static Footprint {
    static REFERENCES: OnceLock<[Footprint; 6]> = OnceLock::new();
    let references = REFERENCES.get_or_init(|| {
        let island = Island::new();
        let mut take = |operation: Operation| {
            operation.call(&island).run().ok();
            let alone = || operation.goal() == Stage::Running || kernel::keepers(&island.holm).len() == 1;
            holm_tests::eventually("the keeper of a workload that has ended goes", alone);
            let footprint = island.footprint();
            undo(&island);
            island.is_clean("a command and its contrary leave something");
            footprint
        };
        let [imported, with_kernel, created] = [Import, ImportKernel, Create].map(&mut take);
        let [running, exited] = [RunDetached, RunToEnd].map(&mut take);
        [island.clean.clone(), imported, with_kernel, created, running, exited]
    });
    &references[stage as usize]
}

/// Goes back to the clean state from any other.
#[track_caller]
fn undo(island: &Island) {
    let words = ["ps", "-aq", "--filter", "name=victim"];
    if !island.holm.ok(words).is_empty() {
        island.holm.ok(["rm", "-f", "victim"]);
    }
    if !island.holm.ok(["images", "-q", "third"]).is_empty() {
        island.holm.ok(["rmi", "third"]);
    }
    if !island.holm.ok(["kernel", "ls", "-q"]).is_empty() {
        island.holm.ok(["kernel", "rm", "fourth"]);
    }
}

#[track_caller]
fn prepare(island: &Island, operation: Operation) {
    match operation.from() {
        Stage::Imported => drop(Import.call(island).run().ok()),
        Stage::WithKernel => drop(ImportKernel.call(island).run().ok()),
        Stage::Created => drop(Create.call(island).run().ok()),
        _ => {}
    }
}

/// Runs the operation with the fail point; says whether a process died there.
#[track_caller]
fn injure(island: &Island, operation: Operation, point: &str) -> bool {
    let outcome = operation.call(island).env("HOLM_FAIL_POINT", point).timeout(LIMIT).run();
    if operation == RemoveRunning {
        outcome.ok();
        // Its keeper dies under it, and still it does what was asked.
        island.holm.ok(["rm", "-f", "victim"]);
        return true;
    }
    let deadline = Instant::now() + PATIENCE;
    while !died(island, &outcome) {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

/// Whether `holm` died, or a keeper: then its sandbox is nobody's, or `holm` cleaned up and says so.
fn died(island: &Island, outcome: &Outcome) -> bool {
    outcome.status.signal() == Some(SIGKILL)
        || !kernel::orphans(&island.holm).is_empty()
        || outcome.err().contains("keeper ended before it answered")
}

fn crash(operation: Operation, point: &str) {
    let island = Island::new();
    prepare(&island, operation);
    assert!(injure(&island, operation, point), "the fail point was not reached");
    let victims = island.victims();

    island.holm.ok(["ps", "-a"]);
    if matches!(operation, Import | RemoveImage | ImportKernel | RemoveKernel) {
        island.holm.ok(["images"]);
    }
    let right: Vec<_> = operation.right().iter().map(|stage| reference(*stage)).collect();
    let reached = match island.reaches(&right) {
        Ok(index) => operation.right()[index],
        Err(difference) => panic!("the next command leaves a state that is not right:\n{difference}"),
    };
    if reached != Stage::Running {
        island.groups_are_gone(&victims).unwrap_or_else(|text| panic!("left over:\n{text}"));
    }
    island.bystander_is_well();
    again(&island, operation, reached);
}

/// The same operation succeeds, with the same name, from wherever the crash left things.
fn again(island: &Island, operation: Operation, reached: Stage) {
    if reached != operation.from() {
        undo(island);
        island.is_clean("what a crash left cannot be removed");
        prepare(island, operation);
    }
    operation.call(island).run().ok();
    if operation == RemoveRunning {
        island.holm.ok(["rm", "-f", "victim"]);
    }
    if let Err(difference) = island.reaches(&[reference(operation.goal())]) {
        panic!("done again, it leaves something else:\n{difference}");
    }
    undo(island);
    island.is_clean("done again and undone, it leaves something");
}

/// Every scenario of an operation, to the end even if some fail.
#[track_caller]
fn crash_everywhere(operation: Operation) {
    let points = fail_point::ALL.iter().filter(|point| operations(point).contains(&operation));
    let failed: Vec<String> = points
        .filter_map(|point| {
            let outcome = catch_unwind(AssertUnwindSafe(|| crash(operation, point)));
            outcome.err().map(|panic| format!("{operation:?} killed at {point}: {}", text(&*panic)))
        })
        .collect();
    assert!(failed.is_empty(), "{} scenarios fail:\n{}", failed.len(), failed.join("\n"));
}

fn text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}

#[test]
fn every_point_has_a_scenario() {
    let elsewhere = [
        super::machines::POINTS,
        super::prune::POINTS,
        super::prune::CHECK_POINTS,
        super::prune::MOUNT_POINTS,
        super::logs::POINTS,
        super::networks::POINTS,
        super::networks::DOCUMENT_POINTS,
        super::networks::PLUGIN_POINTS,
        super::volumes::POINTS,
        super::builds::POINTS,
        super::volumes::RELEASE_POINTS,
        super::volumes::FILE_SYSTEM_POINTS,
        // The store's own tests.
        "unpack",
    ];
    let here = fail_point::ALL.iter().filter(|point| !elsewhere.iter().any(|other| point.starts_with(other)));
    let missing: Vec<_> = here.filter(|point| operations(point).is_empty()).collect();
    assert!(missing.is_empty(), "no command is known to meet {missing:?}");
    let idle =
        |operation: &&Operation| !fail_point::ALL.iter().any(|point| operations(point).contains(operation));
    assert_eq!(OPERATIONS.iter().find(idle), None, "an operation without a fail point");
}

#[test]
fn an_import_that_is_killed() {
    crash_everywhere(Import);
}

#[test]
fn a_removal_of_an_image_that_is_killed() {
    crash_everywhere(RemoveImage);
}

#[test]
fn an_import_of_a_kernel_that_is_killed() {
    crash_everywhere(ImportKernel);
}

#[test]
fn a_removal_of_a_kernel_that_is_killed() {
    crash_everywhere(RemoveKernel);
}

#[test]
fn a_creation_that_is_killed() {
    crash_everywhere(Create);
}

#[test]
fn a_run_in_the_background_that_is_killed() {
    crash_everywhere(RunDetached);
}

#[test]
fn a_run_to_the_end_that_is_killed() {
    crash_everywhere(RunToEnd);
}

#[test]
fn a_run_with_removal_that_is_killed() {
    crash_everywhere(RunRemoved);
}

#[test]
fn a_start_that_is_killed() {
    crash_everywhere(Start);
}

#[test]
fn a_removal_that_is_killed() {
    crash_everywhere(Remove);
}

#[test]
fn a_removal_by_force_whose_keeper_is_killed() {
    crash_everywhere(RemoveRunning);
}
