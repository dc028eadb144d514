//! What `resolv.conf` says (resolv.conf(5)): name servers, search domains, options. Pure.
//!
//! The file is the host's, and anything may be in it: what is no directive is skipped, as the C libraries do, and no
//! list grows beyond its bound.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// The host's file.
pub const HOST: &str = "/etc/resolv.conf";

/// Where systemd-resolved keeps the servers that it asks itself, for those who cannot reach its own address.
pub const BEHIND_RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// Bytes of the file that are looked at.
pub const MOST_BYTES: usize = 64 * 1024;

/// Name servers that are kept; the C libraries ask no more, either.
const MOST_SERVERS: usize = 3;

/// Search domains and options that are kept, of each.
const MOST_WORDS: usize = 32;

/// A server of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nameserver {
    /// Its address.
    pub address: IpAddr,
    /// The interface behind which an address of one link is: `eth0` of `fe80::1%eth0`.
    pub interface: Option<String>,
}

impl Nameserver {
    fn parse(word: &str) -> Option<Self> {
        let (address, interface) = word.split_once('%').map_or((word, None), |(a, i)| (a, Some(i)));
        let address = address.parse().ok()?;
        Some(Self { address, interface: interface.map(str::to_owned) })
    }

    /// Whether only processes in the host's own network can reach it.
    pub fn is_local(&self) -> bool {
        self.address.to_canonical().is_loopback()
    }

    /// Where it is asked; `index` gives the number of an interface.
    pub fn socket_address(&self, index: impl FnOnce(&str) -> Option<u32>) -> SocketAddr {
        match self.address {
            IpAddr::V4(address) => (address, crate::PORT).into(),
            IpAddr::V6(address) => {
                // A number is as good as a name.
                let scope =
                    self.interface.as_deref().and_then(|name| name.parse().ok().or_else(|| index(name)));
                SocketAddrV6::new(address, crate::PORT, 0, scope.unwrap_or(0)).into()
            }
        }
    }
}

/// The directives of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// Servers, in the order in which they are asked; at most three.
    pub nameservers: Vec<Nameserver>,
    /// Domains in which a short name is looked for, by the last `search` or `domain`.
    pub search: Vec<String>,
    /// Options as they stand there: `ndots:2`.
    pub options: Vec<String>,
}

impl ResolvConf {
    /// Reads the text of a file, or the beginning of one that is too long.
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => conf.add_server(words.next()),
                Some("search") => conf.search = bounded(words),
                Some("domain") => conf.search = bounded(words.take(1)),
                Some("options") => {
                    conf.options.extend(words.map(str::to_owned));
                    conf.options.truncate(MOST_WORDS);
                }
                _ => {}
            }
        }
        conf
    }

    fn add_server(&mut self, word: Option<&str>) {
        if self.nameservers.len() < MOST_SERVERS {
            self.nameservers.extend(word.and_then(Nameserver::parse));
        }
    }

    /// Whether every server is one that only the host itself can reach.
    pub fn is_local(&self) -> bool {
        !self.nameservers.is_empty() && self.nameservers.iter().all(Nameserver::is_local)
    }
}

fn bounded<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    words.take(MOST_WORDS).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(text: &str) -> Vec<String> {
        let conf = ResolvConf::parse(text);
        conf.nameservers.iter().map(|server| server.socket_address(|_| Some(7)).to_string()).collect()
    }

    #[test]
    fn servers_are_asked_in_their_order() {
        for (text, wanted) in [
            ("", &[][..]),
            ("nameserver 10.0.0.1\nnameserver fd00::1 # the other", &["10.0.0.1:53", "[fd00::1]:53"]),
            ("nameserver\nnameserver ten\nnameserver\t10.0.0.1\r\n", &["10.0.0.1:53"]),
            ("#nameserver 10.0.0.1\n;nameserver 10.0.0.2\nNameserver 10.0.0.3", &[]),
            ("nameserver fe80::1%eth0\nnameserver fe80::2%3", &["[fe80::1%7]:53", "[fe80::2%3]:53"]),
            (
                "nameserver 1.0.0.1\nnameserver 1.0.0.2\nnameserver 1.0.0.3\nnameserver 1.0.0.4",
                &["1.0.0.1:53", "1.0.0.2:53", "1.0.0.3:53"],
            ),
        ] {
            assert_eq!(servers(text), wanted, "{text}");
        }
    }

    #[test]
    fn the_last_search_counts_and_all_options_do() {
        let text = "search a.example b.example\noptions ndots:2\ndomain c.example d\noptions edns0 rotate\n";
        let conf = ResolvConf::parse(text);
        assert_eq!(conf.search, ["c.example"]);
        assert_eq!(conf.options, ["ndots:2", "edns0", "rotate"]);
        assert!(ResolvConf::parse("search a\nsearch").search.is_empty());
    }

    #[test]
    fn no_list_grows_without_end() {
        let many = "options a b c d e f g h\nsearch".to_owned() + &" x".repeat(1000) + "\n";
        let conf = ResolvConf::parse(&many.repeat(100));
        assert_eq!((conf.search.len(), conf.options.len()), (MOST_WORDS, MOST_WORDS));
    }

    #[test]
    fn what_only_the_host_can_reach() {
        for (text, local) in [
            ("", false),
            ("nameserver 127.0.0.53", true),
            ("nameserver ::1\nnameserver 127.0.0.1\nnameserver ::ffff:127.0.0.1", true),
            ("nameserver 127.0.0.53\nnameserver 10.0.0.1", false),
        ] {
            assert_eq!(ResolvConf::parse(text).is_local(), local, "{text}");
        }
    }
}
