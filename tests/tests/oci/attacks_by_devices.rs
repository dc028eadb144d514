//! Known attacks by an image or a volume: something else in the place of a device.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use serde_json::json;

use super::attacks::{outside, untouched};
use super::console::Receiver;
use super::runtime::{Feature, lacks};
use super::setup::Oci;

/// A bound `/dev` whose `null` is not the device: CVE-2025-31133 masks files by binding it. A runtime refuses, or
/// has a device of its own.
#[test]
fn masking_needs_the_real_null() {
    if lacks(Feature::NullIsChecked) {
        return;
    }
    for kind in ["link", "file", "nothing", "zero"] {
        let mut oci = Oci::new();
        let source = oci.path("dev");
        std::fs::create_dir(&source).unwrap();
        let null = source.join("null");
        match kind {
            "link" => symlink("/proc/sys/kernel/core_pattern", &null).unwrap(),
            "file" => std::fs::write(&null, "").unwrap(),
            "zero" => assert!(
                std::process::Command::new("mknod")
                    .arg(&null)
                    .args(["c", "1", "5"])
                    .status()
                    .unwrap()
                    .success()
            ),
            _ => {}
        }
        let path = source.to_str().unwrap();
        oci.set(
            "/mounts/1",
            json!({"destination": "/dev", "type": "bind", "source": path, "options": ["rbind"]}),
        );
        oci.config["mounts"]
            .as_array_mut()
            .unwrap()
            .retain(|mount| !mount["destination"].as_str().is_some_and(|place| place.starts_with("/dev/")));
        oci.set("/linux/maskedPaths", json!(["/etc/passwd", "/proc/keys"]));
        oci.command(&["sh", "-c", "cat /etc/passwd; cat /proc/keys; stat -c %t:%T /etc/passwd"]);
        let outcome = oci.foreground();
        assert!(outcome.code() != 0 || outcome.out() == "1:3", "{kind}: {outcome}");
        oci.clean();
    }
}

/// CVE-2025-52565: the console is bound to a name that an image controls.
#[test]
fn the_console_follows_no_link() {
    for name in ["console", "pts", "ptmx"] {
        let mut oci = Oci::script("sleep 1000");
        let outside = outside(&oci);
        std::fs::write(oci.path("target"), "kept").unwrap();
        let target = oci.path("target").metadata().unwrap();
        oci.config["mounts"]
            .as_array_mut()
            .unwrap()
            .retain(|mount| !mount["destination"].as_str().is_some_and(|place| place.starts_with("/dev")));
        let to = if name == "pts" { outside.clone() } else { oci.path("target") };
        symlink(to, oci.rootfs("dev").join(name)).unwrap();
        oci.set("/process/terminal", json!(true));
        oci.save();
        let socket = Receiver::listen(&oci.path("socket"));
        let words = ["create", "--bundle", "b", "--console-socket", socket.path(), "box"];
        let code = oci.background("box", words).run().code();
        if code == 0 {
            oci.remove();
        }
        oci.clean();
        untouched(&outside);
        let now = oci.path("target").metadata().unwrap();
        assert_eq!((now.uid(), now.mode(), now.ino()), (target.uid(), target.mode(), target.ino()), "{name}");
        assert_eq!(std::fs::read_to_string(oci.path("target")).unwrap(), "kept");
    }
}

/// CVE-2026-41579, and in crun CVE-2026-47766: an image whose `/dev` is a link to a folder of the host.
#[test]
fn devices_are_never_made_outside() {
    let mut oci = Oci::new();
    let outside = outside(&oci);
    std::fs::remove_dir(oci.rootfs("dev")).unwrap();
    if lacks(Feature::DevIsChecked) {
        return;
    }
    for target in [outside.clone(), PathBuf::from("../../outside")] {
        symlink(target, oci.rootfs("dev")).unwrap();
        oci.set("/mounts", json!([{"destination": "/proc", "type": "proc", "source": "proc"}]));
        oci.foreground();
        untouched(&outside);
        oci.clean();
        std::fs::remove_file(oci.rootfs("dev")).unwrap();
    }
}

/// In crun CVE-2026-88264 and 88265: without a mount on `/dev` the image decides what `/dev/null` is.
#[test]
fn standard_streams_follow_no_link_to_a_file() {
    let mut oci = Oci::new();
    std::fs::write(oci.rootfs("precious"), "kept").unwrap();
    symlink("/precious", oci.rootfs("dev/null")).unwrap();
    oci.set("/mounts", json!([{"destination": "/proc", "type": "proc", "source": "proc"}]));
    oci.set("/process/user", json!({"uid": 1000, "gid": 1000})).set("root/readonly", json!(true));
    oci.command(&["sh", "-c", "echo overwritten; echo overwritten >&2"]).save();
    oci.foreground();
    assert_eq!(std::fs::read_to_string(oci.rootfs("precious")).unwrap(), "kept");
    assert_eq!(oci.rootfs("precious").metadata().unwrap().uid(), 0);
    oci.clean();
}
