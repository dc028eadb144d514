//! Networks of machines: beside containers, with addresses of one's own, and what is left of them when they end or are killed.

use holm_spec::machine::NETWORKS_LIMIT;
use holm_sys::fail_point;
use holm_tests::{Holm, Namespace, Outcome, eventually, host};

use super::traces::emulator;

/// Runs a test with an installation whose workloads are machines, on a host with a network of its own.
fn with_network(test: impl FnOnce(&Holm)) {
    holm_tests::isolation::in_machines(|| test(&Holm::with_network()));
}

/// A server that says on port 80 who asked.
const SERVER: &str = "mkdir -p /www/cgi-bin; printf '#!/bin/sh\\necho; echo $REMOTE_ADDR\\n' >/www/cgi-bin/who; \
    chmod 755 /www/cgi-bin/who; exec httpd -f -p 80 -h /www";

fn machine(holm: &Holm, name: &str, flags: &[&str]) -> String {
    let id = holm.start(&[&["--name", name][..], flags].concat(), SERVER);
    eventually("a server", || asked_by(holm, name, "127.0.0.1").is_some());
    id
}

/// Beside machines; `holm container run` is left as it is.
fn container(holm: &Holm, name: &str, flags: &[&str]) {
    let command = ["base", "sh", "-c", SERVER];
    holm.ok([&["container", "run", "-d", "--name", name][..], flags, &command].concat());
    eventually("a server", || asked_by(holm, name, "127.0.0.1").is_some());
}

/// What a server says to a workload; `None` if it cannot be reached.
fn asked_by(holm: &Holm, workload: &str, server: &str) -> Option<String> {
    let url = format!("http://{server}/cgi-bin/who");
    let outcome = holm.run(["exec", workload, "timeout", "3", "wget", "-q", "-O-", &url]);
    said(&outcome)
}

/// What it says in a namespace of the host.
fn asked_from(namespace: &Namespace, server: &str) -> Option<String> {
    let command = format!("timeout 3 busybox wget -q -O- http://{server}/cgi-bin/who");
    said(&namespace.try_shell(&command))
}

/// Without what is around an address of IPv4 where a server listens for both families.
fn said(outcome: &Outcome) -> Option<String> {
    let address = outcome.out().replace("[::ffff:", "").replace(']', "");
    outcome.status.success().then_some(address)
}

fn address(holm: &Holm, workload: &str) -> String {
    holm.inspect(workload, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
}

/// Demands that nothing of a network is left: no device, no address.
#[track_caller]
fn is_given_back(holm: &Holm, network: &str) {
    let addresses = holm.run_root().join("networks").join(network);
    let taken =
        || std::fs::read_dir(&addresses).map_or(0, |names| names.flatten().filter(is_address).count());
    eventually("no device and no address", || {
        holm.run(["ps", "-q"]);
        taken() == 0 && !holm.network().shell("ip -br link").contains("tap")
    });
}

fn is_address(entry: &std::fs::DirEntry) -> bool {
    !entry.file_name().as_encoded_bytes().starts_with(b".")
}

#[test]
#[ignore = "boots virtual machines"]
fn are_those_of_containers() {
    with_network(|holm| {
        holm.ok(["network", "create", "--subnet", "10.9.0.0/24", "back"]);
        container(holm, "app", &["--network", "back"]);
        let id =
            machine(holm, "web", &["--network", "back:alias=site", "-p", "8080:80", "--hostname", "guest"]);
        let (app, web) = (address(holm, "app"), address(holm, "web"));
        // By name, both ways, and each sees who asked.
        for name in ["web", "site", "web.back"] {
            assert_eq!(asked_by(holm, "app", name).as_ref(), Some(&app), "{name}");
        }
        assert_eq!(asked_by(holm, "web", "app").as_ref(), Some(&web));
        // From the host's loopback, from another host, and from the workload itself.
        assert_eq!(asked_from(holm.network(), "127.0.0.1:8080").as_deref(), Some("10.9.0.1"));
        let client = holm.network().neighbour();
        assert_eq!(asked_from(&client, "10.99.0.1:8080").as_deref(), Some("10.99.0.2"));
        assert_eq!(asked_by(holm, "web", "10.9.0.1:8080").as_deref(), Some("10.9.0.1"));
        assert_eq!(holm.ok(["port", "web"]), "80/tcp -> 0.0.0.0:8080");
        let ports = holm.ok(["ps", "--filter", "name=web", "--format", "{{.Ports}}"]);
        assert_eq!(ports, "0.0.0.0:8080->80/tcp");
        let members = holm.ok(["network", "inspect", "-f", "{{range .Containers}}{{.Name}} {{end}}", "back"]);
        assert!(members.contains("app ") && members.contains("web "), "{members}");
        let used = holm.ok(["stats", "--no-stream", "--format", "{{.NetIO}}", "web"]);
        assert!(used.contains("kB / ") && !used.contains(" 0B"), "{used}");
        let shown = holm.ok(["exec", "web", "sh", "-c", "ls /sys/class/net; cat /etc/hosts; hostname"]);
        assert!(shown.starts_with("eth0\nlo\n") && shown.ends_with("guest"), "{shown}");
        assert!(shown.contains(&format!("{web}\tguest")), "{shown}");
        assert_eq!(devices_of(emulator(&id)), "lo", "the jail has no network");
        holm.ok(["rm", "-f", "web", "app"]);
        is_given_back(holm, "back");
    });
}

/// Names of the network devices that a process sees.
fn devices_of(pid: u32) -> String {
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).expect("it runs");
    let names = table.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
    names.collect::<Vec<_>>().join(" ")
}

