//! Limits and rights, which hold inside the guest.

use holm_tests::{Holm, eventually};

use super::traces::{is_gone, with_machines};

#[test]
#[ignore = "boots virtual machines"]
fn too_much_memory() {
    with_machines(|holm| {
        let outcome = holm.run(["run", "--name", "box", "--memory", "64m", "base", "tail", "/dev/zero"]);
        outcome.expect_code(137);
        assert_eq!(holm.inspect("box", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
        let id = holm.inspect("box", "{{.Id}}");
        holm.ok(["rm", "box"]);
        is_gone(holm, &id);
        // One of many: the workload lives on.
        holm.start(&["--name", "box", "--memory", "64m"], "tail /dev/zero; echo $?; sleep 1000");
        eventually("the process is killed", || holm.ok(["logs", "box"]) == "137");
        assert_eq!(holm.inspect("box", "{{.State.Status}}"), "running");
    });
}

#[test]
#[ignore = "boots virtual machines"]
fn are_the_guests() {
    with_machines(|holm| {
        let limits = ["--memory", "64m", "--pids-limit", "12", "--cpus", "1.5"];
        let rights = ["--cap-drop", "CHOWN", "--security-opt", "no-new-privileges", "--read-only"];
        let files = ["--tmpfs", "/t:size=1m,mode=0700"];
        let flags = ["--name", "box", "--init"].into_iter().chain(limits).chain(rights).chain(files);
        holm.start(&flags.collect::<Vec<_>>(), "sleep 1000");
        let sh = |script: &str| holm.run(["exec", "box", "sh", "-c", script]);
        let group = "cd /sys/fs/cgroup; cat memory.max pids.max cpu.max; nproc";
        assert_eq!(sh(group).ok(), format!("{}\n12\n150000 100000\n2", 64 << 20));
        let forks = sh("for i in $(seq 20); do sleep 5 & done; wait");
        assert!(forks.err().contains("can't fork"), "{forks}");
        eventually("they are over", || sh("true").code() == 0);
        assert_eq!(field(holm, "CapEff"), "00000000a80425fa");
        assert_eq!(field(holm, "NoNewPrivs"), "1");
        assert_eq!(field(holm, "Seccomp"), "2");
        for script in ["touch /x", "rm /etc/passwd", "echo > /etc/hosts", "echo > /proc/sys/kernel/hostname"]
        {
            assert!(sh(script).err().contains("Read-only file system"), "{script}");
        }
        assert_eq!(
            sh("touch /t/x && stat -c %a /t && df -k /t | tail -1 | tr -s ' ' | cut -d' ' -f2").ok(),
            "700\n1024"
        );
        assert_eq!(sh("ulimit -n; ulimit -Hn").ok(), "1024\n524288", "as a system gives its services");
        for script in ["unshare -m true", "mount -t tmpfs none /t", "dmesg -c", "hostname x"] {
            let outcome = sh(script);
            assert!(outcome.err().contains("not permitted") || outcome.err().contains("denied"), "{outcome}");
        }
    });
}

/// A field of what the kernel says of another process in `box`.
fn field(holm: &Holm, name: &str) -> String {
    let line = holm.ok(["exec", "box", "grep", &format!("^{name}:"), "/proc/self/status"]);
    line.split_once('\t').expect("a field has a value").1.to_owned()
}

#[test]
#[ignore = "boots virtual machines"]
fn privileged_opens_all_of_the_guest() {
    with_machines(|holm| {
        holm.start(&["--privileged", "--name", "box"], "sleep 1000");
        assert_eq!(field(holm, "CapEff"), "000001ffffffffff");
        assert_eq!(field(holm, "Seccomp"), "0");
        let script =
            "mount -t tmpfs none /tmp && mkdir /sys/fs/cgroup/own && rmdir /sys/fs/cgroup/own && echo open";
        assert_eq!(holm.ok(["exec", "box", "sh", "-c", script]), "open");
        assert_eq!(
            holm.ok(["exec", "box", "sh", "-c", "mknod /kmsg c 1 11 && echo hello > /kmsg && echo devices"]),
            "devices"
        );
    });
}

#[test]
#[ignore = "boots virtual machines"]
fn a_filter_may_be_left_away() {
    with_machines(|holm| {
        let flags = ["--name", "box", "--security-opt", "seccomp=unconfined", "--cap-add", "SYS_ADMIN"];
        holm.start(&flags, "sleep 1000");
        assert_eq!(field(holm, "Seccomp"), "0");
        assert_eq!(field(holm, "CapEff"), "00000000a82425fb");
        holm.ok(["exec", "box", "unshare", "-m", "true"]);
        let status = holm.ok(["exec", "--privileged", "box", "grep", "^CapEff:", "/proc/self/status"]);
        assert_eq!(status, "CapEff:\t000001ffffffffff");
        assert_eq!(field(holm, "CapEff"), "00000000a82425fb", "and only that process");
    });
}
