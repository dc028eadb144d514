//! Networks of CNI plugins: Debian's, and small ones of the tests' own that write down what they are told.

use std::path::PathBuf;

use holm_tests::{Call, Holm, eventually, host};

/// What a plugin of the tests' own does: it fails where a file says so, and answers with addresses that it never made.
const PLUGIN: &str = r#"#!/bin/sh
cat >"$0.read"
name=${0##*/}
case $CNI_COMMAND in
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}'; exit ;;
esac
inside=${CNI_NETNS:+inside}
echo "$CNI_COMMAND $name $CNI_IFNAME ${inside:-outside}" >>"${0%/*}/log"
if [ -e "$0.fails" ]; then
    echo '{"cniVersion":"1.0.0","code":100,"msg":"out of order","details":"on purpose"}'
    exit 1
fi
if [ "$CNI_COMMAND" = ADD ]; then
    echo '{"cniVersion":"1.0.0","ips":[{"address":"10.7.0.5/24","gateway":"10.7.0.1"}],
        "dns":{"nameservers":["10.7.0.53"],"search":["lan.example"]}}'
fi
"#;

/// A list of two such plugins.
const LIST: &str = r#"{"cniVersion":"1.0.0","name":"lan","plugins":[{"type":"first"},{"type":"second"}]}"#;

/// An installation with such plugins, and the network `lan` of them.
struct Plugins {
    holm: Holm,
    directory: PathBuf,
}

impl Plugins {
    fn new() -> Self {
        let holm = Holm::with_network();
        let text = holm.file("plugin", PLUGIN);
        let directory = holm.scratch("plugins");
        for name in ["first", "second"] {
            // By another process: nobody shall have open for writing what is executed.
            let path = directory.join(name).display().to_string();
            holm.host_shell(&format!("install -D -m 755 {text} {path}")).ok();
        }
        let plugins = Self { holm, directory };
        let list = plugins.holm.file("lan.conflist", LIST);
        plugins.create(&list, "lan").run().ok();
        plugins
    }

    fn create(&self, list: &str, name: &str) -> Call {
        let option = format!("conflist={list}");
        let call = self.holm.call(["network", "create", "-d", "cni", "-o", &option, name]);
        call.env("CNI_PATH", &self.directory.display().to_string())
    }

    /// What the plugins were told since the last time, a line each.
    fn log(&self) -> String {
        let path = self.directory.join("log");
        let log = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(path);
        log
    }

    fn break_plugin(&self, name: &str) {
        std::fs::write(self.directory.join(format!("{name}.fails")), "").expect("a mark");
    }

    fn mend_plugin(&self, name: &str) {
        std::fs::remove_file(self.directory.join(format!("{name}.fails"))).expect("a mark");
    }

    /// Makes the last call of a plugin one of long ago.
    fn pass_time(&self) {
        let directory = self.holm.root().join("cni");
        self.holm.host_shell(&format!("touch -d '2 minutes ago' {}/.*.input", directory.display())).ok();
    }

    fn claims(&self) -> usize {
        claims(&self.holm)
    }
}

fn claims(holm: &Holm) -> usize {
    std::fs::read_dir(holm.root().join("cni")).map_or(0, Iterator::count)
}

fn get(holm: &Holm, address: &str) -> Option<String> {
    let outcome = holm.network().try_shell(&format!("timeout 2 busybox wget -q -O- http://{address}/"));
    outcome.status.success().then(|| outcome.out())
}

fn server(holm: &Holm, name: &str, flags: &[&str]) {
    let script = format!("mkdir -p /www && echo {name} >/www/index.html && exec httpd -f -p 80 -h /www");
    holm.ok([&["run", "-d", "--name", name][..], flags, &["base", "sh", "-c", &script]].concat());
    let listens = || holm.run(["exec", name, "wget", "-q", "-O-", "http://127.0.0.1/"]).status.success();
    eventually("a server", listens);
}

