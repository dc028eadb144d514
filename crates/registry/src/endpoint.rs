//! Where a registry is, from its name in a reference. Pure.

use std::net::{IpAddr, Ipv6Addr};

/// Docker's own registry, as references name it.
pub const DOCKER: &str = "docker.io";
/// The host below its domain that answers.
const DOCKER_HOST: &str = "registry-1";

/// The host, with its port, that answers for a registry.
pub fn host(domain: &str) -> String {
    if domain == DOCKER { format!("{DOCKER_HOST}.{DOCKER}") } else { domain.to_owned() }
}

/// Whether a host, perhaps with a port, is this machine itself: `localhost`, 127.0.0.0/8, `[::1]`.
pub fn is_loopback(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let address = rest.split(']').next().unwrap_or_default();
        return address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
    }
    let name = host.split(':').next().unwrap_or_default();
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether credentials may go to `url`: over TLS, or to this machine itself.
pub fn is_private(url: &str) -> bool {
    match url.split_once("://") {
        Some(("https", _)) => true,
        Some(("http", rest)) => {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            !authority.contains('@') && is_loopback(authority)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known_by_its_name_and_addresses() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:80", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "128.0.0.1", "[::2]:80", "127.0.0.1.example", "", "[", "docker.io"]
        {
            assert!(!is_loopback(host), "{host}");
        }
        assert_eq!(host("docker.io"), format!("{DOCKER_HOST}.docker.io"));
        assert_eq!(host("registry.example:5000"), "registry.example:5000");
    }

    #[test]
    fn credentials_stay_private() {
        for url in ["https://a/t", "http://127.0.0.1:5001/t", "http://localhost"] {
            assert!(is_private(url), "{url}");
        }
        for url in ["http://a/t", "ftp://localhost", "http://localhost:1@evil.example/", "localhost", ""] {
            assert!(!is_private(url), "{url}");
        }
    }
}
