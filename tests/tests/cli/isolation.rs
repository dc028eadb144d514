//! The default isolation, as the workload sees it: what Docker gives, and nothing of the host.

use std::collections::BTreeSet;

use holm_tests::{Holm, host};

#[test]
fn processes() {
    let holm = Holm::new();
    assert_eq!(holm.sh(&[], "echo $$; ls -d /proc/[0-9]* | head -1"), "1\n/proc/1");
    let list = holm.ok(["run", "--rm", "base", "ps", "-o", "pid,comm"]);
    assert_eq!(list.lines().skip(1).map(str::trim).collect::<Vec<_>>(), ["1 ps"], "none but its own");
    assert_eq!(
        holm.sh(
            &[],
            "readlink /proc/1/exe; readlink /proc/1/root; readlink /proc/1/cwd; cat /proc/1/comm; true"
        ),
        "/bin/busybox\n/\n/\nsh"
    );
    assert_eq!(holm.sh(&[], "ls /proc/1/fd; true"), "0\n1\n2", "no descriptor of the host");
    assert_eq!(
        holm.sh(&[], "grep -E '^(NSpid|PPid)' /proc/self/status | tr '\\t\\n' '  '; true").trim(),
        "PPid: 1 NSpid: 2"
    );
}

#[test]
fn namespaces_of_its_own() {
    let holm = Holm::new();
    let names = ["cgroup", "ipc", "mnt", "net", "pid", "uts"];
    let script = names.map(|name| format!("readlink /proc/self/ns/{name};")).concat();
    let inside = holm.sh(&[], &script);
    for (name, line) in names.iter().zip(inside.lines()) {
        let own = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(own.to_str().unwrap(), line);
    }
    assert_eq!(inside.lines().count(), names.len());
    // Numbers of namespaces are used again, so the other workload must live at the same time.
    let id = holm.start(&[], "sleep 60");
    let first = holm.ok(["exec", &id, "sh", "-c", &script]);
    let second = holm.sh(&[], &script);
    assert!(first.lines().zip(second.lines()).all(|(first, second)| first != second), "{first}\n{second}");
}

#[test]
fn capabilities_are_dockers_default() {
    let holm = Holm::new();
    let status = holm.sh(&[], "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status");
    let (zero, default) = ("0000000000000000", "00000000a80425fb");
    let expected = format!(
        "CapInh:\t{zero}\nCapPrm:\t{default}\nCapEff:\t{default}\nCapBnd:\t{default}\nCapAmb:\t{zero}\nNoNewPrivs:\t0\nSeccomp:\t2"
    );
    assert_eq!(status, expected);
}

#[test]
fn system_calls_are_filtered() {
    let holm = Holm::new();
    for script in [
        "unshare -m true",
        "mount -t tmpfs none /tmp",
        "umount /proc",
        "chroot / mount -o remount,rw /sys",
        "hostname x",
        "dmesg -c",
        "date -s 2000-01-01",
        "swapon /etc/passwd",
        "insmod /etc/passwd",
    ] {
        let outcome = holm.script(&[], script);
        assert!(outcome.err().contains("not permitted") || outcome.err().contains("denied"), "{outcome}");
    }
}

#[test]
fn masked_paths() {
    let holm = Holm::new();
    let masked = [
        "asound",
        "acpi",
        "interrupts",
        "kcore",
        "keys",
        "latency_stats",
        "timer_list",
        "timer_stats",
        "sched_debug",
        "scsi",
    ];
    for path in masked
        .iter()
        .map(|name| format!("/proc/{name}"))
        .chain(["/sys/firmware".into(), "/sys/devices/virtual/powercap".into()])
    {
        let there = std::path::Path::new(&path).exists();
        let out = holm
            .sh(&[], &format!("if [ -d {path} ]; then ls -A {path}; else cat {path} 2>/dev/null; fi; true"));
        assert_eq!(out, "", "{path}, which {} on the host", if there { "is" } else { "is not" });
        let write = holm.script(&[], &format!("test ! -e {path} || ! test -d {path} || touch {path}/x"));
        assert!(
            !there || !std::path::Path::new(&path).is_dir() || write.code() != 0,
            "{path} can be written"
        );
    }
}

