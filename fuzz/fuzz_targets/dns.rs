//! What workloads ask a network's resolver, what other servers answer, and the host's file that names them.
#![no_main]

use holm_netd::answer::{Transport, Verdict, answer, answers, failure, question};
use holm_netd::resolv_conf::ResolvConf;
use holm_netd::zone::Zone;
use holm_spec::network::{Driver, Endpoint, HardwareAddress, Network, Pool, VERSION};
use holm_spec::{Id, Timestamp};
use libfuzzer_sys::fuzz_target;

/// Most bytes of an answer in a datagram.
const LARGEST_DATAGRAM: usize = 1232;

thread_local! {
    static ZONE: Zone = Zone::new(&network(), &[endpoint(1, "web", "db"), endpoint(2, "many.names", "db")]);
}

fuzz_target!(|message: &[u8]| {
    ZONE.with(|zone| {
        for transport in [Transport::Datagram, Transport::Stream] {
            check(message, &answer(message, zone, transport), transport);
        }
    });
    let _ = ResolvConf::parse(&String::from_utf8_lossy(message));
});

fn check(query: &[u8], verdict: &Verdict, transport: Transport) {
    match verdict {
        Verdict::Reply(reply) => {
            assert_eq!(reply[..2], query[..2], "the client's id");
            assert_ne!(reply[2] & 0x80, 0, "an answer");
            assert!(transport == Transport::Stream || reply.len() <= LARGEST_DATAGRAM);
            // Unless the query is refused as a whole, what is answered is what was asked.
            assert!(reply.len() == 12 || answers(reply, query));
        }
        Verdict::Forward => {
            assert!(question(query).is_some());
            let failed = failure(query).expect("it is a query");
            assert!(answers(&failed, query));
        }
        Verdict::Nothing => {}
    }
}

fn network() -> Network {
    let pool = |subnet: &str, gateway: &str| Pool {
        subnet: subnet.parse().expect("a block"),
        gateway: gateway.parse().expect("an address"),
        range: None,
    };
    Network {
        version: VERSION,
        id: Id::from_bytes([9; 32]),
        name: "n".into(),
        driver: Driver::Bridge,
        interface: "lo".into(),
        created: Timestamp::default(),
        pools: vec![pool("10.0.0.0/8", "10.0.0.1"), pool("f000::/4", "f000::1")],
        internal: false,
        mtu: None,
        labels: [].into(),
        options: [].into(),
        plugins: None,
    }
}

fn endpoint(number: u8, name: &str, alias: &str) -> Endpoint {
    let addresses = (1..100).map(|last| format!("10.0.{number}.{last}/8"));
    let addresses = addresses.chain([format!("f000::{number}/4")]);
    Endpoint {
        version: VERSION,
        id: Id::from_bytes([number; 32]),
        sandbox: Id::from_bytes([number; 32]),
        name: name.into(),
        aliases: vec![alias.into()],
        network: "n".into(),
        driver: Driver::Bridge,
        interface: "eth0".into(),
        host_interface: "veth0".into(),
        hardware: HardwareAddress([2, 0, 0, 0, 0, number]),
        addresses: addresses.map(|address| address.parse().expect("a block")).collect(),
        gateways: vec![],
        ports: vec![],
        servers: vec![],
    }
}
