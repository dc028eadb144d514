//! The Dockerfiles of `examples/`, built and run. The images that they name come from a registry on loopback, which stands for Docker
//! Hub and has Debian with the same programs under these names; what pip, npm and Maven need to reach their registries is this
//! machine's own configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holm_tests::server::Server;
use holm_tests::{Holm, Outcome, debian};

/// What several images have, so that one Debian does for them.
const PACKAGES: &[&str] = &["nginx-light", "python3-pip"];
const COMPILER: &[&str] = &["rustc"];
const NODE: &[&str] = &["nodejs", "npm"];
const MAVEN: &[&str] = &["maven", "default-jdk-headless"];
const JRE: &[&str] = &["default-jre-headless"];
/// Whom Debian's Java trusts.
const CACERTS: &str = "/etc/ssl/certs/java/cacerts";
const PATIENCE: Duration = Duration::from_secs(600);
/// How long a program may take until it serves.
const START: Duration = Duration::from_secs(120);

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("examples").join(name)
}

/// A copy of an example, to which files may be added.
fn copy_of(holm: &Holm, name: &str) -> PathBuf {
    let copy = holm.scratch(name);
    holm.host_shell(&format!("cp -r '{}' '{}'", example(name).display(), copy.display())).ok();
    copy
}

#[track_caller]
fn build(holm: &Holm, flags: &[&str], context: &Path) -> Outcome {
    let context = context.to_string_lossy();
    let outcome = holm.call([&["build"], flags, &[&*context]].concat()).timeout(PATIENCE).run();
    outcome.expect_code(0);
    outcome
}

/// An installation, and the registry that it asks instead of Docker Hub.
struct Site {
    holm: Holm,
    _hub: Server,
}

impl Site {
    /// The registry has Debian with these packages under these names.
    fn with(images: &[(&str, &[&str])]) -> Self {
        let (holm, hub) = (Holm::empty(), Server::start());
        let rules = format!("[registry.\"docker.io\"]\nblocked = true\nmirrors = [\"{}\"]\n", hub.address());
        fs::write(holm.registries(), rules).expect("a file of the test's");
        let publisher = Holm::empty();
        for (name, packages) in images {
            publish(&publisher, &format!("{}/library/{name}", hub.address()), packages);
        }
        Self { holm, _hub: hub }
    }
}

#[track_caller]
fn publish(holm: &Holm, name: &str, packages: &[&str]) {
    let tarball = debian::tarball(packages);
    let import = ["import", tarball.to_str().expect("paths of the workspace are text"), name];
    holm.call(import).timeout(PATIENCE).run().ok();
    holm.call(["push", "-q", "--compression", "zstd", name]).timeout(PATIENCE).run().ok();
}

/// Starts an image that serves at a port below its loopback device, and gives what it answers there; bash asks, which all have.
#[track_caller]
fn answer(holm: &Holm, image: &str, port: u16, path: &str) -> String {
    holm.ok(["run", "-d", "--name", image, "--network", "none", image]);
    let connect = format!("until exec 3<>/dev/tcp/127.0.0.1/{port}; do sleep 0.1; done 2>/dev/null");
    let ask = format!("{connect}; printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3");
    let answer = holm.call(["exec", image, "bash", "-c", &ask]).timeout(START).run().ok();
    holm.ok(["rm", "-f", image]);
    assert!(answer.contains(" 200 "), "{answer}");
    answer
}