#[test]
fn debians_plugins_carry_a_network() {
    let holm = Holm::with_network();
    holm.ok(["network", "create", "-d", "cni", "--subnet", "10.9.0.0/24", "-o", "mtu=1400", "back"]);
    let listed = holm.ok(["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Subnets}}"]);
    assert_eq!(listed, "back cni 10.9.0.0/24");
    server(&holm, "web", &["--network", "back", "-p", "8080:80", "-p", "127.0.0.1:8081:80/tcp"]);
    server(&holm, "db", &["--network", "back:ip=10.9.0.77,mac-address=02:00:00:00:00:77"]);
    let template = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.Gateway}} {{.MacAddress}}{{end}}";
    let shown = holm.inspect("db", template);
    assert_eq!(shown, "10.9.0.77 10.9.0.1 02:00:00:00:00:77");
    assert!(holm.inspect("web", template).starts_with("10.9.0.2 10.9.0.1 "));
    let inside = holm.ok(["exec", "db", "sh", "-c", "ip addr show eth0; ip route; cat /etc/hosts"]);
    for words in ["10.9.0.77/24", "02:00:00:00:00:77", "mtu 1400", "default via 10.9.0.1", "10.9.0.77\t"] {
        assert!(inside.contains(words), "{words}: {inside}");
    }
    for address in ["127.0.0.1:8080", "127.0.0.1:8081", "10.9.0.1:8080", "10.9.0.2:80"] {
        assert_eq!(get(&holm, address).as_deref(), Some("web"), "{address}");
    }
    assert_eq!(holm.ok(["exec", "web", "wget", "-q", "-O-", "http://10.9.0.77/"]), "db");
    assert_eq!(holm.ok(["port", "web", "80"]), "0.0.0.0:8080\n[::1]:8080\n127.0.0.1:8081");
    let members = holm.ok(["network", "inspect", "-f", "{{range .Containers}}{{.Name}} {{end}}", "back"]);
    assert!(members.contains("web ") && members.contains("db "), "{members}");
    holm.run(["network", "rm", "back"]).refused(1, &["back", "uses it"]);
    holm.ok(["rm", "-f", "web", "db"]);
    holm_has_given_back(&holm);
    assert_eq!(get(&holm, "127.0.0.1:8080"), None);
    holm.ok(["network", "rm", "back"]);
    assert!(!holm.network().shell("ip -br link").contains("holm-"));
}

#[test]
fn both_families_and_networks_that_lead_nowhere() {
    let holm = Holm::with_network();
    holm.ok(["network", "create", "-d", "cni", "--ipv6", "--subnet", "fd00:9::/64", "six"]);
    server(&holm, "web", &["--network", "six", "--ip6", "fd00:9::7"]);
    // The host's kernel looks first whether somebody else has its address.
    eventually("it is reached", || get(&holm, "[fd00:9::7]:80").as_deref() == Some("web"));
    let addresses = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}";
    assert_eq!(holm.inspect("web", addresses), "172.17.0.2 fd00:9::7");
    holm.ok(["network", "create", "-d", "cni", "--internal", "--subnet", "10.9.0.0/24", "inner"]);
    server(&holm, "db", &["--network", "inner"]);
    let script = "wget -q -O- http://10.9.0.2/; ip route";
    let shown = holm.ok(["run", "--rm", "--network", "inner", "base", "sh", "-c", script]);
    assert!(shown.starts_with("db\n") && !shown.contains("default"), "{shown}");
    assert_eq!(get(&holm, "10.9.0.2:80"), None, "the host is not on it");
    holm.run(["run", "--rm", "--network", "inner", "-p", "80", "base", "true"]).refused(125, &["internal"]);
    holm.ok(["rm", "-f", "web", "db"]);
    assert_eq!(holm.ok(["network", "prune", "-f"]), "Deleted Networks:\ninner\nsix");
}

