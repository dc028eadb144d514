//! Networks: workloads that reach each other, ports of the host that lead to them, and nothing that stays.

use holm_tests::{Holm, eventually};

/// Starts a workload that answers HTTP on port 80 with its name.
fn server(holm: &Holm, name: &str, flags: &[&str]) {
    let script = format!("mkdir -p /www && echo {name} >/www/index.html && exec httpd -f -p 80 -h /www");
    let arguments = [&["run", "-d", "--name", name][..], flags, &["base", "sh", "-c", &script]].concat();
    holm.ok(arguments);
    eventually("a server", || get_from(holm, name, "127.0.0.1").is_some());
}

/// What a server says to the host; `None` if it cannot be reached.
fn get(holm: &Holm, address: &str) -> Option<String> {
    let outcome = holm.network().try_shell(&format!("timeout 2 busybox wget -q -O- http://{address}/"));
    outcome.status.success().then(|| outcome.out())
}

/// What it says to a workload.
fn get_from(holm: &Holm, workload: &str, address: &str) -> Option<String> {
    let outcome =
        holm.run(["exec", workload, "timeout", "2", "wget", "-q", "-O-", &format!("http://{address}/")]);
    outcome.status.success().then(|| outcome.out())
}

fn inspect(holm: &Holm, workload: &str, template: &str) -> String {
    holm.ok(["inspect", "-f", template, workload])
}

