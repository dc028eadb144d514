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
