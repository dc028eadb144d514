//! Many clients at once.

use holm_spec::Digest;

use super::http::{Client, IMAGE, image};
use super::server::Server;

#[test]
fn the_same_blob_and_tag_from_many() {
    let server = Server::start();
    let content: Vec<u8> = vec![5; 3 << 20];
    let pushers: Vec<_> = (0..8)
        .map(|number| {
            let (mut client, content) = (server.client(), content.clone());
            std::thread::spawn(move || {
                for round in 0..5 {
                    let digest = client.push(if number % 2 == 0 { "app" } else { "other" }, &content);
                    let config = format!("{{\"number\": {number}, \"round\": {round}}}");
                    client.push_image("app", "latest", config.as_bytes());
                    assert_eq!(digest, Digest::of(&content).to_string());
                }
            })
        })
        .collect();
    let mut client = server.client();
    while pushers.iter().any(|pusher| !pusher.is_finished()) {
        let answer = client.get("/v2/app/manifests/latest");
        if answer.status == 200 {
            let digest = Digest::of(&answer.body).to_string();
            assert_eq!(answer.header("docker-content-digest"), digest);
        }
    }
    pushers.into_iter().for_each(|pusher| pusher.join().expect("no panic"));
    let digest = Digest::of(&content);
    for repository in ["app", "other"] {
        assert!(client.get(&format!("/v2/{repository}/blobs/{digest}")).body == content);
    }
    assert!(!server.files().iter().any(|file| file.contains("_uploads/") || file.contains(".tmp-")));
}

#[test]
fn pushes_and_removals_of_one_blob() {
    let server = Server::start();
    let workers: Vec<_> = (0..6)
        .map(|number| {
            let client = server.client();
            std::thread::spawn(move || push_and_remove(client, &format!("app{number}")))
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
    let mut client = server.client();
    let digest = client.push("app", b"shared");
    assert_eq!(client.get(&format!("/v2/app/blobs/{digest}")).body, b"shared");
}

/// What a repository was given it has, whatever happens to the same blob in others.
fn push_and_remove(mut client: Client, repository: &str) {
    for _ in 0..30 {
        let digest = client.push(repository, b"shared");
        let path = format!("/v2/{repository}/blobs/{digest}");
        assert_eq!(client.get(&path).body, b"shared");
        let manifest = image(&digest, 6);
        client.put(&format!("/v2/{repository}/manifests/v1"), IMAGE, &manifest).is(201, "");
        client.delete(&path).is(202, "");
        client.get(&path).is(404, "BLOB_UNKNOWN");
    }
}
