//! Known attacks by an image or a container: links in the place of devices and mounts, and the runtime's own file.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use serde_json::json;

use super::console::Receiver;
use super::runtime::{self, Feature, lacks};
use super::setup::Oci;

/// A folder of the host that an image would like to reach, with one file; both must stay as they are.
fn outside(oci: &Oci) -> PathBuf {
    let path = oci.path("outside");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("ptmx"), "of the host").unwrap();
    path
}

#[track_caller]
fn untouched(path: &PathBuf) {
    let names: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["ptmx"]);
    assert_eq!(std::fs::read_to_string(path.join("ptmx")).unwrap(), "of the host");
    assert_eq!(path.join("ptmx").metadata().unwrap().uid(), 0);
}

fn digest() -> Vec<u8> {
    std::fs::read(runtime::program()).unwrap()
}

/// CVE-2019-5736: the program of `exec` is the runtime itself, by way of `/proc/self/exe`.
#[test]
fn the_runtimes_file_cannot_be_written_from_inside() {
    let before = digest();
    let mut oci = Oci::new();
    oci.up("sleep 1000");
    std::fs::write(oci.rootfs("bin/evil"), "#!/proc/self/exe\n").unwrap();
    std::process::Command::new("chmod").arg("755").arg(oci.rootfs("bin/evil")).status().unwrap();
    // A writer that tries every process it sees while the runtime comes in.
    let writer = "while [ ! -e /stop ]; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] && continue; \
        (exec 3<>$p/exe) 2>/dev/null && echo x 2>/dev/null 1<>$p/exe && readlink $p/exe >> /written; done; done";
    oci.background("writer", ["exec", "-d", "box", "sh", "-c", writer]).run().expect_code(0);
    for _ in 0..10 {
        oci.run(["exec", "box", "evil", "--version"]);
        oci.run(["exec", "box", "/proc/self/exe", "--version"]);
        oci.run(["exec", "box", "sleep", "0.01"]);
    }
    std::fs::write(oci.rootfs("stop"), "").unwrap();
    oci.remove();
    assert!(digest() == before, "the runtime's file has changed");
}

#[test]
fn the_program_of_create_cannot_write_it_either() {
    let before = digest();
    let mut oci = Oci::new();
    std::fs::write(oci.rootfs("bin/evil"), "#!/proc/self/exe\n").unwrap();
    std::process::Command::new("chmod").arg("755").arg(oci.rootfs("bin/evil")).status().unwrap();
    oci.command(&["/bin/evil", "--version"]);
    oci.foreground();
    oci.clean();
    let inside = Oci::script("sleep 1000");
    inside.create();
    let exe = std::fs::read_link(format!("/proc/{}/exe", inside.pid())).unwrap();
    assert_ne!(
        exe,
        runtime::program().canonicalize().unwrap(),
        "what waits inside is not the runtime's own file"
    );
    assert!(std::fs::OpenOptions::new().write(true).open(format!("/proc/{}/exe", inside.pid())).is_err());
    assert!(digest() == before, "the runtime's file has changed");
}

/// CVE-2021-30465: a volume shared with a container that swaps a folder for a link to `/`.
#[test]
fn a_mount_never_lands_outside_while_its_place_is_swapped() {
    let mut swapper = Oci::new();
    let volume = swapper.path("volume");
    std::fs::create_dir_all(volume.join("place")).unwrap();
    symlink("/", volume.join("link")).unwrap();
    let volume_text = volume.to_str().unwrap().to_owned();
    swapper.mount("/volume", "bind", &volume_text, &["bind"]);
    swapper.up("cd /volume; while :; do mv -T place spare; mv -T link place; mv -T place link; mv -T spare place; done 2>/dev/null");
    for _ in 0..15 {
        let mut oci = Oci::new();
        oci.mount("/volume", "bind", &volume_text, &["bind"]);
        oci.mount("/volume/place/tmp", "tmpfs", "tmpfs", &[]).mount(
            "/volume/place/made",
            "tmpfs",
            "tmpfs",
            &[],
        );
        oci.command(&["sleep", "1000"]).save();
        if oci.background("box", ["create", "--bundle", "b", "box"]).run().code() == 0 {
            let table = std::fs::read_to_string(format!("/proc/{}/mountinfo", oci.pid())).unwrap();
            let points = table.lines().map(|line| line.split(' ').nth(4).unwrap());
            // Inside the root it may have followed the link to `/`, which is the container's.
            for point in points {
                assert!(!point.starts_with("//deleted") && !point.contains(&volume_text), "{table}");
            }
        }
        assert!(!std::path::Path::new("/made").exists(), "a folder was made on the host (CVE-2024-45310)");
        oci.remove();
    }
}

