//! `EXPOSE`: ports and ranges of ports, with a protocol.

/// Ports of one word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
    /// `tcp`, `udp` or `sctp`, as it is written.
    pub protocol: String,
    /// An address or a port of the host stands in front, which says nothing here.
    pub has_host: bool,
}

impl Ports {
    /// `80/tcp`, for each port.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let protocol = self.protocol.to_ascii_lowercase();
        (self.first..=self.last).map(move |port| format!("{port}/{protocol}"))
    }
}

/// Reads `[[address:]host port:]port[-port][/protocol]`.
///
/// # Errors
/// A text of another form.
pub fn parse(text: &str) -> Result<Ports, String> {
    let mut parts = text.rsplitn(3, ':');
    let container = parts.next().unwrap_or_default();
    let (host, address) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (port, protocol) = container.split_once('/').unwrap_or((container, ""));
    if port.is_empty() {
        return Err(format!("`{text}` has no port"));
    }
    let protocol = if protocol.is_empty() { "tcp" } else { protocol };
    if !["tcp", "udp", "sctp"].contains(&protocol.to_ascii_lowercase().as_str()) {
        return Err(format!("`{text}` has no protocol that is known: tcp, udp or sctp"));
    }
    let no_port = |range: &str| format!("`{range}` is no port from 0 to 65535, and no range of these");
    let (first, last) = range(port).ok_or_else(|| no_port(port))?;
    check_address(address)?;
    if !host.is_empty() {
        let (host_first, host_last) = range(host).ok_or_else(|| no_port(host))?;
        if first != last && last - first != host_last - host_first {
            return Err(format!("`{text}` has ranges of different sizes"));
        }
    }
    let has_host = !(host.is_empty() && address.is_empty());
    Ok(Ports { first, last, protocol: protocol.to_owned(), has_host })
}

fn check_address(address: &str) -> Result<(), String> {
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    match bare.parse::<std::net::IpAddr>() {
        Err(_) if !address.is_empty() => Err(format!("`{address}` is no address")),
        _ => Ok(()),
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

fn number(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_ranges() {
        let cases: [(&str, &[&str], bool); 12] = [
            ("80", &["80/tcp"], false),
            ("80/UDP", &["80/udp"], false),
            ("80/", &["80/tcp"], false),
            ("3000-3002/sctp", &["3000/sctp", "3001/sctp", "3002/sctp"], false),
            ("80-80", &["80/tcp"], false),
            ("8080:80", &["80/tcp"], true),
            ("0.0.0.0:1234-1235:3333-3334/tcp", &["3333/tcp", "3334/tcp"], true),
            ("1000-2000:80", &["80/tcp"], true),
            ("[2001:4860:0:2001::68]::333", &["333/tcp"], true),
            ("::1:80:80", &["80/tcp"], true),
            ("::::80", &["80/tcp"], true),
            ("0", &["0/tcp"], false),
        ];
        for (text, names, has_host) in cases {
            let ports = parse(text).unwrap_or_else(|reason| panic!("{reason}"));
            assert_eq!(
                (ports.names().collect::<Vec<_>>(), ports.has_host),
                (names.iter().map(|name| name.to_string()).collect(), has_host),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_port() {
        for text in [
            "",
            "0.0.0.0:1:/tcp",
            "80/http",
            "65536",
            "-1",
            "2-1",
            "a",
            "1-2:3-5",
            "localhost:80:80",
            "+80",
            "80-",
            "80/tcp/udp",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
