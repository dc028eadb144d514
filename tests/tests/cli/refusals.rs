//! What Holm refuses to do, and how it says so: wrong flags, and hosts that cannot.

use holm_tests::{Call, Holm, Outcome, host, tarball};

#[test]
fn flags_that_are_not_there_yet_fail_by_name() {
    let holm = Holm::new();
    for flags in [
        &["--device", "/dev/null"][..],
        &["--gpus", "all"],
        &["--group-add", "1"],
        &["--ipc", "host"],
        &["--link", "x"],
        &["--pid", "host"],
        &["--shm-size", "1m"],
        &["--sysctl", "a=b"],
        &["--ulimit", "nofile=1"],
        &["--userns", "host"],
        &["--uts", "host"],
        &["--memory-swap", "1g"],
        &["--cpuset-cpus", "0"],
        &["--cpu-shares", "2"],
        &["--oom-kill-disable"],
        &["--cgroup-parent", "x"],
        &["--cgroupns", "host"],
        &["--runtime", "runc"],
        &["--annotation", "a=b"],
        &["--storage-opt", "size=1g"],
        &["--blkio-weight", "10"],
        &["--domainname", "x"],
    ] {
        let outcome = holm.script(flags, "true");
        outcome.refused(125, &[flags[0]]);
    }
    assert!(holm.workloads().is_empty());
}

#[test]
fn virtual_machines_want_a_kernel_and_containers_none() {
    let holm = Holm::new();
    holm.script(&["--vm"], "true").refused(125, &["no kernel"]);
    holm.script(&["--isolation", "vm"], "true").refused(125, &["no kernel"]);
    holm.script(&["--vm", "--network", "host"], "true").refused(125, &["--network host"]);
    holm.script(&["--kernel", "x"], "true").refused(125, &["--kernel", "--vm"]);
    holm.script(&["--hypervisor", "qemu"], "true").refused(125, &["--hypervisor", "--vm"]);
    holm.script(&["--vm", "--hypervisor", "magic"], "true").refused(125, &["--hypervisor", "magic"]);
    assert_eq!(holm.sh(&["--isolation", "container"], "echo hi"), "hi");
    holm.script(&["--isolation", "magic"], "true").refused(125, &["magic"]);
    assert!(holm.workloads().is_empty());
}

#[test]
fn values_that_are_unknown() {
    let holm = Holm::new();
    for (flags, name) in [
        (&["--network", "mars"][..], "mars"),
        (&["-p", "http"], "http"),
        (&["--ip", "1.2.3.4"], "--network"),
        (&["--mac-address", "x"], "`x`"),
        (&["--dns", "nobody"], "nobody"),
        (&["--add-host", "nobody"], "nobody"),
        (&["--volume-driver", "x"], "`x`"),
        (&["--volumes-from", "nobody"], "nobody"),
        (&["--log-driver", "gelf"], "log driver `gelf` is not supported"),
        (&["--log-driver", "paper"], "unknown log driver `paper`"),
        (&["--log-opt", "tag=x"], "log driver `local` has no option `tag`"),
        (&["--log-opt", "max-size"], "--log-opt"),
        (&["--log-driver", "none", "--log-opt", "max-size=1m"], "log driver `none` has no options"),
        (&["--pull", "sometimes"], "sometimes"),
        (&["--sig-proxy=perhaps"], "perhaps"),
        (&["-a", "STDSIDEWAYS"], "STDSIDEWAYS"),
        (&["--hostname", "not a name"], "not a name"),
        (&["-e", "=x"], "=x"),
        (&["--log-level", "loud"], "loud"),
        (&["--label-file", "absent"], "absent"),
    ] {
        holm.script(flags, "true").refused(125, &[name]);
    }
    assert!(holm.workloads().is_empty());
}

#[test]
fn contradictions() {
    let holm = Holm::new();
    holm.script(&["-d", "-a", "STDOUT"], "true").expect_code(125);
    // Docker lets --rm and -d be used together.
    assert_eq!(holm.start(&["--rm"], "true").len(), 64);
}

