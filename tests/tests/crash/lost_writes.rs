//! A power cut at every moment of a command.
//!
//! A command is recorded (`trace`), and each prefix of what it did is played onto a file system that
//! forgets (`model`). Every tree that a power cut can leave is put where the original was, with an empty
//! run root as after a boot, and must be one that Holm can live with: each image and workload is either
//! unknown, and can be made, or whole; and what a command has reported done is known.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

use holm_tests::{Holm, host, tarball};

use super::island::import;
use super::kernel;
use super::model::{self, LOSSES, Loss, Model, Tree};
use super::trace::{self, Operation};

/// Prints what a workload needs besides its image: its own files, and the mode of its `/`.
const SCRIPT: &str = "cat /etc/hostname /etc/hosts /etc/resolv.conf; stat -c %a /; cat /etc/os-release";

/// Most failures that are shown, of those that differ in more than their moment.
const SHOWN: usize = 12;

/// What a command did.
struct Recording {
    before: Tree,
    operations: Vec<Operation>,
}

/// A tree that a power cut can leave.
struct State {
    tree: Tree,
    loss: Loss,
    /// The command had reported success.
    done: bool,
    /// For people: where in the recording it is from.
    origin: String,
}

impl Recording {
    #[track_caller]
    fn of(holm: &Holm, arguments: &[&str], stdin: Vec<u8>) -> Self {
        let before = model::read(&holm.root());
        let mut command = holm.command();
        command.args(arguments);
        let operations = trace::record(&command, &holm.root(), &holm.scratch("trace"), stdin);
        let recording = Self { before, operations };
        recording.is_faithful(holm);
        recording
    }

    /// Demands that the whole recording leads to what the command left on the disk.
    #[track_caller]
    fn is_faithful(&self, holm: &Holm) {
        let mut model = Model::of(&self.before);
        self.operations.iter().for_each(|operation| model.apply(operation));
        let (replayed, real) = (model.after(Loss::Nothing), model::read(&holm.root()));
        let differs = |path: &&std::path::PathBuf| replayed.get(*path) != real.get(*path);
        // A lock is made without a name and linked in, which the model does not know; it has no content.
        let is_lock = |path: &&std::path::PathBuf| path.file_name().is_some_and(|name| name == "lock");
        let paths = replayed.keys().chain(real.keys()).filter(|path| !is_lock(path));
        let wrong: Vec<_> = paths.filter(differs).collect();
        assert!(wrong.is_empty(), "the recording and the disk differ at {wrong:?}");
        assert!(self.operations.len() > 3, "nothing was recorded");
    }

    /// Every tree, each once.
    fn states(&self) -> Vec<State> {
        let mut model = Model::of(&self.before);
        let (mut seen, mut states) = (HashSet::new(), Vec::new());
        for step in 0..=self.operations.len() {
            let last = step.checked_sub(1).and_then(|last| self.operations.get(last));
            if let Some(operation) = last {
                model.apply(operation);
            }
            let done = step == self.operations.len();
            for loss in LOSSES {
                let tree = model.after(loss);
                // The end is of interest even if nothing changed in the last step.
                if seen.insert((digest(&tree), done)) {
                    let origin = format!("{loss:?} lost, after step {step}: {}", shown(last));
                    states.push(State { tree, loss, done, origin });
                }
            }
        }
        states
    }

    /// Checks every tree with `check`, whose second argument says whether the command had ended.
    #[track_caller]
    fn survives(&self, holm: &Holm, check: impl Fn(&Holm, bool)) {
        let states = self.states();
        let (mut failures, mut texts) = (Vec::new(), HashSet::new());
        let mut failed = 0;
        for state in &states {
            boot(holm, &state.tree);
            let outcome = catch_unwind(AssertUnwindSafe(|| check(holm, state.done)));
            if let Err(panic) = outcome {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
                failed += 1;
                if texts.insert(text.to_owned()) {
                    failures.push(format!("{}\n{text}", state.origin));
                }
            }
            shut_down(holm);
        }
        failures.truncate(SHOWN);
        assert!(failed == 0, "{failed} of {} states fail:\n{}", states.len(), failures.join("\n"));
    }
}

fn digest(tree: &Tree) -> u64 {
    let mut hasher = DefaultHasher::new();
    tree.hash(&mut hasher);
    hasher.finish()
}

fn shown(operation: Option<&Operation>) -> String {
    match operation {
        None => "nothing".to_owned(),
        Some(Operation::Write { path, bytes, .. }) => {
            format!("write {} bytes to {}", bytes.len(), path.display())
        }
        Some(other) => format!("{other:?}"),
    }
}

/// Puts a tree in the place of the root, and empties the run root.
fn boot(holm: &Holm, tree: &Tree) {
    shut_down(holm);
    drop(std::fs::remove_dir_all(holm.run_root()));
    std::fs::create_dir(holm.run_root()).expect("its parent is there");
    model::write(tree, &holm.root());
}

/// Ends whatever runs.
fn shut_down(holm: &Holm) {
    for keeper in kernel::keepers(holm) {
        host::kill(keeper.pid);
    }
    kernel::ids(holm).iter().for_each(|id| host::destroy_groups(id));
    host::unmount_below(&holm.run_root());
}

