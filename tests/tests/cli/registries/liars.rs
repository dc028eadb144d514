//! Servers that lie, stall and break, and what a pull makes of that.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use holm_spec::Digest;
use holm_tests::{Holm, eventually};

use super::Image;

/// How a server of the tests lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    OtherLayer,
    OtherManifest,
    WantsPassword,
    FailsTwice,
    BreaksOff,
    Endless,
    /// Half of the layer, and then nothing for a long time.
    Stalls,
    /// Wants a password, and leads elsewhere for the layer.
    Redirects,
    /// The same, and there it is asked who asks.
    RedirectsToAsker,
}

/// Paths, and the bytes that they begin with.
type Requests = Mutex<Vec<(String, usize)>>;

/// A registry of a few lines; the requests that it got, with the byte that each begins with.
fn serve(image: &Image, lie: Lie) -> (String, Arc<Requests>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (heard, blobs, manifest) = (requests.clone(), image.blobs.clone(), image.manifest.clone());
    let victim = image.layers[0].clone();
    let elsewhere = format!("http://{}", elsewhere(&blobs[&victim], heard.clone(), lie));
    let served = Arc::new(Served { heard, blobs, manifest, victim, lie, elsewhere });
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let served = served.clone();
            std::thread::spawn(move || drop(answer(&stream, &served)));
        }
    });
    (address, requests)
}

/// What it has, and how it gives that.
struct Served {
    heard: Arc<Requests>,
    blobs: BTreeMap<String, Vec<u8>>,
    manifest: Vec<u8>,
    victim: String,
    lie: Lie,
    /// Another server, which has the layer.
    elsewhere: String,
}

/// A server that gives one thing, whatever it is asked for, and writes down whether a password came along.
fn elsewhere(content: &[u8], heard: Arc<Requests>, lie: Lie) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let content = content.to_vec();
    let realm = format!("Bearer realm=\"http://{address}/token\",service=\"elsewhere\"");
    let status = match lie {
        Lie::RedirectsToAsker => format!("401 Unauthorized\r\nWWW-Authenticate: {realm}"),
        _ => "200 OK".to_owned(),
    };
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let told = head.iter().any(|line| line.to_ascii_lowercase().starts_with("authorization"));
            heard.lock().expect("no panic").push(("elsewhere".to_owned(), usize::from(told)));
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                content.len()
            );
            let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.write_all(&content));
        }
    });
    address
}

fn answer(stream: &TcpStream, served: &Served) -> std::io::Result<()> {
    let Served { heard, blobs, manifest, victim, lie, elsewhere } = served;
    let lie = *lie;
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    let (mut range, mut told) = (None, false);
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        told |= line.starts_with("authorization: basic");
        range = line
            .strip_prefix("range: bytes=")
            .and_then(|range| range.trim_end_matches('-').parse().ok())
            .or(range);
    }
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    heard.lock().expect("no panic").push((path.clone(), range.unwrap_or(0)));
    let count = heard.lock().expect("no panic").iter().filter(|(earlier, _)| *earlier == path).count();
    let mut out = stream;
    let head = |status: &str, length: usize, more: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n")
    };
    if lie == Lie::WantsPassword {
        return out
            .write_all(head("401 Unauthorized", 0, "WWW-Authenticate: Basic realm=\"x\"\r\n").as_bytes());
    }
    let redirects = matches!(lie, Lie::Redirects | Lie::RedirectsToAsker);
    if redirects && !told {
        return out
            .write_all(head("401 Unauthorized", 0, "WWW-Authenticate: Basic realm=\"x\"\r\n").as_bytes());
    }
    if redirects && path.ends_with(victim.as_str()) {
        let location = format!("Location: {elsewhere}/blob\r\n");
        return out.write_all(head("307 Temporary Redirect", 0, &location).as_bytes());
    }
    if lie == Lie::FailsTwice && count < 3 {
        return out.write_all(head("503 Service Unavailable", 0, "").as_bytes());
    }
    let mut content = match path.rsplit_once('/') {
        Some((place, _)) if place.ends_with("/manifests") => Some(manifest.clone()),
        Some((_, digest)) => blobs.get(digest).cloned(),
        None => None,
    };
    let hit = path.ends_with(victim.as_str());
    match (&mut content, lie) {
        (Some(content), Lie::OtherLayer) if hit => content[100] ^= 1,
        (Some(content), Lie::OtherManifest) if path.contains("manifests") => content.push(b' '),
        _ => {}
    }
    let Some(content) = content else { return out.write_all(head("404 Not Found", 0, "").as_bytes()) };
    if lie == Lie::Endless && hit {
        out.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        out.write_all(&content)?;
        loop {
            out.write_all(&[0; 65536])?;
        }
    }
    let start: usize = range.unwrap_or(0);
    let rest = &content[start.min(content.len())..];
    let partial = format!("Content-Range: bytes {start}-{}/{}\r\n", content.len() - 1, content.len());
    let head = if start > 0 {
        head("206 Partial Content", rest.len(), &partial)
    } else {
        head("200 OK", rest.len(), "")
    };
    out.write_all(head.as_bytes())?;
    let half = hit && (lie == Lie::Stalls || lie == Lie::BreaksOff && count < 3);
    out.write_all(&rest[..if half { rest.len() / 2 } else { rest.len() }])?;
    if lie == Lie::Stalls && hit {
        // Longer than the test; its end ends this thread.
        std::thread::sleep(std::time::Duration::from_secs(600));
    }
    Ok(())
}

