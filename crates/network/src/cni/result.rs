//! What plugins answer: results (CNI specification 1.1, section 5) and errors. Pure; whoever wrote the plugin is trusted to run
//! as root, and not to write what can be read.

use std::net::IpAddr;

use holm_spec::network::{HardwareAddress, Subnet};
use holm_spec::workload::Resolver;
use serde::Deserialize;
use serde_json::Value;

/// Most addresses, name servers or domains of a result.
const LIMIT: usize = 64;
/// Longest message of a plugin's that is shown, in characters.
const SHOWN: usize = 500;

/// What a sandbox was given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    /// With the network's prefix, IPv4 first.
    pub(crate) addresses: Vec<Subnet>,
    pub(crate) gateways: Vec<IpAddr>,
    pub(crate) hardware: Option<HardwareAddress>,
    /// The host's device that goes with the sandbox's, if one is named.
    pub(crate) host_interface: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    interfaces: Vec<Interface>,
    ips: Vec<Ip>,
    dns: Dns,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Interface {
    name: String,
    mac: String,
    sandbox: String,
}

#[derive(Deserialize)]
struct Ip {
    address: String,
    #[serde(default)]
    gateway: Option<String>,
    #[serde(default)]
    interface: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Dns {
    nameservers: Vec<String>,
    domain: String,
    search: Vec<String>,
    options: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Failure {
    msg: String,
    details: String,
}

/// What the last plugin's result says of a device of the sandbox's.
///
/// # Errors
/// Why it cannot be understood.
pub(crate) fn given(result: &Value, interface: &str) -> Result<Given, String> {
    let read = read(result)?;
    let of_sandbox = |one: &&Interface| !one.sandbox.is_empty() && one.name == interface;
    let device = read.interfaces.iter().find(of_sandbox);
    let mut given = Given {
        hardware: device.and_then(|device| device.mac.parse().ok()),
        host_interface: read
            .interfaces
            .iter()
            .rfind(|one| one.sandbox.is_empty())
            .map(|one| one.name.clone())
            .unwrap_or_default(),
        ..Given::default()
    };
    for ip in &read.ips {
        let is_others = ip.interface.is_some_and(|index| {
            read.interfaces
                .get(index)
                .is_some_and(|other| other.sandbox.is_empty() || other.name != interface)
        });
        if is_others {
            continue;
        }
        given.addresses.push(ip.address.parse()?);
        if let Some(gateway) = ip.gateway.as_deref().filter(|gateway| !gateway.is_empty()) {
            given.gateways.push(gateway.parse().map_err(|_| format!("`{}` is no gateway", shown(gateway)))?);
        }
    }
    given.addresses.sort_by_key(|address| address.address.is_ipv6());
    Ok(given)
}

/// What a result says of names.
pub(crate) fn resolver(result: &Value) -> Resolver {
    let dns = read(result).unwrap_or_default().dns;
    // A line has one keyword; whatever would begin another one is left out.
    let is_word = |word: &String| !word.is_empty() && word.chars().all(|one| one.is_ascii_graphic());
    let domain = Some(dns.domain).filter(|_| dns.search.is_empty());
    Resolver {
        servers: dns.nameservers.iter().filter_map(|server| server.parse().ok()).collect(),
        search: dns.search.into_iter().chain(domain).filter(is_word).collect(),
        options: dns.options.into_iter().filter(is_word).collect(),
    }
}

fn read(result: &Value) -> Result<Answer, String> {
    if !result.is_object() {
        return Err("it is no object".into());
    }
    let read = Answer::deserialize(result).map_err(|error| error.to_string())?;
    let Dns { nameservers, search, options, .. } = &read.dns;
    let lengths = [read.interfaces.len(), read.ips.len(), nameservers.len(), search.len(), options.len()];
    match lengths.iter().all(|length| *length <= LIMIT) {
        true => Ok(read),
        false => Err(format!("it says more than {LIMIT} of one thing")),
    }
}

/// What a plugin says that failed: on its standard output an error (section 5), or else whatever it said for people.
pub(crate) fn failure(output: &[u8], complaint: &[u8]) -> String {
    let read: Failure = serde_json::from_slice(output).unwrap_or_default();
    let parts = [read.msg.trim(), read.details.trim()].map(shown);
    let said = parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(": ");
    if said.is_empty() { shown(String::from_utf8_lossy(complaint).trim()) } else { said }
}

/// In one line, and not all of a long text.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    shown = shown.replace("\\\"", "\"").replace("\\'", "'");
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_those_of_the_sandboxs_device() {
        let result = json!({
            "cniVersion": "1.0.0",
            "interfaces": [
                { "name": "cni0", "mac": "02:00:00:00:00:01" },
                { "name": "veth12", "mac": "02:00:00:00:00:02" },
                { "name": "eth0", "mac": "02:00:00:00:00:03", "sandbox": "/x" },
                { "name": "eth9", "mac": "02:00:00:00:00:04", "sandbox": "/x" },
            ],
            "ips": [
                { "address": "fd00::2/64", "interface": 2 },
                { "address": "10.1.0.2/24", "gateway": "10.1.0.1", "interface": 2, "version": "4" },
                { "address": "10.9.0.2/24", "interface": 3 },
                { "address": "10.8.0.1/24", "interface": 0 },
            ],
            "dns": { "nameservers": ["10.1.0.53", "nonsense"], "domain": "a", "options": ["ndots:1", "x\nnameserver y"] },
        });
        let given = given(&result, "eth0").expect("a result");
        let texts: Vec<String> = given.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.1.0.2/24", "fd00::2/64"]);
        assert_eq!(given.gateways, ["10.1.0.1".parse::<IpAddr>().expect("an address")]);
        assert_eq!(given.hardware.map(|address| address.to_string()).as_deref(), Some("02:00:00:00:00:03"));
        assert_eq!(given.host_interface, "veth12");
        let names = resolver(&result);
        assert_eq!(
            (names.servers.len(), names.search, names.options),
            (1, vec!["a".to_owned()], vec!["ndots:1".to_owned()])
        );
        assert_eq!(super::given(&json!({}), "eth0"), Ok(Given::default()));
    }

    #[test]
    fn nonsense_is_told() {
        for result in [
            json!([]),
            json!({ "ips": [{}] }),
            json!({ "ips": [{ "address": "10.0.0.1" }] }),
            json!({ "ips": [{ "address": "10.0.0.1/8", "gateway": "x" }] }),
            json!({ "ips": [{ "address": "10.0.0.1/8", "interface": -1 }] }),
            json!({ "interfaces": vec![json!({}); LIMIT + 1] }),
        ] {
            assert!(given(&result, "eth0").is_err(), "{result}");
        }
    }

    #[test]
    fn failures_are_told_in_one_line() {
        let said = br#"{"cniVersion":"1.0.0","code":7,"msg":"no \"good\"","details":"really\nnot"}"#;
        assert_eq!(failure(said, b"ignored"), r#"no "good": really\nnot"#);
        assert_eq!(failure(b"garbage", b" not found\n"), "not found");
        assert_eq!(failure(b"", b"").len(), 0);
        assert_eq!(failure(b"", &[b'x'; 10_000]).chars().count(), SHOWN + 1);
    }
}
