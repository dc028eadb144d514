//! Commands that run in a process of their own: this test binary, started again.

use std::path::Path;
use std::process::{Command, Output};

use holm_spec::Id;
use holm_store::LayerForm;

use crate::scratch::{import, open};

const ACTION: &str = "HOLM_STORE_TEST_ACTION";
const DIRECTORY: &str = "HOLM_STORE_TEST_DIRECTORY";

/// A child that does `action` on the store below `dir`.
pub fn command(dir: &Path, action: &str) -> Command {
    arrange(Command::new(std::env::current_exe().expect("own path")), dir, action)
}

/// The same in a mount namespace of its own.
pub fn command_with_mounts(dir: &Path, action: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]);
    command.arg(std::env::current_exe().expect("own path"));
    arrange(command, dir, action)
}

fn arrange(mut command: Command, dir: &Path, action: &str) -> Command {
    command.args(["--exact", "child::act", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(ACTION, action).env(DIRECTORY, dir);
    command
}

/// Runs a child to a good end.
pub fn succeed(mut command: Command) -> Output {
    let output = command.output().expect("start");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    output
}

#[test]
#[ignore = "runs as a child of other tests"]
fn act() {
    let (Ok(action), Some(dir)) = (std::env::var(ACTION), std::env::var_os(DIRECTORY)) else { return };
    let dir = Path::new(&dir);
    match action.as_str() {
        "import" => drop(import(&open(dir), Some("crash"), "content").expect("import")),
        "remove" => {
            let store = open(dir);
            store.exclusive().expect("lock").remove("crash", false, &[]).expect("remove");
        }
        "import-at-epoch" => crate::life::import_at_epoch(&open(dir)),
        "start" => {
            let store = open(dir);
            let _in_use = store.in_use().expect("lock");
            let image = store.resolve("crash").expect("resolve");
            let root = store.root_fs(&image, &Id::from_bytes([7; 32]), true).expect("snapshot");
            assert_eq!(root.layers.len(), 1);
        }
        "unpack" => drop(crate::unpacked::prepare(dir, LayerForm::Directory)),
        "drop-unpacked" => drop(crate::unpacked::prepare(dir, LayerForm::Image)),
        "fill-disk" => crate::scarcity::fill_disk(dir),
        "reclaim" => crate::crash::reclaim(dir),
        "read-only" => crate::scarcity::read_only(dir),
        other => panic!("unknown action {other}"),
    }
}
