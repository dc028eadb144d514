//! Capabilities: five sets, as the kernel reports them.

use serde_json::{Value, json};

use super::setup::Oci;

const KILL: u64 = 1 << 5;
const CHOWN: u64 = 1 << 0;
const BIND: u64 = 1 << 10;

/// Inheritable, permitted, effective, bounding, ambient.
fn sets(text: &str) -> [u64; 5] {
    let set = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{text}"));
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"].map(set)
}

fn of(oci: &mut Oci, capabilities: Value) -> [u64; 5] {
    oci.set("/process/capabilities", capabilities);
    sets(&oci.sh("grep ^Cap /proc/self/status"))
}

#[test]
fn root_has_what_is_bounded() {
    let mut oci = Oci::new();
    let names = json!(["CAP_KILL", "CAP_CHOWN"]);
    let found = of(&mut oci, json!({"bounding": names, "effective": names, "permitted": names}));
    assert_eq!(found, [0, KILL | CHOWN, KILL | CHOWN, KILL | CHOWN, 0]);
}

#[test]
fn another_user_has_none_unless_they_are_ambient() {
    let mut oci = Oci::new();
    oci.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let names = json!(["CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let found = of(&mut oci, json!({"bounding": names, "effective": names, "permitted": names}));
    assert_eq!(found, [0, 0, 0, KILL | BIND, 0]);
    let all = json!({"bounding": names, "effective": names, "permitted": names, "inheritable": names,
        "ambient": ["CAP_NET_BIND_SERVICE"]});
    let found = of(&mut oci, all);
    assert_eq!(found, [KILL | BIND, BIND, BIND, KILL | BIND, BIND]);
}

#[test]
fn none_at_all() {
    let mut oci = Oci::new();
    assert_eq!(of(&mut oci, json!({})), [0; 5]);
    assert_eq!(of(&mut oci, json!({"bounding": [], "effective": [], "permitted": []})), [0; 5]);
}

#[test]
fn what_the_kernel_does_not_know_is_left_out() {
    let mut oci = Oci::new();
    let names = json!(["CAP_KILL", "TEST_CAP"]);
    oci.set("/process/capabilities", json!({"bounding": names, "effective": names, "permitted": names}));
    oci.command(&["grep", "CapEff", "/proc/self/status"]);
    let outcome = oci.foreground();
    assert_eq!(outcome.ok(), format!("CapEff:\t{KILL:016x}"));
    assert!(outcome.err().contains("ignoring unknown or unavailable capabilities: [TEST_CAP]"), "{outcome}");
}

#[test]
fn more_permitted_than_bounded_is_refused() {
    let mut oci = Oci::new();
    oci.set("/process/capabilities", json!({"bounding": [], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"], "inheritable": ["CAP_KILL"]}));
    let outcome = oci.foreground();
    assert_ne!(outcome.code(), 0);
    assert!(outcome.err().contains("operation not permitted"), "{outcome}");
}

#[test]
fn they_hold() {
    let mut oci = Oci::new();
    oci.set(
        "/process/capabilities",
        json!({"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]}),
    );
    let text = oci.sh(
        "touch /x; chown 5 /x 2>/dev/null || echo no chown; hostname y 2>/dev/null || echo no hostname; \
        mount -t tmpfs x /tmp 2>/dev/null || echo no mount; mknod /d c 1 3 2>/dev/null || echo no mknod",
    );
    assert_eq!(text, "no chown\nno hostname\nno mount\nno mknod");
}

#[test]
fn exec_has_the_containers() {
    let mut oci = Oci::new();
    let names = json!(["CAP_KILL", "CAP_CHOWN"]);
    oci.set("/process/capabilities", json!({"bounding": names, "effective": names, "permitted": names}));
    oci.up("sleep 1000");
    assert_eq!(sets(&oci.exec("grep ^Cap /proc/self/status"))[1..4], [KILL | CHOWN; 3]);
    let text = oci.ok(["exec", "-u", "1000", "box", "grep", "^Cap", "/proc/self/status"]);
    assert_eq!(sets(&text), [0, 0, 0, KILL | CHOWN, 0]);
}

/// The sets of what `exec` starts with these flags in a container that has these capabilities.
#[track_caller]
fn with_more(capabilities: Value, flags: &[&str]) -> [u64; 5] {
    let mut oci = Oci::new();
    oci.set("/process/capabilities", capabilities);
    oci.up("sleep 1000");
    let words = ["exec"].iter().chain(flags).chain(&["box", "grep", "^Cap", "/proc/self/status"]);
    sets(&oci.ok(words))
}

#[test]
fn exec_adds_to_three_sets() {
    let names = json!(["CAP_KILL"]);
    let plain = json!({"bounding": names, "effective": names, "permitted": names});
    let more = KILL | CHOWN | BIND;
    let flags = ["--cap", "CAP_CHOWN", "--cap", "CAP_NET_BIND_SERVICE"];
    assert_eq!(with_more(plain.clone(), &flags), [0, more, more, more, 0]);
    let flags = ["--cap", "CAP_CHOWN", "-u", "1000"];
    assert_eq!(with_more(plain.clone(), &flags), [0, 0, 0, KILL | CHOWN, 0]);
    assert_eq!(with_more(plain, &["--cap", "CAP_KILL"]), [0, KILL, KILL, KILL, 0], "it is there already");
}

#[test]
fn exec_adds_to_the_ambient_set_what_the_container_inherits() {
    let names = json!(["CAP_KILL", "CAP_CHOWN"]);
    let all = json!({"bounding": names, "effective": names, "permitted": names, "inheritable": names,
        "ambient": ["CAP_KILL"]});
    let both = KILL | CHOWN;
    assert_eq!(with_more(all.clone(), &[]), [both, both, both, both, KILL]);
    assert_eq!(with_more(all.clone(), &["--cap", "CAP_CHOWN"]), [both; 5]);
    let more = both | BIND;
    let found = with_more(all.clone(), &["--cap", "CAP_NET_BIND_SERVICE"]);
    assert_eq!(found, [both, more, more, more, KILL], "what is not inherited does not become ambient");
    let found = with_more(all.clone(), &["-u", "1000"]);
    assert_eq!(found, [both, KILL, KILL, both, KILL], "a user keeps what is ambient");
    let found = with_more(all, &["-u", "1000", "--cap", "CAP_CHOWN"]);
    assert_eq!(found, [both; 5], "and what becomes ambient");
}

#[test]
fn exec_of_a_document_has_the_sets_of_the_document() {
    let mut oci = Oci::new();
    let names = json!(["CAP_KILL", "CAP_CHOWN"]);
    oci.set("/process/capabilities", json!({"bounding": names, "effective": names, "permitted": names}));
    oci.up("sleep 1000");
    let own = json!(["CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let document = json!({"cwd": "/", "args": ["grep", "^Cap", "/proc/self/status"], "env": ["PATH=/bin"],
        "user": {"uid": 1000, "gid": 1000}, "capabilities": {"bounding": own, "effective": own, "permitted": own,
        "inheritable": own, "ambient": ["CAP_KILL"]}});
    std::fs::write(oci.path("process.json"), document.to_string()).unwrap();
    let text = oci.ok(["exec", "--process", "process.json", "--cap", "CAP_CHOWN", "box"]);
    assert_eq!(sets(&text), [KILL | BIND, KILL, KILL, KILL | BIND, KILL]);
}

#[test]
fn exec_with_a_capability_that_nobody_knows() {
    let mut oci = Oci::new();
    oci.up("sleep 1000");
    let outcome = oci.run(["exec", "--cap", "CAP_X", "box", "echo", "ran"]);
    assert_eq!(outcome.ok(), "ran");
    assert!(outcome.err().contains("CAP_X"), "{outcome}");
}
