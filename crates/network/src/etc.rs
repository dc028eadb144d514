//! `/etc/hosts` and `/etc/resolv.conf` of a workload. Pure.

use std::fmt::Write as _;
use std::net::IpAddr;

use holm_spec::network::Endpoint;
use holm_spec::workload::{ExtraHost, Resolver};

/// `/etc/hosts`: loopback, what was asked, then the workload itself by each of its addresses.
pub fn hosts(hostname: &str, extra: &[ExtraHost], endpoints: &[Endpoint]) -> String {
    let itself = endpoints.iter().flat_map(|endpoint| &endpoint.addresses).map(|address| address.address);
    let itself: Vec<IpAddr> = itself.collect();
    let local = if itself.is_empty() { format!("localhost {hostname}") } else { "localhost".to_owned() };
    let mut text = format!("127.0.0.1\t{local}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    let host = endpoints.iter().flat_map(|endpoint| &endpoint.gateways).next();
    for entry in extra {
        // Without a network there is no way to the host.
        if let Some(address) = entry.address.as_ref().or(host) {
            let _ = writeln!(text, "{address}\t{}", entry.name);
        }
    }
    for address in itself {
        let _ = writeln!(text, "{address}\t{hostname}");
    }
    text
}

/// `/etc/resolv.conf`: what was asked in place of what the host has. `servers` are those of a network, which ask those that
/// were asked for; without one, of the host's own only those count that are not on its loopback, which the workload cannot
/// reach.
pub fn resolv_conf(host: &str, asked: &Resolver, servers: &[IpAddr], own_loopback: bool) -> String {
    let reachable = |line: &&str| {
        let server = value(line, "nameserver").and_then(|server| server.parse::<IpAddr>().ok());
        !own_loopback || server.is_none_or(|server| !server.is_loopback())
    };
    let mut text = String::new();
    let mut section = |keyword: &str, asked: Vec<String>, one_line: bool| {
        if asked.is_empty() {
            for line in host.lines().filter(|line| value(line, keyword).is_some()).filter(reachable) {
                let _ = writeln!(text, "{line}");
            }
        } else if one_line {
            let _ = writeln!(text, "{keyword} {}", asked.join(" "));
        } else {
            for value in &asked {
                let _ = writeln!(text, "{keyword} {value}");
            }
        }
    };
    let servers = if servers.is_empty() { &asked.servers } else { servers };
    section("nameserver", servers.iter().map(IpAddr::to_string).collect(), false);
    section("search", asked.search.clone(), true);
    section("options", asked.options.clone(), true);
    text
}

/// The rest of a line that begins with a keyword.
fn value<'a>(line: &'a str, keyword: &str) -> Option<&'a str> {
    let rest = line.trim_start().strip_prefix(keyword)?;
    rest.starts_with([' ', '\t']).then(|| rest.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn what_was_asked_takes_the_place_of_the_hosts() {
        let host = "# by hand\nnameserver 127.0.0.53\nnameserver 10.0.0.1\nsearch a b\noptions edns0\n";
        let nothing = Resolver::default();
        assert_eq!(
            resolv_conf(host, &nothing, &[], true),
            "nameserver 10.0.0.1\nsearch a b\noptions edns0\n"
        );
        assert_eq!(
            resolv_conf(host, &nothing, &[], false),
            "nameserver 127.0.0.53\nnameserver 10.0.0.1\nsearch a b\noptions edns0\n"
        );
        let ours = addresses(&["172.18.0.1"]);
        assert_eq!(
            resolv_conf(host, &nothing, &ours, true),
            "nameserver 172.18.0.1\nsearch a b\noptions edns0\n"
        );
        let asked = Resolver {
            servers: addresses(&["1.1.1.1", "::2"]),
            search: vec!["x".into(), "y".into()],
            options: vec!["ndots:2".into(), "rotate".into()],
        };
        let expected = "nameserver 1.1.1.1\nnameserver ::2\nsearch x y\noptions ndots:2 rotate\n";
        assert_eq!(resolv_conf(host, &asked, &[], true), expected);
        let expected = "nameserver 172.18.0.1\nsearch x y\noptions ndots:2 rotate\n";
        assert_eq!(resolv_conf(host, &asked, &ours, true), expected);
    }

    #[test]
    fn hosts_without_a_network() {
        let extra = [
            ExtraHost { name: "db".into(), address: Some(addresses(&["10.0.0.7"])[0]) },
            ExtraHost { name: "host.docker.internal".into(), address: None },
        ];
        let expected = "127.0.0.1\tlocalhost box\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.7\tdb\n";
        assert_eq!(hosts("box", &extra, &[]), expected);
    }
}
