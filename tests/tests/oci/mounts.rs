//! `mounts`: kinds, places, and that they stay inside.

use std::os::unix::fs::{MetadataExt, symlink};

use super::runtime::{Feature, lacks};
use super::setup::Oci;

#[test]
fn a_folder_of_the_host() {
    let mut oci = Oci::new();
    let source = oci.shared();
    oci.mount("/mnt/a/b", "bind", &source, &["rbind", "rw"]);
    assert_eq!(oci.sh("cat /mnt/a/b/file; echo new > /mnt/a/b/made"), "of the host");
    assert_eq!(std::fs::read_to_string(oci.path("shared/made")).unwrap(), "new\n");
    assert!(oci.rootfs("mnt/a/b").is_dir(), "the place was made");
    assert_eq!(oci.rootfs("mnt/a").metadata().unwrap().mode() & 0o777, 0o755);
}

#[test]
fn a_single_file_of_the_host() {
    let mut oci = Oci::new();
    let source = format!("{}/file", oci.shared());
    oci.mount("/new/place", "bind", &source, &["bind", "ro"]).mount(
        "/etc/passwd",
        "none",
        &source,
        &["bind"],
    );
    let text = oci.sh(
        "cat /new/place /etc/passwd; echo x 2>/dev/null > /new/place || echo read-only; echo y > /etc/passwd",
    );
    assert_eq!(text, "of the host\nof the host\nread-only");
    assert_eq!(std::fs::read_to_string(&source).unwrap(), "y\n");
    assert!(oci.rootfs("new/place").is_file());
}

#[test]
fn a_source_is_relative_to_the_bundle() {
    let mut oci = Oci::new();
    std::fs::create_dir(oci.bundle().join("data")).unwrap();
    std::fs::write(oci.bundle().join("data/x"), "relative").unwrap();
    oci.mount("/mnt", "bind", "data", &["bind"]);
    oci.save();
    let words = ["run", "--bundle", "b", "box"];
    oci.command(&["cat", "/mnt/x"]).save();
    assert_eq!(oci.ok(words), "relative");
}

#[test]
fn read_only_holds_for_the_mount_alone() {
    let mut oci = Oci::new();
    let source = oci.shared();
    oci.mount("/mnt", "bind", &source, &["bind", "ro"]);
    assert_eq!(oci.sh("touch /mnt/x 2>/dev/null || echo no; touch /x && echo yes"), "no\nyes");
}

#[test]
fn the_kind_does_not_matter_beside_the_option_bind() {
    for kind in ["bind", "none", "", "ext4"] {
        let mut oci = Oci::new();
        let source = oci.shared();
        oci.mount("/mnt", kind, &source, &["rbind"]);
        assert_eq!(oci.sh("cat /mnt/file"), "of the host");
    }
}

#[test]
fn a_temporary_file_system_with_data() {
    let mut oci = Oci::new();
    oci.mount(
        "/scratch",
        "tmpfs",
        "tmpfs",
        &["nosuid", "nodev", "noexec", "size=1m", "mode=1770", "uid=5", "gid=6"],
    );
    let text = oci
        .sh("stat -c '%a %u %g' /scratch; grep ' /scratch ' /proc/self/mountinfo | cut -d' ' -f6,10-; \
        dd if=/dev/zero of=/scratch/x bs=1k count=2000 2>/dev/null || echo full");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines[0], lines[2]), ("1770 5 6", "full"), "{text}");
    assert!(lines[1].starts_with("rw,nosuid,nodev,noexec,relatime"), "{text}");
}

#[test]
fn a_temporary_file_system_has_the_mode_of_its_place() {
    let mut oci = Oci::new();
    std::fs::create_dir(oci.rootfs("place")).unwrap();
    std::process::Command::new("chmod").arg("1751").arg(oci.rootfs("place")).status().unwrap();
    oci.mount("/place", "tmpfs", "tmpfs", &[]);
    assert_eq!(oci.sh("stat -c %a /place"), "1751");
}

#[test]
fn a_temporary_file_system_may_begin_with_what_was_there() {
    let mut oci = Oci::new();
    std::fs::create_dir_all(oci.rootfs("data/below")).unwrap();
    std::fs::write(oci.rootfs("data/below/file"), "copied").unwrap();
    symlink("below/file", oci.rootfs("data/link")).unwrap();
    oci.mount("/data", "tmpfs", "tmpfs", &["tmpcopyup"]);
    assert_eq!(oci.sh("cat /data/link; echo changed > /data/below/file; ls /data"), "copiedbelow\nlink");
    assert_eq!(std::fs::read_to_string(oci.rootfs("data/below/file")).unwrap(), "copied");
}

