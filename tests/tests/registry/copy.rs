//! `holm copy`: images and artifacts between registries, layouts, archives and directories, byte for byte.

use std::fs;
use std::path::Path;
use std::process::Command;

use holm_spec::Digest;
use holm_tests::Holm;
use holm_tests::http::Client;
use holm_tests::server::Server;
use serde_json::{Value, json};

use super::clients::Debians;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image layout: an index for two platforms called `app`, and a signature of the one for this machine.
struct Layout {
    directory: std::path::PathBuf,
    index: String,
    ours: String,
    other: String,
    signature: String,
    layer: String,
}

impl Layout {
    fn make(holm: &Holm) -> Self {
        let directory = holm.scratch("layout");
        fs::create_dir_all(directory.join("blobs/sha256")).expect("a directory of the test's");
        let put = |content: &[u8]| put(&directory, content);
        let host = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        let tar = holm_tests::tarball::Tarball::new().file("file", 0o644, [7; 100_000]).finish();
        let layer = put(&tar);
        let image = |architecture: &str| {
            let config = json!({"architecture": architecture, "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": [Digest::of(&tar)]}});
            let config = config.to_string();
            let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                    "digest": put(config.as_bytes()), "size": config.len()},
                "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": tar.len()}]});
            let manifest = manifest.to_string();
            (put(manifest.as_bytes()), manifest.len())
        };
        let ((other, other_size), (ours, ours_size)) = (image("s390x"), image(host));
        let entry = |digest: &str, size: usize, architecture: &str| {
            json!({"mediaType": MANIFEST, "digest": digest, "size": size,
                "platform": {"os": "linux", "architecture": architecture}})
        };
        let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry(&other, other_size, "s390x"), entry(&ours, ours_size, host)]});
        let index = index.to_string();
        let signature = json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x.signature",
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": put(b"{}"), "size": 2},
            "layers": [{"mediaType": "text/plain", "digest": put(b"signed"), "size": 6}],
            "subject": {"mediaType": MANIFEST, "digest": ours, "size": ours_size},
            // It would take the image's name in a layout.
            "annotations": {"by": "us", "org.opencontainers.image.ref.name": "app"}});
        let signature = signature.to_string();
        let (top, signed) = (put(index.as_bytes()), put(signature.as_bytes()));
        let list = json!({"schemaVersion": 2, "manifests": [
            {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": top, "size": index.len(),
                "annotations": {"org.opencontainers.image.ref.name": "app"}},
            {"mediaType": MANIFEST, "digest": signed, "size": signature.len(), "artifactType": "application/x.signature"}]});
        fs::write(directory.join("index.json"), list.to_string()).expect("a file of the test's");
        fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
            .expect("a file of the test's");
        Self { directory, index: top, ours, other, signature: signed, layer }
    }

    fn place(&self) -> String {
        format!("oci:{}:app", self.directory.display())
    }
}

fn put(directory: &Path, content: &[u8]) -> String {
    let digest = Digest::of(content);
    fs::write(directory.join("blobs/sha256").join(digest.hex()), content).expect("a file of the test's");
    digest.to_string()
}

fn copy(holm: &Holm, flags: &[&str], from: &str, to: &str) -> String {
    let words = ["copy", "-q"].into_iter().chain(flags.iter().copied()).chain([from, to]);
    holm.ok(words)
}

/// The layout in a directory, as what is in its files.
fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory.join("blobs/sha256"))
        .expect("a layout")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn all_of_an_image_goes_round_and_comes_back_byte_for_byte() {
    let (holm, first, second) = (Holm::bare(), Server::start(), Server::start());
    let layout = Layout::make(&holm);
    let place =
        |prefix: &str, name: &str| format!("{prefix}:{}", holm.scratch("copies").join(name).display());
    fs::create_dir_all(holm.scratch("copies")).expect("a directory of the test's");
    let stations = [
        layout.place(),
        format!("{}/team/app:1", first.address()),
        place("dir", "directory"),
        format!("{}/deep/down/app:2", second.address()),
        place("oci-archive", "archive.tar") + ":app",
        format!("{}/again:3", first.address()),
        place("docker-archive", "docker.tar") + ":localhost/app:1",
        place("oci", "layout") + ":back",
    ];
    for way in stations.windows(2) {
        assert_eq!(copy(&holm, &[], &way[0], &way[1]), layout.index, "{way:?}");
    }
    let back = files(&holm.scratch("copies").join("layout"));
    let without_signature: Vec<String> = files(&layout.directory)
        .into_iter()
        .filter(|name| {
            let extra =
                [&layout.signature, &Digest::of(b"signed").to_string(), &Digest::of(b"{}").to_string()];
            !extra.iter().any(|digest| digest.ends_with(name.as_str()))
        })
        .collect();
    assert_eq!(back, without_signature);
    let told = holm.ok(["copy", &stations[1], &stations[5]]);
    assert!(told.contains(&format!("Digest: {}", layout.index)) && !told.contains("Copied"), "{told}");
    let told = holm.ok(["copy", &stations[1], &format!("{}/sibling:1", first.address())]);
    assert!(told.contains("Mounted from another repository") && !told.contains("Copying\n"), "{told}");
}