#[test]
fn read_only_paths() {
    let holm = Holm::new();
    for path in [
        "/proc/sys/kernel/hostname",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/proc/sys/vm/drop_caches",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/kernel/uevent_helper",
    ] {
        if !std::path::Path::new(path).exists() {
            continue;
        }
        let outcome = holm.script(&[], &format!("echo > {path}"));
        assert!(outcome.err().contains("Read-only file system"), "{outcome}");
    }
    let outcome = holm.script(
        &[],
        "mkdir /sys/fs/cgroup/x; mkdir /sys/fs/cgroup/unified/x; touch /proc/bus/x; mkdir /proc/x",
    );
    assert_eq!(outcome.err().lines().count(), 4, "{outcome}");
    let mounts = holm.sh(&[], "cat /proc/mounts");
    let options = |point: &str| {
        let line = mounts
            .lines()
            .find(|line| line.split(' ').nth(1) == Some(point))
            .unwrap_or_else(|| panic!("{point}: {mounts}"));
        line.split(' ').nth(3).unwrap().split(',').map(str::to_owned).collect::<BTreeSet<_>>()
    };
    for (point, demanded) in [
        ("/proc", &["rw", "nosuid", "nodev", "noexec"][..]),
        ("/proc/sys", &["ro"]),
        ("/proc/bus", &["ro"]),
        ("/proc/fs", &["ro"]),
        ("/proc/irq", &["ro"]),
        ("/proc/sysrq-trigger", &["ro"]),
        ("/sys", &["ro", "nosuid", "nodev", "noexec"]),
        ("/sys/fs/cgroup", &["ro", "nosuid", "nodev", "noexec"]),
        ("/dev", &["rw", "nosuid"]),
        ("/dev/shm", &["rw", "nosuid", "nodev", "noexec"]),
        ("/dev/mqueue", &["rw", "nosuid", "nodev", "noexec"]),
        ("/dev/pts", &["rw", "nosuid", "noexec"]),
    ] {
        if !std::path::Path::new(point).exists() {
            continue;
        }
        let found = options(point);
        assert!(demanded.iter().all(|option| found.contains(*option)), "{point}: {found:?}");
    }
}

#[test]
fn mounts_are_its_own() {
    let holm = Holm::new();
    let table = holm.sh(&[], "cat /proc/self/mountinfo");
    let mut points = Vec::new();
    for line in table.lines() {
        let fields: Vec<_> = line.split(' ').collect();
        let point = fields[4];
        points.push(point);
        let allowed = point == "/"
            || ["/proc", "/sys", "/dev"]
                .iter()
                .any(|top| point == *top || point.starts_with(&format!("{top}/")))
            || ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"].contains(&point);
        assert!(allowed, "{line}");
        assert!(!line.contains("shared:") && !line.contains("master:"), "nothing propagates: {line}");
    }
    let once: BTreeSet<_> = points.iter().collect();
    assert_eq!(once.len(), points.len(), "nothing is mounted over itself: {points:?}");
    assert!(table.lines().next().unwrap().split(' ').nth(4) == Some("/"));
}

#[test]
fn devices() {
    let holm = Holm::new();
    let script = "ls /dev; for d in null zero full random urandom tty; do stat -c '%n %a %u:%g %t:%T %F' /dev/$d; done; \
        for l in fd stdin stdout stderr ptmx; do echo $l $(readlink /dev/$l); done";
    let expected = "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
    let out = holm.sh(&[], script);
    let (names, facts): (Vec<&str>, Vec<&str>) = out.lines().partition(|line| !line.contains(' '));
    assert_eq!(names.join(" "), expected);
    let character = "character special file";
    assert_eq!(
        facts,
        [
            &format!("/dev/null 666 0:0 1:3 {character}"),
            &format!("/dev/zero 666 0:0 1:5 {character}"),
            &format!("/dev/full 666 0:0 1:7 {character}"),
            &format!("/dev/random 666 0:0 1:8 {character}"),
            &format!("/dev/urandom 666 0:0 1:9 {character}"),
            &format!("/dev/tty 666 0:0 5:0 {character}"),
            "fd /proc/self/fd",
            "stdin /proc/self/fd/0",
            "stdout /proc/self/fd/1",
            "stderr /proc/self/fd/2",
            "ptmx pts/ptmx",
        ]
    );
    let use_them = "head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; echo x > /dev/null && echo ok; echo x > /dev/full";
    let outcome = holm.script(&[], use_them);
    assert_eq!(outcome.out(), "3\n3\nok");
    assert!(outcome.err().contains("No space left on device"), "{outcome}");
    assert_eq!(holm.sh(&[], "stat -c %a /dev /dev/shm /dev/pts /dev/mqueue"), "755\n1777\n755\n1777");
}

