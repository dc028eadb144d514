//! A process that dies at any step leaves nothing that the next command does not put right.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use holm_spec::Id;
use holm_sys::mount::{is_mount_point, mount_erofs};
use holm_sys::shared_mount::SharedMount;

use crate::child;
use crate::scratch::{Scratch, import, open};

const KILLED: i32 = 9;

fn die_at(scratch: &Scratch, action: &str, point: &str) {
    let mut child = child::command(scratch.dir.path(), action);
    let output = child.env("HOLM_FAIL_POINT", point).output().expect("start");
    assert_eq!(output.status.signal(), Some(KILLED), "{point}: {}", String::from_utf8_lossy(&output.stdout));
}

fn repaired(scratch: &Scratch) -> Vec<String> {
    scratch.store.exclusive().expect("lock").repair(&[]).expect("repair")
}

#[test]
fn a_killed_import_leaves_nothing_or_an_image() {
    for point in
        ["import-layer-written", "import-layer-synced", "import-layer-renamed", "import-blobs-written"]
    {
        let scratch = Scratch::new();
        let empty = scratch.files();
        die_at(&scratch, "import", point);
        assert_ne!(scratch.files(), empty, "{point}");
        assert_eq!(scratch.store.list().expect("list"), [], "{point}");
        assert!(!repaired(&scratch).is_empty(), "{point}");
        assert_eq!(scratch.files(), empty, "{point}");
        assert_eq!(repaired(&scratch), Vec::<String>::new(), "{point}");
    }
}

#[test]
fn an_import_killed_after_its_last_step_is_whole() {
    let scratch = Scratch::new();
    die_at(&scratch, "import", "import-ref-written");
    let image = scratch.store.resolve("crash").expect("resolve");
    scratch.store.layer_keys(&image.diff_ids).expect("layers");
    assert_eq!(repaired(&scratch), Vec::<String>::new());
    scratch.store.resolve("crash").expect("still there");
}

#[test]
fn the_next_import_succeeds_without_repair() {
    for point in
        ["import-layer-written", "import-layer-renamed", "import-blobs-written", "import-ref-written"]
    {
        let scratch = Scratch::new();
        die_at(&scratch, "import", point);
        let id = scratch.import("crash", "content");
        repaired(&scratch);
        let image = scratch.store.resolve("crash").expect("resolve");
        assert_eq!(image.id, id);
        scratch.store.layer_keys(&image.diff_ids).expect("layers");
        assert_eq!((scratch.count("layers"), scratch.count("blobs"), scratch.count("ingest")), (3, 2, 0));
    }
}

#[test]
fn a_part_of_a_layer_is_replaced_by_the_next_import() {
    let scratch = Scratch::new();
    scratch.import("crash", "content");
    let whole = scratch.files();
    for part in whole.iter().filter(|path| path.starts_with("layers")) {
        let path = scratch.root().join(part);
        let content = std::fs::read(&path).expect("read");
        std::fs::remove_file(&path).expect("remove");
        scratch.import("crash", "content");
        assert_eq!(std::fs::read(&path).expect("read"), content, "{}", part.display());
    }
    assert_eq!(scratch.files(), whole);
}

#[test]
fn a_killed_removal_leaves_no_name_without_content() {
    for point in ["rmi-ref-removed", "rmi-blobs-removed"] {
        let scratch = Scratch::new();
        let empty = scratch.files();
        scratch.import("crash", "content");
        die_at(&scratch, "remove", point);
        assert_eq!(scratch.store.list().expect("list"), [], "{point}");
        assert!(!repaired(&scratch).is_empty(), "{point}");
        assert_eq!(scratch.files(), empty, "{point}");
    }
}

#[test]
fn a_directory_is_there_whole_or_not_at_all() {
    let scratch = Scratch::new();
    scratch.import("crash", "content");
    let before = scratch.files();
    std::fs::create_dir_all(scratch.store.layout().layer_mounts()).expect("mkdir");
    die_at(&scratch, "unpack", "unpack-layer-synced");
    assert_eq!(repaired(&scratch), ["removed unfinished imports and downloads: 1"]);
    assert_eq!(scratch.files(), before);
    crate::unpacked::prepare(scratch.dir.path(), holm_store::LayerForm::Directory);
    die_at(&scratch, "drop-unpacked", "unpacked-layer-unnamed");
    assert_eq!(repaired(&scratch), ["removed temporary files: 1"]);
    assert_eq!(scratch.files(), before);
}

#[test]
fn an_import_under_way_survives_a_repair() {
    use std::io::Read;
    let scratch = Scratch::new();
    let archive = crate::scratch::archive(&[("etc/content", &[b'x'; 100_000])]);
    let (first, second) = archive.split_at(50_000);
    let repair = RepairsInBetween { scratch: &scratch, done: false };
    let id = scratch.store.import(first.chain(repair).chain(second), &holm_store::Import::default());
    scratch.store.resolve(&id.expect("import").to_string()).expect("resolve");
}

/// An empty stream; reading it repairs the store.
struct RepairsInBetween<'a> {
    scratch: &'a Scratch,
    done: bool,
}

impl std::io::Read for RepairsInBetween<'_> {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        if !std::mem::replace(&mut self.done, true) {
            assert_eq!(repaired(self.scratch), Vec::<String>::new());
        }
        Ok(0)
    }
}

#[test]
fn temporary_files_of_the_dead_go() {
    let scratch = Scratch::new();
    let before = scratch.files();
    for path in ["refs/.tmp-1-0", "blobs/sha256/.tmp-1-1"] {
        std::fs::write(scratch.root().join(path), b"half").expect("write");
    }
    assert_eq!(repaired(&scratch), ["removed temporary files: 2"]);
    assert_eq!(scratch.files(), before);
}

#[test]
fn a_mount_that_nobody_uses_is_taken_away() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    child::succeed(child::command_with_mounts(dir.path(), "reclaim"));
}

/// Runs in a child with mounts of its own.
pub fn reclaim(dir: &Path) {
    let store = open(dir);
    import(&store, Some("app"), "mounted").expect("import");
    let image = store.resolve("app").expect("resolve");
    let layer = store.root_fs(&image, &Id::from_bytes([1; 32]), true).expect("snapshot").layers.remove(0);
    let repaired = || store.exclusive().expect("lock").repair(&[]).expect("repair");
    std::fs::create_dir_all(store.layout().layer_mounts()).expect("mkdir");

    let used = SharedMount::acquire(&layer.source, &layer.lock, &layer.target).expect("mount");
    assert_eq!(repaired(), Vec::<String>::new());
    assert_eq!(std::fs::read(layer.target.join("etc/content")).expect("read"), b"mounted");
    drop(used);
    assert!(!is_mount_point(&layer.target).expect("statx"));

    // What a keeper leaves that was killed: a mount, and nobody who holds its lock.
    mount_erofs(&layer.source, &layer.target).expect("mount");
    assert_eq!(repaired(), [format!("unmounted layer {}, which nothing used", image.diff_ids[0])]);
    assert!(!is_mount_point(&layer.target).expect("statx"));
}