#[test]
fn one_platform_of_several_is_chosen() {
    let (holm, server) = (Holm::bare(), Server::start());
    let layout = Layout::make(&holm);
    let name = format!("{}/app:1", server.address());
    assert_eq!(copy(&holm, &["--platform", "linux/s390x"], &layout.place(), &name), layout.other);
    let error = holm.run(["copy", "--platform", "linux/riscv64", &layout.place(), &name]);
    error.refused(1, &["linux/riscv64", "linux/s390x"]);
    assert_eq!(
        server.client().get("/v2/app/manifests/1").headers.get("docker-content-digest"),
        Some(&layout.other)
    );
}

#[test]
fn what_is_about_an_image_goes_along_if_asked() {
    let (holm, server) = (Holm::bare(), Server::start());
    let layout = Layout::make(&holm);
    let (plain, full) = (format!("{}/plain:1", server.address()), format!("{}/full:1", server.address()));
    copy(&holm, &[], &layout.place(), &plain);
    let told = holm.ok(["copy", "--referrers", &layout.place(), &full]);
    assert!(told.contains("Referrers: 1"), "{told}");
    let listed = |repository: &str| {
        let list = server.client().get(&format!("/v2/{repository}/referrers/{}", layout.ours));
        let list: Value = serde_json::from_slice(&list.body).expect("JSON");
        list["manifests"].as_array().expect("a list").clone()
    };
    assert!(listed("plain").is_empty());
    let [signature] = &listed("full")[..] else { panic!("one") };
    assert_eq!(signature["digest"], *layout.signature);
    assert_eq!(signature["artifactType"], "application/x.signature");
    let back = holm.scratch("back");
    let place = format!("oci:{}:app", back.display());
    copy(&holm, &["--referrers"], &full, &place);
    assert_eq!(files(&back), files(&layout.directory));
    let again = holm.ok([
        "copy",
        "--referrers",
        "--format",
        "json",
        &place,
        &format!("{}/third:1", server.address()),
    ]);
    let last: Value = serde_json::from_str(again.lines().last().unwrap_or_default()).expect("JSON");
    assert_eq!((&last["referrers"], &last["digest"]), (&json!(1), &json!(layout.index)));
}

#[test]
fn a_registry_without_lists_of_referrers_keeps_them_under_a_tag() {
    let (holm, debians) = (Holm::bare(), Debians::start());
    let layout = Layout::make(&holm);
    let name = format!("{}/app:1", debians.address);
    for _ in 0..2 {
        assert_eq!(copy(&holm, &["--referrers"], &layout.place(), &name), layout.index);
    }
    let tag = layout.ours.replace(':', "-");
    let accept = [("Accept", "application/vnd.oci.image.index.v1+json")];
    let list =
        Client::connect(&debians.address).ask("GET", &format!("/v2/app/manifests/{tag}"), &accept, b"");
    let list: Value = serde_json::from_slice(&list.body).expect("JSON");
    let [signature] = &list["manifests"].as_array().expect("a list")[..] else { panic!("one: {list}") };
    assert_eq!(signature["digest"], *layout.signature);
    assert_eq!(signature["annotations"]["by"], "us");
    let back = holm.scratch("back");
    copy(&holm, &["--referrers"], &name, &format!("oci:{}:app", back.display()));
    assert_eq!(files(&back), files(&layout.directory));
}

