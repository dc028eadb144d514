//! What plugins can carry, and what must be refused before anything is made. Pure.

use holm_spec::network::{Attachment, Driver, Endpoint, Network, Plugins};
use holm_spec::workload::Isolation;

use super::list;
use crate::error::{Error, Kind, Result};

/// What a workload is to have. Of `networks` there is one for each of `attachments`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fit<'a> {
    pub(crate) isolation: Isolation,
    pub(crate) attachments: &'a [Attachment],
    pub(crate) networks: &'a [Network],
    /// What it has already.
    pub(crate) present: &'a [Endpoint],
    /// Ports of the host are to lead to it.
    pub(crate) has_ports: bool,
}

/// # Errors
/// [`Kind::Unsupported`], [`Kind::Invalid`], by network.
pub(crate) fn check(fit: &Fit<'_>) -> Result<()> {
    let asked = fit.networks.iter().map(|network| (&network.name, network.driver));
    let all = asked.chain(fit.present.iter().map(|endpoint| (&endpoint.network, endpoint.driver)));
    let (carried, bridges): (Vec<_>, Vec<_>) = all.partition(|(_, driver)| *driver == Driver::Cni);
    let Some((network, _)) = carried.first() else { return Ok(()) };
    if let Some((other, _)) = bridges.first() {
        let text = format!(
            "networks `{network}` and `{other}`: a workload has either networks of CNI plugins, or of Holm's own bridges"
        );
        return Err(Error::new(Kind::Invalid, text));
    }
    if fit.isolation == Isolation::Vm {
        let text =
            format!("network `{network}`: its CNI plugins serve containers, and no virtual machines yet");
        return Err(Error::new(Kind::Unsupported, text));
    }
    for (attachment, network) in fit.attachments.iter().zip(fit.networks) {
        network.plugins.iter().try_for_each(|plugins| check_attachment(attachment, plugins))?;
    }
    let way_out = fit.networks.iter().filter(|_| fit.has_ports).find(|network| !network.internal);
    match way_out.and_then(|network| Some((&network.name, network.plugins.as_ref()?))) {
        Some((name, plugins)) => takes(plugins, "portMappings", name, "publishes ports"),
        None => Ok(()),
    }
}

fn check_attachment(attachment: &Attachment, plugins: &Plugins) -> Result<()> {
    if !attachment.aliases.is_empty() {
        takes(plugins, "aliases", &attachment.network, "knows names")?;
    }
    if attachment.address.is_some() && attachment.address6.is_some() {
        // Without it there is one argument for one address.
        takes(plugins, "ips", &attachment.network, "gives two addresses that are asked for")?;
    }
    Ok(())
}

fn takes(plugins: &Plugins, capability: &str, network: &str, what: &str) -> Result<()> {
    if list::has(&plugins.list, capability) {
        return Ok(());
    }
    let text = format!("network `{network}`: none of its CNI plugins {what} (the capability `{capability}`)");
    Err(Error::new(Kind::Invalid, text))
}

#[cfg(test)]
mod tests {
    use holm_spec::network::{Driver, VERSION};
    use holm_spec::{Id, Timestamp};
    use serde_json::{Value, json};

    use super::*;

    fn network(name: &str, capabilities: Option<Value>) -> Network {
        let plugins = capabilities.map(|capabilities| Plugins {
            path: Vec::new(),
            list: json!({ "plugins": [{ "type": "a", "capabilities": capabilities }] }),
        });
        Network {
            version: VERSION,
            id: Id::from_bytes([7; 32]),
            name: name.into(),
            driver: if plugins.is_some() { Driver::Cni } else { Driver::Bridge },
            interface: String::new(),
            created: Timestamp::default(),
            pools: Vec::new(),
            internal: false,
            mtu: None,
            labels: [].into(),
            options: [].into(),
            plugins,
        }
    }

    #[test]
    fn what_no_plugin_can_do_is_refused_by_network() {
        let ports = network("a", Some(json!({ "portMappings": true })));
        let nothing = network("b", Some(json!({})));
        let bridge = network("c", None);
        let attachment = |network: &str| Attachment { network: network.into(), ..Attachment::default() };
        let alias = Attachment { aliases: vec!["x".into()], ..attachment("b") };
        let two = Attachment {
            address: "10.0.0.1".parse().ok(),
            address6: "fd00::1".parse().ok(),
            ..attachment("b")
        };
        let (container, vm) = (Isolation::Container, Isolation::Vm);
        let one = |network: &Network| vec![network.clone()];
        for (isolation, attachment, networks, has_ports, words) in [
            (container, attachment("a"), one(&ports), true, None),
            (container, attachment("b"), one(&nothing), false, None),
            (vm, attachment("c"), one(&bridge), true, None),
            (container, attachment("b"), one(&nothing), true, Some("`portMappings`")),
            (container, alias, one(&nothing), false, Some("`aliases`")),
            (container, two, one(&nothing), false, Some("`ips`")),
            (vm, attachment("a"), one(&ports), false, Some("virtual machines")),
            (container, attachment("a"), vec![ports, bridge], false, Some("`a` and `c`")),
        ] {
            let attachments = [attachment];
            let refused = check(&Fit {
                isolation,
                attachments: &attachments,
                networks: &networks,
                present: &[],
                has_ports,
            })
            .err();
            let refused = refused.map(|error| error.to_string());
            assert_eq!(refused.is_some(), words.is_some(), "{refused:?}");
            assert!(
                words.is_none_or(|words| refused.as_ref().is_some_and(|text| text.contains(words))),
                "{refused:?}"
            );
        }
    }
}
