//! Networks in a network namespace of the test's own, as a host, with further ones as sandboxes.

mod namespaces {
    mod guest;
}

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use holm_network::{Kind, Membership, Networks, NewNetwork, Wanted, open_namespace};
use holm_spec::Id;
use holm_spec::layout::Layout;
use holm_spec::network::{Attachment, Endpoint, Port, Protocol, Publication};
use holm_spec::workload::Isolation;
use holm_sys::process::{Namespaces, unshare};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A host with nothing but loopback, for the thread that has it.
struct Host {
    _directory: tempfile::TempDir,
    networks: Networks,
    layout: Layout,
}

/// Runs a test in a thread with a namespace of its own.
fn on_a_host(test: impl FnOnce(&Host) + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(Namespaces::NETWORK).expect("a network namespace");
            holm_sys::interface::set_loopback_up().expect("loopback");
            let directory = tempfile::tempdir().expect("a temporary directory");
            let layout = Layout::new(directory.path().join("r"), directory.path().join("x"));
            let networks = Networks::new(&layout);
            test(&Host { _directory: directory, networks, layout });
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn own_namespace() -> OwnedFd {
    open_namespace(Path::new("/proc/thread-self/ns/net")).expect("a namespace")
}

/// Does something in another namespace.
fn inside<T: Send>(namespace: &OwnedFd, action: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("enter");
            action()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn new_namespace() -> OwnedFd {
    std::thread::spawn(|| {
        unshare(Namespaces::NETWORK).expect("a network namespace");
        holm_sys::interface::set_loopback_up().expect("loopback");
        own_namespace()
    })
    .join()
    .expect("a namespace")
}

struct Sandbox {
    id: Id,
    namespace: OwnedFd,
    endpoints: Vec<Endpoint>,
    _ports: holm_network::Ports,
}

impl Sandbox {
    fn address(&self) -> IpAddr {
        self.endpoints[0].addresses[0].address
    }
}

impl Host {
    fn join(&self, number: u8, networks: &[&str], ports: &[Publication]) -> holm_network::Result<Sandbox> {
        let (id, mut membership) = self.claim(number, Isolation::Container, networks, ports)?;
        let namespace = new_namespace();
        membership.connect(namespace.as_fd())?;
        let endpoints = membership.endpoints().cloned().collect();
        Ok(Sandbox { id, namespace, endpoints, _ports: membership.keep() })
    }

    fn claim(
        &self,
        number: u8,
        isolation: Isolation,
        networks: &[&str],
        publications: &[Publication],
    ) -> holm_network::Result<(Id, Membership)> {
        let attachment =
            |network: &&str| Attachment { network: (*network).to_owned(), ..Attachment::default() };
        let attachments: Vec<Attachment> = networks.iter().map(attachment).collect();
        let id = Id::from_bytes([number; 32]);
        std::fs::create_dir_all(self.layout.sandbox(&id).dir).expect("mkdir");
        let name = format!("w{number}");
        let wanted = Wanted {
            sandbox: &id,
            name: &name,
            isolation,
            attachments: &attachments,
            publications,
            servers: &[],
        };
        Ok((id, self.networks.claim(&wanted)?))
    }

    fn default_network(&self) -> String {
        self.networks.default_network().expect("a network").name
    }
}

fn published(port: u16, host_ports: (u16, u16)) -> Publication {
    Publication { port: Port { number: port, protocol: Protocol::Tcp }, host: None, host_ports }
}

/// Answers each connection with the address that it came from.
fn serve(sandbox: &Sandbox, port: u16) {
    let namespace = sandbox.namespace.try_clone().expect("a descriptor");
    let (ready, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("enter");
        let listener = TcpListener::bind(("0.0.0.0", port)).expect("a port");
        ready.send(()).expect("somebody waits");
        while let Ok((mut stream, peer)) = listener.accept() {
            let _ = stream.write_all(peer.ip().to_string().as_bytes());
        }
    });
    wait.recv().expect("a server");
}

/// What a server answers; `None` if it cannot be reached.
fn ask(address: IpAddr, port: u16) -> Option<String> {
    let address = SocketAddr::new(address, port);
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

fn loopback() -> IpAddr {
    std::net::Ipv4Addr::LOCALHOST.into()
}

#[test]
fn sandboxes_reach_each_other_and_the_host_reaches_their_ports() {
    on_a_host(|host| {
        let network = host.default_network();
        let first = host.join(1, &[&network], &[published(80, (8080, 8080))]).expect("join");
        let second = host.join(2, &[&network], &[]).expect("join");
        assert_ne!(first.address(), second.address());
        serve(&first, 80);
        let gateway = host.networks.find(&network).expect("a network").pools[0].gateway;
        // Directly, by the source's own address.
        let answer = inside(&second.namespace, || ask(first.address(), 80));
        assert_eq!(answer, Some(second.address().to_string()));
        // Through the port, from loopback, from the gateway's address, and from the workload itself and its neighbour.
        assert_eq!(ask(loopback(), 8080), Some(gateway.to_string()));
        assert_eq!(ask(gateway, 8080), Some(gateway.to_string()));
        assert_eq!(inside(&second.namespace, || ask(gateway, 8080)), Some(gateway.to_string()));
        assert_eq!(inside(&first.namespace, || ask(gateway, 8080)), Some(gateway.to_string()));
        assert_eq!(ask(loopback(), 80), None, "not published");
        host.networks.release(&first.id).expect("release");
        assert_eq!(ask(loopback(), 8080), None, "released");
        assert_eq!(host.networks.endpoints_of(&first.id).expect("none"), []);
    });
}

#[test]
fn networks_are_apart() {
    on_a_host(|host| {
        let make = |name: &str, internal| {
            let asked = NewNetwork { name: name.into(), internal, ..NewNetwork::default() };
            host.networks.create(&asked).expect("create")
        };
        for (name, internal) in [("one", false), ("two", false), ("inner", true)] {
            make(name, internal);
        }
        let one = host.join(1, &["one"], &[published(80, (8081, 8081))]).expect("join");
        let two = host.join(2, &["two"], &[]).expect("join");
        let both = host.join(3, &["inner", "two"], &[]).expect("join");
        let inner = host.join(4, &["inner"], &[]).expect("join");
        for sandbox in [&one, &both] {
            serve(sandbox, 80);
        }
        assert_eq!(inside(&two.namespace, || ask(one.address(), 80)), None, "another network");
        assert_eq!(inside(&both.namespace, || ask(one.address(), 80)), None, "another network");
        assert_eq!(inside(&inner.namespace, || ask(both.address(), 80)), Some(inner.address().to_string()));
        assert_eq!(
            inside(&two.namespace, || ask(both.endpoints[1].addresses[0].address, 80)).as_deref(),
            Some(two.address().to_string().as_str())
        );
        // A port of the host leads there from another network, but not from one that is internal.
        let gateway = host.networks.find("two").expect("a network").pools[0].gateway;
        assert!(inside(&two.namespace, || ask(gateway, 8081)).is_some());
        let gateway = host.networks.find("inner").expect("a network").pools[0].gateway;
        assert_eq!(inside(&inner.namespace, || ask(gateway, 8081)), None);
        let refused =
            host.join(5, &["inner"], &[published(80, (8082, 8082))]).map(|_| ()).expect_err("no way");
        assert_eq!(refused.kind(), Kind::Invalid);
        let refused = host.networks.remove("one", &|_| None).expect_err("used");
        assert_eq!(refused.to_string(), "remove network `one`: workload `w1` uses it");
        host.networks.release(&one.id).expect("release");
        host.networks.remove("one", &|_| None).expect("remove");
        assert_eq!(host.networks.find("one").expect_err("gone").kind(), Kind::NotFound);
    });
}

#[test]
fn what_is_taken_is_told() {
    on_a_host(|host| {
        let network = host.default_network();
        let _one = host.join(1, &[&network], &[published(80, (9000, 9000))]).expect("join");
        let error = host.join(2, &[&network], &[published(80, (9000, 9000))]).map(|_| ()).expect_err("taken");
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (Kind::InUse, "publish port 9000/tcp: workload `w1` has it")
        );
        let listener = TcpListener::bind("127.0.0.1:9001").expect("a port");
        let error = host.join(3, &[&network], &[published(80, (9001, 9001))]).map(|_| ()).expect_err("taken");
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        let range = host.join(4, &[&network], &[published(80, (9000, 9002))]).expect("join");
        assert_eq!(range.endpoints[0].ports[0].host_port, 9002);
        let any = host.join(5, &[&network], &[published(80, (0, 0))]).expect("join");
        assert_ne!(any.endpoints[0].ports[0].host_port, 0);
        drop(listener);
        assert_eq!(host.networks.endpoints_of(&Id::from_bytes([2; 32])).expect("none"), []);
    });
}

#[test]
fn what_somebody_took_away_is_put_back() {
    on_a_host(|host| {
        let network = host.default_network();
        let one = host.join(1, &[&network], &[published(80, (8080, 8080))]).expect("join");
        serve(&one, 80);
        assert_eq!(host.networks.repair().expect("repair"), Vec::<String>::new());
        holm_network::forget_rules(&host.networks).expect("flush");
        assert_eq!(ask(loopback(), 8080), None);
        let told = host.networks.repair().expect("repair");
        assert_eq!(told, ["wrote the rules of packets anew, which somebody had changed"]);
        assert!(ask(loopback(), 8080).is_some());
        // A sandbox that a crash took.
        std::fs::remove_dir_all(host.layout.sandbox(&one.id).dir).expect("remove");
        let told = host.networks.repair().expect("repair");
        assert_eq!(told[0], "network bridge: gave 1 addresses back that nobody used");
        assert_eq!(told[1], "wrote the rules of packets anew, which somebody had changed", "its port went");
    });
}

#[test]
fn many_at_once_get_different_addresses_and_ports() {
    on_a_host(|host| {
        let network = host.default_network();
        let namespace = own_namespace();
        let joined: Vec<Sandbox> = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..=20)
                .map(|number| {
                    let (namespace, network) = (&namespace, &network);
                    scope.spawn(move || {
                        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                            .expect("enter");
                        host.join(number, &[network], &[published(80, (10_000, 10_100))]).expect("join")
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("a sandbox")).collect()
        });
        let addresses: std::collections::BTreeSet<_> = joined.iter().map(Sandbox::address).collect();
        let ports: std::collections::BTreeSet<_> =
            joined.iter().map(|sandbox| sandbox.endpoints[0].ports[0].host_port).collect();
        assert_eq!((addresses.len(), ports.len()), (20, 20));
        assert_eq!(host.networks.repair().expect("repair"), Vec::<String>::new());
    });
}

/// Runs a program in the network namespace of this thread.
fn command(words: &[&str]) {
    let status = std::process::Command::new(words[0]).args(&words[1..]).status().expect("it is installed");
    assert!(status.success(), "{words:?}");
}

#[test]
fn a_bridge_that_was_removed_comes_back_with_who_was_on_it() {
    on_a_host(|host| {
        let network = host.default_network();
        let one = host.join(1, &[&network], &[published(80, (8080, 8080))]).expect("join");
        let two = host.join(2, &[&network], &[]).expect("join");
        serve(&one, 80);
        command(&["ip", "link", "delete", "holm0"]);
        assert_eq!(inside(&two.namespace, || ask(one.address(), 80)), None);
        let told = host.networks.repair().expect("repair");
        assert_eq!(told, ["network bridge: made its bridge anew, which somebody had removed"]);
        // The question for the neighbour may just have been given up.
        assert!((0..3).any(|_| inside(&two.namespace, || ask(one.address(), 80)).is_some()));
        assert!(ask(loopback(), 8080).is_some());
        // A removal that was killed leaves a bridge that belongs to nothing.
        host.networks.create(&NewNetwork { name: "gone".into(), ..NewNetwork::default() }).expect("create");
        std::fs::remove_file(host.layout.network("gone")).expect("remove");
        let told = host.networks.repair().expect("repair");
        assert!(
            told[0].starts_with("removed bridge holm-") && told[0].ends_with("of a network that is gone")
        );
        host.networks.create(&NewNetwork { name: "gone".into(), ..NewNetwork::default() }).expect("create");
    });
}

#[test]
fn who_forges_an_address_is_not_heard() {
    on_a_host(|host| {
        let network = host.default_network();
        let one = host.join(1, &[&network], &[]).expect("join");
        let socket = std::net::UdpSocket::bind("0.0.0.0:9999").expect("a port");
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a time limit");
        let gateway = host.networks.find(&network).expect("a network").pools[0].gateway;
        let heard = |source: &str| {
            let source: IpAddr = source.parse().expect("an address");
            inside(&one.namespace, || {
                let sender = std::net::UdpSocket::bind((source, 0)).expect("an address of its own");
                sender.send_to(b"x", (gateway, 9999)).expect("send");
            });
            socket.recv_from(&mut [0; 8]).is_ok()
        };
        inside(&one.namespace, || command(&["ip", "address", "add", "10.77.0.1/32", "dev", "eth0"]));
        assert!(heard(&one.address().to_string()));
        assert!(!heard("10.77.0.1"));
    });
}

#[test]
fn a_host_that_became_a_router_for_us_is_none_for_others() {
    on_a_host(|host| {
        let passes = || std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("a setting");
        assert_eq!(passes().trim(), "0", "a new namespace is no router");
        host.default_network();
        let rules = std::process::Command::new("nft").args(["list", "ruleset"]).output().expect("nft");
        let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
        assert!(rules.contains("iifname != @bridges drop"), "{rules}");
    });
}

#[test]
fn many_networks_and_many_ports() {
    on_a_host(|host| {
        for number in 0..90 {
            let subnet = format!("10.{number}.0.0/24").parse().expect("a block");
            let asked =
                NewNetwork { name: format!("n{number}"), subnets: vec![subnet], ..NewNetwork::default() };
            host.networks.create(&asked).expect("create");
        }
        let many: Vec<_> = (10_000..13_000).map(|port| published(port, (port, port))).collect();
        let others: Vec<_> = (14_000..17_000).map(|port| published(port, (port, port))).collect();
        let _one = host.join(1, &["n1"], &many).expect("join");
        let _two = host.join(2, &["n2"], &others).expect("join");
        holm_network::forget_rules(&host.networks).expect("flush");
        assert_eq!(host.networks.repair().expect("repair").len(), 1);
        let more: Vec<_> = (20_000..40_000).map(|port| published(port, (port, port))).collect();
        let error = host.join(3, &["n3"], &more).map(|_| ()).expect_err("too many");
        assert!(
            error.to_string().contains("more ports and names than a network holds")
                || error.kind() == Kind::Io,
            "{error}"
        );
        assert_eq!(host.networks.repair().expect("repair"), Vec::<String>::new());
        host.networks.remove("n3", &|_| None).expect("nothing is left there");
    });
}

/// What a sandbox hears at a port of UDP within a third of a second.
fn hears(sandbox: &Sandbox, port: u16, send: impl FnOnce()) -> bool {
    let socket = inside(&sandbox.namespace, || std::net::UdpSocket::bind(("0.0.0.0", port)).expect("a port"));
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a time limit");
    send();
    socket.recv_from(&mut [0; 8]).is_ok()
}

#[test]
fn a_client_that_never_pauses_is_led_anew() {
    on_a_host(|host| {
        let network = host.default_network();
        let port = Port { number: 53, protocol: Protocol::Udp };
        let publication = Publication { port, host: None, host_ports: (5300, 5300) };
        // A client elsewhere, which began before there was anybody.
        let client = host.join(9, &[&network], &[]).expect("join");
        let gateway = host.networks.find(&network).expect("a network").pools[0].gateway;
        let socket = inside(&client.namespace, || std::net::UdpSocket::bind("0.0.0.0:4000").expect("a port"));
        let send = || drop(socket.send_to(b"x", (gateway, 5300)));
        send();
        let first = host.join(1, &[&network], &[publication]).expect("join");
        // The neighbour's address may have to be asked for twice.
        assert!((0..5).any(|_| hears(&first, 53, send)), "published since");
        host.networks.release(&first.id).expect("release");
        // Whoever has the address next is not who was asked.
        let second = host.join(2, &[&network], &[]).expect("join");
        assert_eq!(first.address(), second.address());
        inside(&first.namespace, || command(&["ip", "link", "set", "eth0", "down"]));
        assert!(!hears(&second, 53, send), "nobody's port");
    });
}

/// Another machine at 10.99.0.2, which reaches the host at 10.99.0.1.
fn remote() -> OwnedFd {
    let namespace = new_namespace();
    let host = rustix::thread::gettid().as_raw_nonzero().to_string();
    inside(&namespace, || {
        command(&["ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", &host]);
        command(&["ip", "address", "add", "10.99.0.2/24", "dev", "near"]);
        command(&["ip", "link", "set", "near", "up"]);
    });
    command(&["ip", "address", "add", "10.99.0.1/24", "dev", "far"]);
    command(&["ip", "link", "set", "far", "up"]);
    namespace
}

/// What iptables says of a chain.
fn listed(program: &str, chain: &str) -> Vec<String> {
    let output = std::process::Command::new(program).args(["-S", chain]).output().expect("iptables");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn workloads_pass_the_rules_of_others_through_the_seams_that_these_offer() {
    on_a_host(|host| {
        let remote = remote();
        let server: SocketAddr = "10.99.0.2:8000".parse().expect("an address");
        let listener = inside(&remote, || TcpListener::bind(server).expect("a port"));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = (&stream).write_all(b"remote");
            }
        });
        let network = host.default_network();
        let one = host.join(1, &[&network], &[published(80, (8080, 8080))]).expect("join");
        serve(&one, 80);
        let comes_in = || inside(&remote, || ask("10.99.0.1".parse().expect("an address"), 8080).is_some());
        let goes_out = || inside(&one.namespace, || ask(server.ip(), server.port()).is_some());
        assert!(comes_in() && goes_out());
        for (sign, forward, input) in [
            ("DOCKER-USER", "FORWARD", None),
            ("ufw-user-forward", "ufw-user-forward", Some("ufw-user-input")),
        ] {
            for words in ["-P FORWARD DROP", &format!("-N {sign}"), &format!("-A FORWARD -j {sign}")] {
                command(&["iptables"].into_iter().chain(words.split(' ')).collect::<Vec<_>>());
            }
            if let Some(input) = input {
                command(&["iptables", "-N", input]);
                command(&["iptables", "-A", "INPUT", "-j", input]);
            }
            assert!(!comes_in() && !goes_out(), "{forward}");
            let told = host.networks.repair().expect("repair");
            assert_eq!(told[0], format!("let workloads pass chain {forward}"));
            assert!(comes_in() && goes_out(), "{forward}");
            let rules = listed("iptables", forward);
            for direction in ["-i holm+", "-o holm+"] {
                let is_rule = |rule: &String| {
                    rule.contains(direction) && rule.contains("holm-") && rule.ends_with("ACCEPT")
                };
                assert!(rules.iter().any(is_rule), "{rules:?}");
            }
            if let Some(input) = input {
                let rules = listed("iptables", input);
                for words in ["-i holm+ -p udp -m udp --dport 53", "-i holm+ -p tcp -m tcp --dport 53"] {
                    assert!(rules.iter().any(|rule| rule.contains(words)), "{rules:?}");
                }
            }
            assert_eq!(host.networks.repair().expect("repair"), Vec::<String>::new());
            // What the owner drops stays dropped.
            command(&["iptables", "-I", sign, "-i", "holm+", "-j", "DROP"]);
            assert!(!goes_out(), "{forward}");
            // Theirs, and flushed with theirs.
            command(&["iptables", "-F", forward]);
            assert_eq!(host.networks.repair().expect("repair"), [told[0].clone()]);
            for words in ["-F FORWARD".to_owned(), format!("-F {sign}"), format!("-X {sign}")] {
                command(&["iptables"].into_iter().chain(words.split(' ')).collect::<Vec<_>>());
            }
        }
        assert_eq!(listed("iptables", "ufw-user-input").len(), 3);
        host.networks.release(&one.id).expect("release");
        host.networks.remove(&network, &|_| None).expect("remove");
        assert_eq!(listed("iptables", "ufw-user-input"), ["-N ufw-user-input"], "nothing stays");
    });
}
