//! The Dockerfiles of `examples/`, built and run. Their base images are made of Debian's packages, under other names than those that
//! they have by default; what pip needs to reach its index is this machine's own configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holm_tests::{Holm, Outcome, debian, eventually};

/// All but the static program are made of one image: it has what each needs.
const PACKAGES: &[&str] = &["nginx-light", "python3-pip"];
const COMPILER: &[&str] = &["rustc"];
const BASE: &str = "debian:bookworm";
const PATIENCE: Duration = Duration::from_secs(600);

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

/// An installation whose image `debian:bookworm` was built from a root file system by `examples/rootfs`.
fn with_base() -> Holm {
    let holm = Holm::empty();
    let context = copy_of(&holm, "rootfs");
    let packed = format!("xz -0 -T0 -c '{}' >rootfs.tar.xz", debian::tarball(PACKAGES).display());
    let call = holm.host_shell(&format!("cd '{}' && {packed}", context.display()));
    call.expect_code(0);
    build(&holm, &["-t", BASE], &context);
    holm
}

/// Starts an image that serves below its loopback device, and gives what it answers there.
fn answer(holm: &Holm, image: &str, address: &str) -> String {
    holm.ok(["run", "-d", "--name", image, "--network", "none", image]);
    let ask = format!("import urllib.request as it; print(it.urlopen('{address}').read().decode())");
    let mut answer = String::new();
    eventually("the service answers", || {
        let outcome = holm.run(["exec", image, "python3", "-c", &ask]);
        answer = outcome.out();
        outcome.code() == 0
    });
    holm.ok(["rm", "-f", image]);
    answer
}

#[test]
#[ignore = "makes a Debian with mmdebstrap: cargo xtask test --slow"]
fn a_root_file_system_becomes_a_base_image() {
    let holm = with_base();
    assert!(
        holm.ok(["run", "--rm", "--network", "none", BASE, "cat", "/etc/debian_version"]).starts_with("12")
    );
    assert_eq!(holm.ok(["image", "inspect", BASE, "-f", "{{json .Config.Cmd}}"]), r#"["bash"]"#);
    let layers = holm.ok(["image", "inspect", BASE, "-f", "{{len .RootFS.Layers}}"]);
    assert_eq!(layers, "1", "it has no base");
}

#[test]
#[ignore = "makes a Debian with mmdebstrap: cargo xtask test --slow"]
fn pages_are_served_by_nginx() {
    let holm = with_base();
    build(&holm, &["--build-arg", &format!("NGINX={BASE}"), "-t", "pages"], &example("pages"));
    assert!(answer(&holm, "pages", "http://127.0.0.1:8080/").contains("Served by nginx"));
}

#[test]
#[ignore = "makes a Debian with mmdebstrap, takes Flask from PyPI: cargo xtask test --slow"]
fn an_application_takes_its_packages_from_pypi() {
    let holm = with_base();
    let secrets = pip_secrets(&holm);
    let mut flags = vec!["--network", "host", "--build-arg", "PYTHON=debian:bookworm", "-t", "flask"];
    flags.extend(secrets.iter().flat_map(|secret| ["--secret", secret]));
    build(&holm, &flags, &example("flask"));
    assert!(answer(&holm, "flask", "http://127.0.0.1:8000/health").contains(r#""status":"ok""#));
    let said = build(&holm, &flags, &example("flask")).err();
    assert!(said.contains("0 steps made, 4 cached"), "{said}");
    let left = "cat /etc/pip.conf /run/secrets/*; ls -A /var/cache/pip";
    let left = holm.ok([
        "run",
        "--rm",
        "--network",
        "none",
        "flask",
        "sh",
        "-c",
        &format!("({left}) 2>/dev/null; true"),
    ]);
    assert_eq!(left, "", "no setting of this machine's is in the image");
}

#[test]
#[ignore = "makes a Debian with mmdebstrap: cargo xtask test --slow"]
fn a_static_program_needs_nothing_beside_it() {
    let holm = Holm::empty();
    let tarball = debian::tarball(COMPILER);
    let import = ["import", tarball.to_str().expect("paths of the workspace are text"), "rust"];
    holm.call(import).timeout(PATIENCE).run().ok();
    build(&holm, &["-t", "greet"], &example("static"));
    let said = holm.ok(["run", "--rm", "--network", "none", "greet", "holm"]);
    let (greeting, files) = said.split_once('\n').expect("two lines");
    assert_eq!(greeting, "hello holm");
    let mounted = ["dev", "etc", "proc", "sys", "run"];
    let own: Vec<&str> = files.split(' ').filter(|name| !mounted.contains(name)).collect();
    assert_eq!(own, ["greet"]);
    let out = holm.scratch("out");
    let said = build(&holm, &["-o", &out.to_string_lossy()], &example("static")).err();
    assert!(said.contains("built files") && said.contains("0 steps made"), "{said}");
    let program =
        std::process::Command::new(out.join("greet")).arg("host").output().expect("it runs here, too");
    assert!(program.stdout.starts_with(b"hello host\n"), "{program:?}");
}

/// What pip is configured with here: its file, and the certificate that this names, where the Dockerfile has it.
fn pip_secrets(holm: &Holm) -> Vec<String> {
    let Ok(settings) = fs::read_to_string("/etc/pip.conf") else { return Vec::new() };
    let certificate =
        settings.lines().find_map(|line| line.strip_prefix("cert")?.trim_start().strip_prefix('='));
    let Some(certificate) = certificate.map(str::trim) else {
        return vec![format!("id=pip,src={}", holm.file("pip.conf", settings))];
    };
    let moved = settings.replace(certificate, "/run/secrets/ca");
    vec![format!("id=pip,src={}", holm.file("pip.conf", moved)), format!("id=ca,src={certificate}")]
}