#[test]
#[ignore = "boots virtual machines"]
fn stay_what_they_are_over_a_restart_and_change_only_in_between() {
    with_network(|holm| {
        holm.ok(["network", "create", "--subnet", "10.9.0.0/24", "back"]);
        holm.ok(["network", "create", "--subnet", "10.8.0.0/24", "-o", "mtu=1400", "front"]);
        container(holm, "app", &["--network", "back"]);
        let flags = ["--network", "back", "--ip", "10.9.0.7", "--mac-address", "02:00:00:00:00:07"];
        machine(holm, "web", &[&flags[..], &["-p", "8080:80"]].concat());
        assert!(asked_by(holm, "app", "10.9.0.7").is_some());
        let device = holm.ok(["exec", "web", "ip", "link", "show", "eth0"]);
        assert!(device.contains("02:00:00:00:00:07") && device.contains("mtu 1500"), "{device}");
        for command in ["connect", "disconnect"] {
            let network = if command == "connect" { "front" } else { "back" };
            let why = "a virtual machine gets its network devices when it starts";
            holm.run(["network", command, network, "web"]).refused(1, &["`web`", why]);
        }
        holm.ok(["stop", "-t", "0", "web"]);
        is_given_back(holm, "front");
        holm.ok(["network", "connect", "front", "web"]);
        holm.ok(["start", "web"]);
        eventually("a server", || asked_from(holm.network(), "127.0.0.1:8080").is_some());
        assert!(asked_by(holm, "app", "10.9.0.7").is_some());
        assert_eq!(holm.inspect("web", "{{.NetworkSettings.Networks.back.MacAddress}}"), "02:00:00:00:00:07");
        let devices = holm.ok(["exec", "web", "sh", "-c", "ls /sys/class/net; cat /sys/class/net/eth1/mtu"]);
        assert_eq!(devices, "eth0\neth1\nlo\n1400");
        // Another one with its address and without its hardware address is found at once by who knew it.
        assert!(asked_by(holm, "app", "10.9.0.7").is_some());
        holm.ok(["rm", "-f", "web"]);
        machine(holm, "next", &["--network", "back", "--ip", "10.9.0.7"]);
        assert!(asked_by(holm, "app", "10.9.0.7").is_some(), "app remembers the hardware address before");
        holm.ok(["rm", "-f", "next", "app"]);
        is_given_back(holm, "back");
    });
}