#[test]
fn a_list_that_somebody_wrote_is_used_as_it_is() {
    let holm = Holm::with_network();
    let data = holm.scratch("data").display().to_string();
    let list = format!(
        r#"{{"cniVersions":["0.4.0","1.0.0"],"name":"point","plugins":[
            {{"type":"ptp","mtu":1300,"dns":{{"nameservers":["10.60.0.53"]}},
              "ipam":{{"type":"host-local","subnet":"10.60.0.0/24","dataDir":"{data}"}}}},
            {{"type":"tuning","dataDir":"{data}","capabilities":{{"mac":true}},
              "sysctl":{{"net.ipv4.conf.eth0.arp_filter":"1"}}}}]}}"#
    );
    let list = format!("conflist={}", holm.file("point.conflist", list));
    holm.ok(["network", "create", "-d", "cni", "-o", &list, "lan"]);
    let version = holm.ok(["network", "inspect", "-f", "{{.Holm.CNI.list.cniVersion}}", "lan"]);
    assert_eq!(version, "1.0.0");
    let script =
        "ip addr show eth0; cat /etc/resolv.conf /proc/sys/net/ipv4/conf/eth0/arp_filter; ls /sys/class/net";
    let shown = holm.ok([
        "run",
        "--rm",
        "--network",
        "lan",
        "--ip",
        "10.60.0.9",
        "--mac-address",
        "02:00:00:00:00:09",
        "base",
        "sh",
        "-c",
        script,
    ]);
    for words in ["10.60.0.9/24", "02:00:00:00:00:09", "mtu 1300", "nameserver 10.60.0.53", "\n1\n"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert_eq!(claims(&holm), 0);
    let left = holm.host_shell(&format!("ls {data} {data}/point")).ok();
    assert!(!left.contains("10.60.0.9") && !left.contains("eth0"), "{left}");
    holm.ok(["network", "rm", "lan"]);
}

#[test]
fn the_host_passes_on_what_plugins_bring_too() {
    let holm = Holm::with_network();
    holm.network().shell("echo 0 >/proc/sys/net/ipv4/ip_forward");
    holm.ok(["run", "-d", "--name", "web", "base", "sleep", "600"]);
    let drops_others = || holm.network().shell("nft list ruleset").contains("iifname != @bridges drop");
    assert!(drops_others(), "the host was no router");
    holm.ok(["network", "create", "-d", "cni", "back"]);
    assert!(!drops_others());
    assert_eq!(holm.run(["ps", "-a"]).err(), "", "these are the rules that must be there");
    holm.ok(["network", "rm", "back"]);
    assert!(drops_others());
    holm.ok(["rm", "-f", "web"]);
}

/// Whether nothing of workloads is left of the usual network: leases, rules, devices, claims, mounts.
fn holm_has_given_back(holm: &Holm) {
    eventually("no claim", || claims(holm) == 0);
    let leases = holm.run_root().join("networks/back/leases/back");
    let leases = holm.host_shell(&format!("ls {}", leases.display())).ok();
    assert!(!leases.contains("10.9.0."), "{leases}");
    eventually("no device", || !holm.network().shell("ip -br link").contains("veth"));
    let rules = holm.network().shell("nft list ruleset");
    assert!(!rules.contains("10.9.0.2") && !rules.contains("dport 8080"), "{rules}");
    let mounts = host::mounts_below(&holm.run_root());
    assert!(!mounts.iter().any(|mount| mount.ends_with("netns")), "{mounts:?}");
}

#[test]
fn nothing_stays_of_a_workload_that_was_killed_with_its_keeper() {
    let holm = Holm::with_network();
    holm.ok(["network", "create", "-d", "cni", "--subnet", "10.9.0.0/24", "back"]);
    server(&holm, "web", &["--network", "back", "-p", "8080:80"]);
    // The keeper alone: the next one ends what this one has begun.
    let pid = holm.pid("web");
    let id = holm.inspect("web", "{{.Id}}");
    let kill_keeper = || {
        for process in host::processes_naming(&id).iter().filter(|process| **process != pid) {
            holm.network().shell(&format!("kill -9 {process}"));
        }
    };
    kill_keeper();
    assert!(holm.run(["ps"]).err().contains("a new one took over"));
    assert_eq!(get(&holm, "127.0.0.1:8080").as_deref(), Some("web"));
    kill_keeper();
    holm.network().shell(&format!("kill -9 {pid}"));
    eventually("it is buried", || {
        holm.run(["ps"]);
        !holm.run_root().join("sandboxes").join(&id).exists()
    });
    holm_has_given_back(&holm);
    holm.ok(["start", "web"]);
    eventually("a server", || get(&holm, "127.0.0.1:8080").is_some());
    assert_eq!(holm.inspect("web", "{{.NetworkSettings.Networks.back.IPAddress}}"), "10.9.0.3");
}

