//! Debian's docker-registry on this machine, and an image of three layers for it: Debian, Python on it, Flask on that.
//!
//! The image is written in the registry's own form on the disk, so no engine's push has part in it, and kept in the target
//! directory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use holm_tar::{Reader, Writer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::driver::process::{Bounds, Launch};

/// What each layer adds, and the name of the image.
const LAYERS: [&[&str]; 3] = [&[], &["python3"], &["python3", "python3-flask"]];
const SUITE: &str = "bookworm";
/// Repository and tag of the image.
pub const REPOSITORY: &str = "bench/flask";
/// Its tag.
pub const TAG: &str = "v1";
const MAKE_SECONDS: u64 = 1200;
const PATIENCE: Duration = Duration::from_secs(20);
const HEADER_LIMIT: usize = 1 << 20;

/// Makes the registry's storage with the image in it, unless it is there.
///
/// # Errors
/// mmdebstrap or gzip fails.
pub fn storage() -> Result<PathBuf> {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/demo-cache");
    let storage = cache.join(format!("registry-{SUITE}-python-flask"));
    if storage.exists() {
        return Ok(storage.canonicalize()?);
    }
    std::fs::create_dir_all(&cache)?;
    let partial = tempfile::Builder::new().prefix("registry-partial-").tempdir_in(&cache)?;
    fill(partial.path()).context("making an image for the registry")?;
    std::fs::rename(partial.keep(), &storage)?;
    Ok(storage.canonicalize()?)
}

/// The files of the image's layers, packed by gzip, the lowest first.
///
/// # Errors
/// The storage does not hold the image as [`storage`] makes it.
pub fn layers(storage: &Path) -> Result<Vec<PathBuf>> {
    let current = repository(storage).join(format!("_manifests/tags/{TAG}/current/link"));
    let manifest = blob(storage, &std::fs::read_to_string(current)?);
    let manifest: Value = serde_json::from_slice(&std::fs::read(manifest)?)?;
    let layers = manifest["layers"].as_array().context("a manifest without layers")?;
    let digests = layers.iter().map(|layer| layer["digest"].as_str().context("a layer without a digest"));
    digests.map(|digest| Ok(blob(storage, digest?))).collect()
}

fn fill(directory: &Path) -> Result<()> {
    let mut layers = Vec::new();
    let mut diff_ids = Vec::new();
    let mut below = BTreeMap::new();
    for (number, packages) in LAYERS.iter().enumerate() {
        let whole = directory.join("whole.tar");
        bootstrap(packages, &whole)?;
        let tar = directory.join(format!("layer{number}.tar"));
        below = difference(&whole, &below, &tar)?;
        std::fs::remove_file(&whole)?;
        diff_ids.push(format!("sha256:{}", hex(&tar)?));
        Launch::new("gzip").with(["-n", "-6"]).with([&tar]).output()?;
        let packed = tar.with_extension("tar.gz");
        let size = std::fs::metadata(&packed)?.len();
        let digest = keep(directory, &packed)?;
        layers.push(json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": digest, "size": size}));
    }
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let config = json!({"os": "linux", "architecture": architecture,
        "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = keep_document(directory, &config)?;
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.0,
            "size": config.1}, "layers": layers});
    let (digest, _) = keep_document(directory, &manifest)?;
    let manifests = repository(directory).join("_manifests");
    link(&manifests.join("revisions"), &digest)?;
    link(&manifests.join(format!("tags/{TAG}/index")), &digest)?;
    Ok(std::fs::create_dir_all(manifests.join(format!("tags/{TAG}/current")))
        .and_then(|()| std::fs::write(manifests.join(format!("tags/{TAG}/current/link")), &digest))?)
}

fn bootstrap(packages: &[&str], tar: &Path) -> Result<()> {
    let bounds = Bounds { command: Duration::from_secs(MAKE_SECONDS), ..Bounds::default() };
    let include = format!("--include={}", packages.join(","));
    let mut launch = Launch::new("env").with([
        "SOURCE_DATE_EPOCH=1700000000",
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
    ]);
    if !packages.is_empty() {
        launch = launch.with([&include]);
    }
    let launch = launch.with([SUITE]).with([tar]).with(std::env::var_os("HOLM_DEMO_MIRROR"));
    launch.bounded(bounds).output().map(drop)
}

