//! `--network` and what belongs to it: which network a sandbox has, and what it is there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use holm_engine::NetworkChoice;
use holm_spec::network::{Attachment, HardwareAddress};

/// What other flags say of a workload's only network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// `--network-alias`.
    pub aliases: Vec<String>,
    /// `--ip`.
    pub address: Option<Ipv4Addr>,
    /// `--ip6`.
    pub address6: Option<Ipv6Addr>,
    /// `--mac-address`.
    pub hardware: Option<HardwareAddress>,
}

/// The network that all values of `--network` together mean.
///
/// # Errors
/// A value that makes no sense; several where one excludes others; details without a network of their own.
pub fn parse_all(texts: &[String], details: Details) -> Result<NetworkChoice, String> {
    let choices = texts.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
    let mut attachments = Vec::new();
    for choice in &choices {
        match choice {
            NetworkChoice::Networks(one) => attachments.extend(one.clone()),
            other if choices.iter().all(|choice| choice == other) => {
                return if details == Details::default() {
                    Ok(other.clone())
                } else {
                    Err("addresses and aliases are for networks that have them".into())
                };
            }
            _ => return Err("`none`, `host` and `container:` go with no other network".into()),
        }
    }
    if details == Details::default() {
        return Ok(if texts.is_empty() {
            NetworkChoice::Default
        } else {
            NetworkChoice::Networks(attachments)
        });
    }
    let attachment = match &mut attachments[..] {
        [] => return Err("addresses and aliases are for a network that --network names".into()),
        [attachment] => attachment,
        _ => return Err("with several networks say NAME:ip=...,alias=... for each".into()),
    };
    attachment.aliases.extend(details.aliases);
    attachment.address = attachment.address.or(details.address);
    attachment.address6 = attachment.address6.or(details.address6);
    attachment.hardware = attachment.hardware.or(details.hardware);
    Ok(NetworkChoice::Networks(attachments))
}

/// `none`, `host`, `container:ID`, `NAME`, `NAME:ip=...,alias=...`, or Docker's `name=NAME,ip=...,alias=...`.
fn parse(text: &str) -> Result<NetworkChoice, String> {
    match text {
        "" => return Err("a network has a name".into()),
        "none" => return Ok(NetworkChoice::None),
        "host" => return Ok(NetworkChoice::Host),
        _ => {}
    }
    if let Some(name) = text.strip_prefix("container:") {
        return if name.is_empty() {
            Err("`container:` names no workload".into())
        } else {
            Ok(NetworkChoice::Container(name.into()))
        };
    }
    let (name, options) = match text.split_once(':') {
        Some((name, options)) if !name.contains('=') => (name, options),
        None if !text.contains('=') => (text, ""),
        _ => ("", text),
    };
    let mut attachment = Attachment { network: name.to_owned(), ..Attachment::default() };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').ok_or_else(|| format!("`{option}` has no value"))?;
        set(&mut attachment, key, value)?;
    }
    if attachment.network.is_empty() {
        return Err(format!("`{text}` names no network"));
    }
    Ok(NetworkChoice::Networks(vec![attachment]))
}

fn set(attachment: &mut Attachment, key: &str, value: &str) -> Result<(), String> {
    match key {
        "name" => attachment.network = value.to_owned(),
        "alias" => attachment.aliases.push(value.to_owned()),
        "ip" => match address(value)? {
            IpAddr::V4(address) => attachment.address = Some(address),
            IpAddr::V6(address) => attachment.address6 = Some(address),
        },
        "ip6" => attachment.address6 = Some(address6(value)?),
        "mac" | "mac-address" => attachment.hardware = Some(value.parse()?),
        _ => return Err(format!("unknown option `{key}`: ip, ip6, alias and mac-address are known")),
    }
    Ok(())
}

/// An address of either family.
///
/// # Errors
/// It is none.
pub fn address(text: &str) -> Result<IpAddr, String> {
    text.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| format!("`{text}` is no address"))
}

/// An address of IPv4.
///
/// # Errors
/// It is none.
pub fn address4(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| format!("`{text}` is no address of IPv4"))
}

/// An address of IPv6.
///
/// # Errors
/// It is none.
pub fn address6(text: &str) -> Result<Ipv6Addr, String> {
    text.parse().map_err(|_| format!("`{text}` is no address of IPv6"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(texts: &[&str], details: Details) -> Result<NetworkChoice, String> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        parse_all(&texts, details)
    }

    #[test]
    fn networks() {
        let plain = |texts: &[&str]| parsed(texts, Details::default());
        assert_eq!(plain(&[]), Ok(NetworkChoice::Default));
        assert_eq!(plain(&["none"]), Ok(NetworkChoice::None));
        assert_eq!(plain(&["host", "host"]), Ok(NetworkChoice::Host));
        assert_eq!(plain(&["container:web"]), Ok(NetworkChoice::Container("web".into())));
        let full = Attachment {
            network: "back".into(),
            aliases: vec!["db".into(), "sql".into()],
            address: Some(Ipv4Addr::new(10, 1, 0, 7)),
            address6: Some("fd00::7".parse().expect("an address")),
            hardware: Some("02:00:00:00:00:07".parse().expect("an address")),
        };
        let options = "ip=10.1.0.7,alias=db,alias=sql,ip6=fd00::7,mac-address=02:00:00:00:00:07";
        let front = Attachment { network: "front".into(), ..Attachment::default() };
        let both = Ok(NetworkChoice::Networks(vec![front, full.clone()]));
        assert_eq!(plain(&["front", &format!("back:{options}")]), both);
        assert_eq!(plain(&["front", &format!("name=back,{options}")]), both);
        let details = Details {
            aliases: full.aliases.clone(),
            address: full.address,
            address6: full.address6,
            hardware: full.hardware,
        };
        assert_eq!(parsed(&["back"], details), Ok(NetworkChoice::Networks(vec![full])));
    }

    #[test]
    fn what_makes_no_sense() {
        let alias = || Details { aliases: vec!["a".into()], ..Details::default() };
        for (texts, details, words) in [
            (&[""][..], Details::default(), "has a name"),
            (&["container:"], Details::default(), "names no workload"),
            (&["none", "host"], Details::default(), "go with no other"),
            (&["none", "a"], Details::default(), "go with no other"),
            (&["a", "host"], Details::default(), "go with no other"),
            (&["a:ip=x"], Details::default(), "`x` is no address"),
            (&["a:ip"], Details::default(), "has no value"),
            (&["a:colour=red"], Details::default(), "unknown option `colour`"),
            (&["alias=x"], Details::default(), "names no network"),
            (&["none"], alias(), "for networks that have them"),
            (&[], alias(), "that --network names"),
            (&["a", "b"], alias(), "with several networks"),
        ] {
            let error = parsed(texts, details).expect_err(words);
            assert!(error.contains(words), "{error}");
        }
    }
}