#[test]
#[ignore = "boots virtual machines"]
fn are_as_many_as_there_is_room_for() {
    with_network(|holm| {
        let shared = holm.scratch("shared");
        std::fs::create_dir(&shared).expect("made");
        let volume = format!("{}:/data", shared.display());
        let mut flags = vec!["-v", &volume];
        let names: Vec<String> = (0..=NETWORKS_LIMIT).map(|number| format!("n{number}")).collect();
        for name in &names {
            holm.ok(["network", "create", name]);
            flags.extend(["--network", name]);
        }
        let refused = holm.script(&flags, "true");
        refused.refused(125, &["19 networks", "room for 18 network devices"]);
        flags.truncate(flags.len() - 2);
        let shown =
            holm.sh(&flags, "ls /sys/class/net | grep -c eth; ls -d /data; ip -o -4 addr | grep -c eth");
        assert_eq!(shown, "18\n/data\n18");
    });
}

#[test]
#[ignore = "boots virtual machines"]
fn are_not_shared() {
    with_network(|holm| {
        machine(holm, "web", &[]);
        let run = |words: &[&str], network: &str| {
            let arguments = [words, &["--rm", "--network", network, "base", "true"]].concat();
            holm.run(arguments)
        };
        let why = "a virtual machine has a network stack of its own";
        run(&["run"], "container:web").refused(125, &["`web`", why]);
        let why = "it is a virtual machine, which has a network stack of its own";
        run(&["container", "run"], "container:web").refused(125, &["`web`", why]);
        run(&["run"], "host").refused(125, &["--network host"]);
        assert_eq!(holm.workloads().len(), 1, "nothing is left of what was refused");
        // What is configured for workloads that say nothing is for machines, too.
        let alone = holm.call(["run", "--rm", "base", "ls", "/sys/class/net"]);
        assert_eq!(alone.env("HOLM_NETWORK", "none").run().ok(), "lo");
    });
}

#[test]
#[ignore = "boots virtual machines"]
fn are_given_back_by_what_is_killed() {
    with_network(|holm| {
        let flags = ["-p", "8080:80"];
        let id = machine(holm, "web", &flags);
        // Of the keeper nobody notices, but by the next command.
        let keeper = host::parent(holm.pid("web")).expect("it runs");
        host::kill(keeper);
        assert!(asked_from(holm.network(), "127.0.0.1:8080").is_some());
        assert!(holm.run(["ps", "-q"]).err().contains("a new one took over"));
        assert!(asked_from(holm.network(), "127.0.0.1:8080").is_some());
        host::kill(emulator(&id));
        assert_eq!(holm.ok(["wait", "web"]), "137");
        is_given_back(holm, "bridge");
        holm.ok(["start", "web"]);
        eventually("a server", || asked_from(holm.network(), "127.0.0.1:8080").is_some());
        host::kill(holm.pid("web"));
        assert_eq!(holm.ok(["wait", "web"]), "137");
        is_given_back(holm, "bridge");
        // And all at once.
        holm.ok(["start", "web"]);
        let (machine, keeper) = (holm.pid("web"), host::parent(holm.pid("web")).expect("it runs"));
        host::kill(keeper);
        host::kill(machine);
        is_given_back(holm, "bridge");
        assert_eq!(asked_from(holm.network(), "127.0.0.1:8080"), None);
        holm.ok(["rm", "web"]);
    });
}

#[test]
#[ignore = "boots virtual machines"]
fn of_a_start_or_an_end_that_was_killed_nothing_stays() {
    with_network(|holm| {
        for point in fail_point::ALL.iter().filter(|point| point.starts_with("network-")) {
            let run = holm.call(["run", "--rm", "-p", "8080:80", "base", "true"]);
            let outcome = run.env("HOLM_FAIL_POINT", point).run();
            assert!(!outcome.status.success(), "{point}: {outcome}");
            is_given_back(holm, "bridge");
            eventually(&format!("{point}: no workload"), || holm.workloads().is_empty());
        }
        assert_eq!(holm.ok(["run", "--rm", "-p", "8080:80", "base", "hostname", "-i"]), "172.17.0.2");
    });
}