/// The image is whole, or unknown and can be imported.
fn image_is_whole_or_unknown(holm: &Holm, must_be_known: bool, must_be_unknown: bool) {
    holm.ok(["ps", "-a"]);
    let is_known = !holm.ok(["images", "-q", "base"]).is_empty();
    assert!(is_known || !must_be_known, "the import was reported done, and the image is lost");
    assert!(!is_known || !must_be_unknown, "the removal was reported done, and the image is back");
    let run = || holm.run(["run", "--rm", "base", "cat", "/etc/os-release"]);
    if !is_known {
        let outcome = run();
        assert!(outcome.err().contains("there is no image `base`"), "{outcome}");
        import(holm, "base", tarball::base()).run().ok();
    }
    assert!(run().ok().starts_with("ID=base"));
}

#[test]
fn power_cuts_during_an_import() {
    let holm = Holm::empty();
    let recording = Recording::of(&holm, &["import", "-", "base"], tarball::base());
    recording.survives(&holm, |holm, done| image_is_whole_or_unknown(holm, done, false));
}

#[test]
fn power_cuts_during_the_removal_of_an_image() {
    let holm = Holm::new();
    let recording = Recording::of(&holm, &["rmi", "base"], Vec::new());
    recording.survives(&holm, |holm, done| image_is_whole_or_unknown(holm, false, done));
}

/// Flags and command of a workload that prints what it was given.
fn workload<'a>(verb: &[&'a str]) -> Vec<&'a str> {
    [verb, &["--name", "kept", "--hostname", "host-of-kept", "base", "sh", "-c", SCRIPT]].concat()
}

/// The workload is whole, under its name, or unknown and can be made.
fn workload_is_whole_or_unknown(holm: &Holm, must_be_known: bool, prints: &str) {
    let names = holm.ok(["ps", "-a", "--format", "{{.Names}}"]);
    match names.as_str() {
        "kept" => {}
        "" => {
            assert!(!must_be_known, "the workload was reported made, and is lost");
            holm.ok(workload(&["create"]));
        }
        _ => panic!("workloads that nobody made: {names:?}"),
    }
    assert_eq!(holm.ok(["start", "-a", "kept"]), prints);
    holm.ok(["logs", "kept"]);
    let second = holm.run(workload(&["create"]));
    assert!(second.err().contains("the name `kept` is taken"), "{second}");
    holm.ok(["rm", "kept"]);
    assert_eq!(holm.ok(["ps", "-aq"]), "");
}

/// An installation in which a workload was made, run and removed once, and what the workload printed.
fn installation() -> (Holm, String) {
    let holm = Holm::new();
    let prints = holm.ok(workload(&["run", "--rm"]));
    assert!(prints.starts_with("host-of-kept\n") && prints.contains("\n755\nID=base"), "{prints}");
    (holm, prints)
}

/// The first workload of an installation of which only that is there which its import made certain: the
/// directories of workloads may have to be made again.
#[test]
fn power_cuts_during_the_first_creation_of_a_workload() {
    let (other, prints) = installation();
    drop(other);
    let holm = Holm::empty();
    let import = Recording::of(&holm, &["import", "-", "base"], tarball::base());
    let certain = import.states().into_iter().rev().find(|state| state.loss == Loss::Everything);
    boot(&holm, &certain.expect("the last state is a new one").tree);
    let recording = Recording::of(&holm, &workload(&["create"]), Vec::new());
    recording.survives(&holm, |holm, done| workload_is_whole_or_unknown(holm, done, &prints));
}

#[test]
fn power_cuts_during_a_run() {
    let (holm, prints) = installation();
    let recording = Recording::of(&holm, &workload(&["run"]), Vec::new());
    recording.survives(&holm, |holm, done| workload_is_whole_or_unknown(holm, done, &prints));
}

#[test]
fn power_cuts_during_the_removal_of_a_workload() {
    let (holm, prints) = installation();
    holm.ok(workload(&["run"]));
    let recording = Recording::of(&holm, &["rm", "kept"], Vec::new());
    recording.survives(&holm, |holm, _| workload_is_whole_or_unknown(holm, false, &prints));
}

/// A workload with `--rm` is not synced: a power cut may leave any part of it, none of which may stand in
/// the way of anything.
#[test]
fn power_cuts_during_a_run_with_removal() {
    let (holm, prints) = installation();
    holm.ok(["create", "--name", "beside", "base", "true"]);
    let recording = Recording::of(&holm, &workload(&["run", "--rm"]), Vec::new());
    recording.survives(&holm, |holm, _| {
        let names = holm.ok(["ps", "-a", "--format", "{{.Names}}"]);
        assert!(names.lines().any(|name| name == "beside"), "another workload is lost: {names:?}");
        if names.lines().any(|name| name == "kept") {
            holm.ok(["rm", "-f", "kept"]);
        }
        assert_eq!(holm.ok(workload(&["run", "--rm"])), prints);
        assert_eq!(holm.ok(["ps", "-a", "--format", "{{.Names}}"]), "beside");
    });
}
