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

/// `/etc/resolv.conf` of a workload that has networks. `servers` are those of its networks, and ask those that were asked
/// for; where there are none, or none of them knows more than its own network (`alone`), those that were asked for follow,
/// or those of the host that are not on its loopback, which the workload cannot reach.
pub fn resolv_conf(host: &str, asked: &Resolver, servers: &[IpAddr], alone: bool) -> String {
    let mut servers = servers.to_vec();
    if alone {
        let of_host = nameservers(host).filter(|server| !server.is_loopback());
        if asked.servers.is_empty() { servers.extend(of_host) } else { servers.extend(&asked.servers) }
    }
    written(host, asked, &servers)
}

/// The same of a workload that has the host's network, or none.
pub fn hosts_resolv_conf(host: &str, asked: &Resolver) -> String {
    let of_host: Vec<IpAddr> = nameservers(host).collect();
    written(host, asked, if asked.servers.is_empty() { &of_host } else { &asked.servers })
}

/// The host's file, or the one that stands behind it if all servers of the first are on its loopback.
pub fn reachable(host: String, behind: impl FnOnce() -> String) -> String {
    if nameservers(&host).all(|server| server.is_loopback()) {
        let behind = behind();
        if nameservers(&behind).next().is_some() {
            return behind;
        }
    }
    host
}

fn written(host: &str, asked: &Resolver, servers: &[IpAddr]) -> String {
    let mut text = String::new();
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    for (keyword, asked) in [("search", &asked.search), ("options", &asked.options)] {
        if !asked.is_empty() {
            let _ = writeln!(text, "{keyword} {}", asked.join(" "));
            continue;
        }
        for line in host.lines().filter(|line| value(line, keyword).is_some()) {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

/// The servers that a file like `/etc/resolv.conf` names.
pub fn nameservers(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(|line| value(line, "nameserver")?.parse().ok())
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
    fn who_is_asked_for_names() {
        let host = "# by hand\nnameserver 127.0.0.53\nnameserver 10.0.0.1\nsearch a b\noptions edns0\n";
        let rest = "search a b\noptions edns0\n";
        let nothing = Resolver::default();
        assert_eq!(resolv_conf(host, &nothing, &[], true), format!("nameserver 10.0.0.1\n{rest}"));
        let both = "nameserver 127.0.0.53\nnameserver 10.0.0.1\n";
        assert_eq!(hosts_resolv_conf(host, &nothing), format!("{both}{rest}"));
        let ours = addresses(&["172.18.0.1"]);
        assert_eq!(resolv_conf(host, &nothing, &ours, false), format!("nameserver 172.18.0.1\n{rest}"));
        let alone = "nameserver 172.18.0.1\nnameserver 10.0.0.1\n";
        assert_eq!(resolv_conf(host, &nothing, &ours, true), format!("{alone}{rest}"));
        let asked = Resolver {
            servers: addresses(&["1.1.1.1", "::2"]),
            search: vec!["x".into(), "y".into()],
            options: vec!["ndots:2".into(), "rotate".into()],
        };
        let rest = "search x y\noptions ndots:2 rotate\n";
        let servers = "nameserver 1.1.1.1\nnameserver ::2\n";
        assert_eq!(resolv_conf(host, &asked, &[], true), format!("{servers}{rest}"));
        assert_eq!(hosts_resolv_conf(host, &asked), format!("{servers}{rest}"));
        assert_eq!(resolv_conf(host, &asked, &ours, false), format!("nameserver 172.18.0.1\n{rest}"));
    }

    #[test]
    fn what_only_the_host_reaches_is_looked_behind() {
        let resolved = || "nameserver 127.0.0.53\n".to_owned();
        let behind = || "nameserver 10.0.0.1\n".to_owned();
        assert_eq!(reachable(resolved(), behind), behind());
        assert_eq!(reachable(resolved(), String::new), resolved());
        assert_eq!(reachable(behind(), || unreachable!("it can be reached")), behind());
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
