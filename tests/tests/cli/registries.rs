//! `pull`: from Debian's docker-registry, and from servers that lie.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use holm_spec::Digest;
use holm_tests::{Holm, eventually};
use serde_json::json;

/// An image of two layers: its documents and blobs by digest, the manifest's last.
struct Image {
    blobs: BTreeMap<String, Vec<u8>>,
    manifest: Vec<u8>,
    layers: Vec<String>,
}

impl Image {
    fn make(holm: &Holm) -> Self {
        let mut image = Self { blobs: BTreeMap::new(), manifest: Vec::new(), layers: Vec::new() };
        let second = holm_tests::tarball::Tarball::new()
            .directory("srv", 0o755)
            .file("srv/.wh.first", 0o644, b"")
            .file("srv/second", 0o644, b"2")
            .finish();
        let mut first = holm_tests::tarball::base_with_release("pulled");
        let first = first.directory("srv", 0o755).file("srv/first", 0o644, b"1").finish();
        let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
        for (number, tar) in [first, second].into_iter().enumerate() {
            let path = holm.file(&format!("layer{number}.tar"), &tar);
            holm.host_shell(&format!("gzip -n -f -k {path}")).ok();
            let packed = fs::read(format!("{path}.gz")).expect("a file of the test's");
            diff_ids.push(Digest::of(&tar).to_string());
            let size = packed.len();
            let digest = image.add(packed);
            image.layers.push(digest.clone());
            layers.push(json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": size}));
        }
        let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        let config = json!({"architecture": architecture, "os": "linux", "config": {"Cmd": ["ls", "/srv"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let config = config.to_string().into_bytes();
        let size = config.len();
        let digest = image.add(config);
        let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": size},
            "layers": layers});
        image.manifest = manifest.to_string().into_bytes();
        image
    }

    fn add(&mut self, content: Vec<u8>) -> String {
        let digest = Digest::of(&content).to_string();
        self.blobs.insert(digest.clone(), content);
        digest
    }
}

/// Debian's registry over a directory that the test filled, in its own form.
struct Registry {
    child: Child,
    address: String,
}

impl Registry {
    fn serve(holm: &Holm, image: &Image) -> Self {
        let root = holm.scratch("registry");
        let base = root.join("docker/registry/v2");
        let repository = base.join("repositories/team/app");
        let manifest = Digest::of(&image.manifest).to_string();
        for (digest, content) in image.blobs.iter().chain([(&manifest, &image.manifest)]) {
            let hex = digest.trim_start_matches("sha256:");
            write(&base.join(format!("blobs/sha256/{}/{hex}/data", &hex[..2])), content);
            write(&repository.join(format!("_layers/sha256/{hex}/link")), digest.as_bytes());
        }
        let hex = manifest.trim_start_matches("sha256:");
        write(&repository.join(format!("_manifests/revisions/sha256/{hex}/link")), manifest.as_bytes());
        write(&repository.join("_manifests/tags/v1/current/link"), manifest.as_bytes());
        write(&repository.join(format!("_manifests/tags/v1/index/sha256/{hex}/link")), manifest.as_bytes());
        let address =
            TcpListener::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound").to_string();
        let configuration = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address}}}\n",
            root.display()
        );
        let configuration = holm.file("registry.yml", configuration);
        let child = Command::new("docker-registry")
            .args(["serve", &configuration])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let registry = Self { child: child.expect("Debian's docker-registry is installed"), address };
        eventually("the registry answers", || TcpStream::connect(&registry.address).is_ok());
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(path: &PathBuf, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a file of the test's");
    fs::write(path, content).expect("a file of the test's");
}

#[test]
fn an_image_comes_from_a_real_one() {
    let holm = Holm::empty();
    let image = Image::make(&holm);
    let registry = Registry::serve(&holm, &image);
    let name = format!("{}/team/app:v1", registry.address);
    let manifest = Digest::of(&image.manifest).to_string();
    let pulled = holm.ok(["pull", &name]);
    assert!(pulled.contains(&format!("Digest: {manifest}")) && pulled.contains("Pull complete"), "{pulled}");
    assert!(pulled.ends_with(&format!("Status: Downloaded newer image for {name}\n{name}")), "{pulled}");
    assert_eq!(holm.ok(["run", "--rm", &name]), "second");
    let again = holm.ok(["pull", &name]);
    assert!(again.contains("Already exists") && again.contains("Image is up to date"), "{again}");
    assert_eq!(holm.ok(["pull", "-q", &name]), name);
    let pinned = format!("{}/team/app@{manifest}", registry.address);
    assert_eq!(holm.ok(["pull", "-q", &pinned]), pinned);
    holm.run(["pull", "-q", &format!("{}/team/none:v1", registry.address)]).refused(1, &["team/none", "404"]);
    holm.run(["pull", "-q", "--platform", "linux/s390x", &name]).refused(1, &["linux/s390x"]);
    let address = registry.address.clone();
    drop(registry);
    holm.run(["pull", "-q", &format!("{address}/team/app:v2")]).refused(1, &[&address, "nobody answers"]);
}

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
}

/// A registry of a few lines; the requests that it got.
fn serve(image: &Image, lie: Lie) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (heard, blobs, manifest) = (requests.clone(), image.blobs.clone(), image.manifest.clone());
    let victim = image.layers[0].clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(&stream, &heard, &blobs, &manifest, &victim, lie);
        }
    });
    (address, requests)
}

fn answer(
    stream: &TcpStream,
    heard: &Mutex<Vec<String>>,
    blobs: &BTreeMap<String, Vec<u8>>,
    manifest: &[u8],
    victim: &str,
    lie: Lie,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    let mut range = None;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        range = line
            .strip_prefix("range: bytes=")
            .and_then(|range| range.trim_end_matches('-').parse().ok())
            .or(range);
    }
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    heard.lock().expect("no panic").push(path.clone());
    let count = heard.lock().expect("no panic").iter().filter(|earlier| **earlier == path).count();
    let mut out = stream;
    let head = |status: &str, length: usize, more: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n")
    };
    if lie == Lie::WantsPassword {
        return out
            .write_all(head("401 Unauthorized", 0, "WWW-Authenticate: Basic realm=\"x\"\r\n").as_bytes());
    }
    if lie == Lie::FailsTwice && count < 3 {
        return out.write_all(head("503 Service Unavailable", 0, "").as_bytes());
    }
    let mut content = match path.rsplit_once('/') {
        Some((place, _)) if place.ends_with("/manifests") => Some(manifest.to_vec()),
        Some((_, digest)) => blobs.get(digest).cloned(),
        None => None,
    };
    let hit = path.ends_with(victim);
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
    let sent = if lie == Lie::BreaksOff && hit && count < 3 { rest.len() / 2 } else { rest.len() };
    out.write_all(&rest[..sent])
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
        let asked =
            requests.lock().expect("no panic").iter().filter(|path| path.ends_with(&image.layers[0])).count();
        assert_eq!(asked, if lie == Lie::None { 1 } else { 3 }, "{lie:?}");
        holm.ok(["rmi", &name]);
    }
}
