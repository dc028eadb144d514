//! `--share-images`: a push from the same disk moves nothing, and both sides go on by themselves.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use holm_tests::Holm;
use holm_tests::server::Server;

/// A registry that shares the images of `holm`.
fn start(holm: &Holm, flags: &[&str]) -> Server {
    let (root, run) = (holm.root().display().to_string(), holm.run_root().display().to_string());
    let environment = [("HOLM_ROOT", root.as_str()), ("HOLM_RUN_ROOT", run.as_str())];
    let storage = holm.scratch("storage");
    let flags: Vec<&str> = ["--share-images"].into_iter().chain(flags.iter().copied()).collect();
    Server::of(&holm_tests::server::Setup { storage: &storage, flags: &flags, environment: &environment })
}

/// The layer's files, in the registry and in the store.
fn files(holm: &Holm, server: &Server, repository: &str) -> Vec<(PathBuf, PathBuf)> {
    let own = server.storage().join(format!("repositories/{repository}/_blobs/sha256"));
    let entries = fs::read_dir(own).expect("a repository").map(|entry| entry.expect("an entry").path());
    entries
        .map(|path| {
            let name = path.file_name().expect("a name").to_owned();
            (path, holm.root().join("blobs/sha256").join(name))
        })
        .collect()
}

#[test]
fn a_push_from_the_same_disk_moves_nothing() {
    let (holm, there) = (Holm::new(), Holm::empty());
    let server = start(&holm, &[]);
    let name = format!("{}/team/app:1", server.address());
    holm.ok(["tag", "base", &name]);
    let pushed = holm.ok(["push", &name]);
    assert!(pushed.contains("Taken from this host's images") && !pushed.contains("Pushed"), "{pushed}");
    let shared = files(&holm, &server, "team/app");
    assert_eq!(shared.len(), 2, "a layer and a configuration");
    for (ours, stores) in &shared {
        let (ours, stores) = (ours.metadata().expect("there"), stores.metadata().expect("there"));
        assert_eq!((ours.dev(), ours.ino()), (stores.dev(), stores.ino()), "one file");
    }
    // What becomes of one side does nothing to the other.
    holm.ok(["rmi", "-f", &name, "base"]);
    assert!(shared.iter().all(|(ours, stores)| ours.exists() && !stores.exists()));
    there.ok(["pull", "-q", &name]);
    assert_eq!(there.ok(["run", "--rm", &name, "echo", "there"]), "there");
    let again = there.ok(["push", &name]);
    assert!(again.contains("Layer already exists"), "{again}");
    let sibling = format!("{}/other/app:1", server.address());
    there.ok(["copy", "-q", &name, &sibling]);
    for (ours, _) in &shared {
        let digest = format!("sha256:{}", ours.file_name().expect("a name").to_string_lossy());
        assert_eq!(server.client().delete(&format!("/v2/team/app/blobs/{digest}")).status, 202);
        assert_eq!(server.client().get(&format!("/v2/other/app/blobs/{digest}")).status, 200);
    }
}

#[test]
fn what_is_damaged_in_the_store_is_not_taken() {
    let (holm, there) = (Holm::new(), Holm::empty());
    let server = start(&holm, &[]);
    let (first, second) = (format!("{}/first:1", server.address()), format!("{}/second:1", server.address()));
    holm.ok(["tag", "base", &first]);
    holm.ok(["push", "-q", &first]);
    let shared = files(&holm, &server, "first");
    let (_, largest) =
        shared.iter().max_by_key(|(ours, _)| ours.metadata().expect("there").len()).expect("a layer");
    let content = fs::read(largest).expect("a blob");
    let mut damaged = content.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::remove_file(largest).expect("its own file");
    fs::write(largest, damaged).expect("its own file");
    // Another repository, of another registry, so that nothing is mounted.
    let other = Server::start();
    let elsewhere = format!("{}/app:1", other.address());
    holm.ok(["tag", "base", &elsewhere]);
    holm.ok(["push", "-q", &elsewhere]);
    there.ok(["pull", "-q", &elsewhere]);
    assert!(fs::read(largest).expect("packed anew") == content);
    holm.ok(["tag", "base", &second]);
    holm.ok(["push", "-q", &second]);
    there.ok(["pull", "-q", &second]);
}

#[test]
fn nothing_is_taken_unasked() {
    let holm = Holm::new();
    let server = Server::start();
    let name = format!("{}/app:1", server.address());
    holm.ok(["tag", "base", &name]);
    let pushed = holm.ok(["push", &name]);
    assert!(pushed.contains("Pushed") && !pushed.contains("Taken"), "{pushed}");
    assert!(
        files(&holm, &server, "app").iter().all(|(ours, _)| ours.metadata().expect("there").nlink() == 2)
    );
}
