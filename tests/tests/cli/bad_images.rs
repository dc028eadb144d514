//! Hostile and broken images: refused in one line, or harmless; the store as it was.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use holm_tests::{Holm, Outcome, Tarball, host, tarball};

/// Files of the store that mean something: lock files and directories made on first use do not.
fn store(holm: &Holm) -> BTreeMap<PathBuf, String> {
    let mut tree = host::tree(&holm.root());
    tree.retain(|path, facts| !path.starts_with("locks") && !facts.starts_with('4'));
    tree
}

fn import(holm: &Holm, bytes: impl Into<Vec<u8>>, name: &str) -> Outcome {
    holm.call(["import", "-", name]).stdin(bytes).run()
}

/// An import that must be refused and change nothing.
#[track_caller]
fn refused(bytes: impl Into<Vec<u8>>) -> String {
    let holm = Holm::new();
    let before = store(&holm);
    let text = import(&holm, bytes, "bad").refused(125, &[]);
    assert_eq!(store(&holm), before, "{text}");
    assert_eq!(holm.ok(["images", "-q", "bad"]), "");
    assert_eq!(holm.sh(&[], "echo works"), "works");
    text
}

#[test]
fn not_a_tarball() {
    let holm = Holm::new();
    let before = store(&holm);
    let file = holm.file("text", "this is no tarball\n".repeat(100));
    holm.run(["import", &file, "bad"]).refused(125, &["tar"]);
    holm.run(["import", "absent.tar", "bad"]).refused(125, &["absent.tar"]);
    holm.run(["import", "/etc", "bad"]).refused(125, &["/etc"]);
    assert_eq!(store(&holm), before);
    refused("short");
    refused([0x1f, 0x8b, 8, 0, 1, 2, 3]);
    refused([0x28, 0xb5, 0x2f, 0xfd, 9, 9, 9, 9]);
    refused("BZh91AY&SY");
    refused([0xfd, b'7', b'z', b'X', b'Z', 0, 1, 2]);
}

#[test]
fn the_error_names_the_file() {
    let holm = Holm::empty();
    let file = holm.file("text", "this is no tarball\n".repeat(100));
    holm.run(["import", &file]).refused(125, &["text"]);
    holm.run(["import", &file, "bad"]).refused(125, &["text"]);
}

#[test]
fn nothing_at_all() {
    // An empty file is no tarball; two empty blocks are one without entries.
    refused("");
    let holm = Holm::empty();
    import(&holm, Tarball::new().finish(), "empty").ok();
    holm.run(["run", "--rm", "empty", "sh"]).refused(127, &["sh"]);
}

#[test]
fn truncated() {
    let whole = tarball::base();
    // In the middle of a file, of a header, and before the end mark.
    for length in [1_000_000, 512 * 3 + 100, 700] {
        refused(&whole[..length]);
    }
    let zipped = zstd::encode_all(whole.as_slice(), 1).unwrap();
    refused(&zipped[..zipped.len() / 2]);
    refused(&zipped[..zipped.len() - 1]);
}

#[test]
fn damaged() {
    let mut bytes = tarball::base();
    bytes[512 + 5] ^= 1;
    refused(bytes);
    let mut zipped = zstd::encode_all(tarball::base().as_slice(), 1).unwrap();
    let middle = zipped.len() / 2;
    zipped[middle] ^= 0x55;
    refused(zipped);
}

#[test]
fn paths_that_lead_out() {
    for path in ["../escape", "a/../../escape", "..", "a/.."] {
        let text = refused(tarball::base_with_release("x").file(path, 0o644, "x").finish());
        assert!(text.contains(".."), "{text}");
    }
    for path in ["../escape", "/../../etc/passwd"] {
        refused(tarball::base_with_release("x").hard_link("link", path).finish());
    }
}

#[test]
fn absolute_paths_are_below_the_root() {
    let holm = Holm::empty();
    let name = "holm-test-absolute";
    let tar = tarball::base_with_release("x").file(&format!("/tmp/{name}"), 0o644, "inside\n").finish();
    import(&holm, tar, "base").ok();
    assert!(!std::path::Path::new("/tmp").join(name).exists());
    assert_eq!(holm.sh(&[], &format!("cat /tmp/{name}")), "inside");
}

