//! The guest: a kernel of its own, and what `inspect`, `ps` and `top` say of it.

use holm_tests::{Holm, tarball};
use serde_json::Value;

use super::traces::{emulator, with_machines};

#[test]
#[ignore = "boots virtual machines"]
fn two_user_lands_on_a_kernel_that_is_not_the_hosts() {
    with_machines(|holm| {
        let other = tarball::base_with_release("other").finish();
        holm.call(["import", "-", "other"]).stdin(other).run().ok();
        let script = "uname -r; head -1 /etc/os-release; cut -d' ' -f3 /proc/mounts | grep cgroup | sort -u";
        let release = holm.ok(["kernel", "inspect", "-f", "{{.Release}}"]);
        let own = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("proc is mounted");
        assert_ne!(release, own.trim());
        for image in ["base", "other"] {
            let outcome = holm.run(["run", "--rm", image, "sh", "-c", script]);
            assert_eq!(outcome.out(), format!("{release}\nID={image}\ncgroup2"), "{outcome}");
        }
        let container = holm.command().args(["run", "--rm", "base", "uname", "-r"]).output();
        assert_eq!(
            String::from_utf8_lossy(&container.expect("a container").stdout),
            own,
            "and beside it a container"
        );
    });
}

#[test]
#[ignore = "boots virtual machines"]
fn is_shown() {
    with_machines(|holm| {
        let flags = ["--name", "box", "--label", "a=1", "--cpus", "2", "--memory", "64m", "--init"];
        let id = holm.start(&flags, "sleep 1000; true");
        let list: Value = serde_json::from_str(&holm.ok(["inspect", "box"])).expect("JSON");
        let document = &list[0];
        assert_eq!(document["Config"]["Labels"]["a"], "1");
        assert_eq!(document["HostConfig"]["Memory"], 64 << 20);
        assert_eq!(document["State"]["Pid"], holm.pid(&id));
        is_described(holm, &document["Holm"]);
        emulator(&id);
        let fields = "{{.Names}} {{.State}} {{.Image}} {{.Label \"a\"}}";
        assert_eq!(holm.ok(["ps", "--filter", "label=a=1", "--format", fields]), "box running base 1");
        let top = holm.ok(["top", "box"]);
        assert!(top.lines().next().is_some_and(|line| line.starts_with("UID")), "{top}");
        assert!(top.contains("sleep 1000") && !top.contains("qemu"), "{top}");
        holm.ok(["rm", "-f", "box"]);
    });
}

fn is_described(holm: &Holm, shown: &Value) {
    assert_eq!(shown["Isolation"], "vm");
    let machine = &shown["Machine"];
    let release = holm.ok(["kernel", "inspect", "-f", "{{.Release}}"]);
    for (key, value) in [("Hypervisor", "auto"), ("Platform", "linux/amd64"), ("GuestRelease", &release)] {
        assert_eq!(machine[key], value, "{key}");
    }
    assert_eq!(machine["Kernel"]["Release"], release.as_str());
    assert_eq!(machine["Cpus"], 2);
    assert!(machine["Memory"].as_u64().is_some_and(|bytes| bytes > 64 << 20), "{machine}");
    assert!(machine["Reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{machine}");
    assert!(machine["Devices"].as_array().is_some_and(|devices| devices.len() > 3), "{machine}");
    let line = machine["CommandLine"].as_array().expect("words");
    assert!(line[0].as_str().is_some_and(|program| program.contains("qemu-system")), "{machine}");
}

/// The jail: a user of its own, no capability, no network, a filter, and nothing of the host's files to write to.
#[test]
#[ignore = "boots virtual machines"]
fn its_emulator_is_in_a_jail() {
    with_machines(|holm| {
        let ids = [holm.start(&[], "sleep 1000"), holm.start(&["--privileged"], "sleep 1000")];
        let users = ids.each_ref().map(|id| {
            let pid = emulator(id);
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
                line.trim().to_owned()
            };
            assert_eq!(field("CapBnd:"), "0000000000000000", "{status}");
            assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1".into(), "2".into()), "{status}");
            for name in ["net", "pid", "mnt", "ipc", "uts", "cgroup"] {
                let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/{name}")).expect("proc");
                assert_ne!(of("self"), of(&pid.to_string()), "{name}");
            }
            field("Uid:")
        });
        assert_ne!(users[0], users[1], "each has one of its own");
        assert!(!users.iter().any(|user| user.split('\t').any(|number| number == "0")), "{users:?}");
    });
}