#[test]
fn archives_are_those_of_other_programs() {
    let (holm, server) = (Holm::bare(), Server::start());
    let layout = Layout::make(&holm);
    let archive = holm.file("ours.tar", "");
    copy(&holm, &[], &layout.place(), &format!("docker-archive:{archive}:localhost/app:1"));
    let theirs = holm.file("theirs.tar", "");
    fs::remove_file(&theirs).expect("its own file");
    let skopeo = |from: &str, to: &str| {
        let done = Command::new("skopeo").args(["copy", from, to]).output().expect("skopeo is installed");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    skopeo(&format!("docker-archive:{archive}"), &format!("docker-archive:{theirs}:localhost/app:1"));
    Command::new("gzip").args(["-k", &theirs]).status().expect("gzip is installed");
    let name = format!("{}/app", server.address());
    for (number, file) in [theirs.clone(), format!("{theirs}.gz")].iter().enumerate() {
        let to = format!("{name}:{number}");
        holm.ok(["copy", &format!("docker-archive:{file}:localhost/app:1"), &to]);
        assert_eq!(holm.ok(["copy", "-q", &format!("docker-archive:{file}"), &to]).len(), layout.index.len());
        let manifest = server.client().get(&format!("/v2/app/manifests/{number}"));
        let manifest: Value = serde_json::from_slice(&manifest.body).expect("JSON");
        assert_eq!(manifest["layers"][0]["digest"], *layout.layer);
    }
    holm.run(["copy", &format!("docker-archive:{theirs}:other:1"), &name])
        .refused(1, &["other:1", "localhost/app:1"]);
}

#[test]
fn what_is_damaged_or_is_something_else_gets_no_name() {
    let (holm, server) = (Holm::bare(), Server::start());
    let layout = Layout::make(&holm);
    let to = format!("{}/app:1", server.address());
    let refused = |from: &str, to: &str, words: &[&str]| {
        holm.run(["copy", "-q", from, to]).refused(1, words);
    };
    let blob = layout.directory.join("blobs/sha256").join(layout.layer.trim_start_matches("sha256:"));
    let content = fs::read(&blob).expect("a blob");
    let mut other = content.clone();
    other[1000] ^= 1;
    for (bad, word) in
        [(&other[..], "has the digest"), (&content[..5000], "ends after 5000"), (b"", "ends after 0")]
    {
        fs::write(&blob, bad).expect("its own file");
        refused(&layout.place(), &to, &[&layout.layer, word]);
        assert_eq!(server.client().get("/v2/app/manifests/1").status, 404);
        let archive = holm.scratch("a.tar");
        refused(&layout.place(), &format!("docker-archive:{}", archive.display()), &[&layout.layer, word]);
        assert!(!archive.exists(), "nothing under the final name");
        let copied = holm.scratch("copied");
        refused(&layout.place(), &format!("oci:{}", copied.display()), &[&layout.layer, word]);
        assert!(!copied.join("index.json").exists());
        assert!(
            files(&copied)
                .iter()
                .all(|name| !layout.layer.ends_with(name.as_str()) && !name.starts_with(".tmp"))
        );
    }
    fs::remove_file(&blob).expect("its own file");
    refused(&layout.place(), &to, &[&layout.layer]);
    let top = layout.directory.join("blobs/sha256").join(layout.index.trim_start_matches("sha256:"));
    let index = fs::read(&top).expect("an index");
    fs::write(&top, [&index[..], b" "].concat()).expect("its own file");
    refused(&layout.place(), &to, &[&layout.index, "has the digest"]);
    fs::write(&top, index).expect("its own file");
    fs::write(&blob, &content).expect("its own file");

    let file = holm.file("file", "text");
    let directory = holm.scratch("full");
    fs::create_dir_all(directory.join("something")).expect("a directory of the test's");
    let place = layout.place();
    refused(&place, "docker-archive:/dev/null", &["/dev/null", "no file"]);
    holm.run(["copy", "-q", "--referrers", &place, &format!("dir:{}", directory.display())])
        .refused(1, &["no referrers"]);
    refused(&place, &format!("oci:{}", directory.display()), &["something else"]);
    assert!(!directory.join("blobs").exists(), "nothing is made beside it");
    refused(&place, &format!("dir:{}", directory.display()), &["something else"]);
    refused(&format!("oci:{}:none", layout.directory.display()), &to, &["`none`", "app"]);
    refused(&format!("oci-archive:{file}"), &to, &["tar archive"]);
    refused(&format!("docker-archive:{}/none", directory.display()), &to, &["none"]);
    refused(&place, "oci:", &["names no file"]);
    refused(&format!("{}/none:1", server.address()), &to, &["404"]);
    refused(&place, &format!("{}/app@{}", server.address(), layout.other), &["digest"]);
}
