//! Devices: those that everybody has, those that are asked for, and rules about all others.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::setup::Oci;

#[test]
fn the_folder_may_be_read_only() {
    let mut oci = Oci::new();
    for mount in oci.config["mounts"].as_array_mut().unwrap() {
        if mount["destination"] == "/dev" {
            mount["options"].as_array_mut().unwrap().push(json!("ro"));
        }
    }
    let source = oci.shared();
    oci.mount("/dev/more", "bind", &source, &["bind"]);
    let script = "for d in /dev /dev/shm /dev/more; do touch $d/made 2>/dev/null && echo $d; done; \
        echo x > /dev/null && grep -o '^tmpfs /dev tmpfs r.,' /proc/mounts; cat /dev/more/file";
    assert_eq!(oci.sh(script), "/dev/shm\n/dev/more\ntmpfs /dev tmpfs ro,\nof the host");
}

#[test]
fn everybody_has_these() {
    let mut oci = Oci::new();
    let text = oci
        .sh("cd /dev; for n in null zero full random urandom tty; do stat -c '%n %t:%T %a %F' $n; done; \
        for n in ptmx fd stdin stdout stderr; do readlink $n; done");
    let nodes: Vec<_> = [
        ("null", "1:3"),
        ("zero", "1:5"),
        ("full", "1:7"),
        ("random", "1:8"),
        ("urandom", "1:9"),
        ("tty", "5:0"),
    ]
    .iter()
    .map(|(name, number)| format!("{name} {number} 666 character special file"))
    .collect();
    let links = ["pts/ptmx", "/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"];
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        nodes.iter().map(String::as_str).chain(links).collect::<Vec<_>>()
    );
}

#[test]
fn they_work() {
    let mut oci = Oci::new();
    let text = oci.sh("echo x > /dev/null; head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; \
        echo x 2>/dev/null > /dev/full || echo full; echo out > /dev/stdout; ls /dev/pts");
    assert_eq!(text, "4\n4\nfull\nout\nptmx");
}

