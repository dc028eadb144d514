//! `system df`: what takes room on the disk.

use std::process::Command;

use holm_tests::{Holm, tarball};
use serde_json::Value;

/// What du(1) says of a directory, in bytes.
fn du(directory: &std::path::Path) -> u64 {
    let output = Command::new("du").args(["-s", "--block-size=1"]).arg(directory).output().expect("du runs");
    let text = String::from_utf8(output.stdout).expect("text");
    text.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

/// Bytes of a size that is shown with three digits.
fn bytes(text: &str) -> f64 {
    let end = text.find(|c: char| c.is_ascii_alphabetic()).expect("a unit");
    let scale = match &text[end..] {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        unit => panic!("{unit}"),
    };
    text[..end].parse::<f64>().expect("a number") * scale
}

fn sums(holm: &Holm) -> Vec<Value> {
    let text = holm.ok(["system", "df", "--format", "json"]);
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn field<'a>(sums: &'a [Value], of: &str, name: &str) -> &'a str {
    let row = sums.iter().find(|row| row["Type"] == of).expect("a row");
    row[name].as_str().expect("text")
}

#[test]
fn disk_usage_agrees_with_du() {
    let holm = Holm::new();
    let tar = tarball::base_with_release("second").finish();
    holm.call(["import", "-", "second"]).stdin(tar).run().ok();
    holm.ok([
        "run",
        "--name",
        "box",
        "base",
        "sh",
        "-c",
        "head -c 20000000 /dev/urandom > /data; ln /data /same",
    ]);
    let sums = sums(&holm);
    let total: f64 = sums.iter().map(|row| bytes(row["Size"].as_str().expect("text"))).sum();
    let expected = du(&holm.root()) as f64;
    assert!((total - expected).abs() <= expected / 100.0, "{total} beside {expected}");
    assert_eq!(field(&sums, "Images", "TotalCount"), "2");
    assert_eq!(field(&sums, "Images", "Active"), "1");
    assert_eq!((field(&sums, "Containers", "TotalCount"), field(&sums, "Containers", "Active")), ("1", "0"));
    assert!(bytes(field(&sums, "Containers", "Size")) > 20e6, "{sums:?}");
    assert!(field(&sums, "Containers", "Reclaimable").ends_with("(100%)"), "{sums:?}");
}

#[test]
fn disk_usage_of_each_object() {
    let holm = Holm::new();
    holm.ok(["tag", "base", "again:1"]);
    holm.ok(["create", "--name", "box", "base", "true"]);
    let text = holm.ok(["system", "df", "-v"]);
    for heading in
        ["Images space usage:", "UNIQUE SIZE", "Containers space usage:", "box", "Compressed layers"]
    {
        assert!(text.contains(heading), "{heading}: {text}");
    }
    let all: Value =
        serde_json::from_str(&holm.ok(["system", "df", "-v", "--format", "json"])).expect("JSON");
    assert_eq!(all["Images"][0]["Containers"], "1");
    assert_eq!(all["Images"][0]["SharedSize"], "0B");
    let template = "{{range .Containers}}{{.Names}} {{.Image}}{{end}}";
    assert_eq!(holm.ok(["system", "df", "-v", "--format", template]), "box base");
    holm.run(["system", "df", "--format", "{{.Nope}}"]).refused(1, &["Nope"]);
}

#[test]
fn disk_usage_of_nothing() {
    let holm = Holm::empty();
    std::fs::remove_dir(holm.root()).expect("an empty directory");
    let sums = sums(&holm);
    assert!(sums.iter().all(|row| row["Size"] == "0B"), "{sums:?}");
    assert!(!holm.root().exists(), "a look makes nothing");
}

#[test]
fn a_compressed_layer_is_a_cache_of_its_own() {
    let holm = Holm::new();
    let layer = compressed_layer(&holm, "base", 300_000);
    let sums = sums(&holm);
    assert_eq!(field(&sums, "Compressed layers", "TotalCount"), "1");
    assert!(field(&sums, "Compressed layers", "Reclaimable").ends_with("(100%)"), "{sums:?}");
    assert!(holm.ok(["system", "df", "-v"]).contains(&layer[..12]));
}

/// Puts something in the place of the one layer of an image as it would be sent; its digest's digits.
pub fn compressed_layer(holm: &Holm, image: &str, size: usize) -> String {
    let manifest = holm.ok(["image", "inspect", "-f", "{{.Holm.Manifest}}", image]);
    let blobs = holm.root().join("blobs/sha256");
    let text = std::fs::read(blobs.join(manifest.trim_start_matches("sha256:"))).expect("a manifest");
    let manifest: Value = serde_json::from_slice(&text).expect("JSON");
    let digest = manifest["layers"][0]["digest"].as_str().expect("a digest").trim_start_matches("sha256:");
    std::fs::write(blobs.join(digest), vec![7; size]).expect("write");
    digest.to_owned()
}
