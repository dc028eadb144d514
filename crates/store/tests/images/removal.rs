//! What `rmi` may remove, and what stays.

use holm_spec::Digest;
use holm_store::{Kind, Removed};

use crate::scratch::{Scratch, import, reference};

fn used(id: Digest) -> Vec<(Digest, String)> {
    vec![(id, "web".to_owned())]
}

#[test]
fn an_image_that_lost_its_name_stays_until_it_is_removed() {
    let scratch = Scratch::new();
    let empty = scratch.files();
    let old = scratch.import("app", "old");
    let new = scratch.import("app", "new");
    let list = scratch.store.list().expect("list");
    let nameless: Vec<Digest> =
        list.iter().filter(|image| image.names.is_empty()).map(|image| image.id).collect();
    assert_eq!((list.len(), nameless), (2, vec![old]));
    assert_eq!(scratch.store.resolve(&old.short()).expect("still there").id, old);

    let exclusive = scratch.store.exclusive().expect("lock");
    assert_eq!(exclusive.repair(&[]).expect("repair"), Vec::<String>::new());
    let removed = exclusive.remove(&old.short(), false, &[]).expect("remove");
    assert_eq!(removed.first(), Some(&Removed::Deleted(old)));
    exclusive.remove("app", false, &[]).expect("remove");
    assert_eq!(scratch.store.resolve(&new.short()).expect_err("gone").kind(), Kind::NotFound);
    assert_eq!(scratch.files(), empty);
}

#[test]
fn several_names_need_force() {
    let scratch = Scratch::new();
    let empty = scratch.files();
    let id = scratch.import("a", "x");
    scratch.store.tag("a", &reference("b")).expect("tag");
    let exclusive = scratch.store.exclusive().expect("lock");
    let error = exclusive.remove(&id.short(), false, &[]).expect_err("two names");
    assert_eq!(error.kind(), Kind::InUse);
    assert!(error.to_string().contains("a:latest, b:latest"), "{error}");
    let removed = exclusive.remove(&id.short(), true, &[]).expect("force");
    assert_eq!(removed[..2], [Removed::Untagged(reference("a")), Removed::Untagged(reference("b"))]);
    assert_eq!(scratch.files(), empty);
}

#[test]
fn a_digest_means_the_image_and_none_of_its_names() {
    let scratch = Scratch::new();
    scratch.import("a:1", "x");
    let image = scratch.store.resolve("a:1").expect("resolve");
    scratch.store.tag("a:1", &reference("a:2")).expect("tag");
    let exclusive = scratch.store.exclusive().expect("lock");
    let what = format!("a@{}", image.digest);
    assert_eq!(exclusive.remove(&what, false, &[]).expect_err("two names").kind(), Kind::InUse);
    exclusive.remove("a:1", false, &[]).expect("remove");
    let removed = exclusive.remove(&what, false, &[]).expect("remove");
    assert_eq!(removed[..2], [Removed::Untagged(reference("a:2")), Removed::Deleted(image.id)]);
}

#[test]
fn what_a_workload_uses_stays() {
    let scratch = Scratch::new();
    let id = scratch.import("app", "x");
    scratch.store.tag("app", &reference("other")).expect("tag");
    let before = scratch.count("layers") + scratch.count("blobs");
    let exclusive = scratch.store.exclusive().expect("lock");
    exclusive.remove("other", false, &used(id)).expect("only a name");
    for what in ["app", &id.short()] {
        let error = exclusive.remove(what, false, &used(id)).expect_err("in use");
        assert_eq!(error.kind(), Kind::InUse);
        assert!(error.to_string().contains("workload `web`"), "{error}");
    }
    let removed = exclusive.remove("app", true, &used(id)).expect("force");
    assert_eq!(removed, [Removed::Untagged(reference("app"))]);
    assert_eq!(scratch.count("layers") + scratch.count("blobs"), before);
    assert_eq!(scratch.store.list().expect("list")[0].names, []);
    let removed = exclusive.remove(&id.short(), false, &[]).expect("not used any more");
    assert_eq!(removed.first(), Some(&Removed::Deleted(id)));
}

#[test]
fn a_shared_layer_goes_with_its_last_image() {
    let scratch = Scratch::new();
    let first = scratch.import("one", "x");
    let name = reference("two");
    let changes = crate::scratch::changes(&["ENV A=1"]);
    let request = holm_store::Import { reference: Some(&name), changes: &changes, ..Default::default() };
    let archive = crate::scratch::archive(&[("etc/content", b"x")]);
    let second = scratch.store.import(&*archive, &request).expect("import");
    assert_ne!(first, second);
    assert_eq!(scratch.count("layers"), 3);
    let exclusive = scratch.store.exclusive().expect("lock");
    assert_eq!(exclusive.remove("one", false, &[]).expect("remove").len(), 2);
    assert_eq!(scratch.count("layers"), 3);
    assert_eq!(exclusive.remove("two", false, &[]).expect("remove").len(), 3);
    assert_eq!(scratch.count("layers"), 0);
}

#[test]
fn what_is_not_there_is_named() {
    let scratch = Scratch::new();
    let exclusive = scratch.store.exclusive().expect("lock");
    for what in ["none", "none:tag", "abcdef", "sha256:abcdef"] {
        let error = exclusive.remove(what, true, &[]).expect_err(what);
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn a_workload_keeps_an_image_without_names_and_marks() {
    let scratch = Scratch::new();
    let id = scratch.import("app", "x");
    let layers = scratch.count("layers");
    std::fs::remove_dir_all(scratch.root().join("refs")).expect("remove");
    std::fs::create_dir(scratch.root().join("refs")).expect("mkdir");
    let exclusive = scratch.store.exclusive().expect("lock");
    exclusive.repair(&used(id)).expect("repair");
    assert_eq!(scratch.count("layers"), layers);
    exclusive.repair(&[]).expect("repair");
    assert_eq!((scratch.count("layers"), scratch.count("blobs")), (0, 0));
}

#[test]
fn imports_and_removals_at_the_same_time_leave_whole_images() {
    const ROUNDS: usize = 25;
    let scratch = Scratch::new();
    let store = &scratch.store;
    std::thread::scope(|scope| {
        for name in ["a", "b"] {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    // Both import the same archives, under names of their own, which move.
                    import(store, Some(name), &(round % 3).to_string()).expect("import");
                }
            });
        }
        scope.spawn(move || {
            for _ in 0..ROUNDS {
                let exclusive = store.exclusive().expect("lock");
                for image in store.list().expect("list") {
                    exclusive.remove(&image.id.to_string(), true, &[]).expect("remove");
                }
            }
        });
    });
    for image in store.list().expect("list") {
        let image = store.resolve(&image.id.to_string()).expect("resolve");
        store.layer_keys(&image.diff_ids).expect("layers");
    }
    let exclusive = store.exclusive().expect("lock");
    assert_eq!(exclusive.repair(&[]).expect("repair"), Vec::<String>::new());
}