#[test]
fn no_device_of_the_host_opens() {
    let holm = Holm::new();
    let devices = host::devices();
    assert!(devices.len() > 3, "this test wants devices that the host itself can open: {devices:?}");
    let mut script = String::new();
    for (kind, major, minor) in &devices {
        script += &format!("mknod /tmp/d {kind} {major} {minor} && echo made; (exec 3</tmp/d); rm /tmp/d;");
    }
    script += "true";
    holm.start(&["--name", "box"], "sleep 60");
    let adding = ["--cap-add", "SYS_ADMIN", "--cap-add", "SYS_RAWIO", "--security-opt", "seccomp=unconfined"];
    let outcomes = [
        holm.script(&[], &script),
        holm.script(&adding, &script),
        holm.script(&["--memory", "64m"], &script),
        holm.run(["exec", "box", "sh", "-c", &script]),
        holm.run(["exec", "--privileged", "box", "sh", "-c", &script]),
    ];
    for outcome in outcomes {
        assert_eq!(outcome.ok().matches("made").count(), devices.len(), "a node may be made: {outcome}");
        assert_eq!(outcome.err().matches("Operation not permitted").count(), devices.len(), "{outcome}");
    }
}

#[test]
fn device_nodes_of_an_image() {
    use std::os::unix::fs::MetadataExt;
    let holm = Holm::empty();
    let device = std::fs::metadata("/").unwrap().dev();
    let mut tar = holm_tests::tarball::base_with_release("nodes");
    tar.character_device("mem", 0o666, 1, 1).character_device("zero", 0o666, 1, 5);
    holm.call(["import", "-", "base"]).stdin(tar.finish()).run().ok();
    assert_eq!(holm.sh(&[], "stat -c %t:%T /mem /zero"), "1:1\n1:5");
    let outcome = holm.script(&[], "head -c 1 /mem");
    assert!(
        outcome.err().contains("not permitted") || outcome.err().contains("denied"),
        "{outcome} {device}"
    );
}

#[test]
fn network_none() {
    let holm = Holm::new();
    let script = "ls /sys/class/net; ip -o addr show lo; ip route; ping -c 1 -W 1 127.0.0.1 > /dev/null && echo reachable";
    for flags in [&[][..], &["--network", "none"], &["--net", "none"]] {
        let out = holm.sh(flags, script);
        assert_eq!(out.lines().next(), Some("lo"), "{out}");
        assert!(out.contains("127.0.0.1/8"), "{out}");
        assert!(!out.contains("default") && !out.contains("eth"), "{out}");
        assert!(out.ends_with("reachable"), "{out}");
    }
    assert_eq!(holm.sh(&[], "cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' '"), "lo");
    let outcome = holm.script(&[], "ping -c 1 -W 1 1.1.1.1");
    assert!(outcome.err().contains("unreachable"), "{outcome}");
}

#[test]
fn network_host() {
    let holm = Holm::new();
    let mut own: Vec<_> = std::fs::read_dir("/sys/class/net")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    own.sort();
    let out = holm.sh(&["--network", "host"], "cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' ' | sort");
    // Tests beside this one may come and go with interfaces, so at least those that last.
    assert!(
        own.iter()
            .filter(|name| name.starts_with("lo") || name.starts_with("eth"))
            .all(|name| out.lines().any(|line| line == name)),
        "{own:?} {out}"
    );
    assert_eq!(
        holm.sh(&["--network", "host"], "readlink /proc/self/ns/net"),
        std::fs::read_link("/proc/self/ns/net").unwrap().to_str().unwrap()
    );
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(holm.sh(&["--network", "host"], "hostname"), name.trim());
    assert_eq!(holm.sh(&["--network", "host"], "ls /sys/class/net | grep -c lo"), "1");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::Write;
        drop(listener.accept().expect("a caller").0.write_all(b"hello\n"));
    });
    let call = format!("nc 127.0.0.1 {port} < /dev/null");
    let outcome = holm.script(&["--network", "none"], &call);
    assert!(outcome.err().contains("refused"), "{outcome}");
    assert_eq!(holm.sh(&["--network", "host"], &call), "hello");
}

