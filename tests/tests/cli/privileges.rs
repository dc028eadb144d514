//! `--cap-add`, `--cap-drop`, `--security-opt` and `--privileged`.

use holm_tests::{Holm, host};

/// One field of `/proc/self/status` in a workload with these flags.
fn status(holm: &Holm, flags: &[&str], field: &str) -> String {
    let line = holm.sh(flags, &format!("grep '^{field}:' /proc/self/status"));
    line.split_once('\t').expect("a field has a value").1.to_owned()
}

/// All capabilities that this process itself can give.
fn all() -> String {
    let own = std::fs::read_to_string("/proc/self/status").expect("proc is mounted");
    own.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).expect("every process has one").to_owned()
}

#[test]
fn capabilities() {
    let holm = Holm::new();
    for (flags, expected) in [
        (&["--cap-add", "SYS_ADMIN"][..], "00000000a82425fb"),
        (&["--cap-add", "cap_sys_admin"], "00000000a82425fb"),
        (&["--cap-drop", "CHOWN"], "00000000a80425fa"),
        (&["--cap-drop", "all"], "0000000000000000"),
        (&["--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE"], "0000000000000400"),
        (&["--cap-add", "NET_BIND_SERVICE", "--cap-drop", "ALL"], "0000000000000400"),
        (&["--cap-add", "ALL"], &all()),
    ] {
        for field in ["CapPrm", "CapEff", "CapBnd"] {
            assert_eq!(status(&holm, flags, field), expected, "{flags:?} {field}");
        }
        assert_eq!(status(&holm, flags, "CapInh"), "0000000000000000", "{flags:?}");
    }
    let without = u64::from_str_radix(&all(), 16).unwrap() & !(1 << 21);
    let flags = ["--cap-add", "ALL", "--cap-drop", "SYS_ADMIN"];
    assert_eq!(status(&holm, &flags, "CapEff"), format!("{without:016x}"));
}

#[test]
fn capabilities_have_effect() {
    let holm = Holm::new();
    holm.script(&[], "chown 1:1 /tmp").expect_code(0);
    let outcome = holm.script(&["--cap-drop", "CHOWN"], "chown 1:1 /tmp");
    assert!(outcome.err().contains("Operation not permitted"), "{outcome}");
    assert_eq!(
        holm.sh(&["--cap-add", "SYS_ADMIN"], "mount -t tmpfs none /tmp && echo ok"),
        "ok",
        "the filter follows"
    );
}

#[test]
fn what_is_no_capability() {
    let holm = Holm::new();
    holm.script(&["--cap-add", "FLY"], "true").refused(125, &["FLY"]);
    holm.script(&["--cap-drop", "CAP_"], "true").refused(125, &["CAP_"]);
    holm.script(&["--security-opt", "magic"], "true").refused(125, &["magic"]);
    holm.script(&["--security-opt", "apparmor=x"], "true").refused(125, &["apparmor"]);
    holm.script(&["--security-opt", "no-new-privileges=maybe"], "true").refused(125, &["maybe"]);
    assert!(holm.workloads().is_empty());
}

#[test]
fn no_new_privileges() {
    let holm = Holm::new();
    assert_eq!(status(&holm, &[], "NoNewPrivs"), "0");
    for option in ["no-new-privileges", "no-new-privileges=true", "no-new-privileges:true"] {
        assert_eq!(status(&holm, &["--security-opt", option], "NoNewPrivs"), "1", "{option}");
    }
    assert_eq!(status(&holm, &["--security-opt", "no-new-privileges=false"], "NoNewPrivs"), "0");
}

#[test]
fn system_call_filter() {
    let holm = Holm::new();
    assert_eq!(status(&holm, &[], "Seccomp"), "2");
    assert_eq!(status(&holm, &["--security-opt", "seccomp=builtin"], "Seccomp"), "2");
    assert_eq!(status(&holm, &["--security-opt", "seccomp=unconfined"], "Seccomp"), "0");
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#;
    let option = format!("seccomp={}", holm.file("profile.json", profile));
    let outcome = holm.script(&["--security-opt", &option], "mkdir /x; touch /y && echo touched");
    assert_eq!(outcome.out(), "touched");
    assert!(outcome.err().contains("Operation not permitted"), "{outcome}");
    holm.start(&["--name", "box", "--security-opt", &option], "sleep 60");
    let outcome = holm.run(["exec", "box", "mkdir", "/x"]);
    assert!(outcome.err().contains("Operation not permitted"), "{outcome}");
}

