//! Artifacts: made of files, pushed, pulled, listed, and found through what they are about.

use std::fs;

use holm_tests::Holm;
use holm_tests::http::Client;
use holm_tests::server::Server;
use serde_json::{Value, json};

const TYPE: &str = "application/x.model+json";

fn inspect(holm: &Holm, name: &str) -> Value {
    let all: Value = serde_json::from_str(&holm.ok(["artifact", "inspect", name])).expect("JSON");
    all[0].clone()
}

#[test]
fn files_go_to_a_registry_and_come_back() {
    let (here, there, server) = (Holm::empty(), Holm::empty(), Server::start());
    let name = format!("{}/models/one:1", server.address());
    let weights: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let files = [here.file("weights.bin", &weights), here.file("notes.txt", "of no importance")];
    let add = |annotation: &str| {
        let words =
            ["artifact", "add", "--type", TYPE, "--annotation", annotation, &name, &files[0], &files[1]];
        here.ok(words)
    };
    let id = add("by=us");
    assert_eq!(add("by=us"), id, "the same files are the same artifact");
    assert_eq!(here.ok(["artifact", "ls", "-q", "--no-trunc"]), id);
    assert_eq!(
        here.ok(["artifact", "ls", "--format", "{{.Name}} {{.Type}} {{.Files}}"]),
        format!("{name} {TYPE} 2")
    );
    assert_eq!(here.ok(["images", "-q"]), "");
    let pushed = here.ok(["push", &name]);
    assert!(pushed.contains(&id), "{pushed}");

    let pulled = there.ok(["pull", &name]);
    assert!(pulled.contains(&format!("Digest: {id}")), "{pulled}");
    let (shown, here_shown) = (inspect(&there, &name), inspect(&here, &name));
    assert_eq!(shown, here_shown);
    assert_eq!(shown["Annotations"], json!({"by": "us"}));
    let directory = there.scratch("out");
    there.ok(["artifact", "extract", &name, &directory.display().to_string()]);
    assert!(fs::read(directory.join("weights.bin")).expect("extracted") == weights);
    assert_eq!(fs::read_to_string(directory.join("notes.txt")).expect("extracted"), "of no importance");
    assert_eq!(fs::read_dir(&directory).expect("a directory").count(), 2);

    let sums = there.ok(["system", "df", "--format", "{{.Type}} {{.TotalCount}}"]);
    assert!(sums.contains("Artifacts 1") && sums.contains("Compressed layers 0"), "{sums}");
    there.ok(["system", "prune", "-a", "-f"]);
    there.ok(["system", "check"]);
    assert_eq!(there.ok(["artifact", "ls", "-q", "--no-trunc"]), id, "a name protects it");
    let removed = there.ok(["artifact", "rm", &name]);
    assert!(removed.contains(&format!("Untagged: {name}")) && removed.contains(&id), "{removed}");
    assert_eq!(there.ok(["artifact", "ls", "-q"]), "");
    assert_eq!(fs::read_dir(there.root().join("blobs/sha256")).expect("a directory").count(), 0);
}

#[test]
fn what_is_about_an_image_is_found_through_it() {
    let (holm, server) = (Holm::new(), Server::start());
    let (image, list) = (format!("{}/app:1", server.address()), format!("{}/app:1.list", server.address()));
    holm.ok(["tag", "base", &image]);
    holm.ok(["push", "-q", &image]);
    let file = holm.file("list.json", "{}");
    let id = holm.ok(["artifact", "add", "--type", TYPE, "--subject", &image, &list, &file]);
    holm.ok(["push", "-q", &list]);
    let referrers = |flags: &[&str]| {
        holm.ok(["artifact", "referrers"].into_iter().chain(flags.iter().copied()).chain([&*image]))
    };
    assert_eq!(referrers(&["-q"]), id);
    assert_eq!(referrers(&["-q", "--type", "application/x.other"]), "");
    assert_eq!(referrers(&["--format", "{{.Type}}", "--type", TYPE]), TYPE);
    let by_digest = format!("{}/app@{id}", server.address());
    let there = Holm::empty();
    there.ok(["pull", "-q", &by_digest]);
    assert_eq!(inspect(&there, &by_digest)["Subject"], inspect(&holm, &list)["Subject"]);
    assert!(inspect(&there, &by_digest)["Subject"].is_string());
    let stored = holm.ok(["artifact", "add", "--subject", &list, "about:it"]);
    assert_eq!(inspect(&holm, "about:it")["Subject"], *id);
    assert_eq!(inspect(&holm, &stored)["Files"], json!([]));
}

#[test]
fn names_of_files_lead_nowhere_else() {
    let (holm, server) = (Holm::empty(), Server::start());
    let mut client: Client = server.client();
    let blob = client.push("evil", b"content");
    let config = client.push("evil", b"{}");
    let layer = |title: &str| {
        json!({"mediaType": "text/plain", "digest": blob, "size": 7,
            "annotations": {"org.opencontainers.image.title": title}})
    };
    let titles = ["../outside", "/etc/holm-outside", "..", ".", "", "a/b", "x\u{1b}]0;title\u{7}"];
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "text/x\u{1b}[31m",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
        "layers": titles.map(layer)});
    client
        .put(
            "/v2/evil/manifests/1",
            "application/vnd.oci.image.manifest.v1+json",
            manifest.to_string().as_bytes(),
        )
        .is(201, "");
    let name = format!("{}/evil:1", server.address());
    holm.ok(["pull", "-q", &name]);
    let directory = holm.scratch("deep/out");
    holm.ok(["artifact", "extract", &name, &directory.display().to_string()]);
    let found: Vec<_> = fs::read_dir(&directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(found, [blob.trim_start_matches("sha256:")]);
    assert!(!holm.scratch("deep/outside").exists());
    assert!(!holm.ok(["artifact", "ls"]).contains('\u{1b}'));
}

#[test]
fn artifacts_are_no_images() {
    let holm = Holm::new();
    let file = holm.file("file", "content");
    holm.ok(["artifact", "add", "thing:1", &file]);
    holm.run(["run", "--rm", "thing:1", "true"]).refused(125, &["thing:1", "an artifact, not an image"]);
    holm.run(["rmi", "thing:1"]).refused(1, &["an artifact, not an image"]);
    holm.run(["artifact", "rm", "base"]).refused(1, &["an image, not an artifact"]);
    holm.run(["artifact", "extract", "none:1", "x"]).refused(1, &["there is no artifact `none:1`"]);
    holm.run(["artifact", "add", "--type", "text", "thing:2", &file]).refused(125, &["media type"]);
    holm.run(["artifact", "add", "thing:2", "/nonexistent/file"]).refused(1, &["/nonexistent/file"]);
    fs::create_dir(holm.scratch("other")).expect("a directory of the test's");
    let same = holm.file("other/file", "other");
    holm.run(["artifact", "add", "thing:2", &file, &same]).refused(1, &["two files", "`file`"]);
    holm.run(["artifact", "add", "--annotation", "x", "thing:2", &file]).refused(125, &["KEY=VALUE"]);
    assert_eq!(holm.ok(["artifact", "ls", "-q"]).lines().count(), 1);
}
