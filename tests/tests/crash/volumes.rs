//! What a command that is killed while it makes, fills or removes volumes leaves, the next one puts right.

use holm_sys::fail_point;
use holm_tests::{Holm, eventually, tarball};

/// How the points of volumes begin.
pub const POINTS: &str = "volume-";
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
