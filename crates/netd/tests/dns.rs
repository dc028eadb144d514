//! The resolver as a process, in a network namespace of the test's own: gateways, endpoints and other servers are
//! addresses of its loopback interface.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use holm_spec::network::{Driver, Endpoint, HardwareAddress, Network, Pool, VERSION};
use holm_spec::{Id, Timestamp};
use holm_sys::interface::set_loopback_up;
use holm_sys::process::{Namespaces, keep_over_exec, unshare};

const GATEWAY: &str = "127.0.1.1:53";
const GATEWAY6: &str = "[::1]:53";

/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A network with its resolver.
struct Site {
    scratch: tempfile::TempDir,
    resolver: Child,
}

impl Site {
    /// Puts the test's thread, and what it starts from now on, into a network namespace of its own, and starts a
    /// resolver that asks `servers`.
    fn start(servers: &[&str], internal: bool) -> Self {
        unshare(Namespaces::NETWORK).expect("a network namespace");
        set_loopback_up().expect("the loopback interface");
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let lines: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
        std::fs::write(scratch.path().join("resolv.conf"), lines).expect("resolv.conf");
        std::fs::create_dir_all(scratch.path().join("root/networks")).expect("a directory");
        std::fs::create_dir_all(scratch.path().join("run/networks/shop")).expect("a directory");
        let document = serde_json::to_vec(&network(internal)).expect("plain data");
        std::fs::write(scratch.path().join("root/networks/shop.json"), document).expect("the network");
        let (resolver, ready) = launch(scratch.path());
        assert!(ready, "the resolver says that it is ready");
        Self { scratch, resolver }
    }

    fn claims(&self) -> PathBuf {
        self.scratch.path().join("run/networks/shop")
    }

    /// Adds an endpoint, by each of its addresses.
    fn add(&self, number: u8, name: &str, aliases: &[&str], addresses: &[&str]) {
        let draft = self.claims().join(".draft");
        let endpoint = endpoint(number, name, aliases, addresses);
        std::fs::write(&draft, serde_json::to_vec(&endpoint).expect("plain data")).expect("a draft");
        for subnet in &endpoint.addresses {
            std::fs::hard_link(&draft, self.claims().join(subnet.address.to_string())).expect("a claim");
        }
        std::fs::remove_file(draft).expect("the draft");
    }

    fn remove(&self, address: &str) {
        std::fs::remove_file(self.claims().join(address)).expect("the claim");
    }

    /// Asks until the answer is that one.
    fn settles(&self, name: &str, kind: RecordType, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        while ask(GATEWAY, name, kind) != wanted {
            assert!(Instant::now() < deadline, "{name} does not become {wanted}");
        }
    }

    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.resolver.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "the resolver goes on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(self.resolver.kill());
        drop(self.resolver.wait());
    }
}

/// Starts a resolver and waits until it says that it is ready, or that it will not be.
fn launch(scratch: &Path) -> (Child, bool) {
    let (ready, said) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    keep_over_exec(&said).expect("a descriptor");
    let child = Command::new(env!("CARGO_BIN_EXE_holm-netd"))
        .arg("--root")
        .arg(scratch.join("root"))
        .arg("--run-root")
        .arg(scratch.join("run"))
        .arg("--resolv-conf")
        .arg(scratch.join("resolv.conf"))
        .args(["--ready-fd", &said.as_raw_fd().to_string(), "shop"])
        .spawn()
        .expect("the resolver");
    drop(said);
    let mut word = Vec::new();
    File::from(ready).read_to_end(&mut word).expect("a pipe");
    (child, word == b"1")
}

fn network(internal: bool) -> Network {
    let pool = |subnet: &str, gateway: &str| Pool {
        subnet: subnet.parse().expect("a block"),
        gateway: gateway.parse().expect("an address"),
        range: None,
    };
    Network {
        version: VERSION,
        id: Id::from_bytes([9; 32]),
        name: "shop".into(),
        driver: Driver::Bridge,
        interface: "lo".into(),
        created: Timestamp::default(),
        pools: vec![pool("10.1.0.0/24", "127.0.1.1"), pool("fd01::/64", "::1")],
        internal,
        mtu: None,
        labels: [].into(),
        options: [].into(),
        plugins: None,
    }
}

fn endpoint(number: u8, name: &str, aliases: &[&str], addresses: &[&str]) -> Endpoint {
    Endpoint {
        version: VERSION,
        id: Id::from_bytes([number; 32]),
        sandbox: Id::from_bytes([number; 32]),
        name: name.into(),
        aliases: aliases.iter().map(|&alias| alias.into()).collect(),
        network: "shop".into(),
        interface: "eth0".into(),
        driver: Driver::Bridge,
        host_interface: "veth0".into(),
        hardware: HardwareAddress([2, 0, 0, 0, 0, number]),
        addresses: addresses.iter().map(|address| address.parse().expect("a block")).collect(),
        gateways: vec![],
        ports: vec![],
        servers: vec![],
    }
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message
}

