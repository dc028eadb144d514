//! Killed at every step: what was answered with 201 is there afterwards, and what was not can be pushed again.

use holm_spec::Digest;
use holm_sys::fail_point;
use holm_tests::http::{Client, IMAGE};
use holm_tests::server::{Server, Setup};
use rustix::process::Signal;
use serde_json::json;

/// What was answered so far.
#[derive(Default)]
struct Promised {
    blobs: Vec<String>,
    removed: bool,
}

const CONTENT: &[u8] = b"{\"content\": 1}";
/// What Holm's images on the same disk have.
const TAKEN: &[u8] = b"taken";

fn subject() -> String {
    Digest::of(b"subject").to_string()
}

fn manifest() -> Vec<u8> {
    let config =
        json!({"mediaType": "a/b", "digest": Digest::of(CONTENT).to_string(), "size": CONTENT.len()});
    let subject = json!({"mediaType": IMAGE, "digest": subject(), "size": 1});
    let manifest =
        json!({"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": [], "subject": subject});
    manifest.to_string().into_bytes()
}

/// Pushes a blob and a manifest that refers to another one, then removes both, until the server dies or all is done.
fn push_and_remove(client: &mut Client, promised: &mut Promised) -> std::io::Result<()> {
    let digest = Digest::of(CONTENT).to_string();
    let place = client.try_ask("POST", "/v2/app/blobs/uploads/", &[], b"")?.header("location").to_owned();
    client.try_ask("PATCH", &place, &[], CONTENT)?.is(202, "");
    client.try_ask("PUT", &format!("{place}?digest={digest}"), &[], b"")?.is(201, "");
    promised.blobs.push(digest.clone());
    client.try_ask("PUT", "/v2/app/manifests/v1", &[("Content-Type", IMAGE)], &manifest())?.is(201, "");
    client
        .try_ask("DELETE", &format!("/v2/app/manifests/{}", Digest::of(&manifest())), &[], b"")?
        .is(202, "");
    promised.blobs.clear();
    client.try_ask("DELETE", &format!("/v2/app/blobs/{digest}"), &[], b"")?.is(202, "");
    let taken = Digest::of(TAKEN).to_string();
    client.try_ask("POST", &format!("/v2/app/blobs/uploads/?mount={taken}"), &[], b"")?.is(201, "");
    client.try_ask("DELETE", &format!("/v2/app/blobs/{taken}"), &[], b"")?.is(202, "");
    promised.removed = true;
    Ok(())
}

#[test]
fn at_every_fail_point() {
    for point in fail_point::REGISTRY {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let storage = directory.path().join("s");
        let root = directory.path().join("root");
        let blobs = root.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).expect("made");
        std::fs::write(blobs.join(Digest::of(TAKEN).hex()), TAKEN).expect("written");
        let root = root.display().to_string();
        let environment = [("HOLM_ROOT", root.as_str()), ("HOLM_FAIL_POINT", *point)];
        let flags = ["--share-images"];
        let mut server = Server::of(&Setup { storage: &storage, flags: &flags, environment: &environment });
        let mut promised = Promised::default();
        let result = push_and_remove(&mut server.client(), &mut promised);
        assert!(result.is_err(), "{point} was not met");
        std::os::unix::process::ExitStatusExt::signal(&server.wait()).expect(point);
        let mut again =
            Server::of(&Setup { storage: &storage, flags: &flags, environment: &environment[..1] });
        let mut client = again.client();
        for blob in &promised.blobs {
            assert_eq!(client.get(&format!("/v2/app/blobs/{blob}")).body, CONTENT, "{point}");
        }
        is_consistent(&mut client, point);
        push_and_remove(&mut client, &mut promised).expect("nothing is in the way");
        assert!(promised.removed);
        again.signal(Signal::KILL);
        nothing_is_left(&storage, point);
    }
}

/// What can be seen is whole.
fn is_consistent(client: &mut Client, point: &str) {
    let answer = client.get("/v2/app/tags/list");
    let tags = if answer.status == 200 { answer.json()["tags"].clone() } else { json!([]) };
    for tag in tags.as_array().expect("a list") {
        let answer = client.get(&format!("/v2/app/manifests/{}", tag.as_str().expect("a tag")));
        // The manifest goes before the tags that point to it.
        assert!(answer.status == 404 || answer.body == manifest(), "{point}");
    }
    let referrers = client.get(&format!("/v2/app/referrers/{}", subject())).json();
    for referrer in referrers["manifests"].as_array().expect("a list") {
        let digest = referrer["digest"].as_str().expect("a digest");
        assert_eq!(client.get(&format!("/v2/app/manifests/{digest}")).body, manifest(), "{point}");
    }
}

/// Uploads are old, and the next start finds that nobody has what is in them.
fn nothing_is_left(storage: &std::path::Path, point: &str) {
    for entry in std::fs::read_dir(storage.join("repositories/app/_uploads")).expect("there") {
        let file = std::fs::File::open(entry.expect("there").path()).expect("opened");
        let old = std::fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
        file.set_times(old).expect("set");
    }
    let server = Server::of(&Setup { storage, flags: &[], environment: &[] });
    let left = || {
        let of_no_use = |file: &String| {
            let parts = ["blobs/sha256/", "_uploads/", "_tags/", ".json", ".tmp-"];
            parts.iter().any(|part| file.contains(part))
        };
        server.files().into_iter().filter(of_no_use).collect::<Vec<_>>()
    };
    holm_tests::eventually(&format!("nothing is left behind {point}"), || left().is_empty());
}

#[test]
fn at_any_moment() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let storage = directory.path().join("s");
    let mut kept: Vec<(String, Vec<u8>)> = Vec::new();
    for round in 0..15_u64 {
        let mut server = Server::of(&Setup { storage: &storage, flags: &[], environment: &[] });
        let mut client = server.client();
        for (path, content) in &kept {
            assert!(client.get(path).body == *content, "{path} is lost in round {round}");
        }
        let address = server.address().to_owned();
        let pusher = std::thread::spawn(move || push_until_the_end(&address, round));
        std::thread::sleep(std::time::Duration::from_millis(20 + round * 13));
        server.signal(Signal::KILL);
        kept.extend(pusher.join().expect("no panic"));
    }
    assert!(kept.len() > 20, "{} were pushed", kept.len());
}

/// Pushes images until nobody answers; what was answered with 201, by path.
fn push_until_the_end(address: &str, round: u64) -> Vec<(String, Vec<u8>)> {
    let mut client = Client::connect(address);
    let mut kept = Vec::new();
    for number in 0.. {
        let content = format!("{{\"round\": {round}, \"number\": {number}}}").into_bytes();
        let digest = Digest::of(&content).to_string();
        let path = format!("/v2/app/blobs/uploads/?digest={digest}");
        match client.try_ask("POST", &path, &[], &content) {
            Ok(answer) if answer.status == 201 => {
                kept.push((format!("/v2/app/blobs/{digest}"), content.clone()))
            }
            _ => break,
        }
        let manifest = holm_tests::http::image(&digest, content.len());
        let path = format!("/v2/app/manifests/r{round}-{number}");
        match client.try_ask("PUT", &path, &[("Content-Type", IMAGE)], &manifest) {
            Ok(answer) if answer.status == 201 => kept.push((path, manifest)),
            _ => break,
        }
    }
    kept
}
