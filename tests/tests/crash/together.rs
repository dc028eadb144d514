//! Commands at the same time.

use holm_tests::{Outcome, Running};

use super::island::{Island, import, third};

/// Ends of several calls.
fn finish(calls: Vec<Running>) -> Vec<Outcome> {
    calls.into_iter().map(Running::finish).collect()
}

#[test]
fn of_several_runs_with_one_name_exactly_one_wins() {
    let island = Island::new();
    for _ in 0..5 {
        let run = || island.holm.call(["run", "-d", "--name", "same", "base", "sleep", "100000"]).spawn();
        let outcomes = finish((0..6).map(|_| run()).collect());
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.iter().partition(|outcome| outcome.code() == 0);
        assert_eq!(won.len(), 1, "{}", outcomes.iter().map(ToString::to_string).collect::<String>());
        for outcome in lost {
            outcome.expect_code(125);
            assert!(outcome.err().contains("the name `same` is taken"), "{outcome}");
        }
        assert_eq!(island.holm.inspect("same", "{{.Id}}"), won[0].out());
        assert_eq!(island.holm.ok(["exec", "same", "echo", "in"]), "in");
        island.holm.ok(["rm", "-f", "same"]);
        island.is_clean("runs with one name");
    }
}

#[test]
fn of_several_starts_of_one_workload_exactly_one_wins() {
    let island = Island::new();
    for _ in 0..5 {
        island.holm.ok(["create", "--name", "one", "base", "sh", "-c", "echo begun; sleep 100000"]);
        let outcomes = finish((0..4).map(|_| island.holm.call(["start", "one"]).spawn()).collect());
        // Docker takes a start of what runs for done; two processes must never be.
        assert!(outcomes.iter().any(|outcome| outcome.code() == 0), "no start succeeded");
        holm_tests::eventually("it has begun", || !island.holm.ok(["logs", "one"]).is_empty());
        assert_eq!(island.holm.ok(["logs", "one"]), "begun");
        assert_eq!(island.holm.ok(["exec", "one", "echo", "in"]), "in");
        island.holm.ok(["rm", "-f", "one"]);
        island.is_clean("starts of one workload");
    }
}

#[test]
fn several_removals_of_one_workload_remove_it_once() {
    let island = Island::new();
    for (round, running) in [false, true, false, true].into_iter().enumerate() {
        let verb: &[&str] = if running { &["run", "-d"] } else { &["create"] };
        island.holm.ok(verb.iter().chain(&["--name", "one", "base", "sleep", "100000"]));
        let ids = island.victims();
        let outcomes = finish((0..4).map(|_| island.holm.call(["rm", "-f", "one"]).spawn()).collect());
        assert!(outcomes.iter().any(|outcome| outcome.code() == 0), "round {round}: no removal succeeded");
        for outcome in &outcomes {
            // `rm -f` of what is gone is no failure; whatever it says, it must be that.
            let gone = outcome.code() == 0 || outcome.err().contains("no such workload");
            assert!(gone, "round {round}: {outcome}");
        }
        island.groups_are_gone(&ids).expect("groups go");
        island.is_clean("removals of one workload");
    }
}

#[test]
fn several_imports_of_one_archive_make_one_image() {
    let island = Island::new();
    for _ in 0..3 {
        let outcomes = finish((0..4).map(|_| import(&island.holm, "third", third()).spawn()).collect());
        let ids: Vec<_> = outcomes.iter().map(Outcome::ok).collect();
        assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
        assert_eq!(island.holm.ok(["images", "-q", "--no-trunc", "third"]), ids[0]);
        assert_eq!(island.holm.ok(["run", "--rm", "third", "cat", "/etc/hostname"]).len(), 12);
        island.holm.ok(["rmi", "third"]);
    }
    assert_eq!(island.holm.ok(["images", "-q"]).lines().count(), 2);
    let left = island.footprint().without("run/layers/").difference(&island.clean.without("run/layers/"));
    assert!(left.is_empty(), "imports of one archive:\n{left}");
}

#[test]
fn an_image_that_is_used_and_removed_at_once_is_one_or_the_other() {
    let island = Island::new();
    let (mut used, mut missing) = (0, 0);
    for round in 0..12 {
        import(&island.holm, "third", third()).run().ok();
        let run = || island.holm.call(["run", "--name", "user", "third", "true"]).spawn();
        let remove = || island.holm.call(["rmi", "third"]).spawn();
        let (run, remove) = if round % 2 == 0 { (run(), remove()) } else { (remove(), run()) };
        let (mut run, mut remove) = (run.finish(), remove.finish());
        if round % 2 == 1 {
            std::mem::swap(&mut run, &mut remove);
        }
        let listed = !island.holm.ok(["images", "-q", "third"]).is_empty();
        match (run.code(), remove.code()) {
            (0, 1) => {
                assert!(remove.err().contains("workload `user` uses it") && listed, "{remove}");
                island.holm.ok(["rm", "user"]);
                island.holm.ok(["rmi", "third"]);
                used += 1;
            }
            (125, 0) => {
                assert!(run.err().contains("there is no image `third`") && !listed, "{run}");
                missing += 1;
            }
            _ => panic!("round {round}: neither order explains this:\n{run}\n{remove}"),
        }
        assert_eq!(island.holm.ok(["ps", "-aq"]).lines().count(), 1, "round {round}");
    }
    assert!(used + missing == 12, "every round has an order");
}

#[test]
fn repairing_all_the_time_harms_no_run() {
    let island = Island::new();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let repair = scope.spawn(|| {
            let mut said = Vec::new();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let outcome = island.holm.run(["ps", "-a"]);
                if outcome.code() != 0 || !outcome.stderr.is_empty() {
                    said.push(outcome.to_string());
                }
            }
            said
        });
        let run = |number: u32| {
            let flags: &[&str] = if number.is_multiple_of(2) { &["--rm"] } else { &[] };
            let words = ["base", "sh", "-c", "echo $((40+2)); exit 3"];
            island.holm.run(["run"].iter().chain(flags).chain(&words))
        };
        let outcomes: Vec<_> = (0..20).map(run).collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let said = repair.join().expect("the loop does not panic");
        for outcome in outcomes {
            assert_eq!((outcome.code(), outcome.out()), (3, "42".to_owned()), "{outcome}");
        }
        assert!(said.is_empty(), "nothing crashed, and still something was repaired:\n{}", said.join("\n"));
    });
    let ids = island.victims();
    assert_eq!(ids.len(), 10, "those without --rm");
    island.holm.ok(["rm"].into_iter().chain(ids.iter().map(String::as_str)));
    island.is_clean("runs beside repairs");
}
