//! `image diff`, `image mount` and `image tree`: what is in images.

use std::fs;
use std::path::PathBuf;

use holm_tests::{Holm, tarball};
use serde_json::Value;

/// `base`, and `second` with a layer more.
fn two_images() -> Holm {
    let holm = Holm::new();
    holm.ok([
        "run",
        "--name",
        "box",
        "base",
        "sh",
        "-c",
        "mkdir -p /srv; echo 2 > /srv/new; echo 3 >> /etc/os-release; rm /etc/group",
    ]);
    holm.ok(["commit", "box", "second"]);
    holm.ok(["rm", "box"]);
    holm
}

#[test]
fn images_are_compared() {
    let holm = two_images();
    let text = holm.ok(["image", "diff", "base", "second"]);
    let lines: Vec<_> = text.lines().collect();
    for line in ["A /srv/new", "C /etc/os-release", "D /etc/group"] {
        assert!(lines.contains(&line), "{line}: {text}");
    }
    assert!(holm.ok(["image", "diff", "second", "base"]).contains("A /etc/group"));
    assert_eq!(holm.ok(["image", "diff", "base", "base"]), "");
    holm.run(["image", "diff", "base", "none"]).refused(1, &["none"]);
}

#[test]
fn an_image_is_mounted_until_it_is_not() {
    let holm = two_images();
    for image in ["base", "second"] {
        let directory = PathBuf::from(holm.ok(["image", "mount", image]));
        assert!(directory.starts_with(holm.run_root()));
        assert_eq!(directory.join("srv/new").exists(), image == "second");
        fs::write(directory.join("srv/x"), b"").expect_err("read-only");
        holm.run(["image", "mount", image]).refused(1, &["mounted"]);
        assert_eq!(
            holm.ok(["image", "mount", "--format", "{{.Image}} {{.Mountpoint}}"]),
            format!("{image} {}", directory.display())
        );
        holm.run(["rmi", image]).refused(1, &["it is mounted on", &directory.display().to_string()]);
        assert!(!holm.ok(["system", "prune", "-af"]).contains(&format!("untagged: {image}")));
        assert!(directory.join("etc/passwd").exists(), "still there");
        holm.ok(["image", "unmount", image]);
        assert!(!directory.exists());
        assert_eq!(holm.ok(["image", "mount", "--format", "json"]), "");
        if image == "base" {
            // The prune took the other one.
            let tar = tarball::base_with_release("second")
                .directory("srv", 0o755)
                .file("srv/new", 0o644, b"")
                .finish();
            holm.call(["import", "-", "second"]).stdin(tar).run().ok();
        }
    }
    holm.run(["image", "unmount", "base"]).refused(1, &["base"]);
}

#[test]
fn an_image_is_mounted_where_it_is_asked_to_be() {
    let holm = Holm::new();
    let directory = holm.scratch("here");
    let text = directory.to_str().expect("text");
    holm.run(["image", "mount", "base", text]).refused(1, &["here"]);
    fs::create_dir(&directory).expect("mkdir");
    assert_eq!(holm.ok(["image", "mount", "base", text]), text);
    assert!(directory.join("etc/os-release").exists());
    holm.ok(["image", "mount", "base"]);
    holm.run(["image", "unmount", "base"]).refused(1, &["several"]);
    holm.ok(["image", "unmount", text]);
    assert!(!directory.join("etc").exists());
    holm.ok(["image", "unmount", "base"]);
    // What is taken away by others is no lease any more.
    holm.ok(["image", "mount", "base", text]);
    holm.host_shell(&format!("umount {text}")).ok();
    assert_eq!(holm.ok(["image", "mount", "--format", "json"]), "");
    holm.ok(["rmi", "base"]);
    assert_eq!(fs::read_dir(holm.run_root().join("mounts")).expect("list").count(), 0);
}

#[test]
fn layers_as_a_tree() {
    let holm = two_images();
    let text = holm.ok(["image", "tree"]);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines.len() == 2 && lines[0].ends_with("base:latest"), "{text}");
    assert!(lines[1].starts_with("└── ") && lines[1].ends_with("second:latest"), "{text}");
    assert_eq!(holm.ok(["image", "tree", "base"]).lines().count(), 1);
    let tree: Value = serde_json::from_str(&holm.ok(["image", "tree", "--format", "json"])).expect("JSON");
    assert_eq!(tree[0]["Children"][0]["Images"][0], "second:latest");
    holm.run(["image", "tree", "none"]).refused(1, &["none"]);
}
