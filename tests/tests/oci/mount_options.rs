//! Options of mounts: flags set, flags cleared, flags on everything below, propagation, ids.

use std::process::Command;

use holm_tests::Call;
use serde_json::json;

use super::runtime::{Feature, lacks};
use super::setup::Oci;

/// The options that the kernel shows for a place in the container.
fn shown(oci: &mut Oci, place: &str) -> String {
    oci.sh(&format!("grep ' {place} ' /proc/self/mountinfo | tail -n1 | cut -d' ' -f6,7"))
}

/// Binds a folder that has another mount below it, both mounted with `flags`, and returns what the kernel shows for each.
fn tree(flags: &str, options: &[&str]) -> [String; 2] {
    let mut oci = Oci::new();
    let source = oci.path("tree").into_os_string().into_string().unwrap();
    std::fs::create_dir(&source).unwrap();
    oci.mount("/tree", "bind", &source, &[&["rbind"], options].concat());
    oci.command(&["sh", "-c", "grep -E ' /tree(/below)? ' /proc/self/mountinfo | cut -d' ' -f5,6"]).save();
    // A mount namespace of the test's own: the host keeps nothing of it.
    let program = oci.program(&[]);
    let script = format!(
        "mount -t tmpfs x {source}; mkdir {source}/below; mount -t tmpfs -o {flags} x {source}/below; \
        mount -o remount,bind,{flags} {source}; exec \"$@\""
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "bash", "-e", "-c", &script, "bash"]).arg(program.get_program());
    command.args(program.get_args()).args(["run", "--bundle", "b", "box"]).current_dir(oci.path(""));
    let text = Call::new(command).run().ok();
    oci.clean();
    let find = |place: &str| {
        let line = text.lines().filter_map(|line| line.strip_prefix(place)?.strip_prefix(' ')).next_back();
        line.unwrap_or_else(|| panic!("no {place}: {text}")).to_owned()
    };
    [find("/tree"), find("/tree/below")]
}

fn has(options: &str, name: &str) -> bool {
    options.split([',', ' ']).any(|option| option == name)
}

#[test]
fn flags_are_set() {
    for name in ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime"] {
        let mut oci = Oci::new();
        oci.mount("/mnt", "tmpfs", "tmpfs", &[name]);
        let options = shown(&mut oci, "/mnt");
        assert!(has(&options, name), "{name}: {options}");
        let mut oci = Oci::new();
        oci.mount("/mnt", "bind", "/tmp", &["bind", name]);
        let options = shown(&mut oci, "/mnt");
        assert!(has(&options, name), "bind {name}: {options}");
    }
}

#[test]
fn links_are_not_followed() {
    let mut oci = Oci::new();
    oci.mount("/mnt", "tmpfs", "tmpfs", &["nosymfollow"]);
    assert_eq!(oci.sh("ln -s /etc/passwd /mnt/link; cat /mnt/link 2>/dev/null || echo refused"), "refused");
}

#[test]
fn strictatime_is_the_absence_of_others() {
    let mut oci = Oci::new();
    oci.mount("/mnt", "tmpfs", "tmpfs", &["strictatime"]);
    let options = shown(&mut oci, "/mnt");
    assert!(!has(&options, "relatime") && !has(&options, "noatime"), "{options}");
}

#[test]
fn the_later_of_two_opposites_wins() {
    for (options, name, expected) in [
        (["ro", "rw"], "ro", false),
        (["rw", "ro"], "ro", true),
        (["nosuid", "suid"], "nosuid", false),
        (["nodev", "dev"], "nodev", false),
        (["noexec", "exec"], "noexec", false),
        (["exec", "noexec"], "noexec", true),
        (["noatime", "atime"], "noatime", false),
    ] {
        let mut oci = Oci::new();
        oci.mount("/mnt", "tmpfs", "tmpfs", &options);
        let text = shown(&mut oci, "/mnt");
        assert_eq!(has(&text, name), expected, "{options:?}: {text}");
    }
}

#[test]
fn words_that_say_nothing_are_taken() {
    let mut oci = Oci::new();
    for name in [
        "defaults",
        "async",
        "loud",
        "norelatime",
        "nostrictatime",
        "diratime",
        "nolazytime",
        "noiversion",
        "nomand",
    ] {
        if name == "defaults" && lacks(Feature::Defaults) {
            continue;
        }
        oci.config["mounts"].as_array_mut().unwrap().truncate(6);
        oci.mount("/mnt", "tmpfs", "tmpfs", &[name]);
        oci.sh("touch /mnt/x");
    }
}

#[test]
fn a_bind_mount_clears_what_the_source_has() {
    let mut oci = Oci::new();
    oci.mount("/a", "bind", "/sys", &["bind", "nosuid", "noexec", "nodev"]);
    oci.mount("/b", "bind", "/sys", &["bind", "suid", "exec", "dev"]);
    assert!(has(&shown(&mut oci, "/a"), "noexec"));
    assert!(!has(&shown(&mut oci, "/b"), "noexec"));
}

