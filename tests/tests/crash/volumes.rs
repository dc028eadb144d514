//! What a command that is killed while it makes, fills or removes volumes leaves, the next one puts right.

use holm_sys::fail_point;
use holm_tests::{Holm, eventually, host, tarball};

/// How the points of volumes begin.
pub const POINTS: &str = "volume-";
/// How those of volumes begin that are file systems.
pub const FILE_SYSTEM_POINTS: &str = "file-system-";
/// How those of the volumes that go with a workload begin.
pub const RELEASE_POINTS: &str = "volumes-";

fn installation() -> Holm {
    let holm = Holm::new();
    let mut root = tarball::base_with_release("base");
    root.directory("data", 0o755).file("data/one", 0o644, "1\n").file("data/two", 0o644, "2\n");
    holm.call(["import", "-c", "VOLUME /data", "-", "app"]).stdin(root.finish()).run().ok();
    holm
}

fn volumes(holm: &Holm) -> String {
    holm.ok(["volume", "ls", "-q"])
}

fn half_done(holm: &Holm) -> usize {
    std::fs::read_dir(holm.root().join("volumes/.work")).map_or(0, Iterator::count)
}

fn is_repaired(holm: &Holm, what: &str) {
    eventually(&format!("{what}: all is put right"), || {
        holm.run(["ps", "-aq"]);
        half_done(holm) == 0
    });
}

#[test]
fn a_volume_is_empty_or_whole_whatever_is_killed() {
    for point in fail_point::ALL.iter().filter(|point| point.starts_with(POINTS)) {
        let holm = installation();
        let run = ["run", "--rm", "-v", "named:/data", "app", "ls", "/data"];
        holm.call(run).env("HOLM_FAIL_POINT", point).run();
        is_repaired(&holm, point);
        assert_eq!(holm.ok(run), "one\ntwo", "{point}");
        assert!(!holm.root().join("volumes/named/filling").exists(), "{point}");
        assert!(!holm.root().join("volumes/named/filled").exists(), "{point}");
        assert_eq!(holm.workloads(), Vec::<String>::new(), "{point}");
    }
}

#[test]
fn no_volume_without_a_name_is_left_by_what_is_killed() {
    let holm = installation();
    let points = fail_point::ALL.iter().filter(|point| {
        ["volume", "create-", "start-", "keeper-", "remove-"].iter().any(|start| point.starts_with(start))
    });
    for point in points {
        holm.call(["run", "--rm", "app", "true"]).env("HOLM_FAIL_POINT", point).run();
        eventually(&format!("{point}: nothing is left"), || {
            holm.run(["ps", "-aq"]);
            holm.workloads().is_empty() && volumes(&holm).is_empty() && half_done(&holm) == 0
        });
    }
}

#[test]
fn a_removal_that_is_killed_is_finished() {
    let holm = installation();
    holm.ok(["volume", "create", "data"]);
    holm.call(["volume", "rm", "data"]).env("HOLM_FAIL_POINT", "volume-unnamed").run();
    is_repaired(&holm, "volume rm");
    assert_eq!(volumes(&holm), "");
    for point in ["remove-snapshot-removed", "remove-workload-removed", "volumes-releasing", "volume-unnamed"]
    {
        holm.ok(["run", "--name", "web", "app", "true"]);
        holm.call(["rm", "-v", "web"]).env("HOLM_FAIL_POINT", point).run();
        is_repaired(&holm, point);
        assert_eq!((volumes(&holm).as_str(), holm.workloads().len()), ("", 0), "{point}");
    }
    // One that was not begun is forgotten: what the next removal says, counts.
    holm.ok(["run", "--name", "web", "app", "true"]);
    holm.call(["rm", "-v", "web"]).env("HOLM_FAIL_POINT", "remove-begun").run();
    holm.ok(["rm", "web"]);
    is_repaired(&holm, "rm");
    assert_eq!(volumes(&holm).lines().count(), 1);
}

fn is_mounted(holm: &Holm) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("it is there");
    mounts.contains(&format!("{}/volumes/", holm.run_root().display()))
}

#[test]
fn a_file_system_is_mounted_for_nobody_whatever_is_killed() {
    let points = fail_point::ALL
        .iter()
        .filter(|point| point.starts_with(FILE_SYSTEM_POINTS) || point.starts_with("keeper-"));
    for point in points {
        let holm = Holm::new();
        holm.ok(["volume", "create", "-o", "type=tmpfs", "fast"]);
        let run = ["run", "--rm", "-v", "fast:/d", "base", "true"];
        holm.call(run).env("HOLM_FAIL_POINT", point).run();
        eventually(&format!("{point}: it is unmounted"), || {
            holm.run(["ps", "-aq"]);
            !is_mounted(&holm) && holm.workloads().is_empty()
        });
        holm.ok(run);
        holm.ok(["volume", "rm", "fast"]);
        assert!(!holm.run_root().join("volumes/fast").exists(), "{point}");
    }
}

#[test]
fn who_takes_over_a_workload_keeps_its_file_system() {
    let holm = Holm::new();
    holm.ok(["volume", "create", "-o", "type=tmpfs", "fast"]);
    let words = ["run", "-d", "--name", "one", "-v", "fast:/d", "base", "sh", "-c"];
    holm.ok(words.into_iter().chain(["echo kept > /d/f; exec sleep 1000"]));
    eventually("it is written", || holm.run(["exec", "one", "cat", "/d/f"]).out() == "kept");
    host::kill_keeper(&holm, "one");
    // While it dies, and thereafter.
    for _ in 0..3 {
        holm.ok(["ps", "-q"]);
    }
    assert_eq!(holm.sh(&["-v", "fast:/d"], "cat /d/f"), "kept", "the other one is not the last");
    assert_eq!(holm.sh(&["-v", "fast:/d"], "cat /d/f"), "kept");
    holm.ok(["rm", "-f", "one"]);
    assert!(!is_mounted(&holm));
}