#[test]
fn what_lies_is_refused_and_leaves_nothing() {
    let holm = Holm::empty();
    let image = Image::make(&holm);
    let pinned = Digest::of(&image.manifest).to_string();
    for (lie, words) in [
        (Lie::OtherLayer, vec![image.layers[0].as_str(), "digest"]),
        (Lie::OtherManifest, vec![pinned.as_str(), "digest"]),
        (Lie::WantsPassword, vec!["user name and a password"]),
        (Lie::Endless, vec![image.layers[0].as_str(), "larger"]),
    ] {
        let (address, _) = serve(&image, lie);
        let outcome = holm.run(["pull", "-q", &format!("{address}/team/app@{pinned}")]);
        let mut names = words.clone();
        names.push(&address);
        outcome.refused(1, &names);
        assert_eq!(holm.ok(["images", "-q"]), "", "{lie:?}");
        assert_eq!(
            fs::read_dir(holm.root().join("ingest")).expect("a file of the test's").count(),
            0,
            "{lie:?}"
        );
    }
}

#[test]
fn what_fails_for_a_while_is_tried_again_from_where_it_was() {
    let holm = Holm::empty();
    let image = Image::make(&holm);
    for lie in [Lie::None, Lie::FailsTwice, Lie::BreaksOff] {
        let (address, requests) = serve(&image, lie);
        let name = format!("{address}/team/app:v1");
        holm.ok(["pull", &name]);
        assert_eq!(holm.ok(["run", "--rm", &name]), "second", "{lie:?}");
        let asked = starts(&requests, &image.layers[0]).len();
        assert_eq!(asked, if lie == Lie::None { 1 } else { 3 }, "{lie:?}");
        holm.ok(["rmi", &name]);
    }
}

/// With which bytes the requests for a blob began.
fn starts(requests: &Requests, digest: &str) -> Vec<usize> {
    let requests = requests.lock().expect("no panic");
    requests.iter().filter(|(path, _)| path.ends_with(digest)).map(|(_, start)| *start).collect()
}

#[test]
fn what_a_killed_pull_left_is_not_fetched_again() {
    let holm = Holm::empty();
    let image = Image::make(&holm);
    let (stalling, _) = serve(&image, Lie::Stalls);
    let pull = holm.call(["pull", "-q", &format!("{stalling}/team/app:v1")]).spawn();
    let hex = image.layers[0].trim_start_matches("sha256:");
    let part = holm.root().join("downloads").join(hex);
    let half = image.blobs[&image.layers[0]].len() / 2;
    eventually("half of the layer is there", || {
        fs::metadata(&part).is_ok_and(|part| part.len() == half as u64)
    });
    pull.signal(rustix::process::Signal::KILL);
    drop(pull.wait());
    assert_eq!(fs::metadata(&part).expect("left").len(), half as u64);

    let (honest, requests) = serve(&image, Lie::None);
    let name = format!("{honest}/team/app:v1");
    holm.ok(["pull", "-q", &name]);
    assert_eq!(starts(&requests, &image.layers[0]), [half]);
    assert_eq!(holm.ok(["run", "--rm", &name]), "second");
    assert_eq!(fs::read_dir(holm.root().join("downloads")).expect("there").count(), 0);
}

