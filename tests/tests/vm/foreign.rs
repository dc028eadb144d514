//! A guest with another processor than the host's: arm64.

use holm_tests::{Holm, Tarball, binaries, foreign};

use super::traces::is_gone;

/// Why it cannot be tried here.
fn obstacle() -> Option<String> {
    let emulator = "qemu-system-aarch64";
    if holm_vmm::host::find(emulator).is_none() {
        return Some(format!("{emulator} is not installed (Debian: qemu-system-arm)"));
    }
    let agent = binaries().join("holm-agent-arm64");
    (!agent.is_file())
        .then(|| format!("`{}` is not there: the toolchain has no such target", agent.display()))
}

#[test]
#[ignore = "boots virtual machines"]
fn a_user_land_of_arm64_runs() {
    if let Some(obstacle) = obstacle() {
        eprintln!("skipped: {obstacle}");
        return;
    }
    let holm = Holm::with_network();
    let kernel = foreign::kernel_package().expect("a kernel for arm64").display().to_string();
    holm.ok(["kernel", "import", "-q", &kernel]);
    let image = holm.call(["import", "--platform", "linux/arm64", "-", "arm"]);
    image.stdin(user_land()).run().ok();

    let flags = ["--vm", "--platform", "linux/arm64"];
    let script = "uname -m; cat; echo said >&2; exit 7";
    let words = ["run", "--rm", "-i"].iter().chain(&flags).copied().chain(["arm", "sh", "-c", script]);
    let outcome = holm.call(words).stdin("handed on").run();
    assert_eq!((outcome.out(), outcome.code()), ("aarch64\nhanded on".to_owned(), 7), "{outcome}");
    assert!(outcome.err().contains("said"), "{outcome}");

    let dockerfile = "FROM arm\nRUN uname -m > /machine\nFROM scratch\nCOPY --from=0 /machine /\n";
    let build = holm.call(["build", "--platform", "linux/arm64", "-o", "-", "-"]).stdin(dockerfile).run();
    build.expect_code(0);
    assert!(build.out().contains("aarch64\n"), "{build}");

    let words = ["run", "-d", "--init", "--name", "box"].iter().chain(&flags).copied();
    let id = holm.ok(words.chain(["arm", "sleep", "1000"]));
    assert_eq!(holm.ok(["exec", "box", "cat", "/proc/1/comm"]), "docker-init");
    let reached = holm.ok(["exec", "box", "ping", "-c", "1", "-W", "5", "172.17.0.1"]);
    assert!(reached.contains("1 packets received"), "{reached}");
    holm.ok(["kill", "-s", "TERM", "box"]);
    assert_eq!(holm.ok(["wait", "box"]), "143");
    holm.ok(["rm", "box"]);
    is_gone(&holm, &id);
}

fn user_land() -> Vec<u8> {
    let mut tar = Tarball::new();
    for path in ["bin", "etc", "tmp"] {
        tar.directory(path, 0o755);
    }
    tar.file("bin/busybox", 0o755, foreign::busybox().expect("busybox for arm64"));
    for applet in ["sh", "cat", "ping", "uname", "sleep"] {
        tar.symlink(&format!("bin/{applet}"), "busybox");
    }
    tar.finish()
}