#[test]
#[ignore = "makes a Debian with mmdebstrap: cargo xtask test --slow"]
fn a_root_file_system_becomes_a_base_image() {
    let holm = Holm::empty();
    let context = copy_of(&holm, "rootfs");
    let packed = format!("xz -0 -T0 -c '{}' >rootfs.tar.xz", debian::tarball(PACKAGES).display());
    holm.host_shell(&format!("cd '{}' && {packed}", context.display())).expect_code(0);
    build(&holm, &["-t", "debian"], &context);
    let version = holm.ok(["run", "--rm", "--network", "none", "debian", "cat", "/etc/debian_version"]);
    assert!(version.starts_with("12"), "{version}");
    assert_eq!(holm.ok(["image", "inspect", "debian", "-f", "{{json .Config.Cmd}}"]), r#"["bash"]"#);
    let layers = holm.ok(["image", "inspect", "debian", "-f", "{{len .RootFS.Layers}}"]);
    assert_eq!(layers, "1", "it has no base");
}

#[test]
#[ignore = "makes a Debian with mmdebstrap: cargo xtask test --slow"]
fn pages_are_served_by_nginx() {
    let Site { holm, .. } = &Site::with(&[("nginx", PACKAGES)]);
    build(holm, &["-t", "pages"], &example("pages"));
    assert!(answer(holm, "pages", 8080, "/").contains("Served by nginx"));
}

#[test]
#[ignore = "makes a Debian with mmdebstrap, takes Flask from PyPI: cargo xtask test --slow"]
fn an_application_takes_its_packages_from_pypi() {
    let Site { holm, .. } = &Site::with(&[("python:3", PACKAGES)]);
    let settings = pip_settings(holm);
    let mut flags = vec!["--network", "host", "-t", "flask"];
    flags.extend(settings.iter().map(String::as_str));
    build(holm, &flags, &example("flask"));
    assert!(answer(holm, "flask", 8000, "/health").contains(r#""status":"ok""#));
    let said = build(holm, &flags, &example("flask")).err();
    assert!(said.contains("0 steps made, 4 cached"), "{said}");
    expect_nothing_left(holm, "flask", "cat /etc/pip.conf /run/secrets/*; ls -A /var/cache/pip");
}

#[test]
#[ignore = "makes a Debian with mmdebstrap, takes Express from npm's registry: cargo xtask test --slow"]
fn a_server_takes_its_modules_from_npm() {
    let Site { holm, .. } = &Site::with(&[("node:22-bookworm-slim", NODE)]);
    let settings = npm_settings(holm);
    let mut flags = vec!["--network", "host", "-t", "express"];
    flags.extend(settings.iter().map(String::as_str));
    build(holm, &flags, &example("node"));
    assert!(answer(holm, "express", 8000, "/health").ends_with(r#"{"status":"ok"}"#));
    assert!(answer(holm, "express", 8000, "/").contains("user       65534"));
    let said = build(holm, &flags, &example("node")).err();
    assert!(said.contains("0 steps made"), "{said}");
    expect_nothing_left(holm, "express", "cat ~/.npmrc /run/secrets/*; ls -A ~/.npm");
}

#[test]
#[ignore = "makes Debians with mmdebstrap, takes Spring Boot from Maven Central: cargo xtask test --slow"]
fn an_application_is_built_by_maven_and_run_without_it() {
    let images = [("maven:3-eclipse-temurin-17", MAVEN), ("eclipse-temurin:17-jre", JRE)];
    let Site { holm, .. } = &Site::with(&images);
    let settings = maven_settings();
    let mut flags = vec!["--network", "host", "-t", "spring"];
    flags.extend(settings.iter().map(String::as_str));
    build(holm, &flags, &example("spring"));
    assert!(answer(holm, "spring", 8080, "/health").ends_with(r#"{"status":"ok"}"#));
    assert!(answer(holm, "spring", 8080, "/").contains("user       nobody"));
    let changed = copy_of(holm, "spring");
    holm.host_shell(&format!("sed -i s/hello/hullo/ '{}'/src/main/java/example/*", changed.display())).ok();
    build(holm, &flags, &changed);
    assert!(answer(holm, "spring", 8080, "/").contains("hullo from"));
    expect_nothing_left(holm, "spring", "cat /run/secrets/*; ls -A ~/.m2; which mvn javac");
}

#[test]
#[ignore = "makes a Debian with mmdebstrap: cargo xtask test --slow"]
fn a_static_program_needs_nothing_beside_it() {
    let Site { holm, .. } = &Site::with(&[("rust", COMPILER)]);
    build(holm, &["-t", "greet"], &example("static"));
    let said = holm.ok(["run", "--rm", "--network", "none", "greet", "holm"]);
    let (greeting, files) = said.split_once('\n').expect("two lines");
    assert_eq!(greeting, "hello holm");
    let mounted = ["dev", "etc", "proc", "sys", "run"];
    let own: Vec<&str> = files.split(' ').filter(|name| !mounted.contains(name)).collect();
    assert_eq!(own, ["greet"]);
    let out = holm.scratch("out");
    let said = build(holm, &["-o", &out.to_string_lossy()], &example("static")).err();
    assert!(said.contains("built files") && said.contains("0 steps made"), "{said}");
    let program =
        std::process::Command::new(out.join("greet")).arg("host").output().expect("it runs here, too");
    assert!(program.stdout.starts_with(b"hello host\n"), "{program:?}");
}

/// A script finds nothing to print in an image: no setting of this machine's is there.
#[track_caller]
fn expect_nothing_left(holm: &Holm, image: &str, script: &str) {
    let script = format!("({script}) 2>/dev/null; true");
    let left = holm.ok(["run", "--rm", "--network", "none", "--user", "0", image, "sh", "-c", &script]);
    assert_eq!(left, "", "of `{script}`");
}

/// The flag that gives a file of this machine to a build.
fn secret(id: &str, file: impl std::fmt::Display) -> String {
    format!("--secret=id={id},src={file}")
}

/// What pip is configured with here: its file, and the certificate that this names, where the Dockerfile has it.
fn pip_settings(holm: &Holm) -> Vec<String> {
    let Ok(settings) = fs::read_to_string("/etc/pip.conf") else { return Vec::new() };
    let Some(certificate) = setting(&settings, "cert") else {
        return vec![secret("pip", holm.file("pip.conf", settings))];
    };
    let moved = settings.replace(&certificate, "/run/secrets/ca");
    vec![secret("pip", holm.file("pip.conf", moved)), secret("ca", certificate)]
}

/// What npm is configured with here: its file, and the certificates that this or the environment names, where the Dockerfile has them.
fn npm_settings(holm: &Holm) -> Vec<String> {
    let mut settings = of_home(".npmrc").and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    let certificate = setting(&settings, "cafile").or_else(|| std::env::var("NODE_EXTRA_CA_CERTS").ok());
    let Some(certificate) = certificate else { return vec![secret("npmrc", holm.file("npmrc", settings))] };
    // Of two lines the last one counts.
    settings.push_str("\ncafile=/run/secrets/ca\n");
    vec![secret("npmrc", holm.file("npmrc", settings)), secret("ca", certificate)]
}

/// What Maven is configured with here: its settings, and whom Java trusts, where the Dockerfile has it.
fn maven_settings() -> Vec<String> {
    let mut flags = Vec::new();
    if let Some(settings) = of_home(".m2/settings.xml").filter(|file| file.exists()) {
        flags.push(secret("maven", settings.display()));
    }
    if Path::new(CACERTS).exists() {
        flags.push(secret("cacerts", CACERTS));
        flags.push("--build-arg=MAVEN_OPTS=-Djavax.net.ssl.trustStore=/run/secrets/cacerts".to_owned());
    }
    flags
}

fn of_home(path: &str) -> Option<PathBuf> {
    std::env::home_dir().map(|home| home.join(path))
}

/// What a line `NAME = VALUE` says.
fn setting(settings: &str, name: &str) -> Option<String> {
    let value = |line: &str| Some(line.strip_prefix(name)?.trim_start().strip_prefix('=')?.trim().to_owned());
    settings.lines().find_map(value)
}