#[test]
fn links_that_lead_out() {
    let holm = Holm::empty();
    let outside = holm.scratch("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "of the host\n").unwrap();
    let before = host::tree(&outside);
    let mut tar = tarball::base_with_release("x");
    tar.symlink("etc/x", outside.join("secret").to_str().unwrap());
    tar.symlink("through", outside.to_str().unwrap());
    import(&holm, tar.finish(), "base").ok();
    holm.script(&[], "cat /etc/x").expect_code(1);
    holm.script(&[], "ls /through/").expect_code(1);
    let mut tar = tarball::base_with_release("y");
    tar.symlink("through", outside.to_str().unwrap()).file("through/planted", 0o644, "x");
    let outcome = import(&holm, tar.finish(), "through");
    assert!([0, 125].contains(&outcome.code()), "{outcome}");
    assert_eq!(host::tree(&outside), before, "nothing is written through a link");
    if outcome.code() == 0 {
        // What Docker does: the link is followed inside the image, or the entry takes its place.
        let script = format!("cat /through/planted {}/planted 2>/dev/null | head -c 1", outside.display());
        assert_eq!(holm.ok(["run", "--rm", "through", "sh", "-c", &script]), "x");
    }
    let mut tar = tarball::base_with_release("z");
    tar.symlink("etc/shadow", "/etc/hostname").hard_link("stolen", "etc/shadow");
    import(&holm, tar.finish(), "hard").ok();
    assert_eq!(holm.ok(["run", "--rm", "hard", "readlink", "/stolen"]), "/etc/hostname");
}

#[test]
fn files_as_directories() {
    for tar in [
        tarball::base_with_release("x").file("f", 0o644, "x").file("f/below", 0o644, "y"),
        tarball::base_with_release("x").hard_link("a", "absent"),
        tarball::base_with_release("x").hard_link("self", "self"),
        tarball::base_with_release("x").hard_link("d", "etc"),
    ] {
        let holm = Holm::new();
        let before = store(&holm);
        let outcome = import(&holm, tar.finish(), "odd");
        if outcome.code() != 0 {
            outcome.refused(125, &[]);
            assert_eq!(store(&holm), before);
        } else {
            assert_eq!(holm.ok(["run", "--rm", "odd", "echo", "hi"]), "hi");
        }
    }
}

#[test]
fn overlay_attributes_are_dropped() {
    let holm = Holm::empty();
    let mut tar = tarball::base_with_release("x");
    tar.directory("secret", 0o700).file("secret/key", 0o600, "hidden");
    for name in [
        "trusted.overlay.redirect",
        "user.overlay.redirect",
        "trusted.overlay.metacopy",
        "user.overlay.opaque",
        "trusted.overlay.opaque",
    ] {
        tar.attribute(name, if name.ends_with("redirect") { "/secret" } else { "y" });
    }
    tar.attribute("user.kept", "yes").directory("pub", 0o755);
    import(&holm, tar.finish(), "base").ok();
    let id = holm.start(&[], "sleep 60");
    let inside = format!("/proc/{}/root/pub", holm.pid(&id));
    let layers = host::mounts_below(&holm.run_root())
        .into_iter()
        .map(|point| point.join("pub"))
        .filter(|path| path.exists());
    let mut seen = 0;
    for path in layers.chain([PathBuf::from(inside)]) {
        let mut buffer = [0; 4096];
        let count = rustix::fs::listxattr(&path, &mut buffer).unwrap();
        let names = String::from_utf8_lossy(&buffer[..count]).into_owned();
        assert!(names.contains("user.kept") && !names.contains("overlay."), "{}: {names:?}", path.display());
        seen += 1;
    }
    assert!(seen >= 1);
    assert_eq!(holm.ok(["exec", &id, "ls", "/pub"]), "");
}

#[test]
fn ten_thousand_directories_deep() {
    let holm = Holm::new();
    let before = store(&holm);
    let path = format!("{}file", "d/".repeat(10_000));
    let tar = tarball::base_with_release("deep").file(&path, 0o644, "x").finish();
    let outcome = holm.call(["import", "-", "deep"]).stdin(tar).timeout(Duration::from_secs(60)).run();
    let text = outcome.refused(125, &[]);
    assert!(text.len() < 1000, "the error does not print the whole path: {} bytes", text.len());
    assert_eq!(store(&holm), before);
}

#[test]
fn sizes_that_cannot_be() {
    // A header that promises more than any disk has, and one with a negative size in base 256.
    for field in [*b"77777777777\0", *b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", *b"abcdefghijk\0"]
    {
        let mut bytes = Tarball::new().file("f", 0o644, "x").finish();
        bytes[124..136].copy_from_slice(&field);
        bytes[148..156].fill(b' ');
        let sum: u32 = bytes[..512].iter().map(|byte| u32::from(*byte)).sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        refused(bytes);
    }
}

#[test]
fn for_another_machine() {
    let holm = Holm::new();
    for (platform, names) in
        [("linux/arm64", &["arm64"][..]), ("windows/amd64", &["windows"]), ("linux/riscv64", &["riscv64"])]
    {
        let name = platform.replace('/', "-");
        holm.call(["import", "--platform", platform, "-", &name]).stdin(tarball::base()).run().ok();
        let outcome = holm.run(["run", "--rm", &name, "true"]);
        let text = outcome.refused(125, names);
        assert!(text.contains(&name), "names the image: {text}");
        if platform.starts_with("windows") {
            assert!(text.contains("kernel") && text.contains("--vm"), "says why and what helps: {text}");
        }
    }
    assert!(holm.workloads().is_empty());
    holm.run(["run", "--rm", "--platform", "linux/arm64", "base", "true"]).refused(125, &["base", "arm64"]);
    assert_eq!(holm.ok(["run", "--rm", "--platform", "linux/amd64", "base", "echo", "hi"]), "hi");
    for platform in ["linux", "a/b/c/d", "", "linux/", "beos/amd64 "] {
        let outcome = holm.call(["import", "--platform", platform, "-", "x"]).stdin(tarball::base()).run();
        assert!(outcome.code() == 125 || platform == "linux", "{platform:?}: {outcome}");
    }
}

#[test]
fn a_binary_of_another_architecture() {
    let holm = Holm::empty();
    // An ELF header that says AArch64, in an image that says it is of this host.
    let mut elf = std::fs::read("/bin/busybox").unwrap();
    elf.truncate(4096);
    elf[18..20].copy_from_slice(&183_u16.to_le_bytes());
    let tar = tarball::base_with_release("x").file("bin/foreign", 0o755, elf).finish();
    import(&holm, tar, "base").ok();
    holm.run(["run", "--rm", "base", "/bin/foreign"]).refused(126, &["/bin/foreign"]);
}

#[test]
fn damaged_in_the_store() {
    for what in ["blobs/sha256", "layers"] {
        let holm = Holm::new();
        for entry in std::fs::read_dir(holm.root().join(what)).unwrap() {
            let path = entry.unwrap().path();
            if what == "blobs/sha256" || path.extension().is_some_and(|end| end == "erofs") {
                let length = path.metadata().unwrap().len();
                std::fs::File::options().write(true).open(&path).unwrap().set_len(length / 2).unwrap();
            }
        }
        let outcome = holm.run(["run", "--rm", "base", "cat", "/bin/busybox"]);
        outcome.refused(125, &[]);
        assert!(holm.workloads().is_empty());
        assert!(host::mounts_below(&holm.root()).is_empty());
    }
}

#[test]
fn missing_in_the_store() {
    for what in ["blobs/sha256", "layers"] {
        let holm = Holm::new();
        for entry in std::fs::read_dir(holm.root().join(what)).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        holm.run(["run", "--rm", "base", "true"]).refused(125, &[]);
        assert!(holm.workloads().is_empty());
        holm.run(["images"]).expect_code(0);
        import(&holm, tarball::base(), "base").ok();
        assert_eq!(holm.sh(&[], "echo healed"), "healed");
    }
}
