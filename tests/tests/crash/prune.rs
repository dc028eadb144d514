//! `system prune` killed at each of its points: what is used is untouched, the next commands leave nothing half removed,
//! and done again it leaves what it would have left at once.

use std::os::unix::process::ExitStatusExt;

use holm_sys::fail_point;
use holm_tests::{Call, Holm, tarball};

use super::footprint::Footprint;
use super::island::{Island, import, third};

/// How the names of points begin that only pruning meets.
pub const POINTS: &str = "prune-";
/// Those of `system check --repair`; what is fetched again needs a registry, and is tested with the command line.
pub const CHECK_POINTS: &str = "check-";
/// Those of `image mount`.
pub const MOUNT_POINTS: &str = "mount-";
const SIGKILL: i32 = 9;

fn prune(holm: &Holm) -> Call {
    holm.call(["system", "prune", "-a", "-f"])
}

/// Something of every sort to prune, beside what is used.
fn prepared() -> Island {
    let island = Island::new();
    let holm = &island.holm;
    holm.ok(["run", "-d", "--name", "user", "base", "sleep", "100000"]);
    import(holm, "third", third()).run().ok();
    holm.ok(["tag", "third", "again"]);
    let unnamed = holm.call(["import", "-"]).env("SOURCE_DATE_EPOCH", "1700000000");
    unnamed.stdin(tarball::base_with_release("fourth").finish()).run().ok();
    for name in ["victim", "another"] {
        holm.ok(["create", "--name", name, "third", "true"]);
    }
    for image in ["base", "other"] {
        compressed_layer(holm, image);
    }
    island
}

/// Something in the place of an image's layer as it would be sent.
fn compressed_layer(holm: &Holm, image: &str) {
    let layer = holm.ok(["image", "inspect", "-f", "{{index .RootFS.Layers 0}}", image]);
    let path = holm.root().join("blobs/sha256").join(layer.trim_start_matches("sha256:"));
    std::fs::write(path, vec![7; 10_000]).expect("write");
}

#[track_caller]
fn is_well(island: &Island) {
    island.bystander_is_well();
    assert_eq!(island.holm.ok(["exec", "user", "echo", "alive"]), "alive");
    for image in ["base", "other"] {
        island.holm.ok(["run", "--rm", image, "true"]);
    }
}

fn goal() -> Footprint {
    let island = prepared();
    prune(&island.holm).run().ok();
    is_well(&island);
    island.footprint()
}

#[test]
fn a_prune_that_is_killed() {
    let goal = goal();
    let points =
        fail_point::ALL.iter().filter(|point| point.starts_with(POINTS) || point.starts_with("rmi-"));
    for point in points {
        let island = prepared();
        let outcome = prune(&island.holm).env("HOLM_FAIL_POINT", point).run();
        assert_eq!(outcome.status.signal(), Some(SIGKILL), "{point}: {outcome}");
        island.holm.ok(["ps", "-a"]);
        island.holm.ok(["images"]);
        assert_eq!(island.holm.run(["images"]).err(), "", "{point}: repaired already");
        is_well(&island);
        prune(&island.holm).run().ok();
        is_well(&island);
        if let Err(difference) = island.reaches(&[&goal]) {
            panic!("killed at {point} and done again, it leaves something else:\n{difference}");
        }
    }
}

#[test]
fn a_mount_of_an_image_that_is_killed() {
    let island = Island::new();
    let mount = || island.holm.call(["image", "mount", "base"]);
    let outcome = mount().env("HOLM_FAIL_POINT", "mount-recorded").run();
    assert_eq!(outcome.status.signal(), Some(SIGKILL), "{outcome}");
    assert_eq!(island.holm.ok(["image", "mount", "--format", "{{.Image}}"]), "");
    island.holm.ok(["images"]);
    mount().run().ok();
    island.holm.ok(["image", "unmount", "base"]);
    island.holm.run(["rmi", "base"]).ok();
    island.bystander_is_well();
}

#[test]
fn a_check_that_is_killed_while_it_repairs() {
    let island = prepared();
    let check = || island.holm.call(["system", "check", "--repair"]);
    // What stands in the place of compressed layers is not what it should be.
    let outcome = check().env("HOLM_FAIL_POINT", "check-broken-removed").run();
    assert_eq!(outcome.status.signal(), Some(SIGKILL), "{outcome}");
    is_well(&island);
    assert!(check().run().ok().ends_with(" 0 broken"));
    is_well(&island);
}