#[test]
fn later_mounts_cover_earlier_ones() {
    let mut oci = Oci::new();
    let source = oci.shared();
    oci.mount("/mnt", "bind", &source, &["bind"]).mount("/mnt", "tmpfs", "tmpfs", &[]);
    oci.mount("/mnt/in", "bind", &source, &["bind"]);
    assert_eq!(oci.sh("ls /mnt; ls /mnt/in"), "in\nfile");
    assert!(!oci.path("shared/in").exists());
}

#[test]
fn a_destination_is_resolved_inside_the_root() {
    let mut oci = Oci::new();
    let source = oci.shared();
    let outside = oci.path("outside");
    std::fs::create_dir(&outside).unwrap();
    symlink(&outside, oci.rootfs("absolute")).unwrap();
    symlink("../../../../../../..", oci.rootfs("up")).unwrap();
    symlink("/tmp", oci.rootfs("inside")).unwrap();
    oci.mount("/absolute/x", "bind", &source, &["bind"]).mount("/up/y", "bind", &source, &["bind"]);
    oci.mount("/inside/z", "bind", &source, &["bind"]);
    let script = format!("cat {}/x/file /y/file /tmp/z/file", outside.display());
    assert_eq!(oci.sh(&script), "of the host\nof the host\nof the host");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "nothing was made outside");
}

#[test]
fn dots_do_not_lead_out() {
    let mut oci = Oci::new();
    let source = oci.shared();
    oci.mount("/../../../../mnt/../x", "bind", &source, &["bind"]);
    assert_eq!(oci.sh("cat /x/file"), "of the host");
}

#[test]
fn what_is_mounted_inside_is_not_seen_outside() {
    let mut oci = Oci::new();
    let source = oci.shared();
    oci.mount("/mnt", "bind", &source, &["rbind"]);
    oci.up("sleep 1000");
    assert_eq!(holm_tests::host::mounts_below(&oci.path("")), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_recursive_bind_brings_what_is_mounted_below() {
    let mut oci = Oci::new();
    // The rootfs of this bundle lies on one file system of the host; /proc has others below it nearly everywhere.
    oci.mount("/host", "bind", "/dev", &["rbind", "ro"]).mount("/flat", "bind", "/dev", &["bind", "ro"]);
    let text = oci.sh("stat -f -c %T /host/pts /flat/pts; grep -c ' /flat/' /proc/self/mountinfo; true");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.last(), Some(&"0"), "{text}");
    assert!(oci.sh("grep -c ' /host/' /proc/self/mountinfo; true") != "0");
}

#[test]
fn a_source_that_is_missing_is_refused() {
    let mut oci = Oci::new();
    oci.mount("/mnt", "bind", "/absent/source", &["bind"]);
    oci.refused(&["/absent/source", "no such file or directory"]);
}

#[test]
fn an_unknown_kind_and_unknown_data_are_refused() {
    let mut oci = Oci::new();
    oci.mount("/mnt", "no-such-fs", "x", &[]);
    oci.refused(&["no such device"]);
    let mut oci = Oci::new();
    oci.mount("/mnt", "tmpfs", "x", &["no-such-option=1"]);
    oci.refused(&["/mnt"]);
}

#[test]
fn a_bind_mount_takes_no_data() {
    if lacks(Feature::StrictConfiguration) {
        return;
    }
    let mut oci = Oci::new();
    let source = oci.shared();
    oci.mount("/mnt", "bind", &source, &["bind", "size=1m"]);
    oci.refused(&["bind mounts cannot have any filesystem-specific options applied"]);
}

#[test]
fn a_container_has_a_null_device_of_its_own_on_its_streams() {
    let oci = Oci::script("stat -Lc %d /proc/self/fd/0 /dev/null >/mounts");
    oci.save();
    oci.run(["run", "--bundle", "b", "box"]).expect_code(0);
    let text = std::fs::read_to_string(oci.rootfs("mounts")).unwrap();
    let devices: Vec<_> = text.lines().collect();
    assert!(devices.len() == 2 && devices[0] == devices[1], "{text}");
}
