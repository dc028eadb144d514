//! What bad clients and small disks do: an error for them, and nothing for others.

use std::io::Read;
use std::net::TcpStream;

use holm_spec::Digest;
use holm_tests::server::{PATIENCE, Server};
use rustix::process::Signal;

#[test]
fn memory_does_not_grow_with_blobs() {
    let server = Server::start();
    let size = 128 << 20;
    let piece = vec![7; 1 << 20];
    let pushers: Vec<_> = (0..2)
        .map(|number| {
            let (mut client, piece) = (server.client(), piece.clone());
            std::thread::spawn(move || {
                let place = client.begin(&format!("app{number}"));
                client
                    .write(
                        format!("PATCH {place} HTTP/1.1\r\nHost: r\r\nContent-Length: {size}\r\n\r\n")
                            .as_bytes(),
                    )
                    .expect("sent");
                (0..size / piece.len()).for_each(|_| client.write(&piece).expect("sent"));
                client.read(false).expect("an answer").is(202, "");
                place
            })
        })
        .collect();
    for pusher in pushers {
        let place = pusher.join().expect("no panic");
        assert_eq!(server.client().get(&place).header("range"), format!("0-{}", size - 1));
    }
    assert!(server.peak() < 64 << 10, "{} KiB", server.peak());
}

#[test]
fn a_full_disk_is_told_and_leaves_the_rest_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let storage = directory.path().join("s");
    std::fs::create_dir(&storage).expect("made");
    // The mount is the server's own, and ends with it.
    let server = on_small_disk(&storage, "8m");
    let mut client = server.client();
    let kept = client.push("app", b"small");
    let large = vec![1; 32 << 20];
    let path = format!("/v2/app/blobs/uploads/?digest={}", Digest::of(&large));
    let answer = client.try_ask("POST", &path, &[], &large);
    // The server stops reading: the client may see the answer or a reset.
    assert!(answer.map_or(true, |answer| answer.status == 507));
    let mut client = server.client();
    assert_eq!(client.get(&format!("/v2/app/blobs/{kept}")).body, b"small");
    client.push("app", b"small as well");
    let place = client.begin("app");
    let piece = vec![1; 1 << 20];
    let full = (0..20).any(|_| client.ask("PATCH", &place, &[], &piece).status == 507);
    assert!(full, "the disk has 8 MiB");
    client.delete(&place).is(204, "");
    client.push("app", &piece);
}

#[test]
fn heads_that_are_too_long_are_refused() {
    let server = Server::start();
    let mut client = server.client();
    let long = "a".repeat(1_000_000);
    let answer = client.try_ask("GET", "/v2/", &[("X", &long)], b"");
    assert!(answer.map_or(true, |answer| answer.status == 431 || answer.status == 400));
    let many: Vec<_> = (0..200).map(|number| format!("X-{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "x")).collect();
    let answer = server.client().try_ask("GET", "/v2/", &many, b"");
    assert!(answer.map_or(true, |answer| answer.status == 431 || answer.status == 400));
    for nonsense in
        ["\r\n\r\n\r\n", "GET\r\n\r\n", "\u{0}\u{1}\u{2}", "GET /v2/ HTTP/1.1\r\nContent-Length: x\r\n\r\n"]
    {
        let mut client = server.client();
        client.write(nonsense.as_bytes()).expect("sent");
    }
    server.client().get("/v2/").is(200, "");
}

#[test]
fn clients_that_say_nothing_hold_nobody_up() {
    let server = Server::start();
    let silent: Vec<_> = (0..300).map(|_| TcpStream::connect(server.address()).expect("connected")).collect();
    let mut client = server.client();
    let place = client.begin("app");
    let mut half = server.client();
    half.write(format!("PUT {place} HTTP/1.1\r\nHost: r\r\nContent-Le").as_bytes()).expect("sent");
    client.push("app", b"content");
    drop(silent);
}

#[test]
fn a_client_that_takes_nothing_costs_little() {
    let server = Server::start();
    let mut client = server.client();
    let digest = client.push("app", &vec![3; 64 << 20]);
    let mut stalled: Vec<_> = (0..16).map(|_| server.client()).collect();
    for client in &mut stalled {
        client
            .write(format!("GET /v2/app/blobs/{digest} HTTP/1.1\r\nHost: r\r\n\r\n").as_bytes())
            .expect("sent");
    }
    let answer = client.get(&format!("/v2/app/blobs/{digest}"));
    assert!(answer.status == 200 && answer.body.len() == 64 << 20);
    assert!(server.peak() < 64 << 10, "{} KiB", server.peak());
}

#[test]
fn the_end_waits_for_requests_that_run() {
    let mut server = Server::start();
    let mut client = server.client();
    let place = client.begin("app");
    client
        .write(format!("PATCH {place} HTTP/1.1\r\nHost: r\r\nContent-Length: 10\r\n\r\nhello").as_bytes())
        .expect("sent");
    let mut idle = TcpStream::connect(server.address()).expect("connected");
    let pid = server.pid();
    holm_tests::host::signal(pid, Signal::TERM);
    holm_tests::eventually("nobody is let in", || TcpStream::connect(server.address()).is_err());
    idle.set_read_timeout(Some(PATIENCE)).expect("a socket");
    // A reset is for who was not even let in.
    assert!(matches!(idle.read(&mut [0; 1]), Ok(0) | Err(_)), "who says nothing is sent away");
    client.write(b"world").expect("sent");
    client.read(false).expect("an answer").is(202, "");
    assert!(server.wait().success());
}

#[test]
fn nothing_is_left_open() {
    let server = Server::start();
    let open = || std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("it runs").count();
    let mut client = server.client();
    let digest = client.push("app", b"content");
    let before = open();
    for _ in 0..50 {
        client.get(&format!("/v2/app/blobs/{digest}")).is(200, "");
        client.push("app", b"content");
        client.push_image("app", "v1", b"{}");
        client.get("/v2/app/manifests/v1").is(200, "");
        let place = client.begin("app");
        client.delete(&place).is(204, "");
        drop(server.client());
    }
    holm_tests::eventually("all is closed", || open() <= before + 1);
}

/// A server over a file system of that size.
fn on_small_disk(storage: &std::path::Path, size: &str) -> Server {
    Server::of_command(storage, |command| {
        let program = command.get_program().to_owned();
        let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let script = format!("mount -t tmpfs -o size={size} none \"$0\" && exec \"$@\"");
        let mut mounting = std::process::Command::new("unshare");
        mounting.args(["--mount", "sh", "-c", &script]).arg(storage).arg(program).args(words);
        mounting
    })
}
