//! A build that is killed wherever it can be: the next command removes what its step had, nothing half-made has a name, and what
//! was made before is found again.

use std::time::Duration;

use holm_sys::fail_point;
use holm_tests::Call;

use super::island::Island;
use super::kernel;

/// What its own fail points begin with.
pub const POINTS: &str = "build-";
/// How long a build may take whose keeper dies.
const LIMIT: Duration = Duration::from_secs(20);
/// Other fail points that a build meets, in what images, layers and workloads have of them.
const MET: [&str; 24] = [
    "import-layer-written",
    "import-layer-synced",
    "import-layer-renamed",
    "import-blobs-written",
    "import-ref-written",
    "create-name-claimed",
    "create-snapshot-made",
    "create-config-written",
    "create-published",
    "start-sandbox-staged",
    "start-sandbox-published",
    "start-keeper-spawned",
    "keeper-begun",
    "keeper-layers-mounted",
    "keeper-cgroup-made",
    "keeper-process-cloned",
    "keeper-process-started",
    "keeper-state-written",
    "keeper-exit-seen",
    "keeper-exit-written",
    "remove-begun",
    "remove-snapshot-removed",
    "rmi-ref-removed",
    "rmi-blobs-removed",
];

const DOCKERFILE: &str = "FROM base AS made\n\
    RUN --mount=type=cache,target=/c echo made > /made\n\
    FROM base\n\
    COPY Dockerfile /from-context\n\
    COPY --from=made /made /\n\
    RUN --mount=type=bind,from=made,source=/made,target=/m cat /m > /seen\n";

fn build(island: &Island) -> Call {
    let context = island.holm.scratch("context");
    std::fs::create_dir_all(&context).expect("a directory");
    std::fs::write(context.join("Dockerfile"), DOCKERFILE).expect("a file");
    island.holm.call(["build", "-t", "app", &context.to_string_lossy()])
}

/// Kills a build at a point; whether that was reached.
fn crash(point: &str) -> bool {
    let island = Island::new();
    let outcome = build(&island).env("HOLM_FAIL_POINT", point).timeout(LIMIT).run();
    if outcome.status.success() && kernel::orphans(&island.holm).is_empty() {
        return false;
    }
    let victims = island.victims();
    island.holm.ok(["ps", "-a"]);
    island.groups_are_gone(&victims).unwrap_or_else(|text| panic!("left over:\n{text}"));
    assert_eq!(island.victims(), <[String; 0]>::default(), "workloads are left");
    let steps = std::fs::read_dir(island.holm.root().join("builds/steps")).expect("steps");
    assert_eq!(steps.count(), 0, "records of steps are left");
    let names = island.holm.ok(["images", "-a", "--format", "{{.Repository}}"]);
    let mut names: Vec<&str> = names.lines().collect();
    names.sort_unstable();
    if names != ["base", "other"] {
        assert_eq!(names, ["app", "base", "other"]);
        is_whole(&island);
    }
    build(&island).run().ok();
    is_whole(&island);
    island.holm.ok(["rmi", "app"]);
    island.holm.ok(["system", "prune", "-f"]);
    let right = island.clean.without("root/builds").without("root/steps");
    let found = island.footprint().without("root/builds").without("root/steps");
    // Where images are mounted that something is bound from; nothing is in it.
    let left = found.difference(&right).replace("  left over: run/images\n", "");
    assert_eq!(left, "", "done again and undone, it leaves something");
    island.bystander_is_well();
    true
}

fn is_whole(island: &Island) {
    let script = "cat /made /seen; [ -s /from-context ] && echo whole";
    assert_eq!(island.holm.ok(["run", "--rm", "app", "sh", "-c", script]), "made\nmade\nwhole");
}

#[test]
fn a_build_that_is_killed() {
    let own = fail_point::ALL.iter().filter(|point| point.starts_with(POINTS));
    let unmet: Vec<_> = own.chain(&MET).filter(|point| !crash(point)).collect();
    assert!(unmet.is_empty(), "no build meets {unmet:?}");
}
