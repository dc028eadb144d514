//! The list of a network for which somebody says `-d cni` and brings no list: a bridge of Debian's plugins. Pure.

use std::net::IpAddr;
use std::path::Path;

use holm_spec::network::{Network, Pool};
use serde_json::{Value, json};

/// `leases` is the directory in which addresses are kept that are taken.
pub(crate) fn list(network: &Network, leases: &Path) -> Value {
    let leads_out = !network.internal;
    let mut bridge = json!({
        "type": "bridge",
        "bridge": network.interface,
        "isGateway": leads_out,
        "ipMasq": leads_out,
        "hairpinMode": true,
        "capabilities": { "ips": true, "mac": true },
        "ipam": {
            "type": "host-local",
            "dataDir": leases,
            "ranges": network.pools.iter().map(|pool| json!([range(pool)])).collect::<Vec<_>>(),
        },
    });
    if let Some(mtu) = network.mtu {
        bridge["mtu"] = mtu.into();
    }
    let mut plugins = vec![bridge];
    if leads_out {
        plugins[0]["ipam"]["routes"] = network.pools.iter().map(everywhere).collect();
        plugins.push(json!({ "type": "portmap", "snat": true, "capabilities": { "portMappings": true } }));
        // As with Holm's own bridges, workloads of different networks do not reach each other.
        plugins.push(json!({ "type": "firewall", "ingressPolicy": "same-bridge" }));
    }
    json!({ "cniVersions": super::list::VERSIONS, "name": network.name, "plugins": plugins })
}

fn range(pool: &Pool) -> Value {
    let mut range = json!({ "subnet": pool.subnet, "gateway": pool.gateway });
    if let Some(part) = pool.range {
        // The plugin refuses the first and the last address of the block.
        let first = part.nth(if part.address == pool.subnet.address { 1 } else { 0 });
        let is_end = part.nth(part.size() - 1) == pool.subnet.nth(pool.subnet.size() - 1);
        let last = part.nth(part.size() - if is_end && part.address.is_ipv4() { 2 } else { 1 });
        range["rangeStart"] = json!(first);
        range["rangeEnd"] = json!(last);
    }
    range
}

fn everywhere(pool: &Pool) -> Value {
    json!({ "dst": if matches!(pool.gateway, IpAddr::V4(_)) { "0.0.0.0/0" } else { "::/0" } })
}

#[cfg(test)]
mod tests {
    use holm_spec::network::{Driver, VERSION};
    use holm_spec::{Id, Timestamp};

    use super::*;

    fn network(internal: bool) -> Network {
        let pool = |subnet: &str, gateway: &str, range: Option<&str>| Pool {
            subnet: subnet.parse().expect("a block"),
            gateway: gateway.parse().expect("an address"),
            range: range.map(|range| range.parse().expect("a block")),
        };
        Network {
            version: VERSION,
            id: Id::from_bytes([7; 32]),
            name: "n".into(),
            driver: Driver::Cni,
            interface: "holm-1".into(),
            created: Timestamp::default(),
            pools: vec![
                pool("10.9.0.0/24", "10.9.0.1", Some("10.9.0.128/25")),
                pool("fd00::/64", "fd00::1", None),
            ],
            internal,
            mtu: Some(1400),
            labels: [].into(),
            options: [].into(),
            plugins: None,
        }
    }

    #[test]
    fn a_bridge_with_a_way_out() {
        let list = list(&network(false), Path::new("/x"));
        let bridge = &list["plugins"][0];
        assert_eq!(
            (&bridge["isGateway"], &bridge["ipMasq"], &bridge["mtu"]),
            (&json!(true), &json!(true), &json!(1400))
        );
        let range = json!({ "subnet": "10.9.0.0/24", "gateway": "10.9.0.1", "rangeStart": "10.9.0.128", "rangeEnd": "10.9.0.254" });
        let ipam = json!({
            "type": "host-local", "dataDir": "/x",
            "ranges": [[range], [{ "subnet": "fd00::/64", "gateway": "fd00::1" }]],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
        });
        assert_eq!(bridge["ipam"], ipam);
        assert_eq!(super::super::list::programs(&list), ["bridge", "firewall", "host-local", "portmap"]);
        assert!(super::super::list::parse(list.to_string().as_bytes(), "n").is_ok());
    }

    #[test]
    fn one_that_leads_nowhere() {
        let list = list(&network(true), Path::new("/x"));
        assert_eq!(super::super::list::programs(&list), ["bridge", "host-local"]);
        assert_eq!(
            (&list["plugins"][0]["isGateway"], &list["plugins"][0]["ipam"]["routes"]),
            (&json!(false), &Value::Null)
        );
    }
}
