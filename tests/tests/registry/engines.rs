//! podman and buildah of Debian with our server and our client: what one of them pushes the other one pulls.

use std::process::Command;

use holm_tests::http::IMAGE;
use holm_tests::server::Server;
use holm_tests::{Call, Holm, Outcome};
use serde_json::{Value, json};

/// One of them, with a storage of its own below the installation's scratch directory.
struct Engine<'a> {
    holm: &'a Holm,
    program: &'static str,
    flags: &'static [&'static str],
}

impl<'a> Engine<'a> {
    fn podman(holm: &'a Holm) -> Self {
        let flags = &["--cgroup-manager", "cgroupfs", "--events-backend", "none"];
        Self { holm, program: "podman", flags }
    }

    fn buildah(holm: &'a Holm) -> Self {
        Self { holm, program: "buildah", flags: &[] }
    }

    fn run(&self, words: &[&str]) -> Outcome {
        let place = |name: &str| self.holm.scratch(&format!("{}-{name}", self.program));
        let mut command = Command::new(self.program);
        command.arg("--root").arg(place("root")).arg("--runroot").arg(place("run"));
        command.args(["--storage-driver", "vfs"]).args(self.flags).args(words);
        command.env("TMPDIR", self.holm.scratch(""));
        Call::new(command).run()
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        self.run(words).ok()
    }
}

/// An image in our registry that our client has put there; its name and its id.
fn pushed(holm: &Holm, server: &Server) -> (String, String) {
    let name = format!("{}/team/base:v1", server.address());
    holm.ok(["tag", "base", &name]);
    holm.ok(["push", "-q", &name]);
    let id = holm.ok(["images", "-q", "--no-trunc", &name]);
    (name, id)
}

/// Pulls it into an installation that has nothing, and runs it.
#[track_caller]
fn runs(name: &str) -> String {
    let holm = Holm::empty();
    holm.ok(["pull", "-q", name]);
    holm.ok(["run", "--rm", name, "head", "-1", "/etc/os-release"])
}

#[test]
fn podman_pulls_and_pushes() {
    let (holm, server) = (Holm::new(), Server::start());
    let podman = Engine::podman(&holm);
    let (name, id) = pushed(&holm, &server);
    assert_eq!(podman.ok(&["pull", "-q", "--tls-verify=false", &name]), id.trim_start_matches("sha256:"));
    let repository = format!("{}/podman/base", server.address());
    for (tag, flags) in [
        ("oci", &["--format", "oci"][..]),
        ("docker", &["--format", "v2s2"]),
        ("zstd", &["--format", "oci", "--compression-format", "zstd"]),
    ] {
        let to = format!("{repository}:{tag}");
        let words = [&["push", "-q", "--tls-verify=false"], flags, &[&name, &to]].concat();
        podman.ok(&words);
        assert_eq!(runs(&to), "ID=base", "{tag}");
    }
    let listed = podman.ok(&["search", "--tls-verify=false", "--list-tags", &repository]);
    let tags: Vec<_> = listed.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(tags, ["docker", "oci", "zstd"]);
    let found = podman.ok(&[
        "search",
        "--tls-verify=false",
        "--format",
        "{{.Name}}",
        &format!("{}/", server.address()),
    ]);
    assert!(found.lines().any(|line| line == repository), "{found}");
    let absent = podman.run(&["pull", "-q", "--tls-verify=false", &format!("{repository}:none")]);
    assert!(!absent.status.success() && absent.err().contains("manifest unknown"), "{absent}");
}

#[test]
fn podman_logs_in_and_holm_reads_its_file() {
    let (holm, plain) = (Holm::new(), Server::start());
    let users = holm.file("users", super::access::USERS);
    let server = Server::with(&["--htpasswd", &users]);
    let (podman, file) = (Engine::podman(&holm), holm.scratch("auth.json").display().to_string());
    let login = |password: &str| {
        podman.run(&[
            "login",
            "--tls-verify=false",
            "--authfile",
            &file,
            "-u",
            "alice",
            "-p",
            password,
            server.address(),
        ])
    };
    assert!(!login("wrong").status.success());
    login("secret").ok();
    let name = format!("{}/team/base:v1", server.address());
    holm.ok(["tag", "base", &name]);
    holm.run(["push", "-q", &name]).refused(1, &["user name and a password"]);
    holm.call(["push", "-q", &name]).env("REGISTRY_AUTH_FILE", &file).run().ok();
    podman.ok(&["pull", "-q", "--tls-verify=false", "--authfile", &file, &name]);
    assert!(
        !podman
            .run(&["pull", "-q", "--tls-verify=false", &format!("{}/x", plain.address())])
            .status
            .success()
    );
}

#[test]
fn buildah_builds_upon_what_we_pushed() {
    let (holm, server) = (Holm::new(), Server::start());
    let buildah = Engine::buildah(&holm);
    let (name, _) = pushed(&holm, &server);
    let container = buildah.ok(&["from", "-q", "--tls-verify=false", &name]);
    let file = holm.file("os-release", "ID=built\n");
    buildah.ok(&["copy", "-q", &container, &file, "/etc/os-release"]);
    buildah.ok(&[
        "config",
        "--cmd",
        "[\"head\",\"-1\",\"/etc/os-release\"]",
        "--label",
        "by=buildah",
        &container,
    ]);
    let built = format!("{}/buildah/base:v1", server.address());
    buildah.ok(&["commit", "-q", "--rm", &container, &built]);
    buildah.ok(&["push", "-q", "--tls-verify=false", &built]);
    let there = Holm::empty();
    there.ok(["pull", "-q", &built]);
    assert_eq!(there.ok(["run", "--rm", &built]), "ID=built");
    assert_eq!(there.ok(["image", "inspect", "--format", "{{.Config.Labels.by}}", &built]), "buildah");
    // The layer that it built upon is the one that was there.
    let layers =
        |holm: &Holm, name: &str| holm.ok(["image", "inspect", "--format", "{{json .RootFS.Layers}}", name]);
    let (below, above): (Vec<String>, Vec<String>) = (
        serde_json::from_str(&layers(&holm, &name)).unwrap(),
        serde_json::from_str(&layers(&there, &built)).unwrap(),
    );
    assert_eq!(above[..below.len()], below[..]);

    let index = format!("{}/buildah/index:v1", server.address());
    buildah.ok(&["manifest", "create", "both"]);
    buildah.ok(&["manifest", "add", "--tls-verify=false", "both", &format!("docker://{built}")]);
    buildah.ok(&[
        "manifest",
        "push",
        "-q",
        "--all",
        "--tls-verify=false",
        "both",
        &format!("docker://{index}"),
    ]);
    there.ok(["pull", "-q", &index]);
    assert_eq!(there.ok(["run", "--rm", &index]), "ID=built");
}