#[test]
fn read_only_is_not_recursive_and_rro_is() {
    let [top, below] = tree("rw", &["ro"]);
    assert!(has(&top, "ro") && has(&below, "rw"), "{top} {below}");
    let [top, below] = tree("rw", &["rro"]);
    assert!(has(&top, "ro") && has(&below, "ro"), "{top} {below}");
}

#[test]
fn recursive_flags_reach_everything_below() {
    for (option, name) in [
        ("rnosuid", "nosuid"),
        ("rnodev", "nodev"),
        ("rnoexec", "noexec"),
        ("rnodiratime", "nodiratime"),
        ("rnoatime", "noatime"),
        ("rrelatime", "relatime"),
    ] {
        for options in tree("rw", &[option]) {
            assert!(has(&options, name), "{option}: {options}");
        }
    }
}

#[test]
fn recursive_flags_are_cleared_too() {
    for (flags, option) in [
        ("nosuid", "rsuid"),
        ("nodev", "rdev"),
        ("noexec", "rexec"),
        ("nodiratime", "rdiratime"),
        ("ro", "rrw"),
        ("noatime", "rstrictatime"),
        ("noatime", "ratime"),
        ("relatime", "rnorelatime"),
    ] {
        if ["ratime", "rnorelatime"].contains(&option) && lacks(Feature::RecursiveTimes) {
            continue;
        }
        for text in tree(flags, &[option]) {
            assert!(!has(&text, flags) || option == "rnorelatime", "{flags} {option}: {text}");
        }
        let [top, below] = tree(flags, &[]);
        assert!(has(&top, flags) && has(&below, flags), "without the option: {top} {below}");
    }
}

#[test]
fn recursive_links() {
    for text in tree("rw", &["rnosymfollow"]) {
        assert!(has(&text, "nosymfollow"), "{text}");
    }
    for text in tree("nosymfollow", &["rsymfollow"]) {
        assert!(!has(&text, "nosymfollow"), "{text}");
    }
}

#[test]
fn propagation_of_a_mount() {
    for (option, expected) in [
        ("rshared", "shared:"),
        ("shared", "shared:"),
        ("private", ""),
        ("rprivate", ""),
        ("runbindable", "unbindable"),
    ] {
        let mut oci = Oci::new();
        oci.mount("/mnt", "tmpfs", "tmpfs", &[option]);
        let text = oci.sh("grep ' /mnt ' /proc/self/mountinfo | cut -d' ' -f7");
        assert!(
            if expected.is_empty() { text == "-" } else { text.starts_with(expected) },
            "{option}: {text}"
        );
    }
}

#[test]
fn mounts_are_private_or_slaves_by_default() {
    let mut oci = Oci::new();
    oci.mount("/mnt", "bind", "/tmp", &["rbind"]);
    assert_eq!(oci.sh("grep -c ' shared:' /proc/self/mountinfo; true"), "0");
}

#[test]
fn a_mounts_owners_can_be_shifted() {
    if lacks(Feature::IdMappedMounts) {
        return;
    }
    for options in [&["bind"][..], &["rbind", "ridmap"], &["bind", "idmap"]] {
        let mut oci = Oci::new();
        let source = oci.path("shared");
        std::fs::create_dir(&source).unwrap();
        std::fs::write(source.join("file"), "").unwrap();
        std::os::unix::fs::chown(source.join("file"), Some(1000), Some(1001)).unwrap();
        let mapping = |container: u32| {
            json!([{"containerID": 0, "hostID": 0, "size": 1},
            {"containerID": container, "hostID": container + 4000, "size": 1}])
        };
        let mount = json!({"destination": "/mnt", "type": "bind", "source": source, "options": options,
            "uidMappings": mapping(1000), "gidMappings": mapping(1001)});
        oci.add("/mounts", mount);
        oci.command(&["sh", "-c", "stat -c %u:%g /mnt/file"]);
        let outcome = oci.foreground();
        if outcome.err().contains("its file system must be one that can do that") {
            println!("left out: the file system of the temporary directory cannot do that");
            return;
        }
        assert_eq!(outcome.ok(), "5000:5001", "{options:?}");
        oci.clean();
    }
}

#[test]
fn a_mount_that_is_to_be_shifted_needs_maps() {
    if lacks(Feature::IdMappedMounts) {
        return;
    }
    let mut oci = Oci::new();
    oci.mount("/mnt", "bind", "/tmp", &["bind", "idmap"]);
    oci.refused(&[]);
    let mut oci = Oci::new();
    let one = json!([{"containerID": 0, "hostID": 100_000, "size": 10}]);
    oci.add("/mounts", json!({"destination": "/mnt", "type": "bind", "source": "/tmp", "options": ["bind"], "uidMappings": one}));
    oci.refused(&[]);
}