#[test]
fn control_groups_show_only_its_own() {
    let holm = Holm::new();
    for flags in [&[][..], &["--memory", "64m", "--cpus", "1", "--pids-limit", "50"]] {
        let groups = holm.sh(flags, "cat /proc/self/cgroup");
        let id = |line: &str| line.contains("holm");
        assert!(!groups.lines().any(id), "{groups}");
        let own = groups.lines().find(|line| line.starts_with("0::")).unwrap();
        assert_eq!(own, "0::/", "{groups}");
        let script = "for d in $(grep cgroup /proc/mounts | cut -d' ' -f2); do test ! -e $d/cgroup.procs || cat $d/cgroup.procs; done | sort -nu";
        let pids: Vec<u32> = holm.sh(flags, script).lines().map(|line| line.parse().unwrap()).collect();
        assert!(pids.iter().all(|pid| *pid < 20) && pids.contains(&1), "its own processes only: {pids:?}");
        let roots = holm.sh(flags, "grep -E ' - cgroup2? ' /proc/self/mountinfo | cut -d' ' -f4 | sort -u");
        assert_eq!(roots, "/", "group namespaces hide where it is");
    }
}

/// The attack of CVE-2019-5736: the image asks for `/proc/self/exe`, another process of it keeps the
/// program that appears there open and writes to it as soon as it can.
#[test]
fn holms_own_programs_cannot_be_written() {
    const ATTACK: &str = r#"
        hold() {
            exec 3< $1/exe || exit 1
            n=$(readlink -f /proc/self/fd/3)
            case "$n" in */busybox|'') exit 1;; esac
            echo "holding $n"
            for j in $(seq 100); do
                if (printf OWNED >> /proc/self/fd/3) 2> /dev/null; then echo WRITTEN; fi
                sleep 0.01
            done
            touch /held
        }
        while [ ! -e /held ]; do
            for p in /proc/[0-9]*; do
                case "$(readlink $p/exe 2> /dev/null)" in ''|*/busybox) ;; *) (hold $p) 2> /dev/null;; esac
            done
        done
        sleep 60"#;
    let holm = Holm::new();
    let directory = holm.scratch("programs");
    std::fs::create_dir(&directory).unwrap();
    let names = ["holm", "holm-keeper", "holm-init"];
    holm_tests::copy_binaries(&directory, &names);
    let call = |arguments: &[&str]| {
        let mut command = std::process::Command::new(directory.join("holm"));
        command.arg("--root").arg(holm.root()).arg("--run-root").arg(holm.run_root()).args(arguments);
        holm_tests::Call::new(command).run()
    };
    call(&["run", "-d", "--name", "box", "base", "sh", "-c", ATTACK]).ok();
    for _ in 0..150 {
        call(&["exec", "box", "/proc/self/exe"]);
    }
    holm_tests::eventually("the writer gives up", || {
        let logs = call(&["logs", "box"]).ok();
        assert!(!logs.contains("WRITTEN") && !logs.contains("programs/holm"), "{logs}");
        logs.is_empty() || call(&["exec", "box", "test", "-e", "/held"]).code() == 0
    });
    for name in names {
        let original = std::fs::read(holm_tests::binaries().join(name)).unwrap();
        assert!(std::fs::read(directory.join(name)).unwrap() == original, "{name} was changed");
    }
}

#[test]
fn two_do_not_see_each_other() {
    let holm = Holm::new();
    holm.start(&["--name", "one"], "mkdir /dev/shm/one; touch /made /tmp/made; sleep 60");
    let other = holm.sh(
        &[],
        "ls /dev/shm /tmp; ls /made 2>&1 | grep -c 'No such file'; ps -o args | grep -c 'sleep 6[0]'; true",
    );
    assert_eq!(other, "/dev/shm:\n\n/tmp:\n1\n0");
    assert_ne!(holm.pid("one"), 0);
}

#[test]
fn the_host_sees_it_below_its_keeper() {
    let holm = Holm::new();
    let id = holm.start(&[], "sleep 60");
    let pid = holm.pid(&id);
    let keeper = host::parent(pid).unwrap();
    assert_eq!(host::program(keeper), "holm-keeper");
    let group = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(group.contains(&format!("/holm/{id}")), "{group}");
    let group = std::fs::read_to_string(format!("/proc/{keeper}/cgroup")).unwrap();
    assert!(group.contains("/holm/keepers"), "{group}");
    assert_ne!(host::session(keeper), host::session(std::process::id()), "outside the caller's session");
}

holm_tests::also_in_machines!(mounts_are_its_own);
