//! Profiles of AppArmor: put on by `create`, `run` and `exec`, felt inside, and missed by name.

use super::{answer, leaves_nothing};
use crate::guest::step::{Step, step};

/// What is done. `holm-files` lets nobody at `/secret`, `holm-mounts` lets nobody mount, `holm-looks` only looks.
pub const STEPS: &[Step] = &[
    step(
        "profiles",
        r#"cat >/tmp/profiles <<'X'
abi <abi/3.0>,
profile holm-files flags=(attach_disconnected,mediate_deleted) {
  file, capability, network, signal, ptrace, umount, mount,
  deny /secret rw,
}
profile holm-mounts flags=(attach_disconnected,mediate_deleted) {
  file, capability, network, signal, ptrace,
  deny mount,
}
profile holm-looks flags=(attach_disconnected,mediate_deleted,complain) { }
X
        apparmor_parser -Kr /tmp/profiles; echo $?; holm-runtime features | tr -d ' \n\t' | grep -o '"apparmor":{[^}]*}'
        cat >/tmp/lib <<'X'
. /etc/bundles
TRY='cat /proc/self/attr/current; echo x >/secret && echo written; mount -t tmpfs none /tmp && echo mounted; exit 3'
rights() { edit $1 's|"CAP_KILL"|&,"CAP_SYS_ADMIN"|'; }
X"#,
    ),
    step("without", r#". /tmp/lib; bundle aa "$TRY"; rights aa; $R run -b /tmp/aa aa"#),
    step("files", r#". /tmp/lib; confine aa holm-files; $R run -b /tmp/aa aa"#),
    step("mounts", r#". /tmp/lib; confine aa holm-mounts; $R run -b /tmp/aa aa"#),
    step("both", r#". /tmp/lib; confine aa 'holm-files//\&holm-mounts'; $R run -b /tmp/aa aa"#),
    step("looks only", r#". /tmp/lib; confine aa holm-looks; $R run -b /tmp/aa aa"#),
    step("unconfined by name", r#". /tmp/lib; confine aa unconfined; $R run -b /tmp/aa aa"#),
    step(
        "privileges to gain",
        r#". /tmp/lib; confine aa holm-files; edit aa 's/"noNewPrivileges": true/"noNewPrivileges": false/'; $R run -b /tmp/aa aa"#,
    ),
    step(
        "create and start",
        r#". /tmp/lib; bundle two "$TRY"; confine two holm-files; $R create -b /tmp/two two >/tmp/two/out 2>&1; echo $?
        cat /proc/$(pid two)/attr/current; $R start two; eventually 'stopped two'; cat /tmp/two/out; $R delete two"#,
    ),
    step(
        "exec",
        r#". /tmp/lib; bundle ex 'sleep 1000'; quietly $R run -d -b /tmp/ex ex; T='cat /proc/self/attr/current; echo x >/secret && echo written; true'
        $R exec ex sh -c "$T"; $R exec --apparmor holm-files ex sh -c "$T"
        cat >/tmp/process.json <<X
{"args":["sh","-c","$T"],"cwd":"/","env":["PATH=/bin"],"user":{"uid":0,"gid":0},"apparmorProfile":"holm-files","noNewPrivileges":true}
X
        $R exec --process /tmp/process.json ex; $R exec -d --apparmor holm-mounts ex sleep 2000
        eventually 'pgrep -f "sleep 2000" >/dev/null'; cat /proc/$(pgrep -f 'sleep 2000')/attr/current
        $R exec --apparmor no-such-profile ex true; echo $?; $R ps ex | grep -c sleep; $R delete -f ex"#,
    ),
    step(
        "exec in a container that has one",
        r#". /tmp/lib; bundle in 'sleep 1000'; confine in holm-files; quietly $R run -d -b /tmp/in in
        $R exec in sh -c 'cat /proc/self/attr/current; echo x >/secret'
        $R exec --apparmor holm-mounts in sh -c 'cat /proc/self/attr/current; echo x >/secret && echo written'; $R delete -f in"#,
    ),
    step(
        "a profile that is not there",
        r#". /tmp/lib; confine aa no-such-profile; cd /tmp
        $R run -b /tmp/aa aa; echo $?; $R create -b /tmp/aa aa; echo $?; $S run -b /tmp/aa aa; echo $?
        $R list -q; ls -A /run/oci | grep -v '^\.seccomp'; find /sys/fs/cgroup -name '*aa*'; grep /tmp/aa /proc/mounts"#,
    ),
    step(
        "by a user",
        r#"useradd -m -u 1700 third
        setpriv --reuid 1700 --regid 1700 --clear-groups env -i PATH=$PATH HOME=/home/third sh -c '
            export B=$HOME SPEC=--rootless; . /etc/bundles; R="holm-runtime --root $HOME/state --log $HOME/log"
            bundle box "cat /proc/self/attr/current; echo x >/secret"; confine box holm-files; $R run -b ~/box box </dev/null; echo $?'
        userdel -r third 2>/dev/null; true"#,
    ),
];

const NO_FILE: &str = "can't create /secret: Permission denied";
const NO_MOUNT: &str = "mount: mounting none on /tmp failed: Permission denied";

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_profile_is_on_and_felt() {
    answer("profiles").says("0\n\"apparmor\":{\"enabled\":true}");
    let cases: [(&str, &str, &[&str]); 7] = [
        ("without", "unconfined\nwritten\nmounted", &[]),
        ("files", "holm-files (enforce)\nmounted", &[NO_FILE]),
        ("mounts", "holm-mounts (enforce)\nwritten", &[NO_MOUNT]),
        ("both", "holm-files//&holm-mounts (enforce)", &[NO_FILE, NO_MOUNT]),
        ("looks only", "holm-looks (complain)\nwritten\nmounted", &[]),
        ("unconfined by name", "unconfined\nwritten\nmounted", &[]),
        ("privileges to gain", "holm-files (enforce)\nmounted", &[NO_FILE]),
    ];
    for (step, out, err) in cases {
        let answer = answer(step).expect_code(3);
        assert_eq!(answer.out(), out, "{answer}");
        answer.errs(err);
    }
}

/// Whoever waits for its start is the runtime still.
#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn the_program_has_it_from_its_start() {
    let out = format!(
        "0\nunconfined\nholm-files (enforce)\n/script: line 1: {NO_FILE}\nmount: permission denied (are you root?)"
    );
    answer("create and start").says(&out);
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn exec_puts_on_its_own_or_the_containers() {
    let exec = answer("exec");
    exec.says(
        "unconfined\nwritten\nholm-files (enforce)\nholm-files (enforce)\nholm-mounts (enforce)\n255\n2",
    );
    exec.errs(&[NO_FILE, NO_FILE, "set the security label `no-such-profile`: no such file or directory"]);
    let inside = answer("exec in a container that has one");
    inside.says("holm-files (enforce)\nholm-mounts (enforce)\nwritten");
    inside.errs(&[NO_FILE]);
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_missing_profile_is_named_and_leaves_nothing() {
    let missing = answer("a profile that is not there");
    assert_eq!(missing.out(), "1\n1\n1", "{missing}");
    missing.errs(&["set the security label `no-such-profile`: no such file or directory"; 3]);
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn users_may_confine_themselves() {
    let user = answer("by a user");
    user.says("holm-files (enforce)\n1");
    user.errs(&[NO_FILE]);
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn nothing_is_left() {
    leaves_nothing("profiles");
}
