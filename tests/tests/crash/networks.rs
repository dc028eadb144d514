//! What a keeper that is killed at a step of its network leaves, the next command puts right.

use holm_sys::fail_point;
use holm_tests::{Holm, eventually, host};

/// How the points of networks begin.
pub const POINTS: &str = "network-";

/// How those of networks of CNI plugins begin.
pub const PLUGIN_POINTS: &str = "cni-";

/// How those of making and removing them begin.
pub const DOCUMENT_POINTS: &str = "networks-";

fn addresses_taken(holm: &Holm) -> usize {
    std::fs::read_dir(holm.run_root().join("networks/bridge")).map_or(0, Iterator::count)
}

fn ports_published(holm: &Holm) -> bool {
    holm.network().shell("nft list ruleset").contains("elements = { tcp . 8080")
}

#[test]
fn nothing_stays_of_a_start_or_an_end_that_was_killed() {
    for point in fail_point::ALL.iter().filter(|point| point.starts_with(POINTS)) {
        let holm = Holm::with_network();
        let run = holm.call(["run", "--rm", "-p", "8080:80", "base", "true"]).env("HOLM_FAIL_POINT", point);
        let outcome = run.run();
        // Of a program that has ended the code is known whatever becomes of the keeper.
        assert!(!outcome.status.success(), "{point}: {outcome}");
        eventually(&format!("{point}: all is given back"), || {
            holm.run(["ps", "-aq"]);
            addresses_taken(&holm) == 0 && !ports_published(&holm)
        });
        assert_eq!(
            holm.ok(["run", "--rm", "-p", "8080:80", "base", "hostname", "-i"]),
            "172.17.0.2",
            "{point}"
        );
        eventually("no device", || !holm.network().shell("ip -br link").contains("veth"));
        assert_eq!(holm.workloads(), Vec::<String>::new(), "{point}");
    }
}

#[test]
fn plugins_undo_what_was_killed() {
    for point in fail_point::ALL.iter().filter(|point| point.starts_with(PLUGIN_POINTS)) {
        let holm = Holm::with_network();
        holm.ok(["network", "create", "-d", "cni", "--subnet", "10.9.0.0/24", "back"]);
        let run = ["run", "--rm", "--network", "back", "-p", "8080:80", "base"];
        let outcome = holm.call([&run[..], &["true"]].concat()).env("HOLM_FAIL_POINT", point).run();
        assert!(!outcome.status.success(), "{point}: {outcome}");
        let count = |path: &str| std::fs::read_dir(holm.root().join(path)).map_or(0, Iterator::count);
        eventually(&format!("{point}: all is undone"), || {
            holm.run(["ps", "-aq"]);
            count("cni") == 0 && count("workloads") == 0
        });
        let leases = holm.run_root().join("networks/back/leases/back");
        let leases = holm.host_shell(&format!("ls {} 2>&1 || true", leases.display())).ok();
        assert!(!leases.contains("10.9.0."), "{point}: {leases}");
        let rules = holm.network().shell("nft list ruleset");
        assert!(!rules.contains("10.9.0.2") && !rules.contains("dport 8080"), "{point}: {rules}");
        eventually("no device", || !holm.network().shell("ip -br link").contains("veth"));
        assert!(host::mounts_below(&holm.run_root().join("sandboxes")).is_empty(), "{point}");
        let address = holm.ok([&run[..], &["hostname", "-i"]].concat());
        assert!(address.starts_with("10.9.0."), "{point}: {address}");
    }
}

#[test]
fn a_network_whose_removal_was_killed_is_gone_with_its_bridge() {
    let holm = Holm::with_network();
    holm.ok(["network", "create", "--subnet", "10.9.0.0/24", "back"]);
    let removal = holm.call(["network", "rm", "back"]).env("HOLM_FAIL_POINT", "networks-document-removed");
    assert!(!removal.run().status.success());
    let told = holm.run(["ps"]).err();
    assert!(told.contains("of a network that is gone"), "{told}");
    assert!(!holm.network().shell("ip -br link").contains("holm-"));
    holm.ok(["network", "create", "--subnet", "10.9.0.0/24", "back"]);
}
