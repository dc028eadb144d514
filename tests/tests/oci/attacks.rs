//! Known attacks by an image or a container: links in the place of mounts, and the runtime's own file.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use serde_json::json;

use super::runtime;
use super::setup::Oci;

/// A folder of the host that an image would like to reach, with one file; both must stay as they are.
pub fn outside(oci: &Oci) -> PathBuf {
    let path = oci.path("outside");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("ptmx"), "of the host").unwrap();
    path
}

/// Demands that the folder is as it was made.
#[track_caller]
pub fn untouched(path: &PathBuf) {
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

/// CVE-2025-52881: writes to `/proc` that a mount leads elsewhere.
#[test]
fn kernel_parameters_are_written_where_they_are_meant() {
    let mut oci = Oci::new();
    let target = oci.path("target");
    std::fs::write(&target, "kept").unwrap();
    oci.mount("/proc/sys/kernel/msgmax", "bind", target.to_str().unwrap(), &["bind"]);
    oci.set("/linux/sysctl", json!({"kernel.msgmax": "8193"}));
    oci.refused(&[]);
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "kept");
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
