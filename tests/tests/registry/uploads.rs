//! The specification's section "Pushing blobs": in one piece, in chunks, by mounting; and uploads that are broken off.

use holm_spec::Digest;
use holm_tests::server::{Server, Setup};
use rustix::process::Signal;

#[test]
fn in_chunks_and_in_order() {
    let server = Server::start();
    let mut client = server.client();
    let place = client.begin("app");
    let answer = client.ask("PATCH", &place, &[("Content-Range", "0-4")], b"hello");
    answer.is(202, "");
    assert_eq!(answer.header("range"), "0-4");
    for range in ["0-4", "6-10", "4-8"] {
        let answer = client.ask("PATCH", &place, &[("Content-Range", range)], b"world");
        answer.is(416, "BLOB_UPLOAD_INVALID");
        assert_eq!((answer.header("location"), answer.header("range")), (place.as_str(), "0-4"), "{range}");
    }
    client.ask("PATCH", &place, &[("Content-Range", "5-6")], b"world").is(400, "SIZE_INVALID");
    client.ask("PATCH", &place, &[("Content-Range", "x")], b"world").is(400, "BLOB_UPLOAD_INVALID");
    let status = client.get(&place);
    assert_eq!((status.status, status.header("range")), (204, "0-4"));
    let digest = Digest::of(b"helloworld!").to_string();
    client.ask("PATCH", &place, &[], b"world").is(202, "");
    let last = format!("{place}?digest={digest}");
    client.ask("PUT", &last, &[("Content-Range", "9-9")], b"!").is(416, "BLOB_UPLOAD_INVALID");
    let answer = client.ask("PUT", &last, &[("Content-Range", "10-10")], b"!");
    answer.is(201, "");
    assert_eq!(answer.header("location"), format!("/v2/app/blobs/{digest}"));
    assert_eq!(client.get(&format!("/v2/app/blobs/{digest}")).body, b"helloworld!");
    client.get(&place).is(404, "BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn streamed_without_a_length() {
    let server = Server::start();
    let mut client = server.client();
    let place = client.begin("app");
    client
        .write(format!("PATCH {place} HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes())
        .expect("sent");
    client.write(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n").expect("sent");
    client.read(false).expect("an answer").is(202, "");
    let digest = Digest::of(b"hello world").to_string();
    client.ask("PUT", &format!("{place}?digest={digest}"), &[], b"").is(201, "");
}

#[test]
fn what_has_another_digest_is_not_kept() {
    let server = Server::start();
    let mut client = server.client();
    let digest = Digest::of(b"other").to_string();
    client
        .ask("POST", &format!("/v2/app/blobs/uploads/?digest={digest}"), &[], b"this")
        .is(400, "DIGEST_INVALID");
    let place = client.begin("app");
    client.ask("PUT", &format!("{place}?digest={digest}"), &[], b"this").is(400, "DIGEST_INVALID");
    client.ask("PUT", &place, &[], b"").is(400, "DIGEST_INVALID");
    let place = client.begin("app");
    client.ask("PUT", &format!("{place}?digest=md5:12"), &[], b"this").is(400, "DIGEST_INVALID");
    client.delete(&place).is(204, "");
    client.delete(&place).is(404, "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(client.get(&format!("/v2/app/blobs/{digest}")).status, 404);
    assert!(
        !server.files().iter().any(|file| file.contains("_uploads/") || file.starts_with("blobs/sha256/"))
    );
}

#[test]
fn both_algorithms() {
    let server = Server::start();
    let mut client = server.client();
    // sha512sum of "abc", as its standard says.
    let digest = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    let place = client.begin("app");
    client.ask("PATCH", &place, &[], b"ab").is(202, "");
    client.ask("PUT", &format!("{place}?digest={digest}"), &[], b"c").is(201, "");
    let answer = client.post("/v2/app/blobs/uploads/?digest-algorithm=sha512");
    client.ask("PUT", &format!("{}?digest={digest}", answer.header("location")), &[], b"abc").is(201, "");
    client.post("/v2/app/blobs/uploads/?digest-algorithm=md5").is(400, "DIGEST_INVALID");
    assert_eq!(client.get(&format!("/v2/app/blobs/{digest}")).body, b"abc");
}

#[test]
fn mounting_from_another_repository_or_from_any() {
    let server = Server::start();
    let mut client = server.client();
    let digest = client.push("one", b"content");
    for (to, from, status) in [("two", "&from=one", 201), ("three", "", 201), ("four", "&from=none", 202)] {
        let answer = client.post(&format!("/v2/{to}/blobs/uploads/?mount={digest}{from}"));
        assert_eq!(answer.status, status, "{to}");
        let there = client.get(&format!("/v2/{to}/blobs/{digest}")).status;
        assert_eq!(there == 200, status == 201, "{to}");
    }
    let unknown = Digest::of(b"unknown");
    let answer = client.post(&format!("/v2/two/blobs/uploads/?mount={unknown}&from=one"));
    answer.is(202, "");
    assert!(answer.header("location").starts_with("/v2/two/blobs/uploads/"));
}

#[test]
fn two_writers_do_not_mix() {
    let server = Server::start();
    let (mut slow, mut other) = (server.client(), server.client());
    let place = slow.begin("app");
    let head =
        format!("PATCH {place} HTTP/1.1\r\nHost: r\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n");
    slow.write(head.as_bytes()).expect("sent");
    // The server says this when it begins to read, and has the upload by then.
    slow.read(false).expect("an answer").is(100, "");
    slow.write(b"hello").expect("sent");
    other.ask("PATCH", &place, &[], b"x").is(409, "BLOB_UPLOAD_INVALID");
    other
        .ask("PUT", &format!("{place}?digest={}", Digest::of(b"x")), &[], b"x")
        .is(409, "BLOB_UPLOAD_INVALID");
    slow.write(b"world").expect("sent");
    slow.read(false).expect("an answer").is(202, "");
    let digest = Digest::of(b"helloworld").to_string();
    other.ask("PUT", &format!("{place}?digest={digest}"), &[], b"").is(201, "");
}

#[test]
fn an_upload_goes_on_after_a_break_and_after_a_restart() {
    let mut server = Server::start();
    let (mut client, mut broken) = (server.client(), server.client());
    let place = client.begin("app");
    broken
        .write(format!("PATCH {place} HTTP/1.1\r\nHost: r\r\nContent-Length: 10\r\n\r\nhello").as_bytes())
        .expect("sent");
    drop(broken);
    holm_tests::eventually("what came is there", || client.get(&place).header("range") == "0-4");
    holm_tests::eventually("the upload is free", || {
        client.ask("PATCH", &place, &[("Content-Range", "5-6")], b" w").status == 202
    });
    server.signal(Signal::KILL);
    let again = Server::of(&Setup { storage: server.storage(), flags: &[], environment: &[] });
    let mut client = again.client();
    assert_eq!(client.get(&place).header("range"), "0-6");
    client.ask("PATCH", &place, &[("Content-Range", "7-10")], b"orld").is(202, "");
    let digest = Digest::of(b"hello world").to_string();
    client.ask("PUT", &format!("{place}?digest={digest}"), &[], b"").is(201, "");
}