#[test]
fn more_are_made_as_asked_for() {
    let mut oci = Oci::new();
    oci.set("/linux/devices", json!([
        {"path": "/dev/test", "type": "c", "major": 10, "minor": 666, "fileMode": 0o660, "uid": 7, "gid": 8},
        {"path": "/dev/below/block", "type": "b", "major": 8, "minor": 666, "fileMode": 0o600, "uid": 0, "gid": 0},
        {"path": "/elsewhere/pipe", "type": "p", "fileMode": 0o640, "uid": 0, "gid": 0},
        {"path": "/dev/unbuffered", "type": "u", "major": 1, "minor": 3}
    ]));
    let text = oci.sh("stat -c '%t:%T %a %u %g %F' /dev/test /dev/below/block /elsewhere/pipe; stat -c '%t:%T %F %a' /dev/unbuffered");
    let expected = [
        "a:29a 660 7 8 character special file",
        "8:29a 600 0 0 block special file",
        "0:0 640 0 0 fifo",
        "1:3 character special file 666",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn one_that_everybody_has_can_be_changed() {
    let mut oci = Oci::new();
    oci.set("/linux/devices", json!([{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 5, "gid": 5}]));
    oci.set(
        "/linux/resources/devices",
        json!([{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}]),
    );
    assert_eq!(oci.sh("stat -c '%t:%T %a %u' /dev/null"), "1:3 600 5");
}

#[test]
fn a_kind_that_does_not_exist_is_refused() {
    let mut oci = Oci::new();
    oci.set("/linux/devices", json!([{"path": "/dev/x", "type": "z", "major": 1, "minor": 3}]));
    oci.refused(&[]);
}

#[test]
fn a_device_is_made_inside_the_root() {
    let mut oci = Oci::new();
    let outside = oci.path("outside");
    std::fs::create_dir(&outside).unwrap();
    symlink(&outside, oci.rootfs("link")).unwrap();
    oci.set("/linux/devices", json!([{"path": "/link/x", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 0, "gid": 0}]));
    oci.foreground();
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    oci.clean();
}

/// Tries to read from devices of these numbers, each made on the spot.
fn tries(oci: &mut Oci, rules: Value, numbers: &[(u32, u32)]) -> Vec<String> {
    oci.set("/linux/resources/devices", rules);
    let script: String = numbers
        .iter()
        .map(|(major, minor)| {
            format!("mknod /d c {major} {minor} 2>/dev/null || echo no node; head -c1 /d >/dev/null 2>&1 && echo read || echo no; rm -f /d; ")
        })
        .collect();
    oci.sh(&script).lines().map(String::from).collect()
}

#[test]
fn what_no_rule_allows_is_refused() {
    let mut oci = Oci::new();
    let deny = json!([{"allow": false, "access": "rwm"}]);
    assert_eq!(tries(&mut oci, deny, &[(1, 5), (1, 9), (1, 1), (10, 229)]), ["read", "read", "no", "no"]);
}

/// A character device of the host that no rule allows by itself and that anybody may open.
fn special() -> Option<(u32, u32)> {
    let devices = holm_tests::host::devices().into_iter().filter(|(kind, ..)| *kind == 'c');
    // The kernel's log needs a capability, and tunnels are always allowed.
    devices.map(|(_, major, minor)| (major, minor)).find(|number| ![(1, 11), (10, 200)].contains(number))
}

/// Which of reading and writing these rules allow for a device, made anew.
fn opens(rules: Value, (major, minor): (u32, u32)) -> String {
    let mut oci = Oci::new();
    oci.set("/linux/resources/devices", rules);
    let script = format!(
        "mknod /d c {major} {minor}; (exec 3</d) 2>/dev/null && echo -n r; (exec 3>/d) 2>/dev/null && echo -n w; true"
    );
    oci.sh(&script)
}

#[test]
fn rules_allow_one_device_and_not_its_neighbour() {
    let Some((major, minor)) = special() else { return };
    let deny = json!({"allow": false, "access": "rwm"});
    let allow =
        |minor: u32| json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": "rw"});
    assert_eq!(opens(json!([deny]), (major, minor)), "");
    assert_eq!(opens(json!([deny, allow(minor)]), (major, minor)), "rw");
    assert_eq!(opens(json!([deny, allow(minor + 1)]), (major, minor)), "");
}

#[test]
fn access_is_by_letter() {
    let Some((major, minor)) = special() else { return };
    for access in ["r", "w"] {
        let allow = json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": access});
        let found = opens(json!([{"allow": false, "access": "rwm"}, allow]), (major, minor));
        // Some devices cannot be written to at all.
        assert!(found == access || (access == "w" && found.is_empty()), "{access}: {found}");
    }
}

#[test]
fn a_rule_may_allow_all_of_a_number_or_everything() {
    let Some((major, minor)) = special() else { return };
    let deny = json!({"allow": false, "access": "rwm"});
    let number = json!({"allow": true, "type": "c", "major": major, "access": "rwm"});
    assert!(opens(json!([deny, number]), (major, minor)).starts_with('r'));
    assert!(opens(json!([{"allow": true, "access": "rwm"}]), (major, minor)).starts_with('r'));
}

#[test]
fn a_later_rule_wins() {
    let Some((major, minor)) = special() else { return };
    let rule =
        |allow: bool| json!({"allow": allow, "type": "c", "major": major, "minor": minor, "access": "rw"});
    let deny = json!({"allow": false, "access": "rwm"});
    assert_eq!(opens(json!([deny, rule(true), rule(false)]), (major, minor)), "");
    assert!(opens(json!([deny, rule(false), rule(true)]), (major, minor)).starts_with('r'));
}

#[test]
fn exec_obeys_the_rules() {
    let mut oci = Oci::new();
    oci.set("/linux/resources/devices", json!([{"allow": false, "access": "rwm"}]));
    oci.up("sleep 1000");
    assert_eq!(oci.exec("mknod /d c 1 11; (exec 3</d) 2>/dev/null || echo no"), "no");
}

#[test]
fn a_bound_dev_is_left_alone() {
    let mut oci = Oci::new();
    let source = oci.path("dev");
    std::fs::create_dir(&source).unwrap();
    for (name, minor) in [("null", "3"), ("zero", "5")] {
        let path = source.join(name);
        std::process::Command::new("mknod").arg(path).args(["c", "1", minor]).status().unwrap();
    }
    let path = source.to_str().unwrap();
    oci.set(
        "/mounts",
        json!([{"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "bind", "source": path, "options": ["rbind"]}]),
    );
    assert_eq!(oci.sh("ls /dev"), "null\nzero");
    assert_eq!(std::fs::read_dir(&source).unwrap().count(), 2);
}
