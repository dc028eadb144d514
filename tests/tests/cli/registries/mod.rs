//! Registries: `pull`, `push`, `login`, and workloads of images that are elsewhere. From and to Debian's docker-registry,
//! and from servers that lie.

mod attempt;
mod contents;
mod liars;
mod pull;
mod push;
mod tokens;
mod transport;

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use holm_spec::Digest;
use holm_tests::{Holm, eventually};
use serde_json::json;

/// An image of two layers: its documents and blobs by digest, the manifest's last.
pub(super) struct Image {
    blobs: BTreeMap<String, Vec<u8>>,
    pub(super) manifest: Vec<u8>,
    layers: Vec<String>,
}

impl Image {
    pub(super) fn make(holm: &Holm) -> Self {
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

/// Debian's registry over a directory.
pub(super) struct Registry {
    child: Child,
    pub(super) address: String,
}

impl Registry {
    /// One with an image, in its own form.
    pub(super) fn with(holm: &Holm, image: &Image) -> Self {
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
        Self::serve(holm, "registry", "")
    }

    /// One over the scratch directory `name`, with more lines of its configuration.
    fn serve(holm: &Holm, name: &str, more: &str) -> Self {
        let root = holm.scratch(name);
        let address =
            TcpListener::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound").to_string();
        let configuration = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address}}}\n{more}",
            root.display()
        );
        let configuration = holm.file(&format!("{name}.yml"), configuration);
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
