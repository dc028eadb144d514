//! `system check`: what is broken is told by name, what can be had again is put right, nothing else is lost.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use holm_spec::Digest;
use holm_tests::{Holm, Outcome, tarball};

use super::registries::{Image, Registry};
use super::system::compressed_layer;

/// The file of an image's one layer.
fn layer(holm: &Holm, image: &str) -> PathBuf {
    PathBuf::from(holm.ok(["image", "inspect", "-f", "{{(index .Holm.Layers 0).File}}", image]))
}

fn flip(path: &Path) {
    let mut content = std::fs::read(path).expect("read");
    let middle = content.len() / 2;
    content[middle] ^= 0x40;
    // A new file: what is mounted keeps the old one.
    std::fs::remove_file(path).expect("remove");
    std::fs::write(path, content).expect("damage");
}

fn blob(holm: &Holm, digest: &str) -> PathBuf {
    holm.root().join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
}

#[track_caller]
fn is_well(holm: &Holm) {
    let text = holm.ok(["system", "check"]);
    assert!(text.ends_with(" 0 broken"), "{text}");
}

#[track_caller]
fn tells(outcome: &Outcome, parts: &[&str]) {
    outcome.expect_code(1);
    let text = outcome.out();
    let found = text.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(found, "no line with {parts:?}: {outcome}");
}

#[test]
fn what_is_broken_is_told_with_whom_it_hurts() {
    let holm = Holm::new();
    is_well(&holm);
    holm.ok(["create", "--name", "box", "base", "true"]);
    is_well(&holm);
    let file = layer(&holm, "base");
    let whole = std::fs::read(&file).expect("read");
    flip(&file);
    tells(&holm.run(["system", "check"]), &["layer sha256:", "needed by base:latest", "workloads box"]);
    std::fs::write(&file, whole).expect("heal");
    is_well(&holm);
    let id = holm.ok(["images", "-q", "--no-trunc"]);
    let whole = std::fs::read(blob(&holm, &id)).expect("read");
    std::fs::write(blob(&holm, &id), b"{}").expect("damage");
    tells(&holm.run(["system", "check"]), &["blob", &id, "its digest is", "base:latest"]);
    std::fs::write(blob(&holm, &id), whole).expect("heal");
    std::fs::remove_dir_all(holm.root().join("snapshots").join(&holm.workloads()[0])).expect("damage");
    tells(&holm.run(["system", "check"]), &["workload box", "missing"]);
}

#[test]
fn an_installation_without_anything_is_well() {
    let holm = Holm::empty();
    std::fs::remove_dir(holm.root()).expect("an empty directory");
    assert_eq!(holm.ok(["system", "check"]), "0 objects, 0 broken");
}

#[test]
fn what_can_be_had_again_is_put_right() {
    let holm = Holm::new();
    let compressed = compressed_layer(&holm, "base", 1000);
    tells(&holm.run(["system", "check"]), &["compressed layer", &compressed]);
    let text = holm.ok(["system", "check", "--repair"]);
    assert!(text.contains("put right") && text.ends_with(" 0 broken"), "{text}");
    assert!(!blob(&holm, &compressed).exists());
    is_well(&holm);
}

#[test]
fn what_came_from_a_registry_is_fetched_again() {
    let holm = Holm::empty();
    let image = Image::make(&holm);
    let registry = Registry::with(&holm, &image);
    let name = format!("{}/team/app:v1", registry.address);
    holm.ok(["pull", "-q", &name]);
    let names = holm.ok(["images", "--digests", "--no-trunc"]);
    let file = layer(&holm, &name);
    flip(&file);
    let text = holm.ok(["system", "check", "--repair"]);
    assert!(text.contains("put right") && text.ends_with(" 0 broken"), "{text}");
    assert_eq!(holm.ok(["run", "--rm", &name]), "second");
    std::fs::remove_file(blob(&holm, &Digest::of(&image.manifest).to_string())).expect("damage");
    holm.ok(["system", "check", "--repair"]);
    assert_eq!(holm.ok(["images", "--digests", "--no-trunc"]), names, "no name more or less");
    flip(&file);
    let killed = holm.call(["system", "check", "--repair"]).env("HOLM_FAIL_POINT", "check-layer-aside").run();
    assert_eq!(killed.status.signal(), Some(9), "{killed}");
    assert!(!file.exists());
    let text = holm.ok(["system", "check", "--repair"]);
    assert!(text.contains("put right") && text.ends_with(" 0 broken"), "fetched after a crash, too: {text}");
    let damaged = std::fs::read(&file).map(|mut content| {
        content[5000] ^= 1;
        content
    });
    let damaged = damaged.expect("read");
    std::fs::write(&file, &damaged).expect("damage");
    drop(registry);
    let outcome = holm.call(["system", "check", "--repair"]).stdin("n\n").run();
    outcome.expect_code(1);
    assert!(outcome.err().contains("fetch") && outcome.err().contains("not confirmed"), "{outcome}");
    assert_eq!(std::fs::read(&file).expect("it is there again"), damaged, "what cannot be fetched stays");
    holm.ok(["system", "check", "--repair", "-f"]);
    assert_eq!(holm.ok(["images", "-q"]), "");
    is_well(&holm);
}

#[test]
fn what_a_workload_uses_is_never_removed() {
    let holm = Holm::new();
    let tar = tarball::base_with_release("second").finish();
    holm.call(["import", "-", "second"]).stdin(tar).run().ok();
    holm.ok(["create", "--name", "box", "base", "true"]);
    flip(&layer(&holm, "base"));
    flip(&layer(&holm, "second"));
    let reference = std::fs::read_dir(holm.root().join("refs")).expect("list").count();
    let outcome = holm.call(["system", "check", "--repair"]).stdin("").run();
    outcome.expect_code(1);
    assert!(outcome.err().contains("second:latest") && !outcome.err().contains("base"), "{outcome}");
    assert_eq!(std::fs::read_dir(holm.root().join("refs")).expect("list").count(), reference);
    tells(&holm.run(["system", "check", "--repair", "-f"]), &["second:latest: removed"]);
    assert_eq!(holm.ok(["images", "--format", "{{.Repository}}"]), "base");
    holm.run(["system", "check", "-f"]).refused(125, &["--repair"]);
}