/// CVE-2024-45310: places that are made must be made inside.
#[test]
fn places_are_never_made_outside() {
    let mut oci = Oci::new();
    let outside = outside(&oci);
    for (name, target) in [
        ("a", outside.clone()),
        ("b", PathBuf::from("../../../../../../../../").join(outside.strip_prefix("/").unwrap())),
    ] {
        symlink(target, oci.rootfs(name)).unwrap();
    }
    oci.mount("/a/folder", "tmpfs", "tmpfs", &[]).mount("/b/below/folder", "tmpfs", "tmpfs", &[]);
    oci.mount("/a/file", "bind", "/etc/hostname", &["bind"]).set("/process/cwd", json!("/a/cwd"));
    oci.foreground();
    untouched(&outside);
    oci.clean();
}

/// A bound `/dev` whose `null` is not the device: CVE-2025-31133 masks files by binding it.
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
        oci.command(&["sleep", "1000"]);
        oci.refused(&[]);
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

/// CVE-2025-52881: writes to `/proc` that a mount leads elsewhere.
#[test]
fn kernel_parameters_are_written_where_they_are_meant() {
    if lacks(Feature::ProcIsGuarded) {
        return;
    }
    let mut oci = Oci::new();
    let target = oci.path("target");
    std::fs::write(&target, "kept").unwrap();
    oci.mount("/proc/sys/kernel/msgmax", "bind", target.to_str().unwrap(), &["bind"]);
    oci.set("/linux/sysctl", json!({"kernel.msgmax": "8193"}));
    oci.refused(&[]);
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "kept");
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
    oci.set("/process/user", json!({"uid": 1000, "gid": 1000})).set("/root/readonly", json!(true));
    oci.command(&["sh", "-c", "echo overwritten; echo overwritten >&2"]).save();
    oci.foreground();
    assert_eq!(std::fs::read_to_string(oci.rootfs("precious")).unwrap(), "kept");
    assert_eq!(oci.rootfs("precious").metadata().unwrap().uid(), 0);
    oci.clean();
}

/// CVE-2019-19921 and 2023-27561: an image whose `/proc` is a link, so that what is written there goes to a file.
#[test]
fn a_fake_proc_is_refused() {
    let oci = Oci::new();
    std::fs::remove_dir(oci.rootfs("proc")).unwrap();
    std::fs::create_dir_all(oci.rootfs("fake/self/attr")).unwrap();
    symlink("/fake", oci.rootfs("proc")).unwrap();
    oci.refused(&["must be mounted on ordinary directory"]);
}

#[test]
fn a_process_inside_cannot_see_the_runtime_that_comes_in() {
    let mut oci = Oci::new();
    // What enters a pid namespace could be traced there before it has given up what it holds.
    oci.up("while [ ! -e /stop ]; do for p in /proc/[0-9]*; do ls -l $p/fd 2>/dev/null | grep -v -e ' /dev/' -e ' /proc/' -e pipe: -e ' / *$'; done; done > /seen; sleep 1000");
    for _ in 0..10 {
        oci.ok(["exec", "box", "true"]);
    }
    std::fs::write(oci.rootfs("stop"), "").unwrap();
    let seen = std::fs::read_to_string(oci.rootfs("seen")).unwrap_or_default();
    let run = oci.path("run").to_str().unwrap().to_owned();
    assert!(!seen.contains(&run), "{seen}");
}