#[test]
fn skopeo_takes_what_our_client_pushed_and_brings_it_back() {
    let (holm, server) = (Holm::new(), Server::start());
    let (name, id) = pushed(&holm, &server);
    let skopeo = |words: &[&str]| {
        let mut command = Command::new("skopeo");
        command.args(words);
        Call::new(command).run().ok()
    };
    let (back, archive) =
        (format!("{}/back:v1", server.address()), holm.scratch("archive.tar").display().to_string());
    skopeo(&[
        "copy",
        "-q",
        "--src-tls-verify=false",
        &format!("docker://{name}"),
        &format!("oci-archive:{archive}"),
    ]);
    skopeo(&[
        "copy",
        "-q",
        "--dest-tls-verify=false",
        &format!("oci-archive:{archive}"),
        &format!("docker://{back}"),
    ]);
    let there = Holm::empty();
    there.ok(["pull", "-q", &back]);
    assert_eq!(there.ok(["images", "-q", "--no-trunc", &back]), id);
}

#[test]
fn artifacts_as_oras_pushes_them() {
    let (holm, server) = (Holm::new(), Server::start());
    let (name, _) = pushed(&holm, &server);
    let mut client = server.client();
    let digest = client.get("/v2/team/base/manifests/v1").header("docker-content-digest").to_owned();
    let size = client.get("/v2/team/base/manifests/v1").body.len();
    let mut attach = |kind: &str, content: &[u8]| {
        // As oras: HEAD first, then POST and PUT at the place that was told.
        let mut put = |content: &[u8]| {
            let digest = holm_spec::Digest::of(content).to_string();
            if client.ask("HEAD", &format!("/v2/team/base/blobs/{digest}"), &[], b"").status == 404 {
                let place = client.begin("team/base");
                let joint = if place.contains('?') { '&' } else { '?' };
                client
                    .put(&format!("{place}{joint}digest={digest}"), "application/octet-stream", content)
                    .is(201, "");
            }
            json!({"mediaType": "text/plain", "digest": digest, "size": content.len(),
                "annotations": {"org.opencontainers.image.title": "file.txt"}})
        };
        let (layer, mut config) = (put(content), put(b"{}"));
        config["mediaType"] = json!("application/vnd.oci.empty.v1+json");
        let manifest = json!({"schemaVersion": 2, "mediaType": IMAGE, "artifactType": kind, "config": config,
            "layers": [layer], "subject": {"mediaType": IMAGE, "digest": digest, "size": size},
            "annotations": {"org.opencontainers.image.created": "2024-01-01T00:00:00Z"}});
        let manifest = manifest.to_string().into_bytes();
        let own = holm_spec::Digest::of(&manifest).to_string();
        let answer = client.put(&format!("/v2/team/base/manifests/{own}"), IMAGE, &manifest);
        answer.is(201, "");
        assert_eq!(answer.header("oci-subject"), digest);
        own
    };
    let signature = attach("application/x.signature", b"signed");
    let contents = attach("application/x.sbom", b"a list of what is in it");
    let listed = |path: &str| -> Vec<Value> {
        let answer = server.client().get(path);
        assert_eq!(answer.header("content-type"), "application/vnd.oci.image.index.v1+json");
        answer.json()["manifests"].as_array().expect("a list").clone()
    };
    let all = listed(&format!("/v2/team/base/referrers/{digest}"));
    let digests: Vec<_> = all.iter().map(|entry| entry["digest"].as_str().expect("text")).collect();
    assert!(digests.len() == 2 && digests.contains(&&*signature) && digests.contains(&&*contents), "{all:?}");
    let one = listed(&format!("/v2/team/base/referrers/{digest}?artifactType=application/x.sbom"));
    assert_eq!((one.len(), one[0]["digest"].as_str()), (1, Some(&*contents)));
    assert_eq!(one[0]["annotations"]["org.opencontainers.image.created"], "2024-01-01T00:00:00Z");

    // Our own client takes them along, and skopeo takes one alone.
    let other = Server::start();
    let to = format!("{}/copied:v1", other.address());
    holm.ok(["copy", "-q", "--referrers", &name, &to]);
    let copied = other.client().get(&format!("/v2/copied/referrers/{digest}")).json();
    assert_eq!(copied["manifests"].as_array().map(Vec::len), Some(2), "{copied}");
    let mut command = Command::new("skopeo");
    command.args(["copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"]);
    command.arg(format!("docker://{}/team/base@{signature}", server.address()));
    command.arg(format!("docker://{}/alone:v1", other.address()));
    Call::new(command).run().ok();
    let alone = other.client().get("/v2/alone/manifests/v1");
    assert_eq!(alone.header("docker-content-digest"), signature);
}
