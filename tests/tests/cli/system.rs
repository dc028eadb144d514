//! `system df` and the pruning commands: what takes room on the disk, and what goes.

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

/// An image of its own layer.
fn import(holm: &Holm, words: &[&str], release: &str) -> String {
    let tar = tarball::base_with_release(release).finish();
    holm.call(["import"].iter().chain(words)).stdin(tar).run().ok()
}

fn images(holm: &Holm) -> Vec<String> {
    let text = holm.ok(["images", "--format", "{{.Repository}}"]);
    let mut names: Vec<_> = text.lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn prune_takes_what_nobody_uses() {
    let holm = Holm::new();
    import(&holm, &["-", "unused"], "unused");
    let dangling = import(&holm, &["-"], "dangling");
    compressed_layer(&holm, "base", 300_000);
    holm.start(&["--name", "runs"], "sleep 60");
    let stopped = holm.ok(["create", "base", "true"]);
    let before = du(&holm.root());
    let text = holm.ok(["system", "prune", "-f"]);
    for part in ["Deleted Containers:", &stopped, "Deleted Images:", &dangling, "Deleted compressed layers:"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let last = text.lines().last().expect("a line");
    let told = bytes(last.strip_prefix("Total reclaimed space: ").expect("a sum"));
    let freed = before as f64 - du(&holm.root()) as f64;
    assert!((told - freed).abs() <= freed / 20.0, "{told} told, {freed} free");
    assert_eq!(images(&holm), ["base", "unused"]);
    assert_eq!(holm.ok(["ps", "-a", "--format", "{{.Names}}"]), "runs");
    let text = holm.ok(["system", "prune", "-a", "-f"]);
    assert!(text.contains("untagged: unused:latest"), "{text}");
    assert_eq!(images(&holm), ["base"], "a workload uses it");
    assert_eq!(holm.ok(["exec", "runs", "echo", "well"]), "well");
    assert_eq!(holm.ok(["system", "prune", "-a", "-f"]), "Total reclaimed space: 0B");
}

#[test]
fn prune_asks() {
    let holm = Holm::new();
    let outcome = holm.run(["system", "prune", "-a"]);
    outcome.expect_code(1);
    for part in ["all stopped containers", "[y/N]", "holm system prune: ", "not confirmed", "hint: -f"] {
        assert!(outcome.err().contains(part), "{part}: {}", outcome.err());
    }
    holm.call(["image", "prune", "-a"]).stdin("n\n").run().expect_code(1);
    assert_eq!(images(&holm), ["base"]);
    let text = holm.call(["image", "prune", "-a"]).stdin("y\n").run().ok();
    assert!(text.contains("untagged: base:latest"), "{text}");
    assert_eq!(images(&holm), Vec::<String>::new());
}

#[test]
fn prune_with_filters() {
    let holm = Holm::new();
    import(&holm, &["-c", "LABEL keep=1", "-", "kept"], "kept");
    import(&holm, &["-c", "LABEL stage=ci", "-", "ci"], "ci");
    holm.ok(["create", "--name", "old", "--label", "stage=ci", "base", "true"]);
    holm.ok(["create", "--name", "other", "base", "true"]);
    holm.ok(["container", "prune", "-f", "--filter", "label=stage=ci"]);
    assert_eq!(holm.ok(["ps", "-a", "--format", "{{.Names}}"]), "other");
    holm.ok(["image", "prune", "-af", "--filter", "until=24h"]);
    assert_eq!(images(&holm), ["base", "ci", "kept"]);
    holm.ok(["image", "prune", "-af", "--filter", "label!=keep"]);
    assert_eq!(images(&holm), ["base", "kept"]);
    holm.ok(["image", "prune", "-af", "--filter", "until=2100-01-01"]);
    assert_eq!(images(&holm), ["base"]);
    holm.run(["system", "prune", "-f", "--filter", "dangling=true"])
        .refused(125, &["unknown filter `dangling`"]);
}

#[test]
fn keep_storage_takes_the_oldest_first() {
    let holm = Holm::new();
    for name in ["first", "second", "third"] {
        import(&holm, &["-", name], name);
    }
    // A use makes it young.
    holm.ok(["run", "--rm", "first", "true"]);
    let layer = compressed_layer(&holm, "third", 300_000);
    let size = |names: &[&str]| names.iter().map(|name| du(&holm.root().join(name))).sum::<u64>();
    let content = size(&["blobs", "layers"]);
    let keep = |size: u64, flags: &[&str]| {
        let size = size.to_string();
        holm.ok(["system", "prune", "-f", "--keep-storage", &size].iter().chain(flags))
    };
    assert_eq!(keep(content, &["-a"]), "Total reclaimed space: 0B");
    let text = keep(content - 1, &["-a"]);
    assert!(text.contains(&layer) && !text.contains("untagged"), "{text}");
    assert_eq!(keep(0, &[]), "Total reclaimed space: 0B", "names protect");
    let text = keep(size(&["blobs", "layers"]) - 1, &["-a"]);
    assert!(text.contains("untagged: base:latest") && !text.contains("second"), "{text}");
    let text = keep(size(&["blobs", "layers"]) - 1, &["-a"]);
    assert!(text.contains("untagged: second:latest") && !text.contains("first"), "{text}");
    assert_eq!(images(&holm), ["first", "third"]);
    holm.run(["system", "prune", "-f", "--keep-storage", "much"]).refused(125, &["much"]);
}

#[test]
fn the_store_keeps_to_its_size() {
    let holm = Holm::empty();
    let first = import(&holm, &["-"], "first");
    let limited = |name: &str, size: &str| {
        let tar = tarball::base_with_release(name).finish();
        holm.call(["import", "-", name]).stdin(tar).env("HOLM_STORE_MAX_SIZE", size).run()
    };
    let outcome = limited("second", "1GB");
    assert!(outcome.err().is_empty(), "{}", outcome.err());
    outcome.ok();
    assert!(holm.ok(["images", "-q", "--no-trunc"]).contains(&first));
    let outcome = limited("third", "1k");
    assert!(outcome.err().contains("removed") && outcome.err().contains("larger than"), "{}", outcome.err());
    outcome.ok();
    assert_eq!(images(&holm), ["second", "third"], "what has a name stays, and what is new");
    limited("fourth", "1x").refused(125, &["HOLM_STORE_MAX_SIZE", "1x"]);
}
