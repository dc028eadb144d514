//! `kernel import`, `ls`, `inspect`, `default`, `rm`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use holm_tests::{Holm, kernels};
use serde_json::{Value, json};

const RELEASE: &str = "6.1.0-1-cloud-amd64";

fn import(holm: &Holm, release: &str) -> String {
    holm.call(["kernel", "import", "-"]).stdin(kernels::package(release)).run().ok()
}

fn release_of_default(holm: &Holm) -> String {
    holm.ok(["kernel", "inspect", "-f", "{{.Release}}"])
}

#[test]
fn a_package_is_imported_and_shown() {
    let holm = Holm::empty();
    let file = holm.file("linux.deb", kernels::package(RELEASE));
    let id = holm.ok(["kernel", "import", &file]);
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    assert_eq!(holm.ok(["kernel", "import", "-q", &file]), id, "again, and it is the same");
    assert_eq!(holm.ok(["kernel", "ls", "-q"]), id[7..19]);
    let shown = ["kernel", "ls", "--format", "table {{.Name}}\t{{.Default}}\t{{.Release}}\t{{.Origin}}"];
    insta::assert_snapshot!(holm.ok(shown), @r"
    NAME                                   DEFAULT   RELEASE               ORIGIN
    localhost/kernel:6.1.0-1-cloud-amd64   *         6.1.0-1-cloud-amd64   linux-image-6.1.0-1-cloud-amd64 1.2-3
    ");

    let list: Vec<Value> = serde_json::from_str(&holm.ok(["kernel", "inspect", &id])).expect("JSON");
    let document = &list[0];
    let modules = ["virtio", "virtio_pci", "virtio_blk", "virtio_console", "overlay", "libcrc32c", "erofs"];
    for (key, value) in [
        ("Names", json!([format!("localhost/kernel:{RELEASE}")])),
        ("Release", json!(RELEASE)),
        ("Architecture", json!("amd64")),
        ("Format", json!("bzimage")),
        ("Modules", json!(modules)),
        ("Default", json!(true)),
    ] {
        assert_eq!(document[key], value, "{key}");
    }
    let image = document["Image"]["Path"].as_str().expect("a path");
    assert_eq!(std::fs::read(image).expect("a file"), kernels::image(RELEASE));
    let archive = document["ModulesArchive"]["Path"].as_str().expect("a path");
    let files = std::fs::read(archive).expect("a file");
    let listed = holm.host_shell(&format!("cpio -t --quiet < {archive}"));
    if listed.code() == 0 {
        let listed = listed.out();
        assert!(
            listed
                .lines()
                .eq(["lib", "lib/modules"].into_iter().map(String::from).chain(
                    (0..).zip(modules).map(|(place, name)| format!("lib/modules/{place:02}-{name}.ko"))
                )),
            "{listed}"
        );
    }
    assert_eq!(files.len() as u64, document["ModulesArchive"]["Size"]);
}

#[test]
fn a_file_with_its_modules_beside_it() {
    let holm = Holm::empty();
    let vmlinuz = holm.file("vmlinuz", kernels::image("6.9.1"));
    let bare = holm.run(["kernel", "import", "--tag", "bare", &vmlinuz]);
    assert!(bare.ok().starts_with("sha256:"));
    assert!(bare.err().starts_with("WARNING: it is not known"), "{bare}");

    let modules = holm.scratch("modules");
    std::fs::create_dir(&modules).expect("mkdir");
    std::fs::write(modules.join("erofs.ko"), kernels::module("6.9.1", "")).expect("write");
    std::fs::write(modules.join("modules.builtin"), "k/ext4.ko\nk/overlay.ko\n").expect("write");
    let call = ["kernel", "import", "--modules", modules.to_str().expect("text"), &vmlinuz];
    let text =
        holm.run(call).refused(125, &["without the needed drivers", "virtio_mmio or virtio_pci, virtio_blk"]);
    assert!(text.contains("hint: --modules"), "{text}");
    let builtin = ["ext4", "overlay", "virtio_blk", "virtio_mmio", "virtio_console"]
        .map(|name| format!("k/{name}.ko\n"));
    std::fs::write(modules.join("modules.builtin"), builtin.concat()).expect("write");
    let whole = holm.run(call);
    assert_eq!((whole.ok().len(), whole.err()), (71, String::new()));
    assert_eq!(holm.ok(["kernel", "inspect", "-f", "{{.Modules}}", "localhost/kernel:6.9.1"]), "[erofs]");
}

#[test]
fn the_default() {
    let holm = Holm::empty();
    let text = holm.run(["kernel", "default"]).refused(1, &["there is no kernel for linux/amd64"]);
    assert!(text.contains("holm kernel import linux-image-cloud-amd64"), "{text}");
    import(&holm, "6.1.0");
    import(&holm, "6.2.0");
    assert_eq!(holm.ok(["kernel", "default"]), "localhost/kernel:6.2.0");
    assert_eq!(holm.ok(["kernel", "default", "localhost/kernel:6.1.0"]), "");
    import(&holm, "6.3.0");
    assert_eq!(holm.ok(["kernel", "default"]), "localhost/kernel:6.1.0");
    assert_eq!(release_of_default(&holm), "6.1.0");
    let marked = ["kernel", "ls", "--format", "{{.Release}}{{.Default}}"];
    assert_eq!(holm.ok(marked), "6.3.0\n6.2.0\n6.1.0*");
    holm.ok(["kernel", "default", "--last"]);
    assert_eq!(holm.ok(["kernel", "default"]), "localhost/kernel:6.3.0");
    holm.run(["kernel", "default", "none"]).refused(1, &["there is no kernel `none`"]);
    holm.run(["kernel", "default", "--platform", "linux/arm64"]).refused(1, &["linux/arm64"]);
    holm.run(["kernel", "default", "--last", "x"]).refused(125, &["--last"]);
}

#[test]
fn kernels_are_no_images() {
    let holm = Holm::new();
    let id = import(&holm, RELEASE);
    let name = format!("localhost/kernel:{RELEASE}");
    assert_eq!(holm.ok(["images", "--format", "{{.Repository}}"]), "base");
    assert_eq!(holm.ok(["info", "-f", "{{.Images}}"]), "1");
    for words in [vec!["rmi", &name], vec!["rmi", "-f", &name], vec!["image", "inspect", &name]] {
        let outcome = holm.run(&words);
        let text = outcome.err();
        assert!(outcome.code() == 1 && text.contains("it is a kernel, not an image"), "{outcome}");
        assert!(text.contains("hint: `holm images` lists images, `holm kernel ls` kernels"), "{text}");
    }
    holm.run(["run", "--rm", &name, "true"]).refused(125, &["it is a kernel, not an image"]);
    holm.run(["rmi", &id]).refused(1, &["there is no image"]);
    holm.run(["kernel", "rm", "base"]).refused(1, &["it is an image, not a kernel"]);
    holm.run(["kernel", "inspect", "base"]);
    assert_eq!(holm.ok(["kernel", "ls", "-q", "--no-trunc"]), id);
    assert_eq!(holm.ok(["run", "--rm", "base", "echo", "hi"]), "hi");
}

#[test]
fn removal() {
    let holm = Holm::empty();
    let id = import(&holm, RELEASE);
    let name = format!("localhost/kernel:{RELEASE}");
    holm.ok(["tag", &name, "mine:1"]);
    let text = holm.run(["kernel", "rm", &id[7..19]]).refused(1, &["several names", "mine:1"]);
    assert!(text.contains("hint:"), "{text}");
    assert_eq!(holm.ok(["kernel", "rm", &name]), format!("Untagged: {name}"));
    assert_eq!(holm.ok(["kernel", "rm", "mine:1"]), format!("Untagged: mine:1\nDeleted: {id}"));
    holm.run(["kernel", "rm", "mine:1"]).refused(1, &["there is no kernel `mine:1`"]);
    assert_eq!(holm.run(["kernel", "rm", "-f", "mine:1"]).code(), 0);
    assert_eq!(std::fs::read_dir(holm.root().join("blobs/sha256")).expect("list").count(), 0);
    assert_eq!(holm.ok(["kernel", "ls", "-q"]), "");
}

#[test]
fn one_that_a_machine_uses_stays() {
    let holm = Holm::new();
    let id = import(&holm, RELEASE);
    holm.ok(["create", "--vm", "--name", "box", "base", "true"]);
    for words in [vec!["kernel", "rm", &id], vec!["kernel", "rm", "localhost/kernel:6.1.0-1-cloud-amd64"]] {
        holm.run(&words).refused(1, &["workload `box` uses it"]);
    }
    holm.ok(["kernel", "rm", "-f", &id]);
    assert_eq!(holm.ok(["kernel", "ls", "--format", "{{.Name}}"]), "<none>", "it stays without a name");
    holm.ok(["rm", "box"]);
    assert_eq!(holm.ok(["kernel", "rm", &id[7..19]]), format!("Deleted: {id}"));
}

#[test]
fn what_is_no_kernel_is_refused_and_leaves_nothing() {
    let holm = Holm::empty();
    holm.ok(["kernel", "ls"]);
    let package = kernels::package(RELEASE);
    let missing = holm.scratch("none.deb").display().to_string();
    for (source, says) in [
        (holm.file("text", "no kernel"), "neither a bzImage"),
        (holm.file("empty", ""), "neither a bzImage"),
        (holm.file("cut.deb", &package[..package.len() / 2]), "data.tar"),
        (holm.file("ar.deb", "!<arch>\n"), "no Debian package"),
        (holm.scratch("").display().to_string(), "is a directory"),
        (missing, "No such file"),
        ("no package".to_owned(), "neither a file nor the name"),
        ("-x".to_owned(), "-x"),
    ] {
        holm.run(["kernel", "import", &source]).refused(125, &[says]);
    }
    holm.run(["kernel", "import", "--tag", "A", "x"]).refused(125, &["--tag"]);
    assert_eq!(std::fs::read_dir(holm.root().join("blobs/sha256")).expect("list").count(), 0);
    assert_eq!(std::fs::read_dir(holm.root().join("ingest")).expect("list").count(), 0);
}

#[test]
fn without_apt_a_package_is_not_found() {
    let holm = Holm::empty();
    let outcome =
        holm.call(["kernel", "import", "linux-image-cloud-amd64"]).env("PATH", "/nonexistent").run();
    let text = outcome.refused(125, &["ask for package `linux-image-cloud-amd64`: start `apt-cache`"]);
    assert!(text.contains("hint: `apt-get update`"), "{text}");
}

#[test]
fn help_and_completion_know_the_group() {
    let holm = Holm::empty();
    insta::assert_snapshot!(holm.ok(["kernel", "--help"]), @r"
    Kernels of virtual machines

    Usage: holm kernel <COMMAND>

    Commands:
      import   Make a kernel for virtual machines from a Debian package or a file
      ls       List kernels
      inspect  Show kernels as JSON documents
      pull     Fetch an image from a registry
      push     Send an image to a registry
      default  Show or choose the kernel that virtual machines get without --kernel
      rm       Remove kernels

    Options:
      -h, --help  Print help
    ");
    let help = holm.ok(["kernel", "import", "--help"]);
    assert!(help.contains("Examples:") && help.contains("holm kernel import"), "{help}");
    assert!(holm.ok(["completion", "bash"]).contains("holm__subcmd__kernel,import"));
    holm.run(["kernel", "imprt"]).refused(1, &["imprt"]);
}

/// Debian's own, from apt; kept beside the guest tests' kernel.
#[test]
#[ignore = "slow: downloads Debian's kernel"]
fn debians_kernel() {
    let holm = Holm::empty();
    let imported = holm
        .call(["kernel", "import", "linux-image-cloud-amd64"])
        .timeout(Duration::from_secs(600))
        .run()
        .ok();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("guest-cache").join("packages");
    std::fs::create_dir_all(&cache).expect("mkdir");
    let package = holm.ok(["kernel", "inspect", "-f", "{{.Origin}}"]);
    let package = package.split(' ').next().expect("a name").to_owned();
    let cached = |end: &str| {
        let entries = std::fs::read_dir(&cache).expect("list").flatten().map(|entry| entry.path());
        entries
            .filter(|path| path.to_string_lossy().contains(&package))
            .find(|path| path.to_string_lossy().ends_with(end))
    };
    if cached(".deb").is_none() {
        let mut download = Command::new("apt-get");
        download.args(["-q", "download", &package]).current_dir(&cache);
        assert!(download.output().expect("apt-get").status.success());
    }
    let file = cached(".deb").expect("a package");
    assert_eq!(holm.ok(["kernel", "import", file.to_str().expect("text")]), imported, "the same digest");
    let modules = holm.ok(["kernel", "inspect", "-f", "{{join .Modules \" \"}}"]);
    let place = |name: &str| modules.split(' ').position(|module| module == name);
    for (first, second) in [("virtio_ring", "virtio_blk"), ("virtio", "virtio_console"), ("fuse", "virtiofs")]
    {
        assert!(place(first).is_some() && place(first) < place(second), "{modules}");
    }
    assert!(place("erofs").is_some() && place("overlay").is_some(), "{modules}");
}
