//! Many clients at once.

use holm_spec::Digest;
use holm_tests::http::{Client, IMAGE, image};
use holm_tests::server::Server;

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

#[test]
fn requests_that_do_not_wait_for_answers() {
    let server = Server::start();
    let mut client = server.client();
    let contents: Vec<Vec<u8>> = [70_000_usize, 10, 3 << 20, 65_536, 5]
        .iter()
        .map(|size| (0..*size).map(|at| (at * 7 + size).to_le_bytes()[0]).collect())
        .collect();
    let digests: Vec<_> = contents.iter().map(|content| client.push("app", content)).collect();
    // All at once: answers come in their order, each whole, whichever way it takes to the socket.
    for digest in &digests {
        let request = format!("GET /v2/app/blobs/{digest} HTTP/1.1\r\nHost: r\r\n\r\n");
        client.write(request.as_bytes()).expect("sent");
    }
    for content in &contents {
        let answer = client.read(false).expect("an answer");
        assert!(answer.status == 200 && answer.body == *content, "{} bytes", content.len());
    }
}