#[test]
fn what_does_not_fit_what_was_left_is_fetched_anew() {
    let holm = Holm::empty();
    let image = Image::make(&holm);
    holm.ok(["images"]);
    let downloads = holm.root().join("downloads");
    fs::create_dir_all(&downloads).expect("a directory");
    let hex = image.layers[0].trim_start_matches("sha256:");
    fs::write(downloads.join(hex), b"something else").expect("a file of the test's");
    let (honest, requests) = serve(&image, Lie::None);
    let name = format!("{honest}/team/app:v1");
    holm.ok(["pull", "-q", &name]);
    assert_eq!(starts(&requests, &image.layers[0]), [14, 0]);
    assert_eq!(holm.ok(["run", "--rm", &name]), "second");
}

#[test]
fn two_pulls_at_once_fetch_once() {
    let holm = Holm::empty();
    let image = Image::make(&holm);
    let (address, requests) = serve(&image, Lie::None);
    let names: Vec<String> = (0..4).map(|number| format!("{address}/team{number}/app:v1")).collect();
    let pulls: Vec<_> = names.iter().map(|name| holm.call(["pull", "-q", name]).spawn()).collect();
    for pull in pulls {
        pull.finish().ok();
    }
    for layer in &image.layers {
        assert_eq!(starts(&requests, layer), [0], "{layer}");
    }
    for name in &names {
        assert_eq!(holm.ok(["run", "--rm", name]), "second");
    }
    assert_eq!(fs::read_dir(holm.root().join("downloads")).expect("there").count(), 0);
}

#[test]
fn what_unpacks_to_more_than_is_allowed_is_refused() {
    let holm = Holm::empty();
    let image = Image::make(&holm);
    let (address, _) = serve(&image, Lie::None);
    let name = format!("{address}/team/app:v1");
    let call = || holm.call(["pull", "-q", &name]);
    let outcome = call().env("HOLM_STORE_MAX_LAYER_SIZE", "64k").run();
    outcome.refused(1, &[&image.layers[0], "65536"]);
    call()
        .env("HOLM_STORE_MAX_LAYER_SIZE", "lots")
        .run()
        .refused(125, &["HOLM_STORE_MAX_LAYER_SIZE", "lots"]);
    let outcome = call().env("HOLM_STORE_MAX_LAYER_ENTRIES", "1").run();
    assert!(outcome.code() == 1 && outcome.err().contains("more than 1 files"), "{outcome}");
    call().env("HOLM_STORE_MAX_LAYER_ENTRIES", "few").run().refused(125, &["HOLM_STORE_MAX_LAYER_ENTRIES"]);
    call().env("HOLM_STORE_MAX_SIZE", "1k").run().ok();
    assert_eq!(holm.ok(["run", "--rm", &name]), "second", "what has just come stays");
    assert!(!holm.root().join("blobs/sha256").join(image.layers[0].trim_start_matches("sha256:")).exists());
}

#[test]
fn passwords_stay_with_who_asked_for_them() {
    let holm = Holm::empty();
    let image = Image::make(&holm);
    let (address, requests) = serve(&image, Lie::Redirects);
    let (asker, asked) = serve(&image, Lie::RedirectsToAsker);
    let configuration = holm.scratch("docker");
    fs::create_dir(&configuration).expect("a directory of the test's");
    // `me:secret`
    let known = serde_json::json!({"auth": "bWU6c2VjcmV0"});
    let auths = serde_json::json!({"auths": {&address: known, &asker: known}}).to_string();
    fs::write(configuration.join("config.json"), auths).expect("a file of the test's");
    let name = format!("{address}/team/app:v1");
    let directory = configuration.to_str().expect("text");
    holm.call(["pull", "-q", &name]).env("DOCKER_CONFIG", directory).run().ok();
    assert_eq!(holm.ok(["run", "--rm", &name]), "second");
    assert_eq!(starts(&requests, "elsewhere"), [0], "asked once, without a password");
    let other = format!("{asker}/team/other:v1");
    holm.ok(["rmi", &name]);
    let refused = holm.call(["pull", "-q", &other]).env("DOCKER_CONFIG", directory).run();
    refused.refused(1, &[&image.layers[0], "wants to know who asks"]);
    assert_eq!(starts(&asked, "elsewhere"), [0], "what another host asks is not answered");
}