/// Asks by UDP; the answer as [`read`] shows it.
fn ask(server: &str, name: &str, kind: RecordType) -> String {
    let socket =
        UdpSocket::bind(if server.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" }).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.connect(server).expect("an address");
    socket.send(&query(name, kind).to_vec().expect("a query")).expect("sent");
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).expect("an answer");
    read(&buffer[..length])
}

/// Asks by TCP.
fn ask_by_stream(stream: &mut TcpStream, name: &str, kind: RecordType) -> String {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write_frame(stream, &query(name, kind));
    read(&read_frame(stream))
}

fn write_frame(stream: &mut TcpStream, message: &Message) {
    let bytes = message.to_vec().expect("a message");
    let length = u16::try_from(bytes.len()).expect("it is short").to_be_bytes();
    stream.write_all(&[&length[..], &bytes].concat()).expect("sent");
}

fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).expect("a length");
    let mut bytes = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut bytes).expect("a message");
    bytes
}

/// The code and the answers in one line.
fn read(bytes: &[u8]) -> String {
    let message = Message::from_vec(bytes).expect("a message");
    assert_eq!((message.metadata.id, message.metadata.message_type), (0x1234, MessageType::Response));
    let code = format!("{:?}", message.metadata.response_code);
    let answers = message.answers.iter().map(|record| record.data.to_string());
    std::iter::once(code).chain(answers).collect::<Vec<_>>().join(" ")
}

/// What another server answers.
fn told(query: &[u8], address: &str) -> Message {
    let mut message = Message::from_vec(query).expect("a query");
    message.metadata.message_type = MessageType::Response;
    let name = message.queries[0].name.clone();
    let data = RData::A(A(address.parse().expect("an address")));
    message.add_answer(Record::from_rdata(name, 60, data));
    message
}

/// Another server of UDP, on a thread: `answers` gives what it sends for a query, until the test ends.
fn serve(address: &str, answers: impl Fn(&[u8]) -> Vec<Message> + Send + 'static) {
    let socket = UdpSocket::bind((address, 53)).expect("a server");
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            for answer in answers(&buffer[..length]) {
                let bytes = answer.to_vec().expect("a message");
                socket.send_to(&bytes, from).expect("sent");
            }
        }
    });
}

#[test]
fn names_of_the_network() {
    let site = Site::start(&[], false);
    site.add(1, "web-1", &["web"], &["10.1.0.2/24", "fd01::2/64"]);
    site.add(2, "web-2", &["web"], &["10.1.0.3/24"]);
    site.settles("web-2.", RecordType::A, "NoError 10.1.0.3");
    let short = format!("{}.", Id::from_bytes([1; 32]).short());
    for gateway in [GATEWAY, GATEWAY6] {
        let mut stream = TcpStream::connect(gateway).unwrap();
        for (name, kind, wanted) in [
            ("web-1.", RecordType::A, "NoError 10.1.0.2"),
            ("WEB-1.shop.", RecordType::AAAA, "NoError fd01::2"),
            ("web-2.", RecordType::AAAA, "NoError"),
            ("web-2.", RecordType::TXT, "NoError"),
            (&short, RecordType::A, "NoError 10.1.0.2"),
            ("2.0.1.10.in-addr.arpa.", RecordType::PTR, "NoError web-1.shop."),
            ("9.0.1.10.in-addr.arpa.", RecordType::PTR, "NXDomain"),
            ("nobody.", RecordType::A, "ServFail"),
        ] {
            assert_eq!(ask(gateway, name, kind), wanted, "{name} {kind}");
            assert_eq!(ask_by_stream(&mut stream, name, kind), wanted, "{name} {kind} by TCP");
        }
    }
    let turns: Vec<_> = (0..3).map(|_| ask(GATEWAY, "web.", RecordType::A)).collect();
    assert_eq!((&turns[0], turns[0] != turns[1]), (&turns[2], true), "{turns:?}");
}

#[test]
fn endpoints_that_come_and_go() {
    let site = Site::start(&[], false);
    for round in 1..20 {
        site.add(round, "web", &[], &["10.1.0.2/24", "fd01::2/64"]);
        site.settles("web.", RecordType::A, "NoError 10.1.0.2");
        site.settles("web.", RecordType::AAAA, "NoError fd01::2");
        site.remove("fd01::2");
        site.settles("web.", RecordType::AAAA, "NoError");
        site.remove("10.1.0.2");
        site.settles("web.", RecordType::A, "ServFail");
    }
}

#[test]
fn what_others_know() {
    let site = Site::start(&["127.0.9.1"], false);
    assert_eq!(ask(GATEWAY, "example.com.", RecordType::A), "ServFail", "nobody is there yet");
    serve("127.0.9.1", |query| {
        let right = told(query, "192.0.2.1");
        let mut of_another = told(query, "192.0.2.2");
        of_another.metadata.id ^= 1;
        let mut about_another = told(query, "192.0.2.3");
        about_another.queries[0].set_query_type(RecordType::MX);
        let mut no_answer = told(query, "192.0.2.4");
        no_answer.metadata.message_type = MessageType::Query;
        vec![of_another, about_another, no_answer, right]
    });
    assert_eq!(ask(GATEWAY, "example.com.", RecordType::A), "NoError 192.0.2.1");
    assert_eq!(ask(GATEWAY6, "single.", RecordType::A), "NoError 192.0.2.1");
    std::fs::write(site.scratch.path().join("resolv.conf"), "# nobody\n").unwrap();
    site.settles("example.com.", RecordType::A, "ServFail");
}

