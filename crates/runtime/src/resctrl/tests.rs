//! The whole against a directory that stands in for resctrl: no machine of the tests has the real one.

use super::*;

/// What the kernel does with directories of resctrl, for plain ones. What is written to a file is added to it.
pub(super) mod stand_in {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    pub fn make_group(directory: &Path) -> io::Result<()> {
        std::fs::create_dir(directory)?;
        let is_monitor = directory.parent().is_some_and(|parent| parent.ends_with("mon_groups"));
        if !is_monitor {
            std::fs::create_dir(directory.join("mon_groups"))?;
            std::fs::write(directory.join("schemata"), "")?;
        }
        std::fs::write(directory.join("tasks"), "")
    }

    pub fn open(file: &Path) -> io::Result<File> {
        File::options().append(true).open(file)
    }

    pub fn remove_group(directory: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(directory)
    }
}

struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("tempdir");
        let machine = Self(directory);
        make_group(&machine.path("root")).expect("the default class");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A class that somebody else has made.
    fn class(&self, name: &str, schemata: &str) {
        make_group(&self.path(name)).expect("a class");
        std::fs::write(self.path(name).join("schemata"), schemata).expect("a file");
    }

    fn place(&self, document: &str) -> Result<Placement> {
        let spec = spec(document);
        check(&spec)?;
        let plan = Plan::of(asked(&spec).expect("it is there"), "box")?;
        Resctrl(self.path("root")).place(&plan, "box", |_| Ok(()))
    }

    #[track_caller]
    fn refuses(&self, document: &str, field: &str, why: &str) {
        let error = self.place(document).expect_err("refused").to_string();
        assert!(error.starts_with(&format!("`linux.intelRdt{field}`")) && error.contains(why), "{error}");
    }
}