/// Several networks are several networks: taking the last one silently would drop what was asked for.
#[test]
fn two_networks() {
    let holm = Holm::new();
    holm.script(&["--network", "host", "--network", "none"], "true").refused(125, &["network"]);
}

#[test]
fn commands_that_are_unknown() {
    let holm = Holm::empty();
    holm.run(["fly"]).refused(1, &["fly"]);
    let outcome = holm.run(["imagse"]);
    outcome.refused(1, &["imagse"]);
    assert!(outcome.err().contains("hint: ") && outcome.err().contains("images"), "{outcome}");
    holm.run(["logs"]).expect_code(1);
    holm.run(["logs", "a", "b"]).expect_code(1);
}

#[test]
fn help_is_no_failure() {
    let holm = Holm::empty();
    for arguments in [&["--help"][..], &["run", "--help"], &["image", "--help"]] {
        assert!(holm.ok(arguments).contains("Usage:"));
    }
}

/// Runs a script in a mount namespace of its own where the roots lie on a file system in memory.
fn on_small_disk(holm: &Holm, size: &str, script: &str) -> Outcome {
    let mut command = std::process::Command::new("unshare");
    let script = format!("mount -t tmpfs -o size={size} none {} && {script}", holm.root().display());
    command.args(["-m", "sh", "-c", &script]).env("HOLM", holm.shell_words().replace('\'', ""));
    Call::new(command).run()
}

#[test]
fn no_space_for_an_image() {
    let holm = Holm::empty();
    let file = holm.file("base.tar", tarball::base());
    let root = holm.root();
    let script = format!(
        "$HOLM import {file} base; echo code $?; find {} -type f -size +0 | grep -v locks; $HOLM images -q; echo end",
        root.display()
    );
    let outcome = on_small_disk(&holm, "1m", &script);
    assert_eq!(outcome.ok(), "code 125\nend", "nothing half done stays: {outcome}");
    let error = outcome.err();
    assert_eq!(error.lines().filter(|line| !line.starts_with("hint")).count(), 1, "{outcome}");
    assert!(error.contains("No space left on device"), "{outcome}");
}

#[test]
fn no_space_for_a_workload() {
    let holm = Holm::empty();
    let file = holm.file("base.tar", tarball::base());
    let fill = format!("dd if=/dev/zero of={}/fill bs=4k 2>/dev/null", holm.root().display());
    let script = format!(
        "$HOLM import {file} base >/dev/null; {fill}; $HOLM run --rm base echo hi; echo code $?; rm {}/fill; $HOLM ps -aq; $HOLM run --rm base echo works",
        holm.root().display()
    );
    let outcome = on_small_disk(&holm, "6m", &script);
    let lines: Vec<_> = outcome.ok().lines().map(str::to_owned).collect();
    assert_eq!(lines, ["code 125", "works"], "{outcome}");
    assert!(outcome.err().contains("No space left on device"), "{outcome}");
}

#[test]
fn a_workload_that_fills_the_disk() {
    let holm = Holm::empty();
    let file = holm.file("base.tar", tarball::base());
    let script = format!(
        "$HOLM import {file} base >/dev/null; $HOLM run --rm base sh -c 'dd if=/dev/zero of=/x bs=64k; rm /x; echo done'; echo code $?; $HOLM run --rm base echo works"
    );
    let outcome = on_small_disk(&holm, "8m", &script);
    assert_eq!(outcome.ok(), "done\ncode 0\nworks", "{outcome}");
}

