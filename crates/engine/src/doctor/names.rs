//! Whether the host's name servers answer: workloads ask them for whatever their own networks do not know.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use holm_network::etc;

use super::Check;
use super::Need::Settings;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const PORT: u16 = 53;
/// How long each may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Who serves the root (RFC 1035 section 4.1): every server has an answer to that, if only that it refuses.
const QUESTION: [u8; 17] = [0x68, 0x6d, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];

pub(super) fn examine() -> Check {
    let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    judge(&etc::nameservers(&text).collect::<Vec<_>>(), answers)
}

fn judge(servers: &[IpAddr], answers: impl Fn(IpAddr) -> bool + Sync) -> Check {
    const HINT: &str = "correct /etc/resolv.conf, or name one that answers with --dns";
    let means = "workloads find the names of their networks only";
    let check = |found: String| Check::ok("name servers", Settings, found);
    if servers.is_empty() {
        return check(format!("{RESOLV_CONF} names none")).limited(means, HINT);
    }
    let answer: Vec<bool> = std::thread::scope(|scope| {
        let asked: Vec<_> = servers.iter().map(|server| scope.spawn(|| answers(*server))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap_or(false)).collect()
    });
    let listed = |wanted: bool| {
        let servers = servers.iter().zip(&answer).filter(|(_, answers)| **answers == wanted);
        servers.map(|(server, _)| server.to_string()).collect::<Vec<_>>().join(", ")
    };
    match (listed(true), listed(false)) {
        (some, none) if none.is_empty() => check(format!("{some} answers")),
        (some, none) if some.is_empty() => check(format!("no answer from {none}")).limited(means, HINT),
        (some, none) => check(format!("{some} answers, {none} does not")).limited(
            "a name may take seconds to be found",
            "remove what does not answer from /etc/resolv.conf",
        ),
    }
}

fn answers(server: IpAddr) -> bool {
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let asked = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect((server, PORT))?;
        socket.send(&QUESTION)?;
        socket.recv(&mut [0; 512])
    });
    asked.is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn who_answers_is_told_from_who_does_not() {
        let servers: Vec<IpAddr> = vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        let found = |answers: &(dyn Fn(IpAddr) -> bool + Sync)| {
            let check = judge(&servers, answers);
            (check.found, check.state)
        };
        assert_eq!(found(&|_| true), ("10.0.0.1, 10.0.0.2 answers".to_owned(), State::Ok));
        assert_eq!(found(&|_| false), ("no answer from 10.0.0.1, 10.0.0.2".to_owned(), State::Limited));
        let second = |server| server == servers[1];
        assert_eq!(found(&second), ("10.0.0.2 answers, 10.0.0.1 does not".to_owned(), State::Limited));
        assert_eq!(judge(&[], |_| true).state, State::Limited);
    }
}
