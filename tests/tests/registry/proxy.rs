//! `holm pull` through a proxy, as `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use holm_tests::Holm;
use holm_tests::server::{Server, Setup};

use super::clients::push_base;
use super::names::{NAME, call, certify, named, rules};

/// A proxy that takes every name for this machine, and remembers the first lines of requests.
struct Proxy {
    url: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let list = heard.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let list = list.clone();
                std::thread::spawn(move || serve(stream, &list));
            }
        });
        Self { url, heard }
    }

    /// The lines since the last question.
    fn lines(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.lock().expect("no panic"))
    }
}

/// One connection: a tunnel after `CONNECT`, or requests with whole addresses, which a server takes as they are.
fn serve(client: TcpStream, heard: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut head, mut line) = (String::new(), String::new());
    while reader.read_line(&mut line)? > 2 {
        head += &std::mem::take(&mut line);
    }
    let first = head.lines().next().unwrap_or_default().to_owned();
    heard.lock().expect("no panic").push(first.clone());
    let target = first.split(' ').nth(1).unwrap_or_default().trim_start_matches("http://");
    let port = target.split('/').next().and_then(|host| host.rsplit(':').next()?.parse().ok()).unwrap_or(80);
    let server = TcpStream::connect(("127.0.0.1", port))?;
    let mut rest = reader.buffer().to_vec();
    if first.starts_with("CONNECT ") {
        (&client).write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    } else {
        rest = [format!("{head}\r\n").into_bytes(), rest].concat();
    }
    (&server).write_all(&rest)?;
    let (from, to) = (client.try_clone()?, server.try_clone()?);
    let upward = std::thread::spawn(move || pass(&from, &to));
    pass(&server, &client)?;
    upward.join().expect("no panic")
}

fn pass(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        to.write_all(&buffer[..count])?;
    }
    // The other end may have gone already.
    let _ = to.shutdown(Shutdown::Write);
    Ok(())
}

#[test]
fn tls_goes_through_a_tunnel() {
    let (holm, directory) = (Holm::bare(), tempfile::tempdir().expect("a temporary directory"));
    let files = certify(directory.path());
    let storage = directory.path().join("storage");
    let plain = Server::of(&Setup { storage: &storage, flags: &[], environment: &[] });
    push_base(&plain, "team/app", "v1");
    drop(plain);
    let flags = ["--tls-cert", &files.certificate, "--tls-key", &files.key];
    let server = Server::of(&Setup { storage: &storage, flags: &flags, environment: &[] });
    let registry = named(server.address());
    rules(&holm, &format!("[registry.\"{registry}\"]\nca = \"{}\"\n", files.authority));
    let (proxy, name) = (Proxy::start(), format!("{registry}/team/app:v1"));
    let pull = || call(&holm, &["pull", "-q", &name]);

    for variable in ["HTTPS_PROXY", "https_proxy"] {
        pull().env(variable, &proxy.url).run().ok();
        let lines = proxy.lines();
        assert!(!lines.is_empty(), "{variable}");
        let tunnel = format!("CONNECT {registry} ");
        assert!(lines.iter().all(|line| line.starts_with(&tunnel)), "{variable}: {lines:?}");
    }
    for exception in [NAME, ".test", "*", &format!("other.example,{NAME}")] {
        pull().env("HTTPS_PROXY", &proxy.url).env("NO_PROXY", exception).run().ok();
        assert_eq!(proxy.lines(), [""; 0], "{exception}");
    }
    pull().env("HTTPS_PROXY", &proxy.url).env("NO_PROXY", "other.example").run().ok();
    assert!(!proxy.lines().is_empty());
    let text = pull().env("HTTPS_PROXY", "http://127.0.0.1:1").run().refused(1, &[&registry]);
    assert!(text.contains("hint: ") && text.contains("PROXY"), "{text}");
}

#[test]
fn plain_http_goes_through_a_proxy_but_not_to_this_machine() {
    let (holm, server, proxy) = (Holm::bare(), Server::start(), Proxy::start());
    push_base(&server, "team/app", "v1");
    let registry = named(server.address());
    rules(&holm, &format!("[registry.\"{registry}\"]\ninsecure = true\n"));
    let name = format!("{registry}/team/app:v1");
    call(&holm, &["pull", "-q", &name])
        .env("HTTP_PROXY", &proxy.url)
        .env("HTTPS_PROXY", &proxy.url)
        .run()
        .ok();
    let lines = proxy.lines();
    assert!(lines.iter().any(|line| line.contains(&registry)), "{lines:?}");
    let here = format!("{}/team/app:v1", server.address());
    call(&holm, &["pull", "-q", &here])
        .env("HTTP_PROXY", &proxy.url)
        .env("HTTPS_PROXY", &proxy.url)
        .run()
        .ok();
    assert_eq!(proxy.lines(), [""; 0], "loopback is no business of a proxy");
}