#[test]
fn a_read_only_disk() {
    let holm = Holm::empty();
    let file = holm.file("base.tar", tarball::base());
    let root = holm.root().display().to_string();
    let script = format!(
        "$HOLM import {file} base > /dev/null && mount -o remount,ro {root} && for c in 'run --rm base true' 'create base true' 'import {file} other' 'tag base x' 'rmi base'; do $HOLM $c; echo code $?; done; $HOLM images -q | wc -l; $HOLM ps -aq"
    );
    let outcome = on_small_disk(&holm, "16m", &script);
    assert_eq!(
        outcome.ok(),
        "code 125\ncode 125\ncode 125\ncode 1\ncode 1\n1",
        "lists can be read: {outcome}"
    );
    let errors: Vec<_> =
        outcome.err().lines().filter(|line| !line.starts_with("hint")).map(str::to_owned).collect();
    assert_eq!(errors.len(), 5, "{outcome}");
    assert!(errors.iter().all(|line| line.contains("Read-only file system")), "{outcome}");
    assert!(!outcome.err().contains("as root") && outcome.err().contains("read-write"), "{outcome}");
}

#[test]
fn without_root() {
    let holm = Holm::new();
    // The binaries where another user can reach them.
    let directory = tempfile::Builder::new().prefix("hb").tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).unwrap();
    holm_tests::copy_binaries(directory.path(), &["holm", "holm-keeper", "holm-init"]);
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new("setpriv");
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(directory.path().join("holm"));
        command.arg("--root").arg(holm.root()).arg("--run-root").arg(holm.run_root()).args(arguments);
        Call::new(command).run()
    };
    let before = host::tree(&holm.root());
    for (arguments, code) in [
        (&["run", "--rm", "base", "true"][..], 125),
        (&["create", "base", "true"], 125),
        (&["ps"], 1),
        (&["images"], 1),
        (&["rm", "x"], 1),
        (&["import", "/dev/null", "x"], 125),
    ] {
        let outcome = run(arguments);
        let text = outcome.refused(code, &[]);
        assert!(text.contains("root"), "{arguments:?}: {text}");
        assert!(text.contains("hint: "), "{arguments:?}: {text}");
    }
    assert_eq!(host::tree(&holm.root()), before);
    assert!(run(&["--help"]).ok().contains("Usage"), "what needs no rights works");
    assert!(run(&["version"]).ok().contains("Version"));
    assert!(run(&["completion", "bash"]).ok().contains("holm"));
}

#[test]
fn lists_make_no_root() {
    let holm = Holm::empty();
    let root = holm.scratch("absent");
    for (arguments, code) in [(&["images", "-q"][..], 0), (&["ps", "-aq"], 0), (&["inspect", "x"], 1)] {
        let mut command = std::process::Command::new(holm_tests::binaries().join("holm"));
        command.arg("--root").arg(&root).args(arguments);
        Call::new(command).run().expect_code(code);
    }
    assert!(!root.exists());
}

#[test]
fn roots_that_cannot_be() {
    let holm = Holm::empty();
    let file = holm.file("plain", "");
    let mut command = std::process::Command::new(holm_tests::binaries().join("holm"));
    command.args(["--root", &file, "run", "x"]);
    Call::new(command).run().refused(125, &["plain"]);
}

/// `sun_path` holds 108 bytes and a value of fsconfig(2) 256; a root may be longer than either.
#[test]
fn long_roots() {
    let holm = Holm::empty();
    let call = |root: &std::path::Path, arguments: &[&str]| {
        let mut command = std::process::Command::new(holm_tests::binaries().join("holm"));
        command.arg("--root").arg(root).args(arguments);
        Call::new(command).stdin(tarball::base()).run()
    };
    for length in [120, 250] {
        let root = holm.scratch(&"d".repeat(length));
        call(&root, &["import", "-", "base"]).ok();
        assert_eq!(call(&root, &["run", "--rm", "base", "echo", "hi"]).ok(), "hi", "{length}");
    }
}

#[test]
fn helpers_that_are_missing() {
    let holm = Holm::new();
    let directory = tempfile::Builder::new().prefix("hb").tempdir().unwrap();
    holm_tests::copy_binaries(directory.path(), &["holm"]);
    let mut command = std::process::Command::new(directory.path().join("holm"));
    command.arg("--root").arg(holm.root()).arg("--run-root").arg(holm.run_root());
    command.args(["run", "--rm", "base", "true"]);
    Call::new(command).run().refused(125, &["holm-keeper"]);
    assert!(holm.workloads().is_empty());
}
