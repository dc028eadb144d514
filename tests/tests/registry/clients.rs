//! Other programs: skopeo (whose library is podman's and buildah's), Debian's docker-registry, and `holm pull`.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use holm_spec::Digest;
use holm_tests::http::IMAGE;
use holm_tests::server::Server;
use holm_tests::{Call, Holm};
use serde_json::json;

#[track_caller]
fn skopeo(words: &[&str]) -> String {
    let mut command = Command::new("skopeo");
    command.args(words);
    Call::new(command).run().ok()
}

/// Pushes an image with one layer that can be run; the digest of its manifest.
pub fn push_base(server: &Server, repository: &str, tag: &str) -> String {
    let mut client = server.client();
    let tar = holm_tests::tarball::base_with_release("ours").finish();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &tar).expect("memory");
    let packed = packed.finish().expect("memory");
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let config = json!({"architecture": architecture, "os": "linux", "config": {"Cmd": ["cat", "/etc/os-release"]},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&tar).to_string()]}});
    let config = config.to_string().into_bytes();
    let descriptor =
        |kind: &str, digest: &str, size| json!({"mediaType": kind, "digest": digest, "size": size});
    let layer = client.push(repository, &packed);
    let layer = descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer, packed.len());
    let digest = client.push(repository, &config);
    let config = descriptor("application/vnd.oci.image.config.v1+json", &digest, config.len());
    let manifest =
        json!({"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": [layer]}).to_string();
    let answer = client.put(&format!("/v2/{repository}/manifests/{tag}"), IMAGE, manifest.as_bytes());
    answer.is(201, "");
    answer.header("docker-content-digest").to_owned()
}

/// Debian's registry with an empty storage.
pub(super) struct Debians {
    child: Child,
    pub address: String,
    _directory: tempfile::TempDir,
}

impl Debians {
    pub(super) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        drop(listener);
        let storage = directory.path().join("s");
        let configuration = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address}}}\n",
            storage.display()
        );
        let file = directory.path().join("c.yml");
        std::fs::write(&file, configuration).expect("written");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("Debian's docker-registry is installed");
        holm_tests::eventually("Debian's registry answers", || TcpStream::connect(&address).is_ok());
        Self { child, address, _directory: directory }
    }
}

impl Drop for Debians {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn skopeo_copies_in_both_directions() {
    let (server, debians) = (Server::start(), Debians::start());
    let digest = push_base(&server, "team/app", "v1");
    let (ours, theirs) = (server.address(), debians.address.as_str());
    let copy = |from: &str, to: &str| {
        skopeo(&["copy", "-q", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", from, to])
    };
    copy(&format!("docker://{ours}/team/app:v1"), &format!("docker://{theirs}/app:v1"));
    copy(&format!("docker://{theirs}/app:v1"), &format!("docker://{ours}/back:v1"));
    let folder = server.storage().parent().expect("a parent").join("layout").display().to_string();
    copy(&format!("docker://{ours}/back:v1"), &format!("oci:{folder}:v1"));
    copy(&format!("oci:{folder}:v1"), &format!("docker://{ours}/again:v2"));
    let digest_of = |name: &str| {
        skopeo(&[
            "inspect",
            "--tls-verify=false",
            "--format",
            "{{.Digest}}",
            &format!("docker://{ours}/{name}"),
        ])
    };
    for name in ["team/app:v1", "back:v1", "again:v2"] {
        assert_eq!(digest_of(name), digest, "{name}");
    }
    let docker = format!("docker://{ours}/docker:v1");
    skopeo(&[
        "copy",
        "-q",
        "--format",
        "v2s2",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        &format!("docker://{ours}/back:v1"),
        &docker,
    ]);
    let raw = skopeo(&["inspect", "--tls-verify=false", "--raw", &docker]);
    assert!(raw.contains("application/vnd.docker.distribution.manifest.v2+json"), "{raw}");
    let tags = skopeo(&["list-tags", "--tls-verify=false", &format!("docker://{ours}/again")]);
    assert!(tags.contains("\"v2\""), "{tags}");
    skopeo(&["delete", "--tls-verify=false", &docker]);
    server.client().get("/v2/docker/manifests/v1").is(404, "MANIFEST_UNKNOWN");
}

#[test]
fn holm_pulls_and_runs() {
    let (server, holm) = (Server::start(), Holm::empty());
    push_base(&server, "team/app", "v1");
    let name = format!("{}/team/app:v1", server.address());
    holm.ok(["pull", "-q", &name]);
    assert!(holm.ok(["run", "--rm", &name]).contains("ours"));
}

/// A certificate of its own for the address of loopback; it is its own authority.
fn make_certificate(directory: &Path) {
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=registry \
        -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out ca.crt 2>/dev/null";
    let status = Command::new("sh").args(["-c", script]).current_dir(directory).status().expect("a shell");
    assert!(status.success(), "openssl is installed");
}

#[test]
fn skopeo_speaks_tls_with_a_password() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    make_certificate(directory.path());
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("users"), super::access::USERS).expect("written");
    let (certificate, key, users) = (path("ca.crt"), path("key.pem"), path("users"));
    let server = Server::with(&["--tls-cert", &certificate, "--tls-key", &key, "--htpasswd", &users]);
    let authorities = path("authorities");
    std::fs::create_dir(&authorities).expect("made");
    std::fs::copy(&certificate, format!("{authorities}/ca.crt")).expect("copied");
    let plain = Server::start();
    push_base(&plain, "app", "v1");
    let name = format!("docker://{}/app:v1", server.address());
    let from = format!("docker://{}/app:v1", plain.address());
    let words = [
        "copy",
        "-q",
        "--src-tls-verify=false",
        "--dest-cert-dir",
        &authorities,
        "--dest-creds",
        "alice:secret",
        &from,
        &name,
    ];
    skopeo(&words);
    let inspect = ["inspect", "--cert-dir", &authorities, "--creds", "alice:secret", &name];
    assert!(skopeo(&inspect).contains("Digest"));
    holm_tests::host::signal(server.pid(), rustix::process::Signal::HUP);
    holm_tests::eventually("it was read again", || server.log().contains("the certificate was read again"));
    assert!(skopeo(&inspect).contains("Digest"));
    let mut command = Command::new("skopeo");
    command.args(["inspect", "--cert-dir", &authorities, "--creds", "alice:wrong", &name]);
    assert!(!Call::new(command).run().status.success());
}
