//! `holm events`, and `holm wait` for what they tell.

use holm_tests::{Holm, also_in_machines, eventually};
use serde_json::Value;

fn past(holm: &Holm, flags: &[&str]) -> Vec<String> {
    let words = ["events", "--since", "1h", "--until", "0s"];
    holm.ok(words.iter().chain(flags)).lines().map(str::to_owned).collect()
}

#[test]
fn a_life_is_told() {
    let holm = Holm::new();
    let code =
        holm.run(["run", "--rm", "--name", "job", "-l", "app=shop", "base", "sh", "-c", "exit 7"]).code();
    assert_eq!(code, 7);
    let told = || {
        past(
            &holm,
            &["--format", "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}", "--filter", "container=job"],
        )
    };
    eventually("its removal", || told().len() == 4);
    assert_eq!(told(), ["create", "start", "die", "destroy"].map(|action| format!("container {action} job")));
    let die: Value =
        serde_json::from_str(&past(&holm, &["--format", "json", "--filter", "event=die"])[0]).unwrap();
    for (key, value) in [("exitCode", "7"), ("image", "base"), ("app", "shop"), ("name", "job")] {
        assert_eq!(die["Actor"]["Attributes"][key], value, "{die}");
    }
    assert_eq!(past(&holm, &["--filter", "label=app=shop"]).len(), 4);
    assert_eq!(past(&holm, &["--filter", "label=app=other"]).len(), 0);
    let line = &past(&holm, &["--filter", "event=start"])[0];
    assert!(
        line.contains(" container start ") && line.ends_with("(app=shop, image=base, name=job)"),
        "{line}"
    );
}

#[test]
fn what_happens_is_told_at_once() {
    let holm = Holm::new();
    let mut events = holm.call(["events", "--format", "{{.Type}} {{.Action}}"]).spawn();
    // It may not listen yet.
    eventually("it listens", || {
        holm.ok(["volume", "create"]);
        events.stdout().contains("volume create")
    });
    holm.ok(["run", "-d", "--name", "web", "base", "sleep", "1000"]);
    for (words, told) in [
        (&["pause", "web"][..], "container pause"),
        (&["unpause", "web"], "container unpause"),
        (&["kill", "-s", "WINCH", "web"], "container kill"),
        (&["restart", "-t", "0", "web"], "container restart"),
        (&["stop", "-t", "0", "web"], "container stop"),
        (&["rm", "web"], "container destroy"),
        (&["tag", "base", "other"], "image tag"),
        (&["rmi", "other"], "image untag"),
        (&["volume", "create", "data"], "volume create"),
        (&["volume", "rm", "data"], "volume destroy"),
    ] {
        holm.ok(words);
        events.expect_stdout(told);
    }
    events.signal(rustix::process::Signal::TERM);
    events.finish();
}

#[test]
fn health_and_conditions() {
    let holm = Holm::new();
    let check = ["--health-cmd", "test -e /ok", "--health-interval", "50ms"];
    let flags = [&["--name", "web", "--restart", "on-failure:1"][..], &check].concat();
    holm.start(&flags, "trap 'exit 3' USR1; touch /ok; while :; do sleep 0.1; done");
    assert_eq!(holm.ok(["wait", "--condition", "healthy", "web"]), "0");
    assert_eq!(
        past(&holm, &["--filter", "event=health_status", "--format", "{{.Action}}"]),
        ["health_status: healthy"]
    );
    let waits = holm.call(["wait", "--condition", "next-exit", "web"]).spawn();
    let stays = holm.call(["wait", "--condition", "not-running", "web"]).spawn();
    let gone = holm.call(["wait", "--condition", "removed", "web"]).spawn();
    // All listen once they have looked.
    eventually("they wait", || {
        let listening = |pid: u32| {
            std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") S "))
        };
        [&waits, &stays, &gone].iter().all(|call| listening(call.pid()))
    });
    std::thread::sleep(std::time::Duration::from_millis(200));
    holm.ok(["exec", "web", "sh", "-c", "kill -USR1 1"]);
    assert_eq!(waits.finish().ok(), "3");
    holm.ok(["wait", "--condition", "healthy", "web"]);
    holm.ok(["exec", "web", "sh", "-c", "kill -USR1 1"]);
    assert_eq!(stays.finish().ok(), "3", "it was started again once");
    holm.ok(["rm", "web"]);
    assert_eq!(gone.finish().ok(), "3");
    holm.run(["wait", "--condition", "tired", "web"]).refused(125, &["tired"]);
    holm.run(["wait", "--condition", "removed", "nobody"]).refused(1, &["nobody"]);
}

also_in_machines!(a_life_is_told);