fn address(holm: &Holm, workload: &str) -> String {
    inspect(holm, workload, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
}

#[test]
fn the_default_network_is_there_at_once() {
    let holm = Holm::with_network();
    assert_eq!(holm.ok(["network", "ls", "-q"]), "");
    let shown =
        holm.ok(["run", "--rm", "base", "sh", "-c", "ip -o -4 addr show eth0; ip route; cat /etc/hosts"]);
    for words in ["172.17.0.2/16", "default via 172.17.0.1 dev eth0", "172.17.0.2\t"] {
        assert!(shown.contains(words), "{shown}");
    }
    assert_eq!(
        holm.ok(["network", "ls", "--format", "{{.Name}} {{.Interface}} {{.Subnets}}"]),
        "bridge holm0 172.17.0.0/16"
    );
    // The address is free again.
    let again = holm.ok(["run", "--rm", "base", "hostname", "-i"]);
    assert_eq!(again, "172.17.0.2");
    holm.run(["network", "create", "bridge"]).refused(1, &["the default one"]);
    holm.ok(["network", "rm", "bridge"]);
    assert_eq!(holm.ok(["run", "--rm", "base", "hostname", "-i"]), "172.17.0.2");
}

#[test]
fn ports_of_the_host_lead_to_workloads() {
    let holm = Holm::with_network();
    server(&holm, "web", &["-p", "8080:80", "-p", "127.0.0.1:8081:80", "--expose", "443"]);
    for address in ["127.0.0.1:8080", "127.0.0.1:8081", "172.17.0.1:8080", "[::1]:8080"] {
        assert_eq!(get(&holm, address).as_deref(), Some("web"), "{address}");
    }
    for address in ["172.17.0.1:8081", "[::1]:8081"] {
        assert_eq!(get(&holm, address), None, "{address}: published at 127.0.0.1 only");
    }
    let ports = holm.ok(["ps", "--format", "{{.Ports}}"]);
    assert_eq!(ports, "0.0.0.0:8080->80/tcp, [::1]:8080->80/tcp, 127.0.0.1:8081->80/tcp, 443/tcp");
    assert_eq!(holm.ok(["port", "web", "80"]), "0.0.0.0:8080\n[::1]:8080\n127.0.0.1:8081");
    assert_eq!(
        inspect(&holm, "web", "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}"),
        "8080"
    );
    for (filter, expected) in [
        ("network=bridge", "web"),
        ("network=none", ""),
        ("publish=80", "web"),
        ("publish=443", ""),
        ("expose=443", "web"),
        ("expose=80/udp", ""),
    ] {
        let names = holm.ok(["ps", "--filter", filter, "--format", "{{.Names}}"]);
        assert_eq!(names, expected, "{filter}");
    }
    holm.run(["port", "web", "443"]).refused(1, &["443/tcp", "web"]);
    holm.run(["run", "--rm", "-p", "8080:80", "base", "true"])
        .refused(125, &["8080/tcp", "workload `web` has it"]);
    assert_eq!(holm.workloads().len(), 1, "nothing is left of what was refused");
    server(&holm, "any", &["-p", "80"]);
    let port = holm.ok(["port", "any", "80/tcp"]).lines().next().expect("a port").to_owned();
    assert_eq!(get(&holm, &port.replace("0.0.0.0", "127.0.0.1")).as_deref(), Some("any"));
    // A neighbour, and the workload itself, by the host's port.
    for workload in ["any", "web"] {
        assert_eq!(get_from(&holm, workload, "172.17.0.1:8080").as_deref(), Some("web"), "{workload}");
    }
    holm.ok(["stop", "-t", "0", "web"]);
    assert_eq!(get(&holm, "127.0.0.1:8080"), None);
    holm.ok(["start", "web"]);
    eventually("a server", || get(&holm, "127.0.0.1:8080").as_deref() == Some("web"));
}

/// Answers a datagram with itself, once.
const ECHO: &str = "from socket import *; s = socket(AF_INET, SOCK_DGRAM); s.bind((\"0.0.0.0\", 53)); s.sendto(*s.recvfrom(99))";
/// Asks at `[::1]`.
const ASK: &str = "from socket import *; s = socket(AF_INET6, SOCK_DGRAM); s.settimeout(1); \
                   s.sendto(b\"question\", (\"::1\", 5300)); print(s.recv(99).decode(), end=\"\")";

#[test]
fn what_comes_to_the_loopback_of_ipv6_is_relayed() {
    let holm = Holm::with_network();
    server(&holm, "web", &["-p", "[::1]:8080:80", "-p", "5300:53/udp"]);
    assert_eq!(holm.ok(["port", "web", "80"]), "[::1]:8080");
    assert_eq!(get(&holm, "[::1]:8080").as_deref(), Some("web"));
    assert_eq!(get(&holm, "127.0.0.1:8080"), None);
    let pid = inspect(&holm, "web", "{{.State.Pid}}");
    holm.network().shell(&format!(
        "nsenter --net=/proc/{pid}/ns/net timeout 30 python3 -c '{ECHO}' >/dev/null 2>&1 </dev/null &"
    ));
    let ask = || holm.network().try_shell(&format!("timeout 2 python3 -c '{ASK}'")).out();
    eventually("an answer by UDP", || ask() == "question");
    // The port is still held, and relayed, by who takes the workload over.
    holm_tests::host::kill_keeper(&holm, "web");
    assert!(holm.run(["ps", "-q"]).err().contains("a new one took over"));
    assert_eq!(get(&holm, "[::1]:8080").as_deref(), Some("web"));
    holm.run(["run", "--rm", "-p", "[::1]:8080:80", "base", "true"]).refused(125, &["workload `web` has it"]);
    holm.ok(["rm", "-f", "web"]);
    assert_eq!(get(&holm, "[::1]:8080"), None);
}

#[test]
fn every_exposed_port_is_published() {
    let holm = Holm::with_network();
    holm.ok([
        "run", "-d", "--name", "web", "-P", "--expose", "80", "--expose", "53/udp", "-p", "8080:80", "base",
        "sleep", "60",
    ]);
    let lines = holm.ok(["port", "web"]);
    assert!(lines.contains("80/tcp -> 0.0.0.0:8080") && lines.contains("53/udp -> 0.0.0.0:"), "{lines}");
    assert_eq!(lines.lines().filter(|line| line.contains("[::1]:")).count(), 2, "{lines}");
    assert_eq!(lines.lines().count(), 4, "{lines}");
}

#[test]
fn networks_are_apart_and_one_workload_may_have_several() {
    let holm = Holm::with_network();
    holm.ok([
        "network",
        "create",
        "--subnet",
        "10.9.0.0/24",
        "--ip-range",
        "10.9.0.128/25",
        "--label",
        "tier=back",
        "back",
    ]);
    holm.ok(["network", "create", "--internal", "inner"]);
    server(&holm, "db", &["--network", "back:ip=10.9.0.7,mac-address=02:00:00:00:00:07"]);
    server(&holm, "app", &["--network", "inner", "--network", "back"]);
    server(&holm, "alone", &[]);
    assert_eq!(address(&holm, "db"), "10.9.0.7");
    assert_eq!(inspect(&holm, "app", "{{.NetworkSettings.Networks.back.IPAddress}}"), "10.9.0.128");
    let devices = holm.ok(["exec", "app", "sh", "-c", "ls /sys/class/net; ip route | head -1"]);
    assert!(devices.starts_with("eth0\neth1\nlo") && devices.contains("via 10.9.0.1 dev eth1"), "{devices}");
    assert!(holm.ok(["exec", "db", "ip", "link", "show", "eth0"]).contains("02:00:00:00:00:07"));
    assert_eq!(get_from(&holm, "app", "10.9.0.7").as_deref(), Some("db"));
    assert_eq!(get_from(&holm, "alone", "10.9.0.7"), None, "another network");
    assert_eq!(get_from(&holm, "db", &address(&holm, "alone")), None, "another network");
    let members = holm.ok(["network", "inspect", "-f", "{{range .Containers}}{{.Name}} {{end}}", "back"]);
    assert!(members.contains("app ") && members.contains("db "), "{members}");
    holm.run(["run", "--rm", "--network", "back:ip=10.9.0.7", "base", "true"])
        .refused(125, &["10.9.0.7", "`db` has it"]);
    holm.run(["run", "--rm", "--network", "back:ip=10.8.0.7", "base", "true"])
        .refused(125, &["10.8.0.7", "not in 10.9.0.0/24"]);
    holm.run(["run", "--rm", "--network", "back", "--network", "back", "base", "true"])
        .refused(125, &["back", "twice"]);
    holm.run(["network", "rm", "back"]).refused(1, &["back", "uses it"]);
    holm.ok(["stop", "-t", "0", "db", "app"]);
    holm.run(["network", "rm", "back"]).refused(1, &["back", "is to have it"]);
    holm.ok(["rm", "db", "app"]);
    assert_eq!(holm.ok(["network", "ls", "-q", "--filter", "label=tier=back"]).lines().count(), 1);
    assert_eq!(holm.ok(["network", "prune", "-f"]), "Deleted Networks:\nback\ninner");
}

#[test]
fn addresses_of_ipv6() {
    let holm = Holm::with_network();
    holm.ok(["network", "create", "--ipv6", "--subnet", "fd00:9::/64", "six"]);
    server(&holm, "web", &["--network", "six", "--ip6", "fd00:9::7", "-p", "8080:80"]);
    assert_eq!(get(&holm, "[fd00:9::7]:80").as_deref(), Some("web"));
    assert_eq!(get(&holm, "[fd00:9::1]:8080").as_deref(), Some("web"));
    let other =
        holm.ok(["run", "--rm", "--network", "six", "base", "wget", "-q", "-O-", "http://[fd00:9::7]/"]);
    assert_eq!(other, "web");
}

#[test]
fn anothers_network() {
    let holm = Holm::with_network();
    server(&holm, "web", &[]);
    let script = "wget -q -O- http://127.0.0.1/; hostname -i; cat /etc/hostname";
    let shown = holm.ok(["run", "--rm", "--network", "container:web", "base", "sh", "-c", script]);
    let id = inspect(&holm, "web", "{{.Id}}");
    assert_eq!(shown, format!("web\n{}\n{}", address(&holm, "web"), &id[..12]));
    let refused = holm.run(["run", "--rm", "--network", "container:web", "-p", "80", "base", "true"]);
    refused.refused(125, &["--publish", "another workload's network"]);
    // Whoever stays behind has no address that somebody else gets.
    holm.ok(["run", "-d", "--name", "side", "--network", "container:web", "base", "sleep", "600"]);
    holm.ok(["stop", "-t", "0", "web"]);
    assert_eq!(holm.ok(["exec", "side", "ls", "/sys/class/net"]), "lo");
    assert_eq!(holm.ok(["run", "--rm", "base", "hostname", "-i"]), "172.17.0.2");
    holm.run(["run", "--rm", "--network", "container:web", "base", "true"]).refused(125, &["does not run"]);
}

#[test]
fn names_that_were_asked_for() {
    let holm = Holm::with_network();
    let flags = [
        "--add-host",
        "db:10.0.0.9",
        "--add-host",
        "me:host-gateway",
        "--dns",
        "10.0.0.53",
        "--dns-search",
        "example.org",
        "--dns-option",
        "ndots:2",
    ];
    let arguments = [
        &["run", "--rm", "--hostname", "box"][..],
        &flags,
        &["base", "cat", "/etc/hosts", "/etc/resolv.conf"],
    ]
    .concat();
    let shown = holm.ok(arguments);
    for line in [
        "10.0.0.9\tdb",
        "172.17.0.1\tme",
        "172.17.0.2\tbox",
        "nameserver 10.0.0.53",
        "search example.org",
        "options ndots:2",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
}

#[test]
fn what_overlaps_or_is_wrong_is_told() {
    let holm = Holm::with_network();
    holm.ok(["network", "create", "--subnet", "10.9.0.0/24", "one"]);
    for (arguments, words) in [
        (&["one"][..], &["`one` exists already"][..]),
        (&["--subnet", "10.9.0.128/25", "two"], &["overlaps with 10.9.0.0/24 of network `one`"]),
        (&["--subnet", "10.9.1.0/24", "--gateway", "10.9.2.1", "two"], &["gateway 10.9.2.1"]),
        (&["--subnet", "10.9.1.0", "two"], &["`10.9.1.0` is no block"]),
        (&["-d", "overlay", "two"], &["overlay"]),
        (&["-o", "colour=red", "two"], &["colour"]),
        (&["host"], &["`host`"]),
    ] {
        let outcome = holm.run([&["network", "create"][..], arguments].concat());
        // What is no use of the command, and what is and cannot be done.
        assert!([1, 125].contains(&outcome.code()));
        outcome.refused(outcome.code(), words);
    }
    let inspected = holm.run(["network", "inspect", "absent"]);
    assert_eq!((inspected.code(), inspected.out().as_str()), (1, "[]"));
    assert!(inspected.err().contains("no such network: `absent`"));
    holm.run(["network", "rm", "absent"]).refused(1, &["no such network: `absent`"]);
    holm.ok(["network", "rm", "-f", "absent"]);
    holm.run(["run", "--rm", "--network", "absent", "base", "true"])
        .refused(125, &["no such network: `absent`"]);
    assert_eq!(holm.ok(["network", "ls", "--format", "{{.Name}}"]), "one");
}

#[test]
fn nothing_is_left_of_what_was_killed() {
    let holm = Holm::with_network();
    server(&holm, "web", &["-p", "8080:80"]);
    // The keeper is killed: the workload goes on, reachable, and the next command takes it over.
    holm_tests::host::kill_keeper(&holm, "web");
    assert_eq!(get(&holm, "127.0.0.1:8080").as_deref(), Some("web"));
    // Nobody puts back what is flushed now, but the next command.
    holm.network().try_shell("nft flush ruleset").ok();
    assert_eq!(get(&holm, "127.0.0.1:8080"), None);
    let said = holm.run(["ps", "-q"]).err();
    assert!(
        said.contains("a new one took over") && said.contains("wrote the rules of packets anew"),
        "{said}"
    );
    assert_eq!(get(&holm, "127.0.0.1:8080").as_deref(), Some("web"));
    holm.ok(["rm", "-f", "web"]);
    eventually("no device", || {
        let devices = holm.network().shell("ip -br link");
        !devices.contains("veth") && !devices.contains("tap")
    });
    assert_eq!(holm.ok(["run", "--rm", "base", "hostname", "-i"]), "172.17.0.2");
}

#[test]
fn what_somebody_takes_away_is_put_back_at_once() {
    let holm = Holm::with_network();
    holm.ok(["network", "create", "back"]);
    server(&holm, "web", &["-p", "8080:80", "--network", "back"]);
    holm.ok(["run", "-d", "--name", "other", "--network", "back", "base", "sleep", "600"]);
    let bridge = holm.ok(["network", "ls", "--filter", "name=back", "--format", "{{.Interface}}"]);
    for harm in ["nft flush ruleset", "nft delete table inet $(nft list tables | sed 's/.* //')"]
        .map(str::to_owned)
        .into_iter()
        .chain([format!("ip link delete {bridge}"), format!("ip link delete {bridge}; nft flush ruleset")])
    {
        holm.network().shell(&harm);
        eventually(&harm, || get(&holm, "127.0.0.1:8080").as_deref() == Some("web"));
        eventually(&harm, || get_from(&holm, "other", "web").as_deref() == Some("web"));
    }
    // Whoever keeps watch for a network that is not theirs any more leaves it alone.
    holm.ok(["rm", "-f", "web", "other"]);
    holm.ok(["network", "rm", "back"]);
    assert!(!holm.network().shell("ip -br link").contains(&bridge));
}

#[test]
fn two_at_once_get_different_addresses() {
    let holm = Holm::with_network();
    let runs: Vec<_> = (0..8)
        .map(|_| {
            holm.call(["run", "--rm", "-p", "9000-9100:80", "base", "sh", "-c", "hostname -i; sleep 1"])
                .spawn()
        })
        .collect();
    let mut addresses: Vec<String> = runs.into_iter().map(|run| run.wait().expect("an end").ok()).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 8, "{addresses:?}");
}

/// What a workload finds for a name; empty if there is nothing.
fn resolve(holm: &Holm, workload: &str, name: &str) -> Vec<String> {
    // busybox's own does without the static libc's resolver, which cannot load what it wants.
    let shown = holm.run(["exec", workload, "nslookup", "-type=a", name]).out();
    let addresses = shown.lines().skip_while(|line| !line.starts_with("Name:"));
    let addresses =
        addresses.filter_map(|line| line.strip_prefix("Address:")).map(|address| address.trim().to_owned());
    addresses.collect()
}

#[test]
fn workloads_find_each_other_by_name() {
    let holm = Holm::with_network();
    holm.ok(["network", "create", "back"]);
    holm.ok(["network", "create", "--internal", "inner"]);
    let sleeper = |name: &str, flags: &[&str]| {
        holm.ok([&["run", "-d", "--name", name][..], flags, &["base", "sleep", "600"]].concat())
    };
    let id = sleeper("one", &["--network", "back", "--network-alias", "both"]);
    sleeper("two", &["--network", "back:alias=both,alias=second"]);
    sleeper("bridged", &["--network", "inner", "--network", "back"]);
    sleeper("inside", &["--network", "inner"]);
    let own = |name: &str, network: &str| {
        inspect(&holm, name, &format!("{{{{.NetworkSettings.Networks.{network}.IPAddress}}}}"))
    };
    for (asker, name, expected) in [
        ("two", "one", own("one", "back")),
        ("two", "ONE.back", own("one", "back")),
        ("one", "second", own("two", "back")),
        ("two", &id[..12], own("one", "back")),
        ("inside", "bridged", own("bridged", "inner")),
        ("bridged", "inside", own("inside", "inner")),
    ] {
        assert_eq!(resolve(&holm, asker, name), [expected], "{asker} asks for {name}");
    }
    // Of two networks, one of them internal, the first fails for what it does not know, and the second is asked.
    let reached = holm.ok(["exec", "bridged", "ping", "-c", "1", "one"]);
    assert!(reached.contains(&format!("({})", own("one", "back"))), "{reached}");
    let mut both = resolve(&holm, "one", "both");
    both.sort();
    assert_eq!(both, [own("one", "back"), own("two", "back")]);
    assert_eq!(resolve(&holm, "inside", "one"), Vec::<String>::new(), "another network");
    let servers = holm.ok(["exec", "inside", "grep", "-c", "nameserver", "/etc/resolv.conf"]);
    assert_eq!(servers, "1", "no way leads to the host's");
    // A new address is known at once, an old one no more.
    holm.ok(["rm", "-f", "two"]);
    eventually("it is forgotten", || resolve(&holm, "one", "second").is_empty());
    assert_eq!(resolve(&holm, "one", "both"), [own("one", "back")]);
}

#[test]
fn a_resolver_that_was_killed_is_replaced_and_one_that_nobody_needs_ends() {
    let holm = Holm::with_network();
    holm.ok(["network", "create", "back"]);
    holm.ok(["run", "-d", "--name", "one", "--network", "back", "base", "sleep", "600"]);
    let root = holm.root().display().to_string();
    let resolvers = || {
        let shown = holm.network().shell(&format!("pgrep -f '[h]olm-netd --root {root}' || true"));
        shown.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let [pid] = &resolvers()[..] else { panic!("not one: {:?}", resolvers()) };
    holm.network().shell(&format!("kill -9 {pid}"));
    // Its lock goes with its last breath.
    eventually("a new one", || holm.run(["ps"]).err().contains("a new resolver does"));
    assert_eq!(resolve(&holm, "one", "one"), [address(&holm, "one")]);
    holm.ok(["rm", "-f", "one"]);
    holm.ok(["network", "rm", "back"]);
    eventually("it ends with its network", || resolvers().is_empty());
}

#[test]
fn networks_come_and_go_under_a_workload() {
    let holm = Holm::with_network();
    holm.ok(["network", "create", "--subnet", "10.9.0.0/24", "back"]);
    server(&holm, "db", &["--network", "back"]);
    server(&holm, "web", &["-p", "8080:80"]);
    assert_eq!(get_from(&holm, "web", "10.9.0.2:80"), None);
    holm.ok(["network", "connect", "--ip", "10.9.0.9", "--alias", "site", "back", "web"]);
    assert_eq!(get_from(&holm, "web", "db:80").as_deref(), Some("db"));
    assert_eq!(get_from(&holm, "db", "site:80").as_deref(), Some("web"));
    assert!(holm.ok(["exec", "web", "cat", "/etc/hosts"]).contains("10.9.0.9\t"));
    holm.run(["network", "connect", "back", "web"]).refused(1, &["`web`", "`back`", "has it already"]);
    holm.run(["network", "rm", "back"]).refused(1, &["uses it"]);
    // It outlives a restart.
    holm.ok(["stop", "-t", "0", "web"]);
    holm.ok(["start", "web"]);
    eventually("a server", || get_from(&holm, "db", "site:80").is_some());
    assert_eq!(inspect(&holm, "web", "{{.NetworkSettings.Networks.back.IPAddress}}"), "10.9.0.9");
    holm.ok(["network", "disconnect", "back", "web"]);
    assert_eq!(get_from(&holm, "db", "10.9.0.9:80"), None);
    assert_eq!(holm.ok(["exec", "web", "ls", "/sys/class/net"]), "eth0\nlo");
    assert_eq!(get(&holm, "127.0.0.1:8080").as_deref(), Some("web"));
    holm.run(["network", "disconnect", "back", "web"]).refused(1, &["does not have it"]);
    holm.ok(["network", "disconnect", "bridge", "web"]);
    assert_eq!(get(&holm, "127.0.0.1:8080"), None);
    holm.ok(["run", "-d", "--name", "lonely", "--network", "none", "base", "sleep", "60"]);
    holm.run(["network", "connect", "back", "lonely"]).refused(1, &["`lonely`", "--network none"]);
}

holm_tests::also_in_machines!(
    the_default_network_is_there_at_once,
    ports_of_the_host_lead_to_workloads,
    networks_are_apart_and_one_workload_may_have_several,
    addresses_of_ipv6,
    names_that_were_asked_for,
    nothing_is_left_of_what_was_killed,
    workloads_find_each_other_by_name,
);
