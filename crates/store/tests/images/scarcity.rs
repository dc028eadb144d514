//! No space, a file system that is read-only: a clear error, and the state as it was.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use holm_spec::layout::Layout;
use holm_store::{Import, Kind, Store};
use holm_sys::rustix::mount::{MountFlags, mount, mount_remount};

use crate::child;
use crate::scratch::{archive, import, open};

#[test]
fn a_full_disk_leaves_the_state_as_it_was() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    child::succeed(child::command_with_mounts(dir.path(), "fill-disk"));
}

/// Runs in a child with mounts of its own.
pub fn fill_disk(dir: &Path) {
    mount("tmpfs", dir, "tmpfs", MountFlags::empty(), Some(c"size=1m")).expect("mount");
    let store = open(dir);
    let before = import(&store, Some("before"), "fits").expect("import");
    let content: Vec<u8> = (0..4 << 20).map(|at: u32| at.to_le_bytes()[1]).collect();
    let error =
        store.import(&*archive(&[("etc/large", &content)]), &Import::default()).expect_err("too large");
    assert_eq!(error.kind(), Kind::NoSpace, "{error}");
    assert_eq!(std::fs::read_dir(store.layout().root.join("ingest")).expect("list").count(), 0);
    assert_eq!(store.list().expect("list").len(), 1);

    fill_to_the_brim(&dir.join("ballast"));
    let error = import(&store, Some("small"), "small").expect_err("full");
    assert_eq!(error.kind(), Kind::NoSpace, "{error}");
    assert_eq!(std::fs::read_dir(store.layout().root.join("ingest")).expect("list").count(), 0);
    // Removal needs no space.
    let exclusive = store.exclusive().expect("lock");
    exclusive.remove("before", false, &[]).expect("remove");
    assert_eq!(exclusive.repair(&[]).expect("repair"), Vec::<String>::new());
    std::fs::remove_file(dir.join("ballast")).expect("remove");
    drop(exclusive);
    assert_eq!(import(&store, Some("after"), "fits").expect("import"), before);
}

fn fill_to_the_brim(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).expect("create");
    while file.write(&[1; 4096]).is_ok_and(|written| written > 0) {}
}

#[test]
fn a_read_only_store_is_told_as_such() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    child::succeed(child::command_with_mounts(dir.path(), "read-only"));
}

/// Runs in a child with mounts of its own.
pub fn read_only(dir: &Path) {
    mount("tmpfs", dir, "tmpfs", MountFlags::empty(), None).expect("mount");
    let store = open(dir);
    import(&store, Some("app"), "x").expect("import");
    mount_remount(dir, MountFlags::RDONLY, "").expect("remount");

    let store = Store::open(store.layout()).expect("open for reading");
    store.resolve("app").expect("resolve");
    assert_eq!(store.list().expect("list").len(), 1);
    let error = import(&store, Some("other"), "y").expect_err("read-only");
    assert_eq!(error.kind(), Kind::ReadOnly, "{error}");
    let missing = dir.join("elsewhere");
    let error = Store::open(&Layout::new(&missing, dir)).expect_err("read-only");
    assert_eq!(error.kind(), Kind::ReadOnly);
    assert!(error.to_string().contains(&missing.display().to_string()), "{error}");
}

#[test]
fn an_import_that_cannot_write_names_what_it_wrote() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open(dir.path());
    let layers = store.layout().root.join("layers");
    std::fs::remove_dir(&layers).expect("remove");
    std::fs::write(&layers, b"").expect("write");
    let error = import(&store, Some("app"), "x").expect_err("no directory");
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(error.to_string().contains("`app:latest`") && source.contains("layers/"), "{error}: {source}");
    assert_eq!(std::fs::read_dir(store.layout().root.join("ingest")).expect("list").count(), 0);
}

#[test]
fn files_are_for_their_owner_only() {
    let scratch = crate::scratch::Scratch::new();
    scratch.import("app", "x");
    for path in scratch.files() {
        let mode = std::fs::metadata(scratch.root().join(&path)).expect("stat").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}