/// Entries by their names, as hashes of their headers and data.
type Entries = BTreeMap<String, [u8; 32]>;

/// Writes what `whole` has beyond `below`; gives what it has.
fn difference(whole: &Path, below: &Entries, out: &Path) -> Result<Entries> {
    let mut entries = Entries::new();
    let mut changed = Vec::new();
    for (name, hash) in hashes(whole)? {
        changed.push(below.get(&name) != Some(&hash));
        entries.insert(name, hash);
    }
    let mut reader = Reader::new(BufReader::new(File::open(whole)?), HEADER_LIMIT);
    let mut writer = Writer::new(std::io::BufWriter::new(File::create(out)?));
    let mut changed = changed.into_iter();
    while let Some(entry) = reader.next()? {
        let wanted = changed.next().unwrap_or_default();
        if wanted {
            writer.entry(&entry)?;
        }
        while let Some(data) = reader.data()? {
            if wanted {
                writer.data(data)?;
            }
        }
    }
    writer.finish()?.flush()?;
    Ok(entries)
}

/// Names and hashes of the entries of an archive, in its order.
fn hashes(tar: &Path) -> Result<Vec<(String, [u8; 32])>> {
    let mut reader = Reader::new(BufReader::new(File::open(tar)?), HEADER_LIMIT);
    let mut found = Vec::new();
    while let Some(mut entry) = reader.next()? {
        // It lies elsewhere in each archive.
        entry.offset = 0;
        let mut hash = Sha256::new();
        hash.update(format!("{entry:?}"));
        while let Some(data) = reader.data()? {
            hash.update(data);
        }
        found.push((String::from_utf8_lossy(&entry.path).into_owned(), hash.finalize().into()));
    }
    Ok(found)
}

fn hex(path: &Path) -> Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            length => hash.update(buffer.get(..length).unwrap_or_default()),
        }
    }
}

fn base(directory: &Path) -> PathBuf {
    directory.join("docker/registry/v2")
}

/// The file of a blob.
fn blob(directory: &Path, digest: &str) -> PathBuf {
    let hex = digest.trim_start_matches("sha256:");
    base(directory).join(format!("blobs/sha256/{}/{hex}/data", hex.get(..2).unwrap_or_default()))
}

fn repository(directory: &Path) -> PathBuf {
    base(directory).join("repositories").join(REPOSITORY)
}

/// Moves a file to where the registry has its blobs; gives its digest.
fn keep(directory: &Path, file: &Path) -> Result<String> {
    let hex = hex(file)?;
    let digest = format!("sha256:{hex}");
    let place = blob(directory, &digest);
    place.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    std::fs::rename(file, place)?;
    link(&repository(directory).join("_layers"), &digest)?;
    Ok(digest)
}

fn keep_document(directory: &Path, document: &Value) -> Result<(String, u64)> {
    let file = directory.join("document");
    let content = document.to_string();
    std::fs::write(&file, &content)?;
    Ok((keep(directory, &file)?, content.len() as u64))
}

fn link(directory: &Path, digest: &str) -> Result<()> {
    let place = directory.join(digest.replace(':', "/"));
    std::fs::create_dir_all(&place)?;
    Ok(std::fs::write(place.join("link"), digest)?)
}

/// The registry, until it is dropped.
pub struct DockerRegistry {
    child: Child,
    /// Host and port.
    pub address: String,
    configuration: PathBuf,
}

impl DockerRegistry {
    /// Starts one over a storage directory; `name` is that of a file for it in `scratch`.
    ///
    /// # Errors
    /// It is not installed, or does not answer.
    pub fn serve(scratch: &Path, name: &str, storage: &Path) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let configuration = scratch.join(format!("{name}.yml"));
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: \
             {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: {address}}}\n",
            storage.display()
        );
        std::fs::write(&configuration, text)?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&configuration)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting docker-registry (Debian package docker-registry)")?;
        let registry = Self { child, address, configuration };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(&registry.address).is_err() {
            if Instant::now() > deadline {
                bail!("docker-registry does not answer");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(registry)
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_file(&self.configuration));
    }
}
