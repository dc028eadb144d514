//! `--publish`, `--expose` and `--add-host`.

use std::net::IpAddr;

use holm_spec::network::{Port, Protocol, Publication};
use holm_spec::workload::ExtraHost;

use super::network::address;

/// `[IP:][HOST PORTS:]PORTS[/PROTOCOL]`, as with Docker: one publication a port.
///
/// # Errors
/// What is no port, ranges of different lengths.
pub fn parse(text: &str) -> Result<Vec<Publication>, String> {
    let (rest, protocol) = split_protocol(text)?;
    let (rest, ports) = rest.rsplit_once(':').map_or((None, rest), |(rest, ports)| (Some(rest), ports));
    let (host, host_ports) = match rest {
        None => (None, ""),
        Some(rest) => match rest.rsplit_once(':') {
            // `[::1]:80`: the last colon may be within the brackets.
            Some(_) if rest.starts_with('[') && rest.ends_with(']') => (Some(rest), ""),
            Some((host, ports)) => (Some(host), ports),
            None if rest.contains('.') => {
                return Err(format!("`{text}`: say {rest}::{ports} for any port of the host"));
            }
            None => (None, rest),
        },
    };
    let host = host.filter(|host| !host.is_empty()).map(host_address).transpose()?.flatten();
    let (first, last) = range(ports)?;
    let length = last - first;
    let publication = |offset: u16, host_ports| Publication {
        port: Port { number: first + offset, protocol },
        host,
        host_ports,
    };
    if host_ports.is_empty() {
        return Ok((0..=length).map(|offset| publication(offset, (0, 0))).collect());
    }
    let (host_first, host_last) = match host_ports {
        "0" => (0, 0),
        ports => range(ports)?,
    };
    match (length, host_last - host_first) {
        (0, _) => Ok(vec![publication(0, (host_first, host_last))]),
        (length, of_host) if length == of_host => {
            let number = |offset| (host_first + offset, host_first + offset);
            Ok((0..=length).map(|offset| publication(offset, number(offset))).collect())
        }
        (length, of_host) => {
            Err(format!("`{text}`: {} ports of the host for {} of the workload", of_host + 1, length + 1))
        }
    }
}

/// All addresses of both families are the same as no address.
fn host_address(text: &str) -> Result<Option<IpAddr>, String> {
    address(text).map(Some)
}

/// `PORTS[/PROTOCOL]`.
///
/// # Errors
/// What is no port.
pub fn parse_exposed(text: &str) -> Result<Vec<Port>, String> {
    let (ports, protocol) = split_protocol(text)?;
    let (first, last) = range(ports)?;
    Ok((first..=last).map(|number| Port { number, protocol }).collect())
}

fn split_protocol(text: &str) -> Result<(&str, Protocol), String> {
    match text.rsplit_once('/') {
        Some((_, "sctp")) => Err("ports of SCTP are not supported: tcp and udp are".into()),
        Some((rest, protocol)) => Ok((rest, protocol.parse()?)),
        None => Ok((text, Protocol::Tcp)),
    }
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err(format!("`{text}` is no port: 1 to 65535, or a range of these")),
    }
}

/// `NAME:ADDRESS`, `NAME=ADDRESS`, or `NAME:host-gateway`.
///
/// # Errors
/// There is no name, or no address.
pub fn parse_host(text: &str) -> Result<ExtraHost, String> {
    let refused = || format!("`{text}` is not NAME:ADDRESS");
    let (name, value) = text.split_once(['=', ':']).ok_or_else(refused)?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(refused());
    }
    let address = if value == "host-gateway" { None } else { Some(address(value)?) };
    Ok(ExtraHost { name: name.to_owned(), address })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        let one = |one: &Publication| {
            let host = one.host.map(|host| format!("{host} ")).unwrap_or_default();
            format!("{host}{}-{}>{}", one.host_ports.0, one.host_ports.1, one.port)
        };
        parse(text).map(|all| all.iter().map(one).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn ports_of_the_host() {
        for (text, expected) in [
            ("80", "0-0>80/tcp"),
            ("8080:80", "8080-8080>80/tcp"),
            ("8080:80/udp", "8080-8080>80/udp"),
            ("127.0.0.1:8080:80", "127.0.0.1 8080-8080>80/tcp"),
            ("127.0.0.1::80", "127.0.0.1 0-0>80/tcp"),
            ("0:80", "0-0>80/tcp"),
            ("[::1]:8080:80", "::1 8080-8080>80/tcp"),
            ("[::1]::80", "::1 0-0>80/tcp"),
            ("9000-9002:80", "9000-9002>80/tcp"),
            ("9000-9001:80-81", "9000-9000>80/tcp 9001-9001>81/tcp"),
            ("80-81", "0-0>80/tcp 0-0>81/tcp"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, words) in [
            ("", "is no port"),
            ("http", "is no port"),
            ("0", "is no port"),
            ("70000", "is no port"),
            ("81-80", "is no port"),
            ("1-3:80-81", "3 ports of the host for 2"),
            ("80/icmp", "no protocol"),
            ("80/sctp", "SCTP"),
            ("localhost:80:80", "is no address"),
            ("127.0.0.1:80", "say 127.0.0.1::80"),
        ] {
            let error = shown(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn names_of_hosts() {
        let db = ExtraHost { name: "db".into(), address: Some("10.0.0.1".parse().expect("an address")) };
        assert_eq!((parse_host("db:10.0.0.1"), parse_host("db=10.0.0.1")), (Ok(db.clone()), Ok(db)));
        assert_eq!(parse_host("me:host-gateway").map(|host| host.address), Ok(None));
        let six = parse_host("six:fd00::1").map(|host| host.address.map(|address| address.to_string()));
        assert_eq!(six, Ok(Some("fd00::1".into())));
        for text in ["db", ":10.0.0.1", "a b:10.0.0.1", "db:elsewhere"] {
            assert!(parse_host(text).is_err(), "{text}");
        }
    }
}