#[test]
fn one_server_is_away_and_one_is_silent() {
    let _site = Site::start(&["127.0.9.1", "127.0.9.2", "127.0.9.3"], false);
    serve("127.0.9.2", |_| vec![]);
    serve("127.0.9.3", |query| vec![told(query, "192.0.2.1")]);
    assert_eq!(ask(GATEWAY, "example.com.", RecordType::A), "NoError 192.0.2.1");
}

#[test]
fn a_long_answer_comes_by_stream() {
    let _site = Site::start(&["127.0.9.1", "127.0.9.2"], false);
    serve("127.0.9.2", |query| {
        let mut cut = told(query, "192.0.2.1");
        cut.answers.clear();
        cut.metadata.truncation = true;
        vec![cut]
    });
    let listener = TcpListener::bind("127.0.9.2:53").unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let query = read_frame(&mut stream);
            write_frame(&mut stream, &told(&query, "192.0.2.7"));
        }
    });
    assert_eq!(ask(GATEWAY, "example.com.", RecordType::A), "NoError", "cut off");
    let mut stream = TcpStream::connect(GATEWAY).unwrap();
    for _ in 0..3 {
        assert_eq!(ask_by_stream(&mut stream, "example.com.", RecordType::A), "NoError 192.0.2.7");
    }
    // Whoever says that it will ask nothing more gets what it asked before.
    write_frame(&mut stream, &query("example.com.", RecordType::A));
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read(&read_frame(&mut stream)), "NoError 192.0.2.7");
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn nothing_leaves_an_internal_network() {
    let site = Site::start(&["127.0.9.1"], true);
    serve("127.0.9.1", |query| vec![told(query, "192.0.2.1")]);
    site.add(1, "web", &[], &["10.1.0.2/24"]);
    site.settles("web.", RecordType::A, "NoError 10.1.0.2");
    assert_eq!(ask(GATEWAY, "example.com.", RecordType::A), "ServFail");
}

#[test]
fn more_than_it_takes_at_once() {
    let _site = Site::start(&["127.0.9.1"], false);
    // A server that says nothing: every question stays open.
    serve("127.0.9.1", |_| vec![]);
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(GATEWAY).unwrap();
    let question = query("example.com.", RecordType::A).to_vec().unwrap();
    let mut buffer = [0; 512];
    socket.send(b"?").unwrap();
    for _ in 0..2 * 1024 {
        socket.send(&question).unwrap();
        std::thread::sleep(Duration::from_micros(20));
    }
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(read(&buffer[..length]), "ServFail", "the oldest one");
    let mut streams: Vec<_> = (0..80).map(|_| TcpStream::connect(GATEWAY).unwrap()).collect();
    let mut last = streams.pop().unwrap();
    assert_eq!(ask_by_stream(&mut last, "1.0.1.10.in-addr.arpa.", RecordType::PTR), "NXDomain");
    streams[0].set_read_timeout(Some(PATIENCE)).unwrap();
    let closed = streams[0].read(&mut [0]);
    assert!(
        closed.as_ref().is_ok_and(|length| *length == 0)
            || closed.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
    );
}

#[test]
fn a_second_one_ends_at_once() {
    let mut site = Site::start(&[], false);
    let (mut second, ready) = launch(site.scratch.path());
    assert!(second.wait().unwrap().success() && !ready);
    let process = format!("/proc/{}", site.resolver.id());
    assert_eq!(std::fs::read_link(format!("{process}/cwd")).unwrap(), Path::new("/"));
    assert_eq!(std::fs::read_to_string(format!("{process}/comm")).unwrap(), "holm-netd\n");
    let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
    assert!(status.contains("CapPrm:\t0000000000000400\n"), "no right but that to bind to a port below 1024");
    assert_eq!(ask(GATEWAY, "1.0.1.10.in-addr.arpa.", RecordType::PTR), "NXDomain");
    let pid = rustix::process::Pid::from_child(&site.resolver);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(site.end().success());
    let (mut third, ready) = launch(site.scratch.path());
    assert!(ready, "the lock is free again");
    std::fs::remove_dir_all(site.claims()).unwrap();
    assert!(third.wait().unwrap().success(), "it ends with the network");
}

#[test]
fn it_ends_when_nobody_is_there() {
    let mut site = Site::start(&[], false);
    site.add(1, "web", &[], &["10.1.0.2/24"]);
    site.settles("web.", RecordType::A, "NoError 10.1.0.2");
    assert!(site.resolver.try_wait().unwrap().is_none());
    site.remove("10.1.0.2");
    assert!(site.end().success());
    let left: Vec<_> = site.claims().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".netd.lock"]);
    let gateway: SocketAddr = GATEWAY.parse().unwrap();
    assert!(UdpSocket::bind(gateway).is_ok() && TcpListener::bind(gateway).is_ok());
}
