//! Nothing is left of a busy session: no mount, control group, process, loop device, or file.

use holm_tests::{Holm, eventually, host, tarball};

use super::footprint::Footprint;
use super::island::{import, third};
use super::kernel::{self, keeper_of};

/// Uses most of what there is, with a crash in between.
fn session(holm: &Holm) -> Vec<String> {
    import(holm, "base", tarball::base()).run().ok();
    import(holm, "third", third()).run().ok();
    holm.ok(["tag", "third", "fourth"]);
    let limited = ["--memory", "32m", "--cpus", "0.5", "--pids-limit", "50"];
    let mut ids = vec![
        holm.start(&[], "sleep 100000"),
        holm.start(&["-t"], "sleep 100000"),
        holm.start(&["-i", "--init", "--tmpfs", "/scratch"], "cat"),
        holm.start(&limited, "sleep 100000"),
        holm.ok(["run", "-d", "third", "sleep", "100000"]),
        holm.ok(["create", "third", "true"]),
    ];
    holm.sh(&limited, "echo x > /tmp/x");
    holm.ok(["exec", "-d", &ids[0], "sleep", "100000"]);
    assert_eq!(holm.run(["run", "--rm", "base", "no-such-program"]).code(), 127);
    assert_eq!(holm.run(["run", "base", "/etc/plain"]).code(), 126);
    for killed in [&ids[2], &ids[4]] {
        host::kill(keeper_of(holm, killed));
    }
    eventually("two keepers go", || kernel::orphans(holm).len() == 2);
    holm.ok(["ps", "-a"]);
    let listed = holm.ok(["ps", "-aq", "--no-trunc"]);
    ids.extend(
        listed
            .lines()
            .filter(|id| !ids.iter().any(|known| known == id))
            .map(str::to_owned)
            .collect::<Vec<_>>(),
    );
    ids
}

#[test]
fn a_busy_session_leaves_nothing() {
    let holm = Holm::empty();
    holm.ok(["ps"]);
    let empty = Footprint::of(&holm, "");
    let ids = session(&holm);
    let all: Vec<_> = ids.iter().map(String::as_str).collect();
    holm.ok(["rm", "-f"].iter().chain(&all));
    holm.ok(["rmi", "-f", "base", "third", "fourth"]);

    eventually("no keeper is left", || kernel::keepers(&holm).is_empty());
    for id in &ids {
        eventually("no control group is left", || host::groups(id).is_empty());
    }
    let root = holm.root().display().to_string();
    eventually("no process is left", || host::processes_naming(&root).is_empty());
    let now = Footprint::of(&holm, "");
    // Lock files, compiled filters and the log of events are made when first needed and stay.
    let stays =
        |footprint: &Footprint| footprint.without("root/locks/").without("run/seccomp").without("run/events");
    let difference = stays(&now).difference(&stays(&empty));
    assert!(difference.is_empty(), "a session leaves:\n{difference}");
}
