//! `--mirror`: what another registry has, fetched once and kept; the other one is ours as well, or Debian's, or lies.

use std::io::{Read, Write};
use std::net::TcpListener;

use holm_spec::Digest;
use holm_tests::http::{IMAGE, image};
use holm_tests::server::Server;
use rustix::process::Signal;

fn mirror_of(upstream: &str) -> Server {
    Server::with(&["--mirror", upstream])
}

/// How many requests of that kind a server's log has.
fn asked(server: &Server, what: &str) -> usize {
    server.log().lines().filter(|line| line.contains(what)).count()
}

#[test]
fn what_was_pulled_once_is_kept_and_tags_are_looked_up() {
    let mut upstream = Server::start();
    let first = upstream.client().push_image("team/app", "v1", b"{\"number\": 1}");
    let mirror = mirror_of(&format!("http://{}", upstream.address()));
    let mut client = mirror.client();
    for _ in 0..3 {
        let answer = client.get("/v2/team/app/manifests/v1");
        assert_eq!((answer.status, answer.header("docker-content-digest")), (200, first.as_str()));
        assert_eq!(answer.header("content-type"), IMAGE);
        let blob = Digest::of(b"{\"number\": 1}");
        assert_eq!(client.get(&format!("/v2/team/app/blobs/{blob}")).body, b"{\"number\": 1}");
    }
    holm_tests::eventually("upstream has logged all", || {
        asked(&upstream, " HEAD \"/v2/team/app/manifests/v1\"") == 3
    });
    assert_eq!(
        (asked(&upstream, " GET \"/v2/team/app/manifests/"), asked(&upstream, " GET \"/v2/team/app/blobs/")),
        (1, 1)
    );
    let second = upstream.client().push_image("team/app", "v1", b"{\"number\": 2}");
    assert_eq!(client.get("/v2/team/app/manifests/v1").header("docker-content-digest"), second);
    client.get(&format!("/v2/team/app/manifests/{first}")).is(200, "");
    client.get("/v2/team/app/manifests/v2").is(404, "MANIFEST_UNKNOWN");
    client.get(&format!("/v2/team/app/blobs/{}", Digest::of(b"none"))).is(404, "BLOB_UNKNOWN");
    let refused = client.post("/v2/team/app/blobs/uploads/");
    refused.is(405, "UNSUPPORTED");
    assert!(String::from_utf8_lossy(&refused.body).contains(upstream.address()));
    client.delete("/v2/team/app/manifests/v1").is(405, "UNSUPPORTED");
    // What is here serves when nobody is there.
    upstream.signal(Signal::KILL);
    assert_eq!(client.get("/v2/team/app/manifests/v1").header("docker-content-digest"), second);
    client.get("/v2/team/app/manifests/v3").is(502, "UNKNOWN");
    client.get(&format!("/v2/team/app/blobs/{}", Digest::of(b"{\"number\": 2}"))).is(502, "UNKNOWN");
}

#[test]
fn one_fetch_serves_all_who_wait() {
    let upstream = Server::start();
    let content: Vec<u8> = (0..20_000_000_u32).map(|number| (number * 7).to_le_bytes()[1]).collect();
    let digest = upstream.client().push("app", &content);
    let mirror = mirror_of(upstream.address());
    let readers: Vec<_> = (0..8)
        .map(|number| {
            let (mut client, path) = (mirror.client(), format!("/v2/app/blobs/{digest}"));
            std::thread::spawn(move || match number % 4 {
                3 => client.ask("GET", &path, &[("Range", "bytes=10000000-10000999")], b"").body,
                _ => client.get(&path).body,
            })
        })
        .collect();
    for (number, reader) in readers.into_iter().enumerate() {
        let body = reader.join().expect("no panic");
        let expected = if number % 4 == 3 { &content[10_000_000..10_001_000] } else { &content };
        assert!(body == expected, "reader {number}");
    }
    holm_tests::eventually("upstream has logged it", || asked(&upstream, " GET \"/v2/app/blobs/") > 0);
    assert_eq!(asked(&upstream, " GET \"/v2/app/blobs/"), 1);
    assert!(!mirror.files().iter().any(|file| file.contains("_uploads/")));
}

/// A registry that answers every request for a blob with this, and for manifests with nothing.
fn liar(head: &'static str, body: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            let blob = String::from_utf8_lossy(&request[..read]).contains("/blobs/");
            let _ = if blob {
                stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body))
            } else {
                stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            };
        }
    });
    address
}

#[test]
fn what_upstream_says_is_checked() {
    for (head, body) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", b"other".as_slice()),
        ("HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\n", b"broken off"),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"of no length"),
        ("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", b""),
    ] {
        let mirror = mirror_of(&liar(head, body));
        let path = format!("/v2/app/blobs/{}", Digest::of(b"right"));
        // The answer began before the digest was known: it breaks off, and the last byte never comes.
        let answer = mirror.client().try_ask("GET", &path, &[], b"");
        assert!(answer.map_or(true, |answer| answer.status == 502), "{head}");
        holm_tests::eventually("nothing is kept", || {
            !mirror.files().iter().any(|file| file.contains("_uploads/") || file.starts_with("blobs/sha256/"))
        });
        mirror.client().get("/v2/").is(200, "");
    }
}

#[test]
fn an_image_is_pulled_from_debians_through_it() {
    let debians = super::clients::Debians::start();
    let mut there = holm_tests::http::Client::connect(&debians.address);
    let config = Digest::of(b"{}").to_string();
    let place = there.post("/v2/app/blobs/uploads/").header("location").to_owned();
    let place = &place[place.find("/v2/").expect("a path")..];
    there.ask("PUT", &format!("{place}&digest={config}"), &[], b"{}").is(201, "");
    there.put("/v2/app/manifests/v1", IMAGE, &image(&config, 2)).is(201, "");
    let mirror = mirror_of(&debians.address);
    let mut client = mirror.client();
    assert_eq!(client.get("/v2/app/manifests/v1").body, image(&config, 2));
    assert_eq!(client.get(&format!("/v2/app/blobs/{config}")).body, b"{}");
}
