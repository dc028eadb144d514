//! Layers as directories: made once, whole or not at all, compared with their images, gone when nobody needs them.

use std::path::{Path, PathBuf};

use holm_spec::rootfs::LayerMount;
use holm_store::{CheckObserver, LayerForm, Object, Store};

use crate::scratch::{Scratch, open};

/// Does something to a directory.
type Damage = fn(&Path);

struct Unseen;

impl CheckObserver for Unseen {
    fn total(&self, _: u64) {}
    fn read(&self, _: u64) {}
}

/// The layer of the image `crash`.
fn layer(store: &Store) -> LayerMount {
    let image = store.resolve("crash").expect("resolve");
    store.layer_mounts(&image).expect("layers").remove(0)
}

/// Prepares the layer in a form and says where its directory is.
pub fn prepare(dir: &Path, form: LayerForm) -> PathBuf {
    let store = open(dir).mount_layers_as(form);
    std::fs::create_dir_all(store.layout().layer_mounts()).expect("mkdir");
    let layer = layer(&store);
    store.prepare_layers(std::slice::from_ref(&layer)).expect("prepare");
    layer.unpacked()
}

fn findings(scratch: &Scratch) -> Vec<String> {
    let checked = scratch.store.check(&Unseen).expect("check");
    checked.findings.iter().map(|finding| format!("{}: {}", finding.object, finding.reason)).collect()
}

#[test]
fn a_directory_comes_and_goes_with_the_form_and_with_its_layer() {
    let scratch = Scratch::new();
    let empty = scratch.files();
    scratch.import("crash", "content");
    let before = scratch.files();
    let directory = prepare(scratch.dir.path(), LayerForm::Directory);
    assert_eq!(std::fs::read(directory.join("etc/content")).expect("read"), b"content");
    let usage = scratch.store.usage().expect("usage");
    assert_eq!(usage.together(usage.objects()), usage.content - directories(&scratch));
    prepare(scratch.dir.path(), LayerForm::Directory);
    assert_eq!(prepare(scratch.dir.path(), LayerForm::Image), directory);
    assert_eq!(scratch.files(), before);
    prepare(scratch.dir.path(), LayerForm::Directory);
    scratch.store.exclusive().expect("lock").remove("crash", false, &[]).expect("remove");
    assert_eq!(scratch.files(), empty);
}

/// What the directories `blobs`, `blobs/sha256` and `layers` take themselves.
fn directories(scratch: &Scratch) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let blocks = |name: &str| scratch.root().join(name).metadata().expect("stat").blocks() * 512;
    ["blobs", "blobs/sha256", "layers"].map(blocks).iter().sum()
}

#[test]
fn what_differs_is_told_and_made_anew() {
    let scratch = Scratch::new();
    scratch.import("crash", "content");
    let key = scratch.store.resolve("crash").expect("resolve").diff_ids[0];
    let damages: [(&str, Damage); 6] = [
        ("the data of `/etc/content`", |root| {
            let path = root.join("etc/content");
            let time = path.metadata().expect("stat").modified().expect("a time");
            std::fs::write(&path, b"CONTENT").expect("write");
            std::fs::File::open(&path).expect("open").set_modified(time).expect("set the time");
        }),
        ("the size of `/etc/content`", |root| {
            let path = root.join("etc/content");
            let time = path.metadata().expect("stat").modified().expect("a time");
            std::fs::write(&path, b"").expect("write");
            std::fs::File::open(&path).expect("open").set_modified(time).expect("set the time");
        }),
        ("the name of `/etc/content`", |root| {
            std::fs::remove_file(root.join("etc/content")).expect("remove");
        }),
        ("the names of `/etc`", |root| std::fs::write(root.join("etc/more"), b"").expect("write")),
        ("the owner of `/etc/content`", |root| {
            std::os::unix::fs::chown(root.join("etc/content"), Some(7), None).expect("chown");
        }),
        ("the type of `/etc`", |root| {
            std::fs::remove_dir_all(root.join("etc")).expect("remove");
            std::fs::write(root.join("etc"), b"").expect("write");
        }),
    ];
    for (what, damage) in damages {
        let directory = prepare(scratch.dir.path(), LayerForm::Directory);
        assert_eq!(findings(&scratch), Vec::<String>::new());
        damage(&directory);
        let expected = format!("directory of layer {key}: its directory is not as its image: {what}");
        assert_eq!(findings(&scratch), [expected]);
        let checked = scratch.store.check(&Unseen).expect("check");
        assert_eq!(checked.findings[0].object, Object::Directory(key));
        assert!(scratch.store.remove_broken(&checked.findings[0]).expect("remove"));
        assert!(!directory.exists());
    }
    assert_eq!(findings(&scratch), Vec::<String>::new());
}

#[test]
fn many_at_once_make_one() {
    let scratch = Scratch::new();
    scratch.import("crash", "content");
    let dir = scratch.dir.path();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| prepare(dir, LayerForm::Directory));
        }
    });
    assert_eq!(findings(&scratch), Vec::<String>::new());
    assert_eq!(scratch.count("ingest"), 0);
}

#[test]
fn an_image_that_is_damaged_leaves_nothing() {
    let scratch = Scratch::new();
    scratch.import("crash", "content");
    let layer = layer(&scratch.store);
    std::fs::write(&layer.source, b"damaged").expect("write");
    let before = scratch.files();
    let store = open(scratch.dir.path()).mount_layers_as(LayerForm::Directory);
    let error = store.prepare_layers(&[layer]).expect_err("damaged");
    assert_eq!(error.kind(), holm_store::Kind::Corrupt);
    assert_eq!(scratch.files(), before);
}