#[test]
fn system_call_filter_with_conditions() {
    let holm = Holm::new();
    // Only a chmod to mode 0 fails, by an errno of its own; kill(2) with signal 10 kills the process.
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],"syscalls":[
        {"names":["chmod","fchmod"],"action":"SCMP_ACT_ERRNO","errnoRet":28,"args":[{"index":1,"value":0,"op":"SCMP_CMP_EQ"}]},
        {"names":["fchmodat"],"action":"SCMP_ACT_ERRNO","errnoRet":28,"args":[{"index":2,"value":0,"op":"SCMP_CMP_EQ"}]},
        {"names":["kill"],"action":"SCMP_ACT_KILL_PROCESS","args":[{"index":1,"value":10,"op":"SCMP_CMP_EQ"}]}]}"#;
    let option = format!("seccomp={}", holm.file("profile.json", profile));
    let run = |script: &str| holm.script(&["--security-opt", &option], script);
    let outcome = run("touch /x; chmod 600 /x && echo ok; chmod 0 /x");
    assert_eq!(outcome.out(), "ok");
    assert!(outcome.err().contains("No space left on device"), "{outcome}");
    assert_eq!(run("sh -c 'kill -USR1 1'; echo $?").ok().lines().last(), Some("159"), "128 + SIGSYS");
}

#[test]
fn what_is_no_profile() {
    let holm = Holm::new();
    holm.script(&["--security-opt", "seccomp=absent.json"], "true").refused(125, &["absent.json"]);
    for (name, content) in [
        ("empty.json", ""),
        ("list.json", "[]"),
        ("action.json", r#"{"defaultAction":"SCMP_ACT_DANCE"}"#),
        (
            "operator.json",
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["kill"],"action":"SCMP_ACT_ERRNO","args":[{"index":1,"value":1,"op":"SCMP_CMP_X"}]}]}"#,
        ),
        (
            "index.json",
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["kill"],"action":"SCMP_ACT_ERRNO","args":[{"index":9,"value":1,"op":"SCMP_CMP_EQ"}]}]}"#,
        ),
    ] {
        let option = format!("seccomp={}", holm.file(name, content));
        holm.script(&["--security-opt", &option], "true").refused(125, &["profile"]);
    }
    assert!(holm.workloads().is_empty());
}

#[test]
fn the_error_names_the_profile() {
    let holm = Holm::new();
    let option = format!("seccomp={}", holm.file("broken.json", "{"));
    holm.script(&["--security-opt", &option], "true").refused(125, &["broken.json"]);
}

#[test]
fn privileged_opens_all() {
    let holm = Holm::new();
    let flags = &["--privileged"][..];
    assert_eq!(status(&holm, flags, "CapEff"), all());
    assert_eq!(status(&holm, flags, "Seccomp"), "0");
    let mounts = holm
        .sh(flags, "grep -E ' (/proc|/sys|/sys/fs/cgroup[^ ]*|/proc/[a-z]+|/sys/firmware) ' /proc/mounts");
    for line in mounts.lines() {
        let options = line.split(' ').nth(3).unwrap();
        assert!(options.starts_with("rw"), "{line}");
        assert!(!line.contains(" /proc/") && !line.contains("/sys/firmware"), "nothing is masked: {line}");
    }
    let out = holm.sh(flags, "test -w /proc/sys/kernel/hostname && mount -t tmpfs none /tmp && mkdir /sys/fs/cgroup/unified/own && rmdir /sys/fs/cgroup/unified/own && echo open");
    assert_eq!(out, "open");
}

#[test]
fn privileged_has_the_hosts_devices() {
    let holm = Holm::new();
    for (kind, major, minor) in host::devices() {
        let script = format!("mknod /tmp/d {kind} {major} {minor} && exec 3</tmp/d && echo opened");
        assert_eq!(holm.sh(&["--privileged"], &script), "opened", "{kind} {major}:{minor}");
    }
    let inside =
        holm.sh(&["--privileged"], "cd /dev; for f in *; do test -b $f -o -c $f && echo $f; done; true");
    for name in ["kmsg", "null", "loop0", "loop-control"] {
        let there = std::path::Path::new("/dev").join(name).exists();
        assert_eq!(inside.lines().any(|line| line == name), there, "{name}: {inside}");
    }
    let terminals = holm.sh(&["--privileged"], "ls /dev/pts | grep -v ptmx | wc -l");
    assert_eq!(terminals, "0", "terminals are its own all the same");
}

#[test]
fn privileged_stays_in_its_namespaces() {
    let holm = Holm::new();
    let out = holm.sh(
        &["--privileged"],
        "echo $$; cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' '; hostname inside; hostname",
    );
    assert_eq!(out, "1\nlo\ninside");
    assert_ne!(std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim(), "inside");
}
