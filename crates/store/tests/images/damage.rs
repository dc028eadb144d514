//! Damage is noticed, named, and confined to the image that has it.

use holm_spec::{Digest, Id};
use holm_store::{Kind, Removed};

use crate::scratch::{Scratch, reference};

fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

fn damage(scratch: &Scratch, blob: &Digest) {
    std::fs::write(scratch.root().join(format!("blobs/sha256/{}", blob.hex())), b"{}").expect("write");
}

#[test]
fn a_damaged_document_is_named() {
    for which in 0..2 {
        let scratch = Scratch::new();
        scratch.import("good", "good");
        scratch.import("bad", "bad");
        let image = scratch.store.resolve("bad").expect("resolve");
        let blob = [image.manifest_digest, image.id][which];
        damage(&scratch, &blob);
        let error = scratch.store.resolve("bad").expect_err("damaged");
        assert_eq!(error.kind(), Kind::Corrupt);
        let text = report(&error);
        assert!(text.contains("`bad`") && text.contains(&blob.to_string()), "{text}");
        assert_eq!(scratch.store.list().expect("list").len(), 1);
        scratch.store.resolve("good").expect("not damaged");
    }
}

#[test]
fn a_missing_document_is_damage_too() {
    let scratch = Scratch::new();
    let id = scratch.import("bad", "bad");
    std::fs::remove_file(scratch.root().join(format!("blobs/sha256/{}", id.hex()))).expect("remove");
    let error = scratch.store.resolve("bad").expect_err("missing");
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(report(&error).contains(&id.to_string()), "{}", report(&error));
}

#[test]
fn a_missing_layer_is_named_and_leaves_no_snapshot() {
    let scratch = Scratch::new();
    scratch.import("bad", "bad");
    let image = scratch.store.resolve("bad").expect("resolve");
    let layer = scratch.root().join(format!("layers/{}.v1.erofs", image.diff_ids[0].hex()));
    std::fs::remove_file(layer).expect("remove");
    let error = scratch.store.root_fs(&image, &Id::from_bytes([1; 32]), false).expect_err("missing");
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains(&image.diff_ids[0].to_string()), "{error}");
    assert_eq!(scratch.store.snapshots().expect("list"), []);
}

#[test]
fn another_import_heals_a_layer() {
    let scratch = Scratch::new();
    scratch.import("bad", "content");
    let image = scratch.store.resolve("bad").expect("resolve");
    let layer = |end: &str| scratch.root().join(format!("layers/{}.v1.{end}", image.diff_ids[0].hex()));
    for end in ["erofs", "tarmeta.zst", "json"] {
        let good = std::fs::read(layer(end)).expect("read");
        let mut bad = good.clone();
        // In the image this is data of a file, which its seal does not cover.
        let at = if end == "erofs" { 4096 } else { good.len() / 2 };
        bad[at] ^= 1;
        std::fs::write(layer(end), &bad).expect("write");
        scratch.import("again", "content");
        assert!(std::fs::read(layer(end)).expect("read") == good, "{end}");
    }
}

#[test]
fn a_damaged_image_can_be_removed_and_its_rest_collected() {
    for which in 0..2 {
        let scratch = Scratch::new();
        let empty = scratch.files();
        scratch.import("bad", "bad");
        let image = scratch.store.resolve("bad").expect("resolve");
        damage(&scratch, &[image.manifest_digest, image.id][which]);
        let exclusive = scratch.store.exclusive().expect("lock");
        let removed = exclusive.remove("bad", false, &[]).expect("remove");
        assert_eq!(removed.first(), Some(&Removed::Untagged(reference("bad"))));
        exclusive.repair(&[]).expect("repair");
        assert_eq!(scratch.files(), empty);
    }
}

#[test]
fn nothing_is_collected_while_an_image_is_damaged() {
    let scratch = Scratch::new();
    scratch.import("good", "good");
    scratch.import("bad", "bad");
    let image = scratch.store.resolve("bad").expect("resolve");
    damage(&scratch, &image.id);
    let exclusive = scratch.store.exclusive().expect("lock");
    let removed = exclusive.remove("good", false, &[]).expect("remove");
    assert_eq!(removed, [Removed::Untagged(reference("good"))]);
    assert_eq!(scratch.count("layers"), 6);
    let report = exclusive.repair(&[]).expect("repair");
    assert!(report[0].contains(&image.id.to_string()), "{report:?}");
    exclusive.remove("bad", false, &[]).expect("remove");
    exclusive.repair(&[]).expect("repair");
    assert_eq!((scratch.count("layers"), scratch.count("blobs")), (0, 0));
}

#[test]
fn a_damaged_reference_can_be_removed() {
    let scratch = Scratch::new();
    let empty = scratch.files();
    scratch.import("bad", "bad");
    std::fs::write(scratch.root().join("refs/docker.io+library+bad:latest"), b"").expect("write");
    let error = scratch.store.resolve("bad").expect_err("damaged");
    assert_eq!(error.kind(), Kind::Corrupt);
    let exclusive = scratch.store.exclusive().expect("lock");
    assert_eq!(exclusive.remove("bad", false, &[]).expect("remove").len(), 1);
    exclusive.repair(&[]).expect("repair");
    assert_eq!(scratch.files(), empty);
}

#[test]
fn a_damaged_mark_keeps_its_image_until_it_is_removed() {
    let scratch = Scratch::new();
    let empty = scratch.files();
    let old = scratch.import("app", "old");
    let mark = scratch.store.resolve("app").expect("resolve").digest;
    scratch.import("app", "new");
    std::fs::write(scratch.root().join(format!("refs/@{mark}")), b"{").expect("damage");
    let exclusive = scratch.store.exclusive().expect("lock");
    assert_eq!(exclusive.repair(&[]).expect("repair"), Vec::<String>::new());
    assert_eq!(scratch.store.list().expect("list").len(), 2);
    let removed = exclusive.remove(&old.short(), false, &[]).expect("remove");
    assert_eq!(removed.first(), Some(&Removed::Deleted(old)));
    exclusive.remove("app", false, &[]).expect("remove");
    assert_eq!(scratch.files(), empty);
}