#[test]
fn plugins_are_told_in_order_and_undo_in_the_other() {
    let plugins = Plugins::new();
    let holm = &plugins.holm;
    let run = ["run", "--rm", "--network", "lan", "base", "cat", "/etc/hosts", "/etc/resolv.conf"];
    let shown = holm.ok(run);
    for line in ["nameserver 10.7.0.53", "search lan.example"] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    assert!(shown.contains("10.7.0.5\t"), "{shown}");
    let expected =
        "ADD first eth0 inside\nADD second eth0 inside\nDEL second eth0 inside\nDEL first eth0 inside\n";
    assert_eq!((plugins.log().as_str(), plugins.claims()), (expected, 0));
    let read = std::fs::read_to_string(plugins.directory.join("second.read")).expect("what it read");
    assert!(read.contains(r#""prevResult":{"#) && read.contains(r#""name":"lan""#), "{read}");
    // What a workload asks for is stronger.
    let asked = [&["run", "--rm", "--dns", "10.0.0.9"][..], &run[2..]].concat();
    let shown = holm.ok(asked);
    assert!(shown.contains("nameserver 10.0.0.9") && !shown.contains("10.7.0.53"), "{shown}");
    plugins.log();
    // What fails is undone, all of it, and told.
    plugins.break_plugin("second");
    let told = holm
        .run(run)
        .refused(125, &["network `lan`", "ADD by CNI plugin `second`", "out of order: on purpose"]);
    assert!(told.lines().count() <= 2, "{told}");
    // Its part cannot be undone now either: that is done as soon as it can be.
    assert_eq!(plugins.log(), "ADD first eth0 inside\nADD second eth0 inside\nDEL second eth0 inside\n");
    assert_eq!((holm.run(["ps"]).err().as_str(), plugins.log().as_str()), ("", ""), "not at once");
    plugins.pass_time();
    let told = holm.run(["ps"]).err();
    assert!(told.contains("DEL by CNI plugin `second`: out of order"), "{told}");
    plugins.mend_plugin("second");
    plugins.pass_time();
    let told = holm.run(["ps"]).err();
    assert!(told.contains("its CNI plugins undid what workload"), "{told}");
    assert_eq!((plugins.claims(), holm.run(["ps"]).err().as_str()), (0, ""));
}

#[test]
fn a_start_begins_with_what_an_end_could_not_undo() {
    let plugins = Plugins::new();
    let holm = &plugins.holm;
    holm.ok(["run", "-d", "--name", "app", "--network", "lan", "base", "sleep", "1000"]);
    plugins.break_plugin("first");
    holm.ok(["stop", "-t", "0", "app"]);
    assert!(plugins.log().ends_with("DEL second eth0 inside\nDEL first eth0 inside\n"));
    holm.run(["start", "app"]).refused(1, &["network `lan`", "DEL by CNI plugin `first`: out of order"]);
    plugins.log();
    plugins.mend_plugin("first");
    holm.ok(["start", "app"]);
    let log = plugins.log();
    let expected =
        "DEL second eth0 outside\nDEL first eth0 outside\nADD first eth0 inside\nADD second eth0 inside\n";
    assert_eq!(log, expected);
    holm.ok(["rm", "-f", "app"]);
    assert_eq!(plugins.claims(), 0);
}

#[test]
fn what_a_boot_has_ended_is_undone_without_a_namespace() {
    let plugins = Plugins::new();
    let holm = &plugins.holm;
    let id = holm.ok(["run", "-d", "--network", "lan", "base", "sleep", "1000"]);
    plugins.log();
    for process in host::processes_naming(&id).into_iter().chain([holm.pid(&id)]) {
        holm.network().shell(&format!("kill -9 {process} || true"));
    }
    eventually("all are gone", || host::processes_naming(&id).is_empty());
    host::unmount_below(&holm.run_root().join("sandboxes"));
    std::fs::remove_dir_all(holm.run_root().join("sandboxes")).expect("what a boot ends");
    plugins.pass_time();
    let told = holm.run(["ps"]).err();
    assert!(told.contains("network lan: its CNI plugins undid"), "{told}");
    assert_eq!(
        (plugins.log().as_str(), plugins.claims()),
        ("DEL second eth0 outside\nDEL first eth0 outside\n", 0)
    );
}

#[test]
fn networks_of_plugins_come_and_go_under_a_workload() {
    let plugins = Plugins::new();
    let holm = &plugins.holm;
    let list = holm.file("more.conflist", LIST.replace("\"lan\"", "\"more\""));
    plugins.create(&list, "more").run().ok();
    holm.ok(["run", "-d", "--name", "app", "--network", "lan", "base", "sleep", "1000"]);
    holm.ok(["network", "connect", "more", "app"]);
    assert!(plugins.log().ends_with("ADD first eth1 inside\nADD second eth1 inside\n"));
    holm.run(["network", "connect", "bridge", "app"])
        .refused(1, &["`bridge`", "`lan`", "Holm's own bridges"]);
    holm.ok(["network", "disconnect", "lan", "app"]);
    assert_eq!(plugins.log(), "DEL second eth0 inside\nDEL first eth0 inside\n");
    holm.ok(["rm", "-f", "app"]);
    assert_eq!(plugins.log(), "DEL second eth1 inside\nDEL first eth1 inside\n");
    assert_eq!(holm.ok(["network", "prune", "-f"]), "Deleted Networks:\nlan\nmore");
}

#[test]
fn what_plugins_cannot_do_is_refused_by_name() {
    let plugins = Plugins::new();
    let holm = &plugins.holm;
    for (flags, words) in [
        (&["--network", "lan", "-p", "80"][..], "`portMappings`"),
        (&["--network", "lan:alias=x"], "`aliases`"),
        (&["--network", "lan", "--network", "bridge"], "Holm's own bridges"),
        (&["--network", "lan:ip=10.7.0.9"], "10.7.0.9, which was asked for"),
    ] {
        let arguments = [&["run", "--rm"], flags, &["base", "true"]].concat();
        holm.run(arguments).refused(125, &["`lan`", words]);
    }
    assert_eq!((holm.workloads().len(), plugins.claims()), (0, 0));
    for (flags, words) in [
        (&["-o", "conflist=/absent"][..], &["`/absent`", "No such file"][..]),
        (&["--subnet", "10.1.0.0/24", "-o", &format!("conflist={}", holm.file("l", LIST))], &["--subnet"]),
        (&["-o", &format!("conflist={}", holm.file("x", "x"))], &["network `two`", "configuration list"]),
        (&["-o", &format!("conflist={}", holm.file("old", LIST.replace("1.0.0", "0.2.0")))], &["0.2.0"]),
        (
            &["-o", &format!("conflist={}", holm.file("new", LIST.replace("1.0.0", "1.1.0")))],
            &["`first`", "1.1.0"],
        ),
        (
            &["-o", &format!("conflist={}", holm.file("no", LIST.replace("first", "absent")))],
            &["`absent`", "plugins`"],
        ),
    ] {
        let arguments = [&["network", "create", "-d", "cni"], flags, &["two"]].concat();
        let outcome = holm.call(arguments).env("CNI_PATH", &plugins.directory.display().to_string()).run();
        outcome.refused(outcome.code(), words);
    }
    let outcome = holm.call(["network", "create", "-d", "cni", "two"]).env("CNI_PATH", "/absent").run();
    outcome.refused(1, &["CNI plugin `bridge`: it is not in `/absent`"]);
    assert!(outcome.err().contains("hint: Debian's package `containernetworking-plugins`"), "{outcome}");
    assert_eq!(holm.ok(["network", "ls", "-q", "--filter", "name=two"]), "");
}
