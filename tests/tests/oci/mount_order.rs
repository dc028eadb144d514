//! Mounts are made in the order of the list: a later one may have its source in what earlier ones bring.

use std::os::unix::fs::{chown, symlink};
use std::path::Path;

use serde_json::json;

use super::attacks::{outside, untouched};
use super::runtime::{Feature, lacks};
use super::setup::Oci;
use super::users::mapped;

/// Mounts the folder `brought` of the host on `/a`, and what will be at `source` in the root on `/b`.
fn through(oci: &mut Oci, source: &str, options: &[&str]) {
    let brought = oci.path("brought");
    std::fs::create_dir_all(brought.join("in")).unwrap();
    std::fs::write(brought.join("in/file"), "of the host\n").unwrap();
    let source = oci.rootfs(source);
    oci.mount("/a", "bind", brought.to_str().unwrap(), &["bind"]);
    oci.mount("/b", "bind", source.to_str().unwrap(), options);
}

#[test]
fn a_source_may_be_what_an_earlier_mount_brings() {
    let mut oci = Oci::new();
    through(&mut oci, "a/in", &["bind"]);
    assert_eq!(oci.sh("cat /b/file"), "of the host");
}

#[test]
fn with_a_user_namespace_too() {
    if lacks(Feature::InnerSources) {
        return;
    }
    let mut oci = mapped();
    through(&mut oci, "a/in", &["bind"]);
    assert_eq!(oci.sh("cat /b/file"), "of the host");
}

#[test]
fn a_single_file_that_an_earlier_mount_brings() {
    let mut oci = Oci::new();
    through(&mut oci, "a/in/file", &["bind"]);
    assert_eq!(oci.sh("cat /b"), "of the host");
    assert!(oci.rootfs("b").is_file(), "the place was made");
}

#[test]
fn its_options_and_what_is_mounted_below_are_its_own() {
    let mut oci = Oci::new();
    let source = oci.rootfs("a");
    let source = source.to_str().unwrap();
    through(&mut oci, "a", &["rbind", "rro"]);
    oci.mount("/a/in", "tmpfs", "tmpfs", &[]).mount("/late", "bind", source, &["rbind", "ro"]);
    oci.mount("/flat", "bind", source, &["bind"]);
    let script = "touch /a/in/new; ls /late/in /b/in /flat/in; for d in /b /late /late/in /flat/in; do \
        touch $d/x 2>/dev/null && echo $d; done";
    assert_eq!(oci.sh(script), "/b/in:\nfile\n\n/flat/in:\nfile\n\n/late/in:\nnew\n/late/in\n/flat/in");
}

#[test]
fn its_ids_can_be_shifted() {
    if lacks(Feature::IdMappedMounts) {
        return;
    }
    for (make, hooks) in [(Oci::new as fn() -> Oci, false), (mapped, false), (mapped, true)] {
        let mut oci = make();
        through(&mut oci, "a/in", &["bind"]);
        chown(oci.path("brought/in/file"), Some(0), Some(0)).unwrap();
        let mapping = json!([{"containerID": 0, "hostID": 100_007, "size": 1}]);
        let last = oci.config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
        last["uidMappings"] = mapping.clone();
        last["gidMappings"] = mapping;
        if hooks {
            oci.set("/hooks", json!({"createContainer": [{"path": "/bin/true"}]}));
        }
        oci.command(&["sh", "-c", "stat -c %u:%g /b/file"]);
        let outcome = oci.foreground();
        if outcome.err().contains("its file system must be one that can do that") {
            println!("left out: the file system of the temporary directory cannot do that");
            return;
        }
        let expected = if oci.config["linux"]["uidMappings"].is_null() { "100007:100007" } else { "7:7" };
        assert_eq!(outcome.ok(), expected);
        oci.clean();
    }
}

#[test]
fn a_destination_may_be_written_as_the_host_sees_it() {
    if lacks(Feature::InnerSources) {
        return;
    }
    let mut oci = Oci::new();
    let source = oci.shared();
    let destination = oci.rootfs("mnt/x");
    oci.mount(destination.to_str().unwrap(), "bind", &source, &["bind"]);
    assert_eq!(oci.sh("cat /mnt/x/file"), "of the host");
}

/// Such a source is a path of the image: its links lead nowhere outside.
#[test]
fn a_source_in_the_root_is_resolved_inside_the_root() {
    if lacks(Feature::InnerSources) {
        return;
    }
    for upwards in [false, true] {
        let mut oci = Oci::new();
        let outside = outside(&oci);
        let absolute = outside.strip_prefix("/").unwrap().to_owned();
        let link = if upwards { Path::new("../../../../../../..").join(&absolute) } else { outside.clone() };
        symlink(link, oci.rootfs("link")).unwrap();
        std::fs::create_dir_all(oci.rootfs("").join(absolute)).unwrap();
        through(&mut oci, "link", &["bind"]);
        assert_eq!(oci.sh("touch /b/made; ls /b"), "made");
        untouched(&outside);
    }
}

#[test]
fn a_source_that_does_not_come_is_refused() {
    let mut oci = Oci::new();
    through(&mut oci, "a/absent", &["bind"]);
    oci.refused(&["/a/absent", "no such file or directory"]);
}

/// What lies beside the root is the host's, however the way there is written.
#[test]
fn a_source_beside_the_root_is_none_inside() {
    let mut oci = Oci::new();
    oci.shared();
    let source = format!("{}/../../shared", oci.rootfs("").display());
    oci.mount("/mnt", "bind", &source, &["bind"]);
    assert_eq!(oci.sh("cat /mnt/file"), "of the host");
}

#[test]
fn nothing_of_the_root_covers_proc() {
    let mut oci = Oci::new();
    let source = oci.rootfs("etc");
    oci.mount("/proc", "bind", source.to_str().unwrap(), &["bind"]);
    oci.refused(&["cannot be mounted because it is not of type proc"]);
}

/// Through the links that the kernel has in `proc` nothing of the host's can be had.
#[test]
fn links_of_proc_are_no_source() {
    if lacks(Feature::InnerSources) {
        return;
    }
    for source in ["proc/1/root/etc", "proc/self/root", "proc/self/cwd", "proc/self/exe"] {
        let mut oci = Oci::new();
        let path = oci.rootfs(source);
        oci.mount("/b", "bind", path.to_str().unwrap(), &["bind"]);
        oci.refused(&[source]);
    }
}