/// A configuration that says this of `intelRdt`.
fn spec(document: &str) -> Spec {
    let text = format!(r#"{{"ociVersion":"1.3.0","root":{{"path":"r"}},"linux":{{"intelRdt":{document}}}}}"#);
    serde_json::from_str(&text).expect("a configuration")
}

/// What becomes of a container that comes to be.
fn kept(placement: Placement) -> Membership {
    let membership = placement.membership().cloned().expect("it was asked for");
    placement.keep();
    membership
}

#[test]
fn a_class_of_its_own_goes_with_the_container() {
    let machine = Machine::new();
    let placement = machine.place(
        r#"{"memBwSchema":"MB:0=20","l3CacheSchema":"L3:0=f","schemata":["L2:0=3","L2:1=1"],"enableMonitoring":true}"#,
    );
    let placement = placement.expect("made");
    placement.admit(42).expect("admitted");
    assert_eq!(machine.read("root/box/schemata"), "L3:0=f\nMB:0=20\nL2:0=3\nL2:1=1\n");
    assert_eq!(machine.read("root/box/tasks"), "42");
    assert_eq!(machine.read("root/box/mon_groups/box/tasks"), "42");
    let text = serde_json::to_string(&kept(placement)).expect("plain data");
    let membership: Membership = serde_json::from_str(&text).expect("the same");
    membership.remove().expect("removed");
    assert!(!machine.path("root/box").exists() && machine.path("root").exists());
    membership.remove().expect("it is gone");
}

#[test]
fn a_class_without_schemas_is_made_and_nothing_is_written() {
    let machine = Machine::new();
    kept(machine.place("{}").expect("made"));
    assert_eq!(machine.read("root/box/schemata"), "");
    assert!(!machine.path("root/box/mon_groups/box").exists());
}

#[test]
fn a_class_of_the_containers_name_that_was_there_stays() {
    let machine = Machine::new();
    machine.class("root/box", "L3:0=f\n");
    let membership = kept(machine.place(r#"{"schemata":["L3:0=1"]}"#).expect("found"));
    membership.remove().expect("nothing to remove");
    assert_eq!(machine.read("root/box/schemata"), "L3:0=f\nL3:0=1\n");
}

#[test]
fn a_named_class_is_made_and_stays() {
    let machine = Machine::new();
    let document = r#"{"closID":"gold","l3CacheSchema":"L3:0=f","enableMonitoring":true}"#;
    let membership = kept(machine.place(document).expect("made"));
    membership.admit(7).expect("admitted");
    assert_eq!(machine.read("root/gold/mon_groups/box/tasks"), "7");
    membership.remove().expect("removed");
    assert!(!machine.path("root/gold/mon_groups/box").exists());
    assert_eq!(machine.read("root/gold/schemata"), "L3:0=f\n");
    kept(machine.place(document).expect("the class is as it should be"));
}

#[test]
fn a_named_class_that_is_there_must_agree() {
    let machine = Machine::new();
    machine.class("root/gold", "    MB:0=100\n    L3:0=00f;1=3\n");
    kept(machine.place(r#"{"closID":"gold"}"#).expect("joined"));
    kept(
        machine
            .place(r#"{"closID":"gold","l3CacheSchema":"L3:1=3;0=f","memBwSchema":"MB:0=100"}"#)
            .expect("same"),
    );
    machine.refuses(r#"{"closID":"gold","l3CacheSchema":"L3:0=1"}"#, ".closID", "L3:0=1");
    machine.refuses(
        r#"{"closID":"gold","memBwSchema":"MB:0=20","enableMonitoring":true}"#,
        ".closID",
        "MB:0=20",
    );
    assert!(!machine.path("root/gold/mon_groups/box").exists());
}

#[test]
fn a_named_class_that_is_not_there_needs_schemas() {
    let machine = Machine::new();
    machine.refuses(r#"{"closID":"gold"}"#, ".closID", "no class");
    machine.refuses(r#"{"closID":"gold","enableMonitoring":true}"#, ".closID", "no class");
    assert!(!machine.path("root/gold").exists());
}

#[test]
fn the_default_class_is_the_root() {
    let machine = Machine::new();
    let membership = kept(machine.place(r#"{"closID":"/","enableMonitoring":true}"#).expect("joined"));
    membership.admit(9).expect("admitted");
    assert_eq!(machine.read("root/tasks"), "9");
    assert_eq!(machine.read("root/mon_groups/box/tasks"), "9");
    membership.remove().expect("removed");
    assert!(machine.path("root/tasks").exists() && !machine.path("root/mon_groups/box").exists());
    assert_eq!(machine.read("root/schemata"), "");
}

#[test]
fn nothing_is_left_of_what_fails() {
    let machine = Machine::new();
    drop(machine.place(r#"{"closID":"gold","schemata":["L3:0=1"],"enableMonitoring":true}"#).expect("made"));
    assert!(!machine.path("root/gold").exists());
    machine.class("root/gold", "");
    std::fs::create_dir(machine.path("root/gold/mon_groups/box")).expect("of another");
    machine.refuses(r#"{"closID":"gold","enableMonitoring":true}"#, "", "mon_groups/box");
    assert!(machine.path("root/gold/mon_groups/box").exists());
    std::fs::remove_file(machine.path("root/gold/schemata")).expect("of another");
    machine.refuses(r#"{"closID":"gold","schemata":["L3:0=1"]}"#, "", "schemata");
}

#[test]
fn a_class_that_another_has_joined_stays() {
    let machine = Machine::new();
    let placement = machine.place(r#"{"closID":"gold","schemata":["L3:0=1"]}"#).expect("made");
    std::fs::write(machine.path("root/gold/tasks"), "8\n").expect("a file");
    drop(placement);
    assert!(machine.path("root/gold").exists());
}

#[test]
fn what_is_noted_is_what_goes_with_the_container() {
    let machine = Machine::new();
    for (document, own) in [
        (r#"{"enableMonitoring":true}"#, vec!["root/box", "root/box/mon_groups/box"]),
        (r#"{"closID":"a","schemata":["L3:0=1"],"enableMonitoring":true}"#, vec!["root/a/mon_groups/box"]),
        (r#"{"closID":"/"}"#, vec![]),
    ] {
        let spec = spec(document);
        let plan = Plan::of(asked(&spec).expect("it is there"), "box").expect("a plan");
        let noted = std::cell::RefCell::new(None);
        let note = |membership: &Membership| {
            assert!(own.iter().all(|name| !machine.path(name).exists()), "before");
            noted.replace(Some(membership.clone()));
            Ok(())
        };
        let placement = Resctrl(machine.path("root")).place(&plan, "box", note).expect("made");
        let own: Vec<_> = own.iter().map(|name| machine.path(name)).collect();
        assert_eq!(noted.take().expect("noted").own, own);
        drop(placement);
    }
}

#[test]
fn the_kernels_own_words_are_told() {
    let machine = Machine::new();
    std::fs::create_dir(machine.path("root/info")).expect("a directory");
    std::fs::write(machine.path("root/info/last_cmd_status"), "out of CLOSIDs\n").expect("a file");
    std::fs::write(machine.path("root/box"), "").expect("a file");
    machine.refuses("{}", "", "(out of CLOSIDs)");
}

#[test]
fn what_is_no_name_or_no_line_is_refused() {
    let machine = Machine::new();
    for name in [".", "..", "../x", "a/b", "/x", "info", "mon_groups", "mon_data", "a\\nb"] {
        machine.refuses(&format!(r#"{{"closID":"{name}","schemata":["L3:0=1"]}}"#), ".closID", "no name");
    }
    machine.refuses(r#"{"memBwSchema":"L3:0=1"}"#, ".memBwSchema", "MB:");
    machine.refuses(r#"{"memBwSchema":"MB:0=1\nMB:1=1"}"#, ".memBwSchema", "one line");
    machine.refuses(r#"{"schemata":["L3:0=1","L3:0=1\n"]}"#, ".schemata[1]", "one line");
    let spec = spec("{}");
    assert!(Plan::of(asked(&spec).expect("it is there"), "info").is_err());
}

#[test]
fn the_mount_is_found_by_its_type() {
    let table = "25 1 0:23 / / rw - ext4 /dev/resctrl rw\n\
                 26 25 0:24 / /a\\040place rw,nosuid shared:3 - resctrl resctrl rw\n";
    assert_eq!(place_of_kind(table, "resctrl"), Some(PathBuf::from("/a place")));
    assert_eq!(place_of_kind("25 1 0:23 / /sys/fs/resctrl rw - tmpfs resctrl rw\n", "resctrl"), None);
}
